"""What is learnt, chosen on dev and written: heads on trained and frozen encoders, thresholds, baselines."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.languages.task import Task
from medlingua.recipes.evaluation import evaluate, trials
from medlingua.recipes.evaluation.baselines import BASELINE, PRIOR
from medlingua.recipes.evaluation.cached_states import CachedStates
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.finetune import Passes, fit, in_batches
from medlingua.recipes.evaluation.reading import encode_document, first_tokens, token_states
from medlingua.recipes.evaluation.tasks.labels import Labels, label_scores
from medlingua.recipes.evaluation.tasks.ner import (
    Ner,
)
from medlingua.recipes.evaluation.trials import trial_of
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_errors, read_scores

from .toy_tasks import example, label_task, ner_task


@pytest.mark.parametrize("body", ["trained", "frozen"])
def test_a_frozen_body_is_scored_as_it_came(body: Any, encoder: Encoder, tmp_path: Path) -> None:
    """Its decisions are those of the learnt head on the untouched model; a trained body's are not."""
    task, folder = ner_task(), str(tmp_path / "model")
    how = Eval(seeds=1, epochs=2, min_steps=30, lr=3e-3, head_lr=3e-3, body=body)
    model = Ner(task, encoder, "fr")
    fitted = fit(encoder, model, how, 0, Passes(), lambda share: None)
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
    assert protocols == {"ner-strict/1" + (", frozen body/2" if body == "frozen" else "")}


@pytest.mark.parametrize("room", [None, 10_000, 1 << 30], ids=["a file", "the device for some", "the device"])
def test_cached_states_are_those_of_the_model_and_computed_once(room: int | None, encoder: Encoder) -> None:
    """Any documents in any order, those of a first call again after the weights have changed too: themselves, and the
    same text encoded anew, as each fold of a task does it."""
    reads = [encode_document(encoder, text) for text in ("toux et fièvre", "une douleur", "la toux " * 90)]
    cached = CachedStates(encoder, room)
    with torch.no_grad():
        first = [cached([reads[2], reads[0]]), cached(reads)]
        assert torch.allclose(first[0], token_states(encoder, [reads[2], reads[0]]), atol=1e-6)
        assert torch.allclose(first[1], token_states(encoder, reads), atol=1e-6)
        for parameter in encoder.model.parameters():
            parameter.zero_()
        assert torch.equal(cached(reads), first[1])
        assert torch.equal(cached([encode_document(encoder, "une douleur")]), cached([reads[1]]))
        for unseen in (encode_document(encoder, "une toux"), first_tokens(reads[1])):
            assert torch.equal(cached([unseen]), token_states(encoder, [unseen]))


def test_long_documents_are_read_first_and_answers_keep_their_order(encoder: Encoder) -> None:
    """Short ones first, the memory of a process that keeps it grows with every document: each needs a little more."""
    texts = ["la toux " * n for n in (3, 60, 1, 9, 9, 20, 2)]
    examples = [
        replace(example(str(n), text, ()), document=encode_document(encoder, text)) for n, text in enumerate(texts)
    ]
    longest: list[int] = []

    def compute(group: list[Any]) -> list[str]:
        longest.append(max(one.document.size for one in group))
        return [one.id for one in group]

    assert in_batches(examples, Eval(batch_documents=2), compute) == [one.id for one in examples]
    assert longest == sorted(longest, reverse=True)
    assert len(longest) > 2
    task = ner_task()
    longer = example("long", "Il a de la toux et de la fièvre depuis trois jours. " * 3, ())
    model, cached = Ner(replace(task, test=(*task.test, longer)), encoder, "fr"), CachedStates(encoder)
    keep, kept = cached._keep, []
    cached._keep = lambda documents: kept.append(max(d.size for d in documents)) or keep(documents)  # type: ignore
    cached.read(model, ("train", "dev", "test"), Eval(batch_documents=1), nullcontext, "tiny")
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) > 1


def test_states_read_ahead_are_not_computed_again(encoder: Encoder) -> None:
    """What the time left of a frozen body's epochs stands on: no document of the parts is read again in them."""
    task = ner_task()
    elsewhere = example("d", "Il tousse.", ())  # in the place of train's text
    model, cached = Ner(replace(task, dev=(elsewhere,)), encoder, "fr"), CachedStates(encoder)
    cached.read(model, ("train", "test"), Eval(), nullcontext, "tiny")
    parts = {part: [e.document for e in model.read(part)] for part in ("train", "dev", "test")}
    with torch.no_grad():
        before = {part: token_states(encoder, documents) for part, documents in parts.items()}
        for parameter in encoder.model.parameters():
            parameter.zero_()
        same = {part: torch.allclose(cached(parts[part]), before[part], atol=1e-6) for part in parts}
    assert same == {"train": True, "dev": False, "test": True}


