"""Model folders that do not fit: refused, with what is wrong and what to do."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import load
from medlingua.adapters.packed import hidden_states, pack
from safetensors.torch import load_file

from .model_files import headless, logits, refusal, reweight, rewrite


def test_C13_missing_weights_are_listed(build: Any) -> None:
    folder = build("bert")
    gone = "bert.encoder.layer.0.attention.self.query.weight"
    reweight(folder, lambda weights: weights.pop(gone))
    message = refusal(folder)
    assert gone in message
    assert "missing" in message
    assert gone in refusal(folder, head="fresh")  # a fresh head is not a fresh body


def test_C13_unexpected_weights_are_listed(build: Any) -> None:
    folder = build("roberta")
    reweight(folder, lambda weights: weights.update({"roberta.adapter.weight": torch.zeros(2)}))
    assert "adapter.weight" in refusal(folder)


def test_C13_weights_of_another_shape_are_listed(build: Any) -> None:
    folder = build("bert")
    rewrite(folder, "config.json", intermediate_size=64)
    assert "intermediate.dense" in refusal(folder)


def test_C13_weights_of_another_family_are_refused(build: Any) -> None:
    folder, other = build("bert"), build("modernbert")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    message = refusal(folder)
    assert "missing" in message
    assert str(folder) in message


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_C13_a_body_without_a_head_says_how_to_start_one(family: str, build: Any) -> None:
    message = refusal(headless(build(family)))
    assert "--set adapt.head=fresh" in message
    assert "no masked-LM head" in message


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_C13_a_fresh_head_is_seeded_and_the_body_is_the_files(family: str, build: Any, sample: list[str]) -> None:
    whole = build(family)
    before = load(str(whole), head="fresh")
    assert not before.fresh_head
    folder = str(headless(whole))
    first, again, other = (load(folder, head="fresh", seed=seed) for seed in (1, 1, 2))
    assert first.fresh_head
    assert torch.equal(logits(first, sample[0]), logits(again, sample[0]))
    assert not torch.equal(logits(first, sample[0]), logits(other, sample[0]))
    ids = pack([torch.tensor(first.tokenizer(sample[0])["input_ids"]).numpy()], first.first_position)
    with torch.no_grad():
        assert torch.equal(hidden_states(first, ids), hidden_states(before, ids))


def test_a_folder_without_weights_says_what_was_expected(build: Any) -> None:
    folder = build("bert")
    (folder / "model.safetensors").unlink()
    assert "no weights: expected model.safetensors" in refusal(folder)


def test_truncated_weights_are_refused(build: Any) -> None:
    folder = build("bert")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    assert str(folder) in refusal(folder)


def test_pickled_weights_are_read_only_when_allowed(build: Any, sample: list[str]) -> None:
    folder = build("bert")
    expected = logits(load(str(folder)), sample[0])
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    message = refusal(folder)
    assert "pytorch_model.bin" in message
    assert "--allow pickle" in message
    assert torch.equal(logits(load(str(folder), allow=["pickle"]), sample[0]), expected)


def test_remote_code_is_refused_and_never_run(build: Any, tmp_path: Path) -> None:
    folder = build("bert")
    witness = tmp_path / "ran"
    (folder / "custom.py").write_text(f"open({str(witness)!r}, 'w')\nclass Custom: pass\n", encoding="utf-8")
    rewrite(folder, "config.json", auto_map={"AutoConfig": "custom.Custom", "AutoModelForMaskedLM": "custom.Custom"})
    assert "--allow remote-code" in refusal(folder)
    rewrite(folder, "config.json", model_type="custom")
    assert "--allow remote-code" in refusal(folder)
    assert not witness.exists()


def test_a_decoder_is_refused_with_the_families_that_work(tmp_path: Path) -> None:
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    message = refusal(tmp_path / "gpt2")
    assert "GPT2LMHeadModel is a decoder" in message
    assert "modernbert" in message


def test_an_encoder_used_as_a_decoder_is_refused(build: Any) -> None:
    folder = build("bert")
    rewrite(folder, "config.json", is_decoder=True)
    assert "decoder" in refusal(folder)


def test_an_unknown_family_names_the_known_ones(tmp_path: Path) -> None:
    config = transformers.MobileBertConfig(hidden_size=32, num_hidden_layers=1, vocab_size=50)
    config.save_pretrained(tmp_path / "m")
    message = refusal(tmp_path / "m")
    assert "'mobilebert' are not supported" in message
    assert all(family in message for family in ARCHITECTURES)
    assert "did you mean" not in message  # its weights fit no other family


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_C11_relative_positions_are_refused(family: str, build: Any) -> None:
    folder = build(family)
    rewrite(folder, "config.json", position_embedding_type="relative_key_query")
    assert "relative_key_query" in refusal(folder)
    rewrite(folder, "config.json", position_embedding_type="absolute")
    assert load(str(folder)).architecture.family == family


def test_a_tokenizer_with_more_ids_than_rows_does_not_fit(build: Any, new_byte_pieces: Any) -> None:
    folder = build("bert")
    new_byte_pieces.save_pretrained(folder)
    message = refusal(folder)
    assert "does not fit" in message
    assert str(len(new_byte_pieces) - 1) in message


def test_a_tokenizer_with_another_padding_id_does_not_fit(build: Any) -> None:
    folder = build("bert")
    rewrite(folder, "config.json", pad_token_id=5)
    message = refusal(folder)
    assert "padding id is 0" in message
    assert "config.json says 5" in message


def test_a_tokenizer_without_a_mask_is_refused(build: Any) -> None:
    folder = build("bert")
    rewrite(folder, "tokenizer_config.json", mask_token=None)
    assert "mask_token" in refusal(folder)


def test_a_folder_without_a_config_or_tokenizer_says_which_file(build: Any) -> None:
    folder = build("bert")
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer.json" in refusal(folder)
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(folder)


def test_a_config_whose_classes_are_no_list_is_refused(build: Any) -> None:
    folder = build("bert")
    rewrite(folder, "config.json", architectures=3)
    assert "config.json: architectures = 3 is no list of class names" in refusal(folder)


def test_an_unreadable_config_is_refused(build: Any) -> None:
    folder = build("bert")
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("base", ["./nowhere", "a/b/c"])
def test_a_folder_that_does_not_exist_is_reported(base: str) -> None:
    assert "does not exist" in refusal(base)


def test_a_file_is_not_a_model_folder(build: Any) -> None:
    assert "is a file" in refusal(build("bert") / "config.json")


@pytest.mark.parametrize("base", ["bert-base-nowhere-at-all", "some-lab/some-model"])
def test_a_hub_name_without_a_network_says_what_would_help(base: str) -> None:
    message = refusal(base)
    assert base in message
    assert "give a folder" in message
    assert f"adapt fetch --data ROOT --model {base}" in message
