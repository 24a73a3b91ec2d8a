"""Measuring: the same words for every tokenizer, documents read whole, scores that hide nothing."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.fresh import random_encoder
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.pack import TaskSpec
from medlingua.languages.task import Task
from medlingua.languages.words import words
from medlingua.recipes.evaluation import evaluate, trials
from medlingua.recipes.evaluation.baselines import BASELINE, DICTIONARY, PRIOR, UPPER_BOUND
from medlingua.recipes.evaluation.cached_states import CachedStates
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.finetune import encode_document, fit, token_states
from medlingua.recipes.evaluation.tasks.labels import Labels, label_scores
from medlingua.recipes.evaluation.tasks.ner import (
    Ner,
    _most_apart,
    decode_tags,
    encode_tags,
    overlapping_f1,
    strict_scores,
)
from medlingua.recipes.evaluation.trials import trial_of
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.bootstrap import metric_of
from medlingua.reports.read import read_errors, read_scores
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from transformers import LongformerModel

from ..conftest import cases, new_tokenizer

# --- windows ----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 700))
def test_V5_every_token_is_owned_once(encoder_kept: Encoder, count: int) -> None:
    text = " ".join(["Le", "patient", "va", "bien", "."][i % 5] for i in range(count))
    read = encode_document(encoder_kept, text)
    ids = encoder_kept.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(read.offsets) == len(read.window) == len(read.place) == len(ids)
    owned = [int(read.windows[w][p]) for w, p in zip(read.window, read.place, strict=True)]
    assert owned == ids
    assert all(len(w) <= encoder_kept.length for w in read.windows)
    if len(ids) <= encoder_kept.length - 2:
        assert len(read.windows) == 1
        return
    sizes = [len(w) - 2 for w in read.windows]
    room = encoder_kept.length - 2
    assert len(set(sizes)) == 1, "no window is longer than the others"
    shared = (sum(sizes) - len(ids)) / (len(sizes) - 1)
    assert room // 4 <= shared + 1
    fewer = len(sizes) - 1
    assert fewer * room - (fewer - 1) * (room // 4) < len(ids), "fewer windows would not hold the text"


@pytest.fixture(scope="session")
def encoder_kept(base: Path) -> Encoder:
    """For tests that change nothing."""
    return encoders.load(str(base))


def test_V5_a_text_that_fits_is_read_as_in_one_pass(encoder: Encoder) -> None:
    text = "Le patient va bien. Pas de fièvre."
    ours = token_states(encoder, [encode_document(encoder, text)])
    encoder.model.eval()
    ids = torch.tensor([encoder.tokenizer(text)["input_ids"]])
    plain = encoder.model.base_model(input_ids=ids).last_hidden_state[0, 1:-1]
    assert torch.allclose(ours, plain, atol=1e-5)


# --- NER --------------------------------------------------------------------------------------------

WORDS = [(i * 4, i * 4 + 3) for i in range(14)]


@st.composite
def flat_spans(draw: st.DrawFn) -> tuple[Span, ...]:
    """Spans on whole words that do not touch the same word."""
    spans, at = [], 0
    while at < len(WORDS):
        length = draw(st.integers(0, 3))
        last = min(at + length, len(WORDS))
        if length:
            spans.append(Span.of(WORDS[at][0], WORDS[last - 1][1], draw(st.sampled_from("AB"))))
        at = max(last, at + 1)
    return tuple(spans)


@given(flat_spans())
def test_V4_flat_gold_survives_its_tags(spans: tuple[Span, ...]) -> None:
    assert decode_tags(encode_tags(spans, WORDS), WORDS) == spans


@given(flat_spans(), st.randoms())
def test_V4_the_order_of_the_file_changes_nothing(spans: tuple[Span, ...], random: Any) -> None:
    nested = [*spans, *(Span.of(s.start, s.start + 3, "C") for s in spans)]
    shuffled = list(nested)
    random.shuffle(shuffled)
    assert encode_tags(shuffled, WORDS) == encode_tags(nested, WORDS)


def valid_tags(rng: np.random.Generator, size: int) -> list[str]:
    tags: list[str] = []
    for _ in range(size):
        choices = ["O", "B-A", "B-B"]
        if tags and tags[-1] != "O":
            choices += ["I" + tags[-1][1:]] * 2
        tags.append(str(rng.choice(choices)))
    return tags


@pytest.mark.filterwarnings("ignore")
def test_V3_scores_equal_strict_seqeval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        gold, said = ([valid_tags(rng, len(WORDS)) for _ in range(4)] for _ in range(2))
        said[0] = gold[0]
        ours = strict_scores(*([decode_tags(tags, WORDS) for tags in side] for side in (gold, said)))
        named = {"mode": "strict", "scheme": IOB2}
        theirs = tuple(score(gold, said, **named) for score in (precision_score, recall_score, f1_score))
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_V3_a_right_place_with_another_border_or_label_is_wrong() -> None:
    gold = [(Span.of(0, 7, "A"),)]
    assert strict_scores(gold, [(Span.of(0, 7, "A"),)]) == (1, 1, 1)
    for near in (Span.of(0, 6, "A"), Span.of(1, 7, "A"), Span.of(0, 7, "B")):
        assert strict_scores(gold, [(near,)]) == (0, 0, 0)


SPEC = TaskSpec(name="toy", kind="ner")


def example(name: str, text: str, gold: Any) -> Example:
    return Example(name, Document(name, text, "toy"), gold)


def find(text: str, *marked: tuple[str, str]) -> tuple[Span, ...]:
    return tuple(sorted(Span.of(text.index(w), text.index(w) + len(w), label) for w, label in marked))


def ner_task(count: int = 6) -> Task:
    text = "Le patient souffre de fièvre jaune aiguë. Il prend du paracétamol."
    flat = find(text, ("fièvre jaune", "DISO"), ("paracétamol", "CHEM"))
    nested = (*flat, *find(text, ("fièvre", "DISO")))
    parts = [tuple(example(f"{p}{i}", text, flat) for i in range(count)) for p in ("train", "dev")]
    return Task(SPEC, "fr", parts[0], parts[1], (example("t", text, nested), example("u", text, flat)))


def test_V4_nested_gold_lowers_the_upper_bound(encoder: Encoder) -> None:
    model = Ner(ner_task(), encoder, "fr")
    assert model.upper_bound("dev") == 1
    recall = 4 / 5
    assert model.upper_bound("test") == pytest.approx(2 * recall / (1 + recall))


def test_V4_the_upper_bound_is_the_best_choice_of_spans_that_do_not_overlap(encoder: Encoder) -> None:
    """One long entity over three short ones: learning takes the longest, a model may find the three."""
    text = "Douleur du bras gauche, fièvre."
    gold = find(text, ("Douleur du bras gauche", "DISO"), ("Douleur", "DISO"), ("bras", "ANAT"), ("gauche", "ANAT"))
    task = replace(ner_task(), test=(example("t", text, (*gold, *find(text, ("fièvre", "DISO")))),))
    model = Ner(task, encoder, "fr")
    four = tuple(span for span in task.test[0].gold if span.end - span.start < 10)
    assert len(four) == 4
    assert model.upper_bound("test") == pytest.approx(2 * 4 / (4 + 5))
    assert model.score("test", [four])["strict entity micro-F1"] == pytest.approx(model.upper_bound("test"))


@settings(max_examples=150, deadline=None)
@given(spans=st.sets(st.tuples(st.integers(0, 9), st.integers(1, 4), st.sampled_from(["A", "B"])), max_size=9))
def test_V4_no_tags_score_above_the_upper_bound(spans: set[tuple[int, int, str]]) -> None:
    """Against every choice of the gold entities: of those that tags give back whole, none is larger."""
    places = [(3 * i, 3 * i + 2) for i in range(14)]
    gold = sorted(Span.of(places[a][0], places[a + n - 1][1], label) for a, n, label in spans)
    best = 0
    for number in range(2 ** len(gold)):
        chosen = [span for i, span in enumerate(gold) if number >> i & 1]
        if all(a.end <= b.start or b.end <= a.start for a, b in combinations(chosen, 2)):
            assert set(decode_tags(encode_tags(chosen, places), places)) == set(chosen)
            best = max(best, len(chosen))
    assert len(_most_apart(gold, places)) == best


def test_V4_gold_inside_a_word_is_in_no_bound() -> None:
    places = [(0, 5), (6, 11)]
    assert _most_apart([Span.of(0, 3, "A"), Span.of(6, 11, "A")], places) == [Span.of(6, 11, "A")]


def test_V4_discontinuous_gold_is_missed_not_hidden(encoder: Encoder) -> None:
    task = ner_task()
    broken = Span(((0, 2), (11, 18)), "DISO")
    model = Ner(replace(task, test=(example("t", task.dev[0].document.text, (broken,)),)), encoder, "fr")
    assert model.upper_bound("test") == 0


def test_V1_gold_far_beyond_the_model_is_tagged_and_counted(encoder: Encoder, tmp_path: Path) -> None:
    far = "Le patient va bien. " * 120 + "Il souffre de migraine."
    task = ner_task(2)
    task = replace(task, test=(*task.test, example("far", far, find(far, ("migraine", "DISO")))))
    tagged = Ner(task, encoder, "fr").read("test")[-1]
    assert len(tagged.document.windows) > 1
    assert len(tagged.tagged) == len(words(far, "fr"))
    folder = str(tmp_path / "model")
    encoders.save(encoder, Path(folder))
    once = Eval(seeds=1, epochs=1, min_steps=0)
    score_models({"tiny": folder}, [task], Evaluation(once, "fr", tmp_path, Precision("fp32", "")))
    rows = read_scores(tmp_path / "results.jsonl")
    assert {row.gold for row in rows} == {sum(len(e.gold) for e in task.test)}
    assert {row.examples for row in rows} == {3}
    assert {row.model for row in rows} == {"tiny", UPPER_BOUND, DICTIONARY}
    before = (tmp_path / "results.jsonl").read_text()
    score_models({"tiny": folder}, [task], Evaluation(once, "fr", tmp_path, Precision("fp32", "")))
    assert (tmp_path / "results.jsonl").read_text() == before


@pytest.mark.parametrize("body", ["trained", "frozen"])
def test_a_frozen_body_is_scored_as_it_came(body: Any, encoder: Encoder, tmp_path: Path) -> None:
    """Its decisions are those of the learnt head on the untouched model; a trained body's are not."""
    task, folder = ner_task(), str(tmp_path / "model")
    how = Eval(seeds=1, epochs=2, min_steps=30, lr=3e-3, head_lr=3e-3, body=body)
    model = Ner(task, encoder, "fr")
    fitted = fit(encoder, model, how, 0, nullcontext, lambda share: None)
    with torch.no_grad():
        read = model.read("test")
        states = token_states(encoder, [e.document for e in read])
        spread = float((model.head(states) - model.head(states).mean(dim=0)).abs().max())
        as_it_came = model.predict(states, read)
    assert spread > 0.1, "the head has learnt nothing that could tell the two apart"
    assert (fitted.decided == as_it_came) == (body == "frozen")
    encoders.save(encoder, Path(folder))
    score_models({"tiny": folder}, [task], Evaluation(how, "fr", tmp_path, Precision("fp32", "")))
    protocols = {row.protocol for row in read_scores(tmp_path / "results.jsonl")}
    assert protocols == {"ner-strict/1" + (", frozen body" if body == "frozen" else "")}


