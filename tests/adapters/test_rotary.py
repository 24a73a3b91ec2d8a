"""Conversion to rotary positions: exact with the rotation held still, and free of absolute places."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder, load, save
from medlingua.adapters.positions import rotations, thetas
from medlingua.adapters.rotary import rescale, to_rotary
from medlingua.languages.errors import InputError
from transformers import AutoModelForMaskedLM, AutoTokenizer, JinaEmbeddingsV3ForMaskedLM

SOURCES = ["bert", "roberta", "camembert", "xlm-roberta", "electra"]
LENGTH = 256


def source_of(family: str, build: Any, **changes: Any) -> Encoder:
    more = {"embedding_size": 32, "hidden_size": 32} if family == "electra" else {}
    return load(str(build(family, **(more | changes))))


def ids_of(encoder: Encoder, length: int) -> torch.Tensor:
    draw = np.random.default_rng(0).integers(5, len(encoder.tokenizer), length - 2)
    return torch.tensor([[encoder.tokenizer.cls_token_id, *draw, encoder.tokenizer.sep_token_id]])


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    return model.eval()(input_ids=ids, **inputs).logits[0]


def without_positions(source: Encoder) -> Any:
    """The source with one position for all: its table's mean."""
    table = source.model.base_model.embeddings.position_embeddings.weight
    with torch.no_grad():
        table.copy_(table[source.first_position :].mean(dim=0).expand_as(table))
    return source.model


@pytest.mark.parametrize("family", SOURCES)
def test_C17_with_all_positions_zero_the_logits_are_those_of_the_source_without_positions(
    family: str, build: Any, tmp_path: Path
) -> None:
    source = source_of(family, build)
    save(to_rotary(source, LENGTH, 10_000.0), tmp_path / "made")
    stock = AutoModelForMaskedLM.from_pretrained(tmp_path / "made")
    assert type(stock) is JinaEmbeddingsV3ForMaskedLM
    assert AutoTokenizer.from_pretrained(tmp_path / "made").model_max_length == LENGTH
    ids = ids_of(source, 40)
    actual = logits(stock, ids, position_ids=torch.zeros_like(ids))
    expected = logits(without_positions(source), ids)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_C17_places_count_only_from_each_other(build: Any) -> None:
    converted = to_rotary(source_of("bert", build), LENGTH, 10_000.0)
    ids = ids_of(converted, 40)
    places = torch.arange(40)[None]
    here, there = (logits(converted.model, ids, position_ids=places + shift) for shift in (0, 150))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    reversed_places = logits(converted.model, ids, position_ids=places.flip(1))
    assert (reversed_places - here).abs().max() > 1e-2


@pytest.mark.parametrize("theta", [500.0, 10_000.0, 160_000.0])
def test_C18_the_built_model_rotates_with_the_requested_theta(theta: float, build: Any, tmp_path: Path) -> None:
    save(to_rotary(source_of("bert", build), LENGTH, theta), tmp_path / "made")
    again = load(str(tmp_path / "made"))
    for name, inv_freq in rotations(again.model):
        width = 2 * len(inv_freq)
        assert float(inv_freq[1]) == pytest.approx(theta ** (-2 / width), rel=1e-5), name
    assert list(thetas(again.model).values()) == [pytest.approx(theta, rel=1e-3)]


def test_C18_thetas_are_read_by_layer_type_from_the_built_model(build: Any) -> None:
    ropes = {kind: {"rope_type": "default", "rope_theta": t} for kind, t in
             (("full_attention", 160_000.0), ("sliding_attention", 10_000.0))}  # fmt: skip
    encoder = load(str(build("modernbert", rope_parameters=ropes)))
    assert sorted(thetas(encoder.model).values()) == [
        pytest.approx(10_000, rel=1e-3),
        pytest.approx(160_000, rel=1e-3),
    ]


def test_C19_a_theta_of_minus_one_is_refused_not_computed_with(build: Any) -> None:
    ropes = {kind: {"rope_type": "default", "rope_theta": t} for kind, t in
             (("full_attention", 160_000.0), ("sliding_attention", -1.0))}  # fmt: skip
    encoder = load(str(build("modernbert", rope_parameters=ropes)))
    with pytest.raises(ValueError, match="not finite"):
        thetas(encoder.model)


@pytest.mark.parametrize(
    ("length", "theta", "named"),
    [(50, 1e4, "^length 50 is shorter"), (256, 0.0, "^theta 0.0"), (256, -1.0, "^theta -1.0")],
)
def test_lengths_and_thetas_that_do_not_fit_are_named(length: int, theta: float, named: str, build: Any) -> None:
    with pytest.raises(InputError, match=named):
        to_rotary(source_of("bert", build), length, theta)


