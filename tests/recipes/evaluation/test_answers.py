"""Questions whose answers stand in the text."""

import json
import re
import string
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.questions import read_squad
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import Passes, fit
from medlingua.recipes.evaluation.tasks.answers import LABEL, Answers, exact, normalised, overlap
from medlingua.recipes.settings import Eval

from ..conftest import cases


def task(questions: list[tuple[str, str, tuple[Span, ...]]], language: str = "fr", dev: int = 8) -> Task:
    examples = tuple(
        Example(str(i), Document(str(i), text, "s"), gold, question=question)
        for i, (question, text, gold) in enumerate(questions)
    )
    spec = TaskSpec(name="asked", kind="answers")
    return Task(spec, language, examples[: -2 * dev], examples[-2 * dev : -dev], examples[-dev:], synthetic=True)


def stated(words: str, text: str) -> Span:
    return Span.of(text.index(words), text.index(words) + len(words), LABEL)


def drug_questions(count: int, without: bool) -> list[tuple[str, str, tuple[Span, ...]]]:
    draw = np.random.default_rng(0)
    filler = cases(6, seed=5)
    questions = []
    for number in range(count):
        drug = draw.choice(["aspirine", "morphine", "héparine", "insuline"])
        given = not (without and number % 3 == 0)
        sentence = f"Il reçoit la {drug} ce soir." if given else "Il ne reçoit rien ce soir."
        parts = [draw.choice(filler)[:60], sentence, draw.choice(filler)[:60]]
        text = " ".join(parts)
        questions.append(("Que reçoit-il ?", text, (stated(drug, text),) if given else ()))
    return questions


@pytest.mark.parametrize("without", [False, True])
def test_answers_and_their_absence_are_learnt(without: bool, encoder: Encoder) -> None:
    model = Answers(task(drug_questions(130, without), dev=30), encoder, "fr")
    settings = Eval(epochs=12, min_steps=0, lr=3e-3, batch_documents=16, seeds=1)
    fitted = fit(encoder, model, settings, 0, Passes(), lambda share: None)
    assert fitted.test["F1"] > 0.8
    assert model.tallies("test", fitted.decided).mean() == pytest.approx(fitted.test["F1"])
    empty = [not answer for answer in fitted.decided]
    assert any(empty) == without
    assert fitted.test["exact match"] <= fitted.test["lenient accuracy"]
    assert fitted.test["exact match"] <= fitted.test["MRR"] <= fitted.test["lenient accuracy"]


def test_an_answer_in_the_last_window_of_a_long_text_is_right(encoder: Encoder) -> None:
    text = " ".join(cases(40, seed=2)) + " Il reçoit la morphine."
    gold = stated("morphine", text)
    model = Answers(task([("Que reçoit-il ?", text, (gold,))] * 24), encoder, "fr")
    (encoded, *_) = model.read("test")
    assert len(encoded.document.windows) > 2
    first, last = encoded.bounds[0]
    starts, ends = encoded.document.offsets[[first, last]].T
    assert text[starts[0] : ends[1]].strip() == "morphine"
    assert model.score("test", [[gold]] * 8) == {"exact match": 1, "F1": 1, "lenient accuracy": 1, "MRR": 1}


def squad_words(text: str) -> list[str]:
    """The published rules, step by step: small letters, no punctuation, no articles, single spaces."""
    small = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", small).split()


@given(st.text(alphabet="athen .,'-()AThe", max_size=30), st.text(alphabet="athen .,'-()AThe", max_size=30))
def test_english_is_scored_by_the_rules_of_squad(gold: str, predicted: str) -> None:
    true, predicted_words = squad_words(gold), squad_words(predicted)
    assert normalised(gold, "en") == true
    assert exact(gold, predicted, "en") == (true == predicted_words)
    common = sum((Counter(true) & Counter(predicted_words)).values())
    if not true or not predicted_words:
        expected = float(true == predicted_words)
    else:
        expected = 0.0 if not common else 2 / (len(predicted_words) / common + len(true) / common)
    assert overlap(gold, predicted, "en") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("language", "gold", "predicted"),
    [
        ("fr", "l’aspirine", "Aspirine."),
        ("fr", "du paracétamol", "le paracétamol"),
        ("es", "¿el hígado?", "hígado"),
        ("de", "die Leber", "der „Leber“"),
    ],
)
def test_articles_and_signs_of_a_language_do_not_count(language: str, gold: str, predicted: str) -> None:
    assert exact(gold, predicted, language)
    assert not exact(gold, "rein", language)


def test_ranks_count_and_the_best_gold_answer_does(encoder: Encoder) -> None:
    text = "Il reçoit aspirine, morphine, héparine et insuline."
    gold = (stated("morphine", text), stated("héparine", text))
    model = Answers(task([("Que reçoit-il ?", text, gold)] * 24), encoder, "fr")
    ranked = [stated(word, text) for word in ("aspirine", "insuline", "héparine")]
    scores = model.score("test", [ranked] * 8)
    assert scores == {"exact match": 0, "F1": 0, "lenient accuracy": 1, "MRR": pytest.approx(1 / 3)}


def squad_file(path: Path, answers: list[dict[str, object]]) -> Path:
    questions = [{"id": "q", "question": "Que reçoit-il ?", "answers": answers}]
    paragraphs = [{"context": "Il reçoit la morphine.", "qas": questions}]
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def test_a_squad_file_is_read_with_its_places_checked(tmp_path: Path) -> None:
    right = {"text": "morphine", "answer_start": 13}
    (example,) = read_squad(squad_file(tmp_path / "a.json", [right, right]), source="s")
    assert example.gold == (Span.of(13, 21, "ANSWER"),)
    (none,) = read_squad(squad_file(tmp_path / "b.json", []), source="s")
    assert none.gold == ()
    with pytest.raises(InputError, match=r"question q: offsets 12 20 give other words") as raised:
        list(read_squad(squad_file(tmp_path / "c.json", [right | {"answer_start": 12}]), source="s"))
    assert raised.value.text.startswith("' morphin'")
    (tmp_path / "d.json").write_text("[]")
    with pytest.raises(InputError, match="SQuAD file"):
        list(read_squad(tmp_path / "d.json", source="s"))


def test_baselines_need_no_training(encoder: Encoder) -> None:
    text = "Le patient va bien. Il reçoit la morphine le soir. Rien d'autre."
    questions = [("Que reçoit-il le soir ?", text, (stated("morphine", text),)), ("Et le matin ?", "Rien.", ())]
    model = Answers(task([questions[0]] * 2 + questions, dev=1), encoder, "fr")
    assert model.silent("test")["exact match"] == 1
    assert model.silent("dev")["F1"] == 0
    words = normalised("Il reçoit la morphine le soir", "fr")
    scores = model.by_overlap("dev")
    assert scores["F1"] == pytest.approx(2 / (1 + len(words)))
    assert scores["exact match"] == 0
    assert model.by_overlap("test")["F1"] == 0
