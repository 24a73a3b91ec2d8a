"""Weights as people have them: untied tables, task heads, names of wrapped modules, pointers, padded vocabularies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.architecture import ARCHITECTURES, head_bias
from medlingua.adapters.embeddings import replace_vocabulary
from medlingua.adapters.encoder import Encoder, load, read_tokenizer, save
from medlingua.adapters.extension import extend
from medlingua.adapters.fresh import random_encoder
from medlingua.adapters.longformer import to_longformer
from medlingua.adapters.pruning import prune
from medlingua.adapters.rotary import to_rotary
from medlingua.adapters.tiling import tile_weights
from medlingua.languages.errors import InputError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

FAMILIES = sorted(ARCHITECTURES)
TWO_BIASES = [
    "albert",
    "bert",
    "camembert",
    "jina_embeddings_v3",
    "longformer",
    "mpnet",
    "nomic_bert",
    "roberta",
    "xlm-roberta",
]


def reweight(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def stock_logits(folder: Path, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForMaskedLM.from_pretrained(folder).eval()(input_ids=torch.tensor([ids])).logits[0]


def output(encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor | None]:
    _, decoder = encoder.architecture.head(encoder.model)
    return decoder.weight.detach(), None if decoder.bias is None else decoder.bias.detach()


@pytest.mark.parametrize("action", ["extend", "prune"])
@pytest.mark.parametrize("family", FAMILIES)
def test_C14_an_untied_head_keeps_its_table_and_its_bias_and_plain_transformers_reopens_both(
    family: str, action: str, build: Any, corpus: list[str], tmp_path: Path
) -> None:
    encoder = load(str(build(family, tie_word_embeddings=False)))
    old = encoder.tokenizer
    table, bias = (x if x is None else x.clone() for x in output(encoder))
    new = extend(old, corpus, 12, min_documents=2).tokenizer if action == "extend" else prune(old, corpus[:2])
    assert len(new) != len(old)
    changed, _ = replace_vocabulary(encoder, new)
    save(changed, tmp_path / "out", sample=corpus[:3])
    shared = {
        piece: (id, old.get_vocab()[piece]) for piece, id in new.get_vocab().items() if piece in old.get_vocab()
    }
    now, before = (torch.tensor(ids) for ids in zip(*shared.values(), strict=True))
    saved = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    decoder = saved.get_output_embeddings()
    assert saved.config.tie_word_embeddings is False
    assert torch.equal(decoder.weight[now], table[before])
    assert bias is None or torch.equal(decoder.bias[now], bias[before])
    if (names := head_bias(saved)) is not None:
        assert torch.equal(saved.get_parameter(names[1]), decoder.bias)
    assert torch.equal(output(load(str(tmp_path / "out")))[0], decoder.weight)


@pytest.mark.parametrize("family", TWO_BIASES)
@pytest.mark.parametrize("lacking", [0, 1])
def test_an_untied_file_with_one_of_the_two_biases_has_it_in_both_places(
    family: str, lacking: int, build: Any, tmp_path: Path
) -> None:
    folder = build(family, tie_word_embeddings=False)
    names = head_bias(AutoModelForMaskedLM.from_pretrained(folder))
    assert names is not None
    trained = load_file(folder / "model.safetensors")[names[1 - lacking]]
    reweight(folder, lambda weights: {n: w for n, w in weights.items() if n != names[lacking]})
    encoder = load(str(folder))
    assert torch.equal(output(encoder)[1], trained)
    save(encoder, tmp_path / "out")
    assert torch.equal(AutoModelForMaskedLM.from_pretrained(tmp_path / "out").get_output_embeddings().bias, trained)


def test_tables_that_differ_stay_untied_where_the_config_says_tied(
    build: Any, corpus: list[str], tmp_path: Path
) -> None:
    folder = build("bert")
    reweight(folder, lambda weights: weights | {"cls.predictions.decoder.weight": torch.randn(240, 32)})
    encoder = load(str(folder))
    inputs = encoder.model.get_input_embeddings().weight.detach().clone()
    outputs = output(encoder)[0].clone()
    assert not torch.equal(inputs, outputs)
    new = extend(encoder.tokenizer, corpus, 5, min_documents=2).tokenizer
    save(replace_vocabulary(encoder, new)[0], tmp_path / "out")
    again = load(str(tmp_path / "out"))
    assert torch.equal(again.model.get_input_embeddings().weight[:240], inputs)
    assert torch.equal(output(again)[0][:240], outputs)


@pytest.mark.parametrize("convert", [lambda e: to_longformer(e, 120, 8), lambda e: to_rotary(e, 120, 1e4)])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_a_conversion_of_an_untied_model_keeps_its_head(
    family: str, convert: Callable[[Encoder], Encoder], build: Any, tmp_path: Path
) -> None:
    source = load(str(build(family, tie_word_embeddings=False)))
    save(convert(source), tmp_path / "out")
    decoder = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").get_output_embeddings()
    table, bias = output(source)
    assert torch.equal(decoder.weight, table)
    assert bias is not None
    assert torch.equal(decoder.bias, bias)


def test_a_tiled_model_keeps_an_untied_table_and_what_the_small_one_computes(
    new_byte_pieces: Any, tmp_path: Path
) -> None:
    small = random_encoder("roberta", "tiny", 60, 8, new_byte_pieces, 0, tied=False)
    large = random_encoder("roberta", "mini", 60, 8, new_byte_pieces, 1, tied=False)
    with torch.no_grad():
        output(small)[1].normal_()
    tile_weights(small, large, 0)
    assert torch.equal(large.model.get_input_embeddings().weight[:, :128], small.model.get_input_embeddings().weight)
    save(large, tmp_path / "out")
    again = load(str(tmp_path / "out"))
    assert not torch.equal(output(again)[0][:, :128], again.model.get_input_embeddings().weight[:, :128])
    torch.testing.assert_close(output(again)[1], output(small)[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_save_that_plain_transformers_opens_as_something_else_is_an_error(
    family: str, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever writes other weights than the model's: here the class's own save, made to lose one."""
    encoder = load(str(build(family)))
    kind = type(encoder.model)
    stock = kind.save_pretrained

    def lossy(self: Any, folder: Path, **options: Any) -> None:
        stock(self, folder, **options)
        reweight(Path(folder), lambda weights: {n: w * 1.5 if "norm" in n.lower() else w for n, w in weights.items()})

    monkeypatch.setattr(kind, "save_pretrained", lossy)
    with pytest.raises(ValueError, match="saved model reads back other weights"):
        save(encoder, tmp_path / "out")


