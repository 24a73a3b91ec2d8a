"""Pairs of texts beyond one label: graded likeness, and statements that were changed on purpose."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters.encoder import Encoder
from medlingua.languages.annotations import Example
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec, load_pack
from medlingua.languages.task import Task
from medlingua.languages.tasks import read_task
from medlingua.recipes.evaluation.baselines import MEAN
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.finetune import Passes, fit
from medlingua.recipes.evaluation.reading import encode_document, token_states
from medlingua.recipes.evaluation.tasks.perturbed import perturbed_scores
from medlingua.recipes.evaluation.tasks.similarity import Similarity, cosines, similarity_scores
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.bootstrap import metric_of
from medlingua.reports.read import read_scores
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, precision_score, recall_score

ORGANS = ["foie", "rein", "coeur", "poumon"]
LIKE = TaskSpec(name="like", kind="similarity", scale=(0, 5))


# --- similarity -------------------------------------------------------------------------------------


def alike(number: int, draw: np.random.Generator) -> Example:
    mentioned, questioned = draw.choice(ORGANS, 2)
    text = f"Le {mentioned} est normal."
    return Example(
        str(number),
        Document(str(number), text, "s"),
        5.0 if mentioned == questioned else 1.0,
        question=f"Le {questioned} ?",
    )


def like_task(sizes: tuple[int, int, int]) -> Task:
    draw = np.random.default_rng(0)
    examples = [alike(number, draw) for number in range(sum(sizes))]
    train, dev, _ = sizes
    return Task(
        LIKE,
        "fr",
        tuple(examples[:train]),
        tuple(examples[train : train + dev]),
        tuple(examples[train + dev :]),
        True,
    )


def plain_edrm(gold: list[float], predicted: list[float]) -> float:
    """DEFT's measure on a scale of 0 to 5, pair by pair."""
    total = 0.0
    for true, value in zip(gold, predicted, strict=True):
        largest = value if value > 5 - value else 5 - value
        total += 1 - abs(true - value) / largest
    return total / len(gold)


VALUES = st.lists(st.tuples(st.integers(0, 10), st.floats(0, 5)), min_size=3, max_size=40)


@settings(deadline=None)
@given(VALUES)
def test_spearman_and_edrm_are_those_of_scipy_and_of_a_plain_count(pairs: list[tuple[int, float]]) -> None:
    gold, predicted = [g / 2 for g, _ in pairs], [s for _, s in pairs]
    scores = similarity_scores(np.array(gold), np.array(predicted), (0, 5))
    assert scores["EDRM"] == pytest.approx(plain_edrm(gold, predicted))
    if len(set(gold)) > 1 and len(set(predicted)) > 1:
        assert scores["Spearman"] == pytest.approx(spearmanr(gold, predicted).statistic)
        assert scores["Pearson"] == pytest.approx(pearsonr(gold, predicted).statistic, abs=1e-9)
    else:
        assert scores["Spearman"] == scores["Pearson"] == 0


def test_likeness_is_learnt_and_its_tallies_sum_to_the_correlation(encoder: Encoder) -> None:
    model = Similarity(like_task((160, 40, 60)), encoder)
    evaluation = Eval(epochs=20, min_steps=0, lr=3e-3, seeds=1, batch_documents=16)
    fitted = fit(encoder, model, evaluation, 0, Passes(), lambda share: None)
    assert fitted.test["Spearman"] > 0.4
    assert fitted.test["EDRM"] > model.constant("test")["EDRM"]
    assert all(0 <= value <= 5 for (value,) in fitted.decided)
    tallies = model.tallies("test", fitted.decided)
    assert metric_of(model.tally, tallies.sum(axis=0), len(tallies)) == pytest.approx(fitted.test["Spearman"])


