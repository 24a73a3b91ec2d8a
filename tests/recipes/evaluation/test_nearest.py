"""Neighbours: what an encoder's states alone say about entities."""

from pathlib import Path

import numpy as np
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.tasks.nearest import nearest_sentences, read, tag
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_scores

SPEC = TaskSpec(name="toy", kind="ner", path="toy", reader="brat", licence="none")
TEXTS = (
    "Le patient souffre de fièvre jaune. On donne du paracétamol.",
    "La toux est sèche. Le foie est normal.",
    "Il va bien. Aucune plainte. Il a une migraine.",
)
MENTIONS = {"fièvre jaune": "DISO", "paracétamol": "CHEM", "toux": "DISO", "migraine": "DISO"}


def example(name: str, text: str) -> Example:
    at = ((text.find(m), m, label) for m, label in MENTIONS.items())
    spans = tuple(sorted(Span.of(start, start + len(m), label) for start, m, label in at if start >= 0))
    return Example(name, Document(name, text, "test"), spans)


def toy(test: tuple[str, ...]) -> Task:
    train = tuple(example(f"a{i}", text) for i, text in enumerate(TEXTS))
    return Task(SPEC, "fr", train, train[:1], tuple(example(f"t{i}", text) for i, text in enumerate(test)))


def test_a_sentence_of_train_is_its_own_neighbour_and_gets_its_own_tags(encoder: Encoder) -> None:
    """Read in the same document, so that all states are equal."""
    model = Ner(toy(TEXTS[::-1]), encoder, "fr")
    known = read(encoder, model.task.train, model.read("train"), "fr", "train")
    wanted = read(encoder, model.task.test, model.read("test"), "fr", "test")
    assert len(known) == 7
    for sentence, (nearest, *_) in zip(wanted, nearest_sentences(wanted, known, 3), strict=True):
        there, here = known[nearest], model.task.test[sentence.example].document.text
        text = model.task.train[there.example].document.text
        assert text[there.start : there.end] == here[sentence.start : sentence.end]
    assert tag(wanted, known, model.read("test")) == [example.gold for example in model.task.test]


def test_neighbours_are_sorted_by_cosine(encoder: Encoder) -> None:
    model = Ner(toy(("Le patient a une toux.",)), encoder, "fr")
    known = read(encoder, model.task.train, model.read("train"), "fr", "train")
    (wanted,) = read(encoder, model.task.test, model.read("test"), "fr", "test")
    (neighbours,) = nearest_sentences([wanted], known, len(known))
    cosines = [
        float(np.dot(k.mean, wanted.mean) / np.linalg.norm(k.mean) / np.linalg.norm(wanted.mean)) for k in known
    ]
    assert neighbours == sorted(range(len(known)), key=lambda i: -cosines[i])
    assert np.allclose([np.linalg.norm(k.mean) for k in known], 1)


def test_they_are_scored_along_with_a_frozen_body(encoder: Encoder, tmp_path: Path) -> None:
    folder, task = str(tmp_path / "model"), toy(TEXTS)
    encoders.save(encoder, Path(folder))
    how = Eval(seeds=1, epochs=1, min_steps=0, body="frozen")
    for _ in range(2):  # the second finds all done
        score_models({"tiny": folder}, [task], Evaluation(how, "fr", tmp_path, precision=Precision("fp32", "")))
        rows = [row for row in read_scores(tmp_path / "results.jsonl") if row.model == "tiny, nearest words"]
        strict = [row.value for row in rows if row.metric == "strict entity micro-F1"]
        assert strict == [1.0]