# What is around the weights


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_names_of_wrapped_modules_are_removed(family: str, wrapper: str, build: Any, tmp_path: Path) -> None:
    folder = build(family)
    expected = stock_logits(folder, [5, 6, 7, 8])
    reweight(folder, lambda weights: {wrapper + name: tensor for name, tensor in weights.items()})
    save(load(str(folder)), tmp_path / "out")
    torch.testing.assert_close(stock_logits(tmp_path / "out", [5, 6, 7, 8]), expected)


def test_a_compiled_body_and_a_pickle_of_a_wrapped_module_are_read(build: Any) -> None:
    folder = build("bert")
    expected = stock_logits(folder, [5, 6, 7, 8])
    weights = load_file(folder / "model.safetensors")
    reweight(folder, lambda known: {n.replace("bert.", "bert._orig_mod."): w for n, w in known.items()})
    for allow in ((), ("pickle",)):
        model = load(str(folder), allow=allow).model
        with torch.no_grad():
            torch.testing.assert_close(model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits[0], expected)
        (folder / "model.safetensors").unlink(missing_ok=True)
        torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "pytorch_model.bin")


@pytest.mark.parametrize("kind", [AutoModelForTokenClassification, AutoModelForSequenceClassification])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_a_task_head_is_left_out_where_a_fresh_one_is_requested(family: str, kind: Any, build: Any) -> None:
    folder = build(family)
    body = load(str(folder)).model.base_model.state_dict()
    model = kind.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    with pytest.raises(
        InputError, match=r"no masked-LM head \(.*and a task head .*--set adapt.head=fresh"
    ) as refused:
        load(str(folder))
    assert "does not know" not in str(refused.value)  # one remedy, and it works
    encoder = load(str(folder), head="fresh")
    assert encoder.fresh_head
    assert {name.split(".")[0] for name in encoder.dropped} == {"classifier"}
    for name, tensor in encoder.model.base_model.state_dict().items():
        assert torch.equal(tensor, body[name]), name


def test_a_body_with_more_layers_than_its_config_is_no_task_head(build: Any) -> None:
    folder = build("bert")
    reweight(
        folder,
        lambda weights: (
            {n.removeprefix("bert."): w for n, w in weights.items() if not n.startswith("cls.")}
            | {"encoder.layer.7.output.dense.bias": torch.zeros(32)}
        ),
    )
    with pytest.raises(InputError, match=r"does not know: encoder\.layer\.7"):
        load(str(folder), head="fresh")


def test_weights_that_are_not_finite_are_named(build: Any) -> None:
    folder = build("bert")
    name = "bert.encoder.layer.0.output.dense.weight"
    reweight(folder, lambda weights: weights | {name: weights[name].fill_(float("nan"))})
    with pytest.raises(InputError, match=rf"not finite: {name}"):
        load(str(folder))


def test_a_model_without_a_tokenizer_is_not_given_an_empty_one(build: Any) -> None:
    folder = build("bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        read_tokenizer(str(folder), None, ())


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_is_called_one(name: str, build: Any) -> None:
    folder = build("bert")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 440449768\n"
    (folder / name).write_text(pointer, encoding="utf-8")
    with pytest.raises(InputError, match=rf"{name} is a Git LFS pointer.*git lfs pull"):
        load(str(folder))
    with pytest.raises(InputError, match="Git LFS pointer"):
        read_tokenizer(str(folder), None, ())


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_padded_vocabulary_is_extended_to_the_tokenizer(
    family: str, build: Any, corpus: list[str], tmp_path: Path
) -> None:
    """Tables padded to a multiple of 64 for the sake of a GPU have more embeddings than the tokenizer has pieces."""
    folder = build(family, vocab_size=448)
    encoder = load(str(folder))
    old = len(encoder.tokenizer)
    table, bias = (x.clone() for x in output(encoder) if x is not None)
    save(encoder, tmp_path / "same")
    assert load(str(tmp_path / "same")).model.config.vocab_size == 448
    new = extend(encoder.tokenizer, corpus, 9, min_documents=2).tokenizer
    save(replace_vocabulary(encoder, new)[0], tmp_path / "extended")
    again = load(str(tmp_path / "extended"))
    assert again.model.config.vocab_size == len(new) == old + 9
    assert torch.equal(output(again)[0][:old], table[:old])
    assert torch.equal(output(again)[1][:old], bias[:old])