def test_the_cosine_of_two_texts_is_that_of_their_means_each_read_alone(encoder: Encoder) -> None:
    examples = like_task((1, 1, 40)).test
    same = Example("same", Document("same", "Le foie est normal.", "s"), 5.0, question="Le foie est normal.")
    *similarities, one = cosines(encoder, [*examples, same])
    assert one == pytest.approx(1)
    first = [token_states(encoder, [encode_document(encoder, t)]).detach().mean(dim=0).numpy()
             for t in (examples[0].question, examples[0].document.text)]  # fmt: skip
    plain = first[0] @ first[1] / np.linalg.norm(first[0]) / np.linalg.norm(first[1])
    assert similarities[0] == pytest.approx(plain, abs=1e-5)


def test_a_frozen_encoder_is_scored_by_cosine_with_an_interval_over_pairs(base: Path, tmp_path: Path) -> None:
    task = like_task((24, 8, 30))
    how = Evaluation(Eval(epochs=1, min_steps=0, seeds=1, body="frozen"), "fr", tmp_path, Precision("fp32", "test"))
    score_models({"m": str(base)}, [task], how)
    rows = {row.metric: row for row in read_scores(how.results) if row.model == "m, cosine"}
    assert set(rows) == {"Spearman", "Pearson"}
    lines = (tmp_path / "predictions" / "like-m__cosine-0.jsonl").read_text().splitlines()
    tallies = np.array([json.loads(line)["tally"] for line in lines[1:]])
    assert metric_of("correlation", tallies.sum(axis=0), 30) == pytest.approx(rows["Spearman"].value)


def test_the_mean_of_train_is_a_baseline_and_correlates_with_nothing(base: Path, tmp_path: Path) -> None:
    evaluation = Eval(epochs=1, min_steps=0, seeds=1)
    task = like_task((24, 8, 12))
    score_models({"m": str(base)}, [task], Evaluation(evaluation, "fr", tmp_path, Precision("fp32", "test")))
    rows = {(row.model, row.metric): row for row in read_scores(tmp_path / "results.jsonl")}
    assert {row.protocol for row in rows.values()} == {"similarity/1"}
    assert rows[MEAN, "Spearman"].value == 0
    assert 0 < rows[MEAN, "EDRM"].value < 1
    assert rows["m", "Spearman"].gold == 12
    lines = (tmp_path / "predictions" / "like-m-0.jsonl").read_text().splitlines()
    assert isinstance(json.loads(lines[1])["predicted"][0], float)


