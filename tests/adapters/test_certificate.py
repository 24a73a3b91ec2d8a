"""The certificate: it passes for a right conversion and names what a wrong one lost."""

from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.certificate import certify, loss_by_position
from medlingua.adapters.encoder import Encoder, load
from medlingua.adapters.longformer import to_longformer
from medlingua.adapters.rotary import rescale, to_rotary


def failed(source: Encoder, result: Encoder, texts: list[str]) -> list[str]:
    return [check.name for check in certify(source, result, texts).checks if not check.passed]


@pytest.mark.parametrize("family", ["bert", "roberta", "camembert", "xlm-roberta", "electra"])
@pytest.mark.parametrize("target", ["longformer", "rope"])
def test_a_right_conversion_passes_every_check(family: str, target: str, build: Any, sample: list[str]) -> None:
    more = {"embedding_size": 32, "hidden_size": 32} if family == "electra" else {}
    source = load(str(build(family, **more)))
    converted = to_longformer(source, 256, 16) if target == "longformer" else to_rotary(source, 256, 1e4)
    certificate = certify(source, converted, sample)
    assert [c for c in certificate.checks if not c.passed] == []
    assert len(certificate.checks) >= 3
    assert certificate.changes["model_type"] == (family, converted.architecture.family)
    assert certificate.changes["max_position_embeddings"][1] > source.model.config.max_position_embeddings


def test_large_logits_are_no_reason_to_fail(build: Any, sample: list[str]) -> None:
    """Four layers of 128 with large biases: stock and banded sums differ by more than 1e-4 in fp32."""
    source = load(str(build("roberta", hidden_size=128, intermediate_size=512, num_hidden_layers=4)))
    certificate = certify(source, to_longformer(source, 1024, 32), sample)
    assert [c for c in certificate.checks if not c.passed] == []


@pytest.mark.parametrize("family", ["modernbert", "eurobert", "ultrabert", "jina_embeddings_v3", "nomic_bert", "gte"])
def test_a_rescaled_model_passes_every_check(family: str, build: Any, sample: list[str]) -> None:
    source = load(str(build(family)))
    certificate = certify(source, rescale(source, 4 * source.length, 1e6, "none"), sample)
    assert [c for c in certificate.checks if not c.passed] == []
    assert "rope_parameters" in certificate.changes


def test_C20_changed_local_rotations_are_detected(build: Any, sample: list[str]) -> None:
    source = load(str(build("modernbert")))
    rescaled = rescale(source, 4 * source.length, 1e6, "none")
    wrong = load(str(build("modernbert", rope_parameters={
        kind: {"rope_type": "default", "rope_theta": 1e6} for kind in ("full_attention", "sliding_attention")
    })))  # fmt: skip
    wrong.model.load_state_dict(rescaled.model.state_dict())
    assert "local rotations, against the source" in failed(source, wrong, sample)


def test_C4_the_reach_is_that_of_the_windows_or_of_the_whole_text(build: Any, sample: list[str]) -> None:
    source = load(str(build("bert")))
    assert certify(source, to_longformer(source, 256, 16), sample).reach == 16  # two layers, eight each side
    assert certify(source, to_rotary(source, 256, 1e4), sample).reach == 128  # from the middle to the start


def test_C1_positions_shifted_by_one_are_detected(build: Any, sample: list[str]) -> None:
    source = load(str(build("bert")))
    converted = to_longformer(source, 256, 16)
    with torch.no_grad():
        table = converted.model.longformer.embeddings.position_embeddings.weight
        table.copy_(table.roll(1, dims=0))
    assert failed(source, converted, sample) == ["logits inside one window", "logits with every token global"]


def test_C5_random_global_projections_are_detected(build: Any, sample: list[str]) -> None:
    source = load(str(build("bert")))
    converted = to_longformer(source, 256, 16)
    with torch.no_grad():
        for name, parameter in converted.model.named_parameters():
            if "value_global" in name:
                parameter.normal_()
    assert failed(source, converted, sample) == ["logits with every token global"]


def test_C9_another_layer_norm_epsilon_is_detected(build: Any, sample: list[str]) -> None:
    source = load(str(build("roberta", layer_norm_eps=1e-5)))
    converted = to_longformer(source, 256, 16)
    for module in converted.model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-3
    converted.model.config.layer_norm_eps = 1e-3
    assert "logits inside one window" in failed(source, converted, sample)


def test_C17_a_lost_mean_position_is_detected(build: Any, sample: list[str]) -> None:
    source = load(str(build("bert")))
    converted = to_rotary(source, 256, 1e4)
    with torch.no_grad():
        converted.model.base_model.embeddings.token_type_embeddings.weight.add_(torch.linspace(-1, 1, 32))
    assert failed(source, converted, sample) == [
        "logits with all positions zero, against the source without positions"
    ]


def test_certifying_leaves_the_source_as_it_was(build: Any, sample: list[str]) -> None:
    source = load(str(build("bert")))
    before = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
    certify(source, to_rotary(source, 256, 1e4), sample)
    for name, tensor in source.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_loss_by_position_counts_every_masked_token_once(build: Any) -> None:
    encoder = load(str(build("longformer", max_position_embeddings=400)))
    documents = [np.random.default_rng(i).integers(5, 300, n) for i, n in enumerate((1000, 90))]
    losses = loss_by_position(encoder, documents)
    assert [(first, end) for first, end, _, _ in losses] == [(0, 64), (64, 128), (128, 256), (256, encoder.length)]
    assert 0.1 < sum(n for *_, n in losses) / (encoder.length - 2 + 90) < 0.2
    shorter = loss_by_position(load(str(build("longformer"))), documents)
    assert [n for *_, n in shorter[:1]] == [n for *_, n in losses[:1]]  # the same tokens, whatever the model's length
    mean = sum(nats * n for *_, nats, n in losses) / sum(n for *_, n in losses)
    assert 2 < mean < 30  # random text: about the log of the vocabulary, or worse


def test_certifying_without_text_is_refused(build: Any) -> None:
    source = load(str(build("bert")))
    with pytest.raises(ValueError, match="no text"):
        certify(source, to_longformer(source, 256, 16), [])
