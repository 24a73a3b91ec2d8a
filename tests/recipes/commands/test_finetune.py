"""adapt finetune: what it saves, and for whom."""

from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.recipes.commands.finetune import finetune
from medlingua.recipes.evaluation.saved_task import read_record
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_scores
from transformers import AutoModelForTokenClassification

from ..conftest import call

BRIEF = Eval(tasks=("synthetic_ner",), seeds=1, epochs=1, lr=3e-3)


def test_a_span_head_has_a_tagger_next_to_it_for_plain_transformers(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spans = BRIEF.model_copy(update={"ner_head": "spans"})
    place = finetune(str(base), "fr", None, spans, None, (), tmp_path / "out")
    tagger = place.parent / "tags" / "model"
    assert (read_record(place).stock_class, read_record(place).protocol) == ("", "ner-strict/1, span head")
    record = read_record(tagger)
    assert (record.settings, record.protocol) == (BRIEF.model_copy(update={"pooling": "first"}), "ner-strict/1")
    opened = AutoModelForTokenClassification.from_pretrained(tagger)
    assert {f"B-{label}" for label in record.labels} <= set(opened.config.id2label.values())
    scores = [row for row in read_scores(tagger.parent / "results.jsonl") if row.metric == record.metric]
    assert f"{record.test[record.metric]:.4f}" in (tagger / "README.md").read_text(encoding="utf-8")
    assert record.test[record.metric] in {row.value for row in scores}
    assert "takes about as long again" in capsys.readouterr().err


def test_tags_are_fine_tuned_once(base: Path, tmp_path: Path) -> None:
    place = finetune(str(base), "fr", None, BRIEF, None, (), tmp_path / "out")
    assert read_record(place).stock_class
    assert not (place.parent / "tags").exists()
    with pytest.raises(InputError, match=f"no model; give {place}"):
        read_record(place.parent)


def test_a_model_that_is_mostly_wrong_has_no_probabilities_to_rely_on(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune(str(base), "fr", None, BRIEF.model_copy(update={"lr": 1e-5}), None, (), tmp_path / "out")
    assert "do not rely on the model's probabilities" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "page"), [("finetune", "errors.html"), ("apply", "annotations.html")])
def test_the_help_says_what_shows_words(
    command: str, page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, [command, "--help"]) == 0
    assert "--show-text" in (text := capsys.readouterr().out)
    assert page in text
