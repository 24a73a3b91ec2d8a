"""Learnt in one language, tested in another: never on the same case."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.overlap import OverlapCheck
from medlingua.languages.pack import TaskSpec, load_pack
from medlingua.languages.parallel import RUN, with_train_of
from medlingua.languages.task import Task
from medlingua.languages.tasks import read_task

from .conftest import needs_data

SPEC = TaskSpec(name="t", kind="ner")
LONG = " ".join(f"mot{i}" for i in range(RUN + 3))


def case(name: str, text: str, label: str = "DIS") -> Example:
    return Example(name, Document(name, text, "s"), (Span.of(0, 3, label),))


def task(language: str, train: Sequence[str], test: Sequence[str], label: str = "DIS") -> Task:
    examples = [case(f"{language}{i}", text, label) for i, text in enumerate([*train, "dev " * 20, *test])]
    n = len(train)
    return Task(SPEC, language, tuple(examples[:n]), (examples[n],), tuple(examples[n + 1 :]))


def test_a_case_whose_parallel_is_tested_is_left_out_and_counted() -> None:
    own = task("fr", ["un cas", f"La même histoire {LONG}.", "autre cas"], [f"{LONG.upper()}, vue ailleurs"])
    other = task("en", ["a case", "the same story in other words", "another case"], ["tested in English"])
    combined = with_train_of(own, other)
    assert [example.document.text for example in combined.train] == ["a case", "another case"]
    assert (combined.train_language, combined.excluded, combined.language) == ("en", 1, "fr")
    assert combined.test == own.test


SHORT = "Il tousse depuis trois jours."


@pytest.mark.parametrize("text", [SHORT, SHORT.upper(), f"Motif : {SHORT} Rien d’autre.", f"Avant. {LONG[5:]}"])
def test_a_case_that_has_a_short_test_text_or_thirteen_words_of_a_long_one_is_left_out(text: str) -> None:
    own = task("fr", [text, "autre cas"], [SHORT, LONG])
    assert [e.id for e in with_train_of(own, task("en", ["a", "b"], ["c", "d"])).train] == ["en:en1"]


@pytest.mark.parametrize("text", ["Il tousse depuis deux jours.", " ".join(LONG.split()[: RUN - 1])])
def test_a_case_that_has_less_of_a_test_text_stays(text: str) -> None:
    own = task("fr", [text], [SHORT, LONG])
    assert with_train_of(own, task("en", ["a"], ["b", "c"])).excluded == 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            task("en", ["a", "b"], ["c"]),
            "1 cases in train and 2 in t; tasks that are trained in another language are parallel",
        ),
        (task("en", ["a"], ["c"], "SYMPTOM"), "its 1 labels are not the 1 of t"),
    ],
)
def test_what_is_not_parallel_is_refused(other: Task, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_train_of(task("fr", ["un"], ["cas"]), other)


def test_nothing_left_to_train_on_is_refused() -> None:
    with pytest.raises(InputError, match="every case of train shares text with test"):
        with_train_of(task("fr", [LONG], [LONG]), task("en", ["a"], ["b"]))


def test_a_source_that_is_not_in_the_pack_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text("Le O\nfoie B-X\n\nUn O\nrein B-X\n")
    spec = TaskSpec.model_validate(
        {"name": "t", "kind": "ner", "path": ".", "reader": "conll", "learn_from": "en/casimedicos_em",
         "splits": {"train": "test.tsv", "dev": "test.tsv", "test": "test.tsv"}}
    )  # fmt: skip
    with pytest.raises(InputError, match=r"did you mean 'casimedicos_en'|occur more than once"):
        read_task(spec, tmp_path, "fr")


@needs_data
@pytest.mark.parametrize(("code", "other"), [("fr", "en"), ("es", "fr")])
def test_casimedicos_tests_no_case_that_was_learnt_in_either_language(code: str, other: str, data: Path) -> None:
    spec = next(task for task in load_pack(code).tasks if task.name == f"casimedicos_{code}_from_{other}")
    plain = next(task for task in load_pack(code).tasks if task.name == f"casimedicos_{code}")
    combined, own = read_task(spec, data, code), read_task(plain, data, code)
    assert [(e.id, e.document.text, e.gold) for e in combined.test] == [
        (e.id, e.document.text, e.gold) for e in own.test
    ]
    # The authors' parts share cases: those are what is left out.
    assert combined.excluded == len(own.train) + len(own.dev) - len(combined.train) - len(combined.dev) > 0
    source = load_pack(other)
    theirs = read_task(next(t for t in source.tasks if t.name == f"casimedicos_{other}"), data, other)
    tested = OverlapCheck({"test": [example.document.text for example in theirs.test]}, RUN)
    assert not any(tested.tasks_of(e.document.text) for part in (combined.train, combined.dev) for e in part)