def test_kept_states_are_those_of_the_model_and_computed_once(encoder: Encoder) -> None:
    """Any documents in any order, those of a first call again after the weights have changed too."""
    reads = [encode_document(encoder, text) for text in ("toux et fièvre", "une douleur", "la toux " * 90)]
    kept = CachedStates(encoder)
    with torch.no_grad():
        first = [kept([reads[2], reads[0]]), kept(reads)]
        assert torch.allclose(first[0], token_states(encoder, [reads[2], reads[0]]), atol=1e-6)
        assert torch.allclose(first[1], token_states(encoder, reads), atol=1e-6)
        for parameter in encoder.model.parameters():
            parameter.zero_()
        assert torch.equal(kept(reads), first[1])
        unseen = encode_document(encoder, "toux et fièvre")
        assert torch.equal(kept([unseen]), token_states(encoder, [unseen]))


def test_states_read_ahead_leave_nothing_to_compute(encoder: Encoder) -> None:
    """What the time left of a frozen body's epochs stands on: no document of the parts is read again in them."""
    model, kept = Ner(ner_task(), encoder, "fr"), CachedStates(encoder)
    kept.read(model, ("train", "test"), Eval(), nullcontext, "tiny")
    parts = {part: [e.document for e in model.read(part)] for part in ("train", "dev", "test")}
    with torch.no_grad():
        before = {part: token_states(encoder, documents) for part, documents in parts.items()}
        for parameter in encoder.model.parameters():
            parameter.zero_()
        same = {part: torch.allclose(kept(parts[part]), before[part], atol=1e-6) for part in parts}
    assert same == {"train": True, "dev": False, "test": True}


