"""Conversion to Longformer: the source's logits where they must be, and nothing lost on the way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder, load, save
from medlingua.adapters.longformer import copy_untrained_global_projections, to_longformer
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages.errors import InputError
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, LongformerConfig, LongformerForMaskedLM

SOURCES = ["bert", "roberta", "camembert", "xlm-roberta", "electra"]
LENGTH, WINDOW = 256, 16


def source_of(family: str, build: Any, **changes: Any) -> Encoder:
    more = {"embedding_size": 32, "hidden_size": 32} if family == "electra" else {}
    return load(str(build(family, **(more | changes))))


def ids_of(encoder: Encoder, length: int, seed: int = 0) -> torch.Tensor:
    draw = np.random.default_rng(seed).integers(5, len(encoder.tokenizer), length - 2)
    return torch.tensor([[encoder.tokenizer.cls_token_id, *draw, encoder.tokenizer.sep_token_id]])


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    return model.eval()(input_ids=ids, **inputs).logits[0]


def reopened(encoder: Encoder, folder: Path) -> Any:
    save(encoder, folder)
    return AutoModelForMaskedLM.from_pretrained(folder)


@pytest.mark.parametrize("family", SOURCES)
def test_C1_C5_C14_short_inputs_give_the_sources_logits_through_the_stock_class(
    family: str, build: Any, tmp_path: Path
) -> None:
    source = source_of(family, build)
    stock = reopened(to_longformer(source, LENGTH, WINDOW), tmp_path / "made")
    assert type(stock) is LongformerForMaskedLM
    for length in (3, WINDOW // 2 + 1):
        ids = ids_of(source, length)
        expected = logits(source.model, ids)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(logits(stock, ids), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", SOURCES)
def test_C5_with_every_token_global_any_length_gives_the_sources_logits(
    family: str, build: Any, tmp_path: Path
) -> None:
    source = source_of(family, build)
    stock = reopened(to_longformer(source, LENGTH, WINDOW), tmp_path / "made")
    for length in (WINDOW, source.length):
        ids = ids_of(source, length)
        actual = logits(stock, ids, global_attention_mask=torch.ones_like(ids))
        torch.testing.assert_close(actual, logits(source.model, ids), atol=1e-5, rtol=1e-5)


def test_C5_local_parity_alone_would_not_see_uncopied_global_projections(build: Any) -> None:
    source = source_of("bert", build)
    converted = to_longformer(source, LENGTH, WINDOW)
    for name, parameter in converted.model.named_parameters():
        if "_global" in name:
            torch.nn.init.normal_(parameter)
    short, long = ids_of(source, 5), ids_of(source, 40)
    torch.testing.assert_close(logits(converted.model, short), logits(source.model, short), atol=1e-5, rtol=1e-5)
    everywhere = logits(converted.model, long, global_attention_mask=torch.ones_like(long))
    assert (everywhere - logits(source.model, long)).abs().max() > 0.1


@pytest.mark.parametrize("family", SOURCES)
def test_C2_C3_the_declared_length_works_and_the_tokenizer_knows_it(family: str, build: Any, tmp_path: Path) -> None:
    converted = to_longformer(source_of(family, build), LENGTH, WINDOW)
    assert converted.length == LENGTH
    stock = reopened(converted, tmp_path / "made")
    assert AutoTokenizer.from_pretrained(tmp_path / "made").model_max_length == LENGTH
    assert torch.isfinite(logits(stock, ids_of(converted, LENGTH))).all()
    with pytest.raises(IndexError):
        hidden_states(converted, pack([ids_of(converted, LENGTH + 1)[0].numpy()], converted.first_position))


def test_C4_one_layer_reaches_exactly_half_a_window(build: Any) -> None:
    """Gradient of one unit of a state: eight tokens to each side with a window of 16."""
    converted = to_longformer(source_of("bert", build, num_hidden_layers=1), LENGTH, WINDOW)
    embedded = converted.model.longformer.embeddings.word_embeddings(ids_of(converted, 60)).detach().requires_grad_()
    # One unit: the last norm makes the sum of all a constant.
    converted.model.longformer(inputs_embeds=embedded).last_hidden_state[0, 30, 0].backward()
    assert embedded.grad is not None
    reached = embedded.grad[0].abs().sum(dim=1).nonzero().flatten().tolist()
    assert reached == list(range(22, 39))


def test_C4_past_half_a_window_the_logits_do_differ(build: Any) -> None:
    source = source_of("bert", build)
    converted = to_longformer(source, LENGTH, WINDOW)
    ids = ids_of(source, 40)
    assert (logits(converted.model, ids) - logits(source.model, ids)).abs().max() > 1e-2


def test_C6_no_weight_shares_memory_but_the_tied_table(build: Any, tmp_path: Path) -> None:
    converted = to_longformer(source_of("roberta", build), LENGTH, WINDOW)
    places: dict[int, list[str]] = {}
    for name, tensor in converted.model.state_dict().items():
        places.setdefault(tensor.data_ptr(), []).append(name)
    shared = sorted(tuple(sorted(names)) for names in places.values() if len(names) > 1)
    assert shared == [
        ("lm_head.bias", "lm_head.decoder.bias"),
        ("lm_head.decoder.weight", "longformer.embeddings.word_embeddings.weight"),
    ]
    again = reopened(converted, tmp_path / "made").state_dict()
    for name, tensor in converted.model.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_C7_global_projections_follow_the_local_ones_after_training(build: Any) -> None:
    source = source_of("bert", build)
    converted = to_longformer(source, LENGTH, WINDOW)
    with torch.no_grad():
        for name, parameter in converted.model.named_parameters():
            if ".self.query." in name:
                parameter.add_(1.0)
    copy_untrained_global_projections(converted)
    state = converted.model.state_dict()
    for name, tensor in state.items():
        if ".self.query." in name:
            copied = state[name.replace(".query.", ".query_global.")]
            assert torch.equal(copied, tensor)
            assert copied.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize("family", SOURCES)
def test_C9_every_config_value_comes_from_the_source(family: str, build: Any, tmp_path: Path) -> None:
    own = {"layer_norm_eps": 1e-3, "initializer_range": 0.3, "hidden_dropout_prob": 0.23, "type_vocab_size": 1}
    source = source_of(family, build, **own)
    reopened(to_longformer(source, LENGTH, WINDOW), tmp_path / "made")
    config = AutoConfig.from_pretrained(tmp_path / "made")
    for key, value in own.items():
        assert getattr(config, key) == value, key
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "pad_token_id", "hidden_act"):
        assert getattr(config, key) == getattr(source.model.config, key), key


def test_C10_the_saved_config_is_the_target_classs_own(build: Any, tmp_path: Path) -> None:
    reopened(to_longformer(source_of("electra", build), LENGTH, WINDOW), tmp_path / "made")
    assert type(AutoConfig.from_pretrained(tmp_path / "made")) is LongformerConfig
    saved = json.loads((tmp_path / "made" / "config.json").read_text())
    extra = {"architectures", "dtype", "model_type", "transformers_version"}
    assert set(saved) - extra <= set(LongformerConfig().to_dict())


@pytest.mark.parametrize("rows", [1, 2])
def test_C12_token_types_keep_their_rows(rows: int, build: Any) -> None:
    source = source_of("bert", build, type_vocab_size=rows)
    converted = to_longformer(source, LENGTH, WINDOW)
    ids = ids_of(source, 7)
    for kind in range(rows):
        types = torch.full_like(ids, kind)
        expected = logits(source.model, ids, token_type_ids=types)
        torch.testing.assert_close(logits(converted.model, ids, token_type_ids=types), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [100, 600])
def test_a_longformer_is_resized_up_and_down(length: int, build: Any) -> None:
    source = load(str(build("longformer", attention_window=[8, 8])))
    resized = to_longformer(source, length, 8)
    assert resized.length == length
    ids = ids_of(source, 60)
    torch.testing.assert_close(logits(resized.model, ids), logits(source.model, ids), atol=1e-5, rtol=1e-5)


def test_windows_can_differ_by_layer(build: Any) -> None:
    converted = to_longformer(source_of("bert", build), LENGTH, (8, 32))
    assert converted.model.config.attention_window == [8, 32]


@pytest.mark.parametrize(
    ("length", "window", "named"),
    [
        (50, 16, "^length 50 is shorter than the source's"),
        (256, 15, "^window 15"),
        (256, 0, "^window 0"),
        (256, 300, "^window 300 is larger than length 256"),
        (256, (16, 16, 16), "names 3 windows; the model has 2 layers"),
    ],
)
def test_lengths_and_windows_that_do_not_fit_are_named(length: int, window: Any, named: str, build: Any) -> None:
    with pytest.raises(InputError, match=named):
        to_longformer(source_of("bert", build), length, window)


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("modernbert", {}, "known sources: bert, camembert, electra"),
        ("bert", {"hidden_act": "relu"}, "hidden_act 'relu'"),
        ("electra", {"embedding_size": 16}, "16 wide"),
    ],
)
def test_C14_sources_without_an_exact_image_are_refused(
    family: str, changes: dict[str, Any], named: str, build: Any
) -> None:
    with pytest.raises(InputError, match=named):
        to_longformer(source_of(family, build, **changes), LENGTH, WINDOW)


@pytest.mark.parametrize("name", ["english-clinical-mini"])
def test_C1_C5_a_real_model_keeps_its_logits(name: str, shared_model: Any, tmp_path: Path) -> None:
    source = load(str(shared_model(name)))
    stock = reopened(to_longformer(source, 1024, 64), tmp_path / "made")
    short, long = ids_of(source, 33), ids_of(source, source.length)
    torch.testing.assert_close(logits(stock, short), logits(source.model, short), atol=1e-4, rtol=1e-4)
    actual = logits(stock, long, global_attention_mask=torch.ones_like(long))
    torch.testing.assert_close(actual, logits(source.model, long), atol=1e-4, rtol=1e-4)