def test_a_question_that_is_too_long_is_named_before_anything_is_trained_or_cut_on_request(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = like_task((24, 8, 12))
    long = replace(task.dev[3], question="Le foie est normal. " * 60)
    task = replace(task, dev=(*task.dev[:3], long, *task.dev[4:]))
    how = Evaluation(Eval(epochs=1, min_steps=0, seeds=1), "fr", tmp_path, Precision("fp32", "test"))
    with pytest.raises(InputError, match=rf"task like: 1 of 44 questions leave m too .*, the first is {long.id}\."):
        score_models({"m": str(base)}, [task], how)
    assert not how.results.exists()
    cut = replace(how, settings=Eval(epochs=1, min_steps=0, seeds=1, long_questions="cut"))
    score_models({"m": str(base)}, [task], cut)
    assert {row.protocol for row in read_scores(how.results)} == {"similarity/1, long questions cut"}
    assert "task like, m: 1 questions are cut" in capsys.readouterr().err


def read_like(folder: Path, values: list[str], **changes: Any) -> Task:
    rows = "".join(f"d{i}\tUn texte {i}.\tUn autre {i}.\t{value}\n" for i, value in enumerate(values))
    (folder / "t.tsv").write_text("id\tfirst\tsecond\tscore\n" + rows, encoding="utf-8")
    options = {"id": "id", "text": "second", "question": "first", "labels": "score"}
    given = {"name": "t", "kind": "similarity", "path": ".", "reader": "table", "options": options, "file": "t.tsv"}
    return read_task(TaskSpec.model_validate(given | {"scale": (0, 5)} | changes), folder, "fr")


def test_graded_pairs_are_read_from_a_table(tmp_path: Path) -> None:
    task = read_like(tmp_path, ["0", "2.5", "4,5", "5"] * 30)
    assert {example.gold for example in task.train} == {0.0, 2.5, 4.5, 5.0}
    assert not task.labels


@pytest.mark.parametrize(
    ("value", "changes", "message"),
    [
        ("six", {}, r"the value of d0 is no number from 0 to 5"),
        ("7", {}, r"no number from 0 to 5; correct it, or the task's 'scale'"),
        ("nan", {}, r"no number from 0 to 5"),
        ("1", {"scale": None}, r"similarity needs scale"),
        ("1", {"scale": (5, 0)}, r"similarity needs scale"),
        ("1", {"options": {"id": "id", "text": "second", "labels": "score"}}, "has no question"),
    ],
)
def test_an_invalid_value_or_scale_is_refused(value: str, changes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        read_like(tmp_path, [value] + ["1"] * 120, **changes)


# --- NLI4CT-P ---------------------------------------------------------------------------------------

CHANGES = ("Paraphrase", "Contradiction", "Text_appended", "Numerical_paraphrase", "Numerical_contradiction")
LABELS = ("Entailment", "Contradiction")


def statements(count: int, draw: np.random.Generator) -> dict[str, dict[str, Any]]:
    """As the official files have them: a control set, and changed items that name their source."""
    items: dict[str, dict[str, Any]] = {}
    for number in range(count):
        row = {"Type": "Single", "Section_id": "Results", "Primary_id": "NCT1", "Statement": f"Statement {number}"}
        items[f"c{number}"] = row | {"Label": str(draw.choice(LABELS))}
        for place, change in enumerate(CHANGES):
            alters = "ontradiction" in change and draw.random() < 0.7
            label = items[f"c{number}"]["Label"]
            effect = ["Altering" if alters else "Preserving", f"c{number}"]
            label = LABELS[1 - LABELS.index(label)] if alters else label
            items[f"x{number}.{place}"] = row | {"Label": label, "Intervention": change, "Causal_type": effect}
    return items


def plain_scores(gold: dict[str, dict[str, Any]], answers: dict[str, str]) -> dict[str, float]:
    """A twin that goes through the official file item by item."""
    control = [name for name in gold if "Causal_type" not in gold[name]]
    true, predicted = (
        [side[n] == "Entailment" for n in control] for side in ({n: gold[n]["Label"] for n in gold}, answers)
    )
    scores = {
        "control F1": f1_score(true, predicted),
        "control precision": precision_score(true, predicted),
        "control recall": recall_score(true, predicted),
    }
    altering = [n for n in gold if gold[n].get("Causal_type", [""])[0] == "Altering"]
    preserving = [n for n in gold if gold[n].get("Causal_type", [""])[0] == "Preserving"]
    source = {n: gold[n]["Causal_type"][1] for n in (*altering, *preserving)}
    scores["faithfulness"] = np.mean([answers[n] != gold[source[n]]["Label"] for n in altering])
    known = [n for n in altering if answers[source[n]] == gold[source[n]]["Label"]]
    scores["faithfulness, source right"] = np.mean([answers[n] != answers[source[n]] for n in known])
    scores["consistency"] = np.mean([answers[n] == answers[source[n]] for n in preserving])
    for change in CHANGES:
        for name, items in (("consistency", preserving), ("faithfulness", altering)):
            of = [n for n in items if gold[n]["Intervention"] == change]
            if of and name == "consistency":
                scores[f"consistency, {change}"] = np.mean([answers[n] == answers[source[n]] for n in of])
            elif of:
                scores[f"faithfulness, {change}"] = np.mean([answers[n] != gold[source[n]]["Label"] for n in of])
    return scores


def layout(root: Path, test: dict[str, Any]) -> None:
    """The official repository with its zip unpacked, as the pack's task expects it."""
    folder = root / "tasks" / "nli4ct_p"
    records = folder / "training_data" / "CT json"
    records.mkdir(parents=True)
    trial = {"Clinical Trial ID": "NCT1", "Results": ["Outcome:", "  Response 13%"]}
    (records / "NCT1.json").write_text(json.dumps(trial))
    (records / "._NCT1.json").write_bytes(b"\x00\x05\x16")  # what a Mac leaves in a zip
    draw = np.random.default_rng(1)
    for name, count in (("train", 16), ("dev", 6)):
        plain = {f"{name}{k}": v for k, v in statements(count, draw).items() if "Causal_type" not in v}
        (folder / "training_data" / f"{name}.json").write_text(json.dumps(plain))
    (folder / "gold_test.json").write_text(json.dumps(test))


@pytest.fixture
def spec() -> TaskSpec:
    """The pack's task, for the repository of SemEval-2024 Task 2 as it is, its zip unpacked."""
    known = next(task for task in load_pack("en").tasks if task.name == "nli4ct_p")
    splits = {"train": "training_data/train.json", "dev": "training_data/dev.json", "test": "gold_test.json"}
    return known.model_copy(update={"path": "tasks/nli4ct_p", "splits": splits, "options": {}, "requires": ()})


def test_changed_statements_are_scored_as_a_plain_twin_does(spec: TaskSpec, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    gold = statements(40, draw)
    layout(tmp_path, gold)
    task = read_task(spec, tmp_path, "en")
    answers = {name: str(draw.choice(LABELS)) for name in gold}
    scores = perturbed_scores(task.test, [frozenset({answers[e.id]}) for e in task.test], "Entailment")
    expected = plain_scores(gold, answers)
    assert scores == pytest.approx(expected)
    assert (
        len({round(scores[name], 6) for name in ("faithfulness", "faithfulness, source right", "consistency")}) == 3
    )


def test_the_gold_answers_are_faithful_and_consistent_and_one_answer_is_not(spec: TaskSpec, tmp_path: Path) -> None:
    layout(tmp_path, statements(20, np.random.default_rng(0)))
    task = read_task(spec, tmp_path, "en")
    perfect = perturbed_scores(task.test, [frozenset({str(e.gold)}) for e in task.test], "Entailment")
    assert set(perfect.values()) == {1.0}
    same = perturbed_scores(task.test, [frozenset({"Entailment"})] * len(task.test), "Entailment")
    assert same["consistency"] == 1
    assert same["faithfulness, source right"] == 0


def test_the_official_layout_is_scored_end_to_end(spec: TaskSpec, base: Path, tmp_path: Path) -> None:
    layout(tmp_path, statements(6, np.random.default_rng(0)))
    task = read_task(spec, tmp_path, "en")
    evaluation = Eval(epochs=1, min_steps=0, seeds=1)
    score_models({"m": str(base)}, [task], Evaluation(evaluation, "en", tmp_path, Precision("fp32", "test")))
    rows = [row for row in read_scores(tmp_path / "results.jsonl") if row.model == "m"]
    assert {row.protocol for row in rows} == {"pairs-perturbed/1"}
    assert rows[0].metric == "control F1"
    assert {"faithfulness", "consistency", "consistency, Text_appended"} <= {row.metric for row in rows}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Causal_type": ["Preserving", "nowhere"]}, "is changed from nowhere, which is not in test"),
        ({"Causal_type": ["Improving", "c0"]}, r"Causal_type as \[Preserving or Altering, id of its source\]"),
        ({"Causal_type": None}, "a changed statement needs Intervention"),
    ],
)
def test_a_change_without_its_source_is_refused(changes: Any, message: str, spec: TaskSpec, tmp_path: Path) -> None:
    gold = statements(3, np.random.default_rng(0))
    gold["x0.0"] |= changes
    layout(tmp_path, gold)
    with pytest.raises(InputError, match=message):
        read_task(spec, tmp_path, "en")


def test_a_positive_label_that_nothing_has_is_refused(spec: TaskSpec, tmp_path: Path) -> None:
    layout(tmp_path, statements(3, np.random.default_rng(0)))
    with pytest.raises(InputError, match="did you mean 'Entailment'"):
        read_task(spec.model_copy(update={"positive": "Entailed"}), tmp_path, "en")