@pytest.mark.parametrize("bf16", [False, True])
def test_a_frozen_body_scores_the_same_with_kept_states(bf16: bool, encoder: Encoder) -> None:
    how = Eval(epochs=3, min_steps=0, head_lr=3e-3, body="frozen")
    found = []
    for states_of in (None, CachedStates(encoder)):
        model = Ner(ner_task(), encoder, "fr")
        for seed in range(2):
            found.append(
                fit(
                    encoder, model, how, seed, lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16),
                    lambda share: None, states_of=states_of,
                )
            )  # fmt: skip
    assert [f.decided for f in found[:2]] == [f.decided for f in found[2:]]
    assert [f.dev for f in found[:2]] == [f.dev for f in found[2:]]


def test_trials_choose_by_dev_alone_and_begin_with_what_was_given(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate at which nothing is learnt is given up for one at which something is; test is read for scores alone."""
    task, folder = ner_task(), str(tmp_path / "model")
    how = Eval(seeds=2, epochs=1, min_steps=40, lr=1e-3, trials=4)
    assert trial_of(how, 0) == how
    rates = [trial_of(how, n).lr for n in range(50)]
    assert all(2.5e-4 <= rate <= 4e-3 for rate in rates)
    assert max(rates) > 3e-3
    assert min(rates) < 4e-4
    asked: list[str] = []
    score = Ner.score
    monkeypatch.setattr(Ner, "score", lambda self, part, decided: asked.append(part) or score(self, part, decided))
    encoders.save(encoder, Path(folder))
    score_models({"tiny": folder}, [task], Evaluation(how, "fr", tmp_path, Precision("fp32", "")))
    rows = [r for r in read_scores(tmp_path / "results.jsonl") if r.model == "tiny" and "micro-F1" in r.metric]
    assert {r.protocol for r in rows} == {"ner-strict/1, tuned in 4 trials"}
    assert all("of 4 trials" in r.note for r in rows)
    assert asked.count("test") == 3  # the dictionary's, and one a seed
    best = max(range(4), key=lambda n: (fitted_dev(encoder, task, trial_of(how, n)), -n))
    assert f"lr {trial_of(how, best).lr:.2g} " in rows[0].note


def fitted_dev(encoder: Encoder, task: Task, how: Eval) -> float:
    model = Ner(task, encoder, "fr")
    found = fit(encoder, model, how, trials.SEED, nullcontext, lambda share: None, last=False)
    assert found.test == {}
    return found.dev[model.main_metric]


# --- labels -----------------------------------------------------------------------------------------


def label_task(kind: Any = "multilabel") -> Task:
    def gold(number: int) -> Any:
        labels = {"coeur"} if number % 3 else {"coeur", "foie"}
        return frozenset(labels) if kind == "multilabel" else sorted(labels)[-1]

    def part(name: str, count: int) -> tuple[Example, ...]:
        return tuple(example(f"{name}{i}", f"Note {i} du patient.", gold(i)) for i in range(count))

    return Task(TaskSpec(name="toy", kind=kind), "fr", part("train", 12), part("dev", 6), part("test", 6))


class Sealed:
    """A task whose test part can be read only when opened."""

    def __init__(self, task: Task) -> None:
        self._task, self.open = task, False

    def __getattr__(self, name: str) -> Any:
        assert name != "test" or self.open, "test was read before everything was chosen"
        return getattr(self._task, name)


@pytest.mark.parametrize("kind", ["multilabel", "classification"])
def test_V6_V8_test_is_read_after_everything_is_chosen_on_dev(encoder: Encoder, kind: str) -> None:
    sealed: Any = Sealed(label_task(kind))
    model = Labels(sealed, encoder)
    choose, calls = model.choose, []

    def watched(predicted: Any) -> dict[str, float]:
        chosen = choose(predicted)
        calls.append(chosen)
        sealed.open = len(calls) == 3  # two epochs, and the best one again
        return chosen

    model.choose = watched  # type: ignore[method-assign]
    fitted = fit(encoder, model, Eval(epochs=2, min_steps=0), 0, nullcontext, lambda share: None)
    assert fitted.chosen == calls[-1]
    assert ("threshold" in fitted.chosen) == (kind == "multilabel")
    assert len(fitted.decided) == 6


def test_V8_the_threshold_is_the_best_one_on_dev(encoder: Encoder) -> None:
    model = Labels(label_task(), encoder)
    said = [np.array([0.9, 0.62 if i % 3 == 0 else 0.58]) for i in range(6)]
    chosen = model.choose(said)
    assert 0.58 < chosen["threshold"] <= 0.62
    assert model.score("dev", [model.decide(p, chosen) for p in said])["micro-F1"] == 1


def test_V9_the_majority_answer_is_scored_and_nothing_said_is_zero(encoder: Encoder, tmp_path: Path) -> None:
    task = label_task()
    scores = Labels(task, encoder).majority("test")
    assert scores["micro-F1"] == pytest.approx(2 * 6 / (6 + 8))
    assert label_scores([frozenset("a")] * 9, [frozenset()] * 9, True)["micro-F1"] == 0
    encoders.save(encoder, tmp_path / "model")
    models = {"tiny": str(tmp_path / "model")}
    score_models(
        models,
        [task],
        Evaluation(Eval(seeds=1, epochs=1, min_steps=0), "fr", tmp_path, Precision("fp32", "")),
    )
    rows = {(r.model, r.metric): r.value for r in read_scores(tmp_path / "results.jsonl")}
    assert rows[BASELINE, "micro-F1"] == pytest.approx(scores["micro-F1"])
    assert (PRIOR, "micro-F1") in rows


def test_O16_a_killed_evaluation_leaves_every_metric_of_a_cell_or_none(
    encoder: Encoder, tmp_path: Path, monkeypatch: Any
) -> None:
    """Killed at every new row of any file in turn, and started again: the same rows as never killed."""
    encoders.save(encoder, tmp_path / "model")

    def score(folder: Path) -> set[tuple[str, str, int | None, float]]:
        folder.mkdir(exist_ok=True)
        once = Eval(seeds=2, epochs=1, min_steps=0)
        fp32 = Precision("fp32", "")
        score_models({"tiny": str(tmp_path / "model")}, [label_task()], Evaluation(once, "fr", folder, fp32))
        return {(r.model, r.metric, r.seed, r.value) for r in read_scores(folder / "results.jsonl")}

    expected = score(tmp_path / "whole")
    write = evaluate.append_row

    def killed(path: Path, *rows: Any) -> None:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        write(path, *rows)
        if any(row.model_dump_json() not in before for row in rows):
            raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "append_row", killed)
    kills = 0
    while True:
        try:
            found = score(tmp_path / "killed")
        except KeyboardInterrupt:
            kills += 1
        else:
            break
    assert kills == 6  # what the task holds, the baselines, and of a seed its errors and scores
    assert found == expected
    errors = read_errors(tmp_path / "killed" / "errors.jsonl")
    assert errors == read_errors(tmp_path / "whole" / "errors.jsonl")


def test_V9_label_shares_are_what_a_model_that_reads_nothing_reaches(encoder: Encoder) -> None:
    """Both labels are on every document: the most frequent one alone misses half, the shares miss nothing."""
    task = label_task()
    both = {
        part: tuple(replace(e, gold=frozenset({"foie", "rein"})) for e in getattr(task, part))
        for part in ("train", "dev", "test")
    }
    model = Labels(replace(task, **both), encoder)
    assert model.majority("test")["micro-F1"] == pytest.approx(2 / 3)
    assert model.prior("test")["micro-F1"] == 1


def test_a_label_that_only_test_has_counts_as_missed() -> None:
    scores = label_scores([frozenset({"rare"}), frozenset({"a"})], [frozenset({"a"}), frozenset({"a"})], False)
    assert scores["accuracy"] == 0.5
    assert scores["macro-F1"] == pytest.approx((0 + 2 / 3) / 2)


def test_V11_the_last_token_reaches_the_answer(encoder: Encoder) -> None:
    text = "Le patient va bien. " * 60
    task = replace(label_task(), train=(example("long", text, frozenset({"foie"})),))
    model = Labels(task, encoder)
    (read,) = model.read("train")
    assert len(read.document.windows) > 1
    states = token_states(encoder, [read.document]).detach().requires_grad_()
    loss, _ = model.loss(states, [read])
    torch.autograd.backward(loss)
    assert states.grad is not None
    assert (states.grad.abs().sum(dim=1) > 0).all()
    with torch.no_grad():
        (said,) = model.predict(token_states(encoder, [read.document]), [read])
    other = replace(read, document=encode_document(encoder, text.strip()[:-5] + "mal."))
    with torch.no_grad():
        (changed,) = model.predict(token_states(encoder, [other.document]), [other])
    assert not np.array_equal(said, changed)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (Eval(epochs=2, min_steps=0, batch_documents=5), 6),  # 12 documents, 3 batches an epoch
        (Eval(epochs=2, min_steps=7, batch_documents=5), 9),  # a third epoch reaches 7 steps
        (Eval(epochs=1, min_steps=0, batch_tokens=1), 12),  # a document above the bound goes alone
    ],
)
def test_a_small_task_gets_epochs_until_its_steps_are_made(encoder: Encoder, settings: Eval, steps: int) -> None:
    shares: list[float] = []
    fit(encoder, Labels(label_task(), encoder), settings, 0, nullcontext, shares.append)
    assert len(shares) == steps
    assert shares[-1] == 1


def test_the_head_has_a_rate_of_its_own_when_asked(encoder: Encoder) -> None:
    weights = []
    for rates in ({"lr": 1e-3}, {"lr": 1e-3, "head_lr": 1e-9}, {"lr": 1e-9, "head_lr": 1e-9}):
        model = Labels(label_task(), encoder)
        fit(
            encoder,
            model,
            Eval(epochs=1, min_steps=0, batch_documents=4, **rates),
            0,
            nullcontext,
            lambda share: None,
        )
        weights.append(model.head.weight.detach().clone())
    moved, held, drawn = weights
    assert torch.allclose(held, drawn, atol=1e-6)
    assert (moved - drawn).abs().max() > 1e-4


def test_fitting_puts_the_encoder_back_and_follows_its_seed(encoder: Encoder) -> None:
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    model = Labels(label_task(), encoder)
    one, same = (
        fit(encoder, model, Eval(epochs=2, min_steps=0), 4, nullcontext, lambda share: None) for _ in range(2)
    )
    assert one.test == same.test
    assert one.decided == same.decided
    after = encoder.model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_C7_a_longformer_is_read_with_the_global_tokens_it_was_trained_with(tmp_path: Path) -> None:
    texts = cases(20, seed=60)
    encoder = random_encoder("longformer", "tiny", 256, 8, new_tokenizer(texts, 400), seed=0)
    for parameter in encoder.model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.15)
    encoder.model.config.global_token_ids = [encoder.tokenizer.cls_token_id]
    encoders.save(encoder, tmp_path)
    reopened = encoders.load(str(tmp_path))
    assert reopened.global_ids == (encoder.tokenizer.cls_token_id,)
    reading = encode_document(reopened, " ".join(texts)[:600])
    (window,) = reading.windows
    assert len(window) > 60
    ids = torch.from_numpy(window)[None]
    stock = LongformerModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        ours = token_states(reopened, [reading])
        first = (ids == encoder.tokenizer.cls_token_id).long()
        asked, never = (stock(ids, global_attention_mask=m).last_hidden_state[0, 1:-1] for m in (first, first * 0))
    torch.testing.assert_close(ours, asked, atol=1e-4, rtol=1e-4)
    assert (asked - never).abs().max() > 0.1


SPANS = st.lists(
    st.builds(
        lambda a, n, label: Span.of(a, a + n, label), st.integers(0, 12), st.integers(1, 6), st.sampled_from("AB")
    ),
    max_size=4,
    unique=True,
)


@given(SPANS, SPANS)
@settings(max_examples=200, deadline=None)
def test_overlapping_entities_are_matched_one_to_one_and_as_many_as_can_be(
    gold: list[Span], said: list[Span]
) -> None:
    """Against all ways to pair them."""
    few, many = sorted((gold, said), key=len)
    most = max(
        sum(a.label == b.label and a.start < b.end and b.start < a.end for a, b in zip(few, chosen, strict=True))
        for chosen in permutations(many, len(few))
    )
    expected = 2 * most / (len(gold) + len(said)) if gold or said else 0.0
    assert overlapping_f1([gold], [said]) == pytest.approx(expected)


def test_V3_V4_the_metric_on_word_tags_is_what_strict_seqeval_reads(encoder: Encoder) -> None:
    model = Ner(ner_task(), encoder, "fr")
    gold = [e.gold for e in model.task.test]
    said: list[Any] = [gold[1], gold[1][:1]]
    tags = [
        [encode_tags(spans, read.words) for spans in pair]
        for read, *pair in zip(model.read("test"), gold, said, strict=True)
    ]
    expected = f1_score([g for g, _ in tags], [d for _, d in tags], mode="strict", scheme=IOB2)
    scores = model.score("test", said)
    tallies = model.tallies("test", said)
    assert metric_of(model.tally, tallies.sum(axis=0), 2) == pytest.approx(scores["strict entity micro-F1"])
    assert scores["word tags entity micro-F1"] == pytest.approx(expected)
    assert scores["strict entity micro-F1"] < scores["word tags entity micro-F1"] <= 1  # nested gold was lost