def test_a_longformer_is_no_source_of_a_rotary_model(build: Any) -> None:
    with pytest.raises(InputError, match="known sources: bert, camembert, electra"):
        to_rotary(load(str(build("longformer"))), LENGTH, 1e4)


ROTARY = ["modernbert", "eurobert", "ultrabert", "jina_embeddings_v3", "nomic_bert", "gte"]


def inv_freqs(encoder: Encoder) -> dict[str, torch.Tensor]:
    return dict(rotations(encoder.model))


@pytest.mark.parametrize("family", ROTARY)
def test_C18_C22_a_rescaled_model_rotates_as_requested_after_it_is_reopened(
    family: str, build: Any, tmp_path: Path
) -> None:
    source = load(str(build(family)))
    save(rescale(source, 4 * source.length, 77_000.0, "none"), tmp_path / "made")
    again = load(str(tmp_path / "made"))
    assert again.length == 4 * source.length
    for name, inv_freq in inv_freqs(again).items():
        if "sliding" in name:
            continue
        assert float(inv_freq[1]) == pytest.approx(77_000.0 ** (-1 / len(inv_freq)), rel=1e-5), name
    state = again.model.state_dict()
    for name, tensor in source.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("scaling", ["none", "linear", "ntk", "yarn"])
@pytest.mark.parametrize("family", ["modernbert", "ultrabert"])
def test_C20_local_rotations_stay(family: str, scaling: Any, build: Any, tmp_path: Path) -> None:
    source = load(str(build(family)))
    save(rescale(source, 4 * source.length, 500_000.0, scaling), tmp_path / "made")
    before, after = inv_freqs(source), inv_freqs(load(str(tmp_path / "made")))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "sliding" not in name}


def test_linear_scaling_divides_positions(build: Any) -> None:
    source = load(str(build("eurobert")))
    (before,), (after,) = (
        inv_freqs(source).values(),
        inv_freqs(rescale(source, 4 * source.length, None, "linear")).values(),
    )
    torch.testing.assert_close(after, before / 4)


def test_ntk_scaling_keeps_the_fastest_rotation_and_slows_the_slowest_by_the_factor(build: Any) -> None:
    source = load(str(build("eurobert")))
    (before,), (after,) = (
        inv_freqs(source).values(),
        inv_freqs(rescale(source, 4 * source.length, None, "ntk")).values(),
    )
    assert float(after[0]) == float(before[0])
    assert float(before[-1] / after[-1]) == pytest.approx(4, rel=1e-4)


def test_C18_without_a_new_theta_the_sources_own_is_preserved_not_a_default(build: Any) -> None:
    source = load(str(build("eurobert", rope_parameters={"rope_type": "default", "rope_theta": 4321.0})))
    assert list(thetas(rescale(source, 2 * source.length, None, "none").model).values()) == [
        pytest.approx(4321.0, rel=1e-3)
    ]


def test_C19_a_source_with_theta_minus_one_is_refused(build: Any) -> None:
    ropes = {kind: {"rope_type": "default", "rope_theta": t} for kind, t in
             (("full_attention", 160_000.0), ("sliding_attention", -1.0))}  # fmt: skip
    source = load(str(build("modernbert", rope_parameters=ropes)))
    with pytest.raises(InputError, match="not finite and positive"):
        rescale(source, 1024, None, "none")


@pytest.mark.parametrize("family", ["eurobert", "modernbert"])
def test_C18_a_source_that_is_scaled_already_is_refused_its_theta_cannot_be_read(family: str, build: Any) -> None:
    once = rescale(load(str(build(family))), 1024, None, "linear")
    with pytest.raises(InputError, match=r"scaled already \(linear\)"):
        rescale(once, 2048, None, "none")


def test_a_model_without_rotations_is_not_rescaled(build: Any) -> None:
    with pytest.raises(InputError, match="a bert model has no rotation"):
        rescale(load(str(build("bert"))), 1024, None, "none")


def test_C21_another_theta_moves_short_texts_and_the_certificate_does_not_hide_it(build: Any) -> None:
    source = load(str(build("modernbert")))
    rescaled = rescale(source, 4 * source.length, 1e6, "none")
    ids = ids_of(source, 40)
    assert (logits(rescaled.model, ids) - logits(source.model, ids)).abs().max() > 1e-3