@pytest.mark.parametrize("bf16", [False, True])
def test_a_frozen_body_scores_the_same_with_cached_states(bf16: bool, encoder: Encoder) -> None:
    how = Eval(epochs=3, min_steps=0, head_lr=3e-3, body="frozen")
    fitted = []
    for states_of in (None, CachedStates(encoder)):
        model = Ner(ner_task(), encoder, "fr")
        for seed in range(2):
            fitted.append(
                fit(
                    encoder, model, how, seed, Passes(lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16)),
                    lambda share: None, states_of=states_of,
                )
            )  # fmt: skip
    assert [f.decided for f in fitted[:2]] == [f.decided for f in fitted[2:]]
    assert [f.dev for f in fitted[:2]] == [f.dev for f in fitted[2:]]


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
    scored_parts: list[str] = []
    score = Ner.score
    monkeypatch.setattr(
        Ner, "score", lambda self, part, decided: scored_parts.append(part) or score(self, part, decided)
    )
    encoders.save(encoder, Path(folder))
    score_models({"tiny": folder}, [task], Evaluation(how, "fr", tmp_path, Precision("fp32", "")))
    rows = [r for r in read_scores(tmp_path / "results.jsonl") if r.model == "tiny" and "micro-F1" in r.metric]
    assert {r.protocol for r in rows} == {"ner-strict/1, tuned in 4 trials"}
    assert all("of 4 trials" in r.note for r in rows)
    assert scored_parts.count("test") == 3  # the dictionary's, and one a seed
    best = max(range(4), key=lambda n: (fitted_dev(encoder, task, trial_of(how, n)), -n))
    assert f"lr {trial_of(how, best).lr:.2g} " in rows[0].note


def test_the_head_of_a_frozen_body_has_a_rate_of_its_own(encoder: Encoder) -> None:
    """eval.lr is that of a body. Trials vary the head's rate too, where it is not given."""
    how = Eval(epochs=1, min_steps=100, body="frozen")
    unset, stated, low = (
        fit(encoder, Ner(ner_task(), encoder, "fr"), settings, 0, Passes(), lambda share: None)
        for settings in (how, how.model_copy(update={"head_lr": 1e-2}), how.model_copy(update={"head_lr": how.lr}))
    )
    assert (unset.decided, unset.dev) == (stated.decided, stated.dev)
    assert unset.decided != low.decided
    rates = {trial_of(how, n).rate_of_head for n in range(50)}
    assert len(rates) == 50
    assert 2.5e-3 <= min(rates) < max(rates) <= 4e-2
    assert Eval(lr=2e-4).rate_of_head == 2e-4


def fitted_dev(encoder: Encoder, task: Task, how: Eval) -> float:
    model = Ner(task, encoder, "fr")
    fitted = fit(encoder, model, how, trials.SEED, Passes(), lambda share: None, last=False)
    assert fitted.test == {}
    return fitted.dev[model.main_metric]


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
    fitted = fit(encoder, model, Eval(epochs=2, min_steps=0), 0, Passes(), lambda share: None)
    assert fitted.chosen == calls[-1]
    assert ("threshold" in fitted.chosen) == (kind == "multilabel")
    assert len(fitted.decided) == 6


def test_V8_the_threshold_is_the_best_one_on_dev(encoder: Encoder) -> None:
    model = Labels(label_task(), encoder)
    probabilities = [np.array([0.9, 0.62 if i % 3 == 0 else 0.58]) for i in range(6)]
    chosen = model.choose(probabilities)
    assert 0.58 < chosen["threshold"] <= 0.62
    assert model.score("dev", [model.decide(p, chosen) for p in probabilities])["micro-F1"] == 1


def test_V9_the_majority_answer_is_scored_and_no_answer_is_zero(encoder: Encoder, tmp_path: Path) -> None:
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
            actual = score(tmp_path / "killed")
        except KeyboardInterrupt:
            kills += 1
        else:
            break
    assert kills == 6  # what the task holds, the baselines, and of a seed its errors and scores
    assert actual == expected
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


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (Eval(epochs=2, min_steps=0, batch_documents=5), 6),  # 12 documents, 3 batches an epoch
        (Eval(epochs=2, min_steps=7, batch_documents=5), 9),  # a third epoch reaches 7 steps
        (Eval(epochs=1, min_steps=0, batch_tokens=1), 12),  # a document above the bound goes alone
    ],
)
def test_a_small_task_gets_epochs_until_its_steps_are_done(encoder: Encoder, settings: Eval, steps: int) -> None:
    shares: list[float] = []
    fit(encoder, Labels(label_task(), encoder), settings, 0, Passes(), shares.append)
    assert len(shares) == steps
    assert shares[-1] == 1


def test_the_head_has_a_rate_of_its_own_when_set(encoder: Encoder) -> None:
    weights = []
    for rates in ({"lr": 1e-3}, {"lr": 1e-3, "head_lr": 1e-9}, {"lr": 1e-9, "head_lr": 1e-9}):
        model = Labels(label_task(), encoder)
        fit(
            encoder,
            model,
            Eval(epochs=1, min_steps=0, batch_documents=4, **rates),
            0,
            Passes(),
            lambda share: None,
        )
        weights.append(model.head.weight.detach().clone())
    moved, held, drawn = weights
    assert torch.allclose(held, drawn, atol=1e-6)
    assert (moved - drawn).abs().max() > 1e-4


def test_fitting_puts_the_encoder_back_and_follows_its_seed(encoder: Encoder) -> None:
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    model = Labels(label_task(), encoder)
    one, same = (fit(encoder, model, Eval(epochs=2, min_steps=0), 4, Passes(), lambda share: None) for _ in range(2))
    assert one.test == same.test
    assert one.decided == same.decided
    after = encoder.model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
