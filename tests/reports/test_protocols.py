"""Protocols as records, and what others published beside them."""

import re
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.languages.pack import known_languages, load_pack
from medlingua.recipes.evaluation import terms
from medlingua.recipes.evaluation.tasks import answers, choice, labels, ner, pairs, spans
from medlingua.reports.compare import ranking, write_comparison
from medlingua.reports.protocols import PARTS, protocol_of
from medlingua.reports.published import read_published
from medlingua.reports.read import append_row

from .conftest import score

MODULES = (terms, answers, choice, labels, ner, pairs, spans)


def test_every_id_that_the_code_writes_has_a_record_whose_parts_are_all_filled() -> None:
    written = set()
    for module in MODULES:
        assert module.__file__ is not None
        written |= set(re.findall(r'"([a-z-]+/\d+(?:, [a-z ]+)?)"', Path(module.__file__).read_text("utf-8")))
    assert len(written) >= len(MODULES)
    for identifier in written:
        record = protocol_of(identifier)
        assert record is not None, identifier
        assert identifier.startswith(record.id)
        assert all(getattr(record, part) for part in PARTS)


def test_what_a_run_chose_besides_is_part_of_the_record() -> None:
    plain, chosen = protocol_of("ner-strict/1"), protocol_of("ner-strict/1, frozen body, tuned in 20 trials")
    assert plain is not None
    assert chosen is not None
    assert plain.id == chosen.id
    assert plain.matching == chosen.matching
    assert "frozen" not in plain.training
    assert "frozen hidden states" in chosen.training
    assert "20 trials" in chosen.training


def test_frozen_bodies_of_two_default_rates_are_distinguished() -> None:
    earlier, now = protocol_of("ner-strict/1, frozen body"), protocol_of("ner-strict/1, frozen body/2")
    assert earlier is not None
    assert now is not None
    assert "rate of 0.001 unless" in earlier.training
    assert "rate of 0.01 unless" in now.training


@pytest.mark.parametrize("unknown", ["ner-strict/2", "token-accuracy/1", "ner-strict/1, best of five seeds"])
def test_the_comparison_says_where_an_id_has_no_record(unknown: str, tmp_path: Path) -> None:
    assert protocol_of(unknown) is None
    append_row(tmp_path / "results.jsonl", score("base", 0, 0.5, protocol=unknown))
    assert "not a protocol of this version" in write_comparison(tmp_path).read_text(encoding="utf-8")


def test_published_figures_are_on_tasks_of_the_packs() -> None:
    known = {(task.name, code) for code in known_languages() for task in load_pack(code).tasks}
    figures = read_published()
    assert {(figure.task, figure.language) for figure in figures} <= known
    assert all(figure.source and "Not known" in figure.protocol for figure in figures)
    # One model, one corpus, three protocols: the reason why they are not ranked together.
    emea = [f.value for f in figures if f.task == "quaero_emea" and f.model == "CamemBERT-bio"]
    assert max(emea) - min(emea) > 0.1


def test_the_comparison_shows_published_figures_greyed_and_outside_its_ranking(tmp_path: Path) -> None:
    rows = [score("ours", seed, 0.6, metric="micro-F1", protocol="labels-multi/1") for seed in range(3)]
    append_row(tmp_path / "results.jsonl", *rows)
    page = write_comparison(tmp_path).read_text(encoding="utf-8")
    ranked, _, below = page.partition("What the protocols mean")
    assert "ModernCamemBERT, continued" not in ranked
    assert '<div class="wide published">' in below
    assert "ModernCamemBERT, continued" in below
    assert "weighted by label" in below
    assert "one threshold for all labels, best on dev" in below
    # No figure is known of this task: nothing is shown.
    append_row(other := tmp_path / "other.jsonl", score("ours", 0, 0.6, task="my own"))
    other.replace(tmp_path / "results.jsonl")
    assert "Published" not in write_comparison(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modle = 1", "did you mean 'model'"),
        ("value = 'high'", "value: expected a number, given 'high'"),
        ("value = 63.1", "write shares between 0 and 1, not points"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_with_its_place(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "published.toml"
    base = 'task = "t"\nlanguage = "fr"\nmetric_name = "F1"\nsource = "s"\n'
    own = {"modle = 1": '{ model = "m", value = 0.5, modle = 1 }'}.get(text, f'{{ model = "m", {text} }}')
    file.write_text(f"[[groups]]\n{base}figures = [{own}]\n", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(expected)) as error:
        read_published(file)
    assert "group 1" in str(error.value)


def folder_of(path: Path, **changes: object) -> Path:
    path.mkdir()
    append_row(path / "results.jsonl", *(score("trained", seed, 0.5 + seed / 100, **changes) for seed in range(3)))
    return path


def test_folders_of_one_protocol_are_ranked_by_name(tmp_path: Path) -> None:
    low, high = folder_of(tmp_path / "low"), tmp_path / "high"
    high.mkdir()
    append_row(high / "results.jsonl", *(score("trained", seed, 0.9) for seed in range(3)))
    ranked = ranking([low, high], "morfitt")
    assert ranked.index("high: trained") < ranked.index("low: trained")
    assert "protocol multilabel/v1" in ranked


def test_scores_of_two_protocols_in_one_ranking_are_refused(tmp_path: Path) -> None:
    first, other = folder_of(tmp_path / "a"), folder_of(tmp_path / "b", protocol="ner-strict/1, frozen body")
    with pytest.raises(InputError, match=r"protocols multilabel/v1 and ner-strict/1, frozen body cannot be ranked"):
        ranking([first, other], "morfitt")
    with pytest.raises(InputError, match="did you mean 'morfitt'"):
        ranking([first], "morfit")
    with pytest.raises(InputError, match="did you mean 'micro-f1'"):
        ranking([first], "morfitt", "micro-f2")
    with pytest.raises(InputError, match="no scores"):
        ranking([tmp_path / "nowhere"], "morfitt")
