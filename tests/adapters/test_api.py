"""The Python API: its names, its examples, and what importing it costs."""

import doctest
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import medlingua
import pytest
import torch
from medlingua.adapters.encoder import Encoder

NAMES = [
    "Annotation",
    "Annotator",
    "Encoder",
    "InputError",
    "Pack",
    "Run",
    "__version__",
    "accelerate_longformer",
    "adapt",
    "convert_to_longformer",
    "convert_to_rope",
    "evaluate",
    "extend_vocabulary",
    "finetune",
    "known_languages",
    "load_model",
    "load_pack",
    "prune_vocabulary",
    "repair_vocabulary",
    "replace_vocabulary",
    "rescale_rope",
    "save_model",
    "sweep",
]
SLOW = {"Annotator", "adapt", "evaluate", "finetune", "sweep"}
FUNCTIONS = [n for n in NAMES if n[0].islower() and n not in ("known_languages", "load_pack")]
EXAMPLES = ["Annotator", *FUNCTIONS]


def run_examples(thing: Any, names: dict[str, Any]) -> None:
    doctests = doctest.DocTestFinder(recurse=False).find(thing, globs=names)
    assert [test for test in doctests if test.examples], f"{thing} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctests:
        report: list[str] = []
        assert not runner.run(test, out=report.append).failed, "".join(report)


def test_the_public_names_are_these() -> None:
    assert sorted(medlingua.__all__) == NAMES
    assert dir(medlingua) == medlingua.__all__
    for name in NAMES:
        assert getattr(medlingua, name) is not None


TAKES_AN_ENCODER: dict[str, tuple[Any, ...]] = {
    "save_model": ("folder",),
    "convert_to_longformer": (),
    "convert_to_rope": (),
    "rescale_rope": (512,),
    "extend_vocabulary": (["Toux."], 1),
    "replace_vocabulary": (["Toux."],),
    "prune_vocabulary": (["Toux."],),
    "repair_vocabulary": (),
}


@pytest.mark.parametrize("name", TAKES_AN_ENCODER)
def test_a_bare_model_in_the_place_of_an_encoder_is_answered_with_what_to_give(name: str) -> None:
    with pytest.raises(TypeError, match=r"give an Encoder.*not Linear.*load_model\(folder\)"):
        getattr(medlingua, name)(torch.nn.Linear(2, 2), *TAKES_AN_ENCODER[name])


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'load_modle'"):
        _ = medlingua.load_modle  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in EXAMPLES])
def test_the_examples_of_a_function_hold(name: str, folder: Path) -> None:
    run_examples(getattr(medlingua, name), {n: getattr(medlingua, n) for n in NAMES})


def test_the_example_of_the_package_holds(folder: Path) -> None:
    run_examples(medlingua, {})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_and_result_of_a_function_has_a_type(name: str) -> None:
    signature = inspect.signature(getattr(medlingua, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


def test_importing_the_package_imports_no_model_library() -> None:
    heavy = "torch", "transformers", "numpy", "pandas", "pydantic", "spacy", "optuna"
    program = f"import sys, medlingua; print(medlingua.__version__, [n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{medlingua.__version__} []\n"


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(medlingua.__file__).parent / "py.typed").exists()


def weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda e, t: medlingua.convert_to_longformer(e, 256, 16),
        lambda e, t: medlingua.convert_to_rope(e, 256),
        lambda e, t: medlingua.extend_vocabulary(e, t, 5),
        lambda e, t: medlingua.replace_vocabulary(e, t, 180),
        lambda e, t: medlingua.prune_vocabulary(e, t),
    ],
    ids=["longformer", "rope", "extend", "replace", "prune"],
)
def test_the_model_that_is_given_is_not_changed(change: Any, folder: Path, corpus: list[str]) -> None:
    encoder = medlingua.load_model("clinical-bert")
    before, size, length = weights(encoder), len(encoder.tokenizer), encoder.tokenizer.model_max_length
    changed = change(encoder, corpus)
    assert changed.model is not encoder.model
    after = weights(encoder)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert (len(encoder.tokenizer), encoder.tokenizer.model_max_length) == (size, length)


def texts_once(corpus: list[str]) -> Iterator[str]:
    yield from corpus


def test_texts_may_be_an_iterator_where_they_are_read_twice(folder: Path, corpus: list[str]) -> None:
    encoder = medlingua.load_model("clinical-bert")
    once, again = (medlingua.replace_vocabulary(encoder, t, 180) for t in (texts_once(corpus), corpus))
    assert once.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    for name, tensor in weights(again).items():
        assert torch.equal(weights(once)[name], tensor), name


def test_words_that_cannot_be_repaired_are_named_in_a_warning(folder: Path) -> None:
    encoder = medlingua.load_model("clinical-bert")
    encoder.tokenizer.add_tokens(["dyspnée", "acide urique"])
    encoder.model.resize_token_embeddings(len(encoder.tokenizer), mean_resizing=False)
    with pytest.warns(UserWarning, match="no single piece can stand for: acide urique"):
        repaired = medlingua.repair_vocabulary(encoder)
    assert "dyspnée" in repaired.tokenizer.get_vocab()


@pytest.mark.slow
def test_a_mapping_is_a_run_too_and_its_unknown_settings_are_named(folder: Path) -> None:
    with pytest.raises(medlingua.InputError, match=r"unknown setting 'train.token'.*did you mean 'train.tokens'"):
        medlingua.adapt({"strategy": "continue", "lang": "fr", "base": "clinical-bert", "train": {"token": 5}})
    settings = {
        "strategy": "convert",
        "lang": "fr",
        "base": "clinical-bert",
        "data": {"paths": ["notes.csv"], "text_field": "text"},
        "adapt": {"length": 256, "window": 16},
        "train": {"tokens": 0},
        "eval": {"tasks": "none"},
    }
    run_folder = medlingua.adapt(settings)
    assert run_folder.parent == Path("runs")
    assert medlingua.load_model(run_folder / "model").architecture.family == "longformer"


def test_a_preset_of_a_run_lies_below_its_own_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = importlib.import_module("medlingua.recipes.walk")
    runs: list[Any] = []
    monkeypatch.setattr(walk, "adapt", lambda run, folder: runs.append(run))
    medlingua.adapt(medlingua.Run(strategy="continue", lang="fr", preset="demo", train={"tokens": 50_000}))
    assert (runs[0].tokens, runs[0].adapt.vocabulary) == (50_000, "extend")
