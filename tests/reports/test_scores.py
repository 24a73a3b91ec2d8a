from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.reports.bootstrap import read_tallies
from medlingua.reports.intervals import Estimate
from medlingua.reports.scores import change, compare, only, ranked, verdict
from medlingua.reports.tables import difference_sentence, markdown, ranking_table, score_table

from .conftest import score, scores, write_predictions


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.02, 0.08, "higher"),
        (-0.61, -0.48, "lower"),
        (-0.01, 0.06, "interval includes 0"),
        (0.0, 0.0, "interval includes 0"),
        (None, None, "no interval"),
    ],
)
def test_a_verdict_comes_from_the_interval_alone(low: float | None, high: float | None, expected: str) -> None:
    for seeds in (1, 2, 3):
        middle = 0.5 if low is None or high is None else (low + high) / 2
        assert verdict(Estimate(middle, low, high, seeds)) == expected


def test_a_difference_is_stated_with_its_interval() -> None:
    assert difference_sentence(Estimate(-0.55, -0.61, -0.48, 2)) == (
        "difference −0.550, 95 % interval −0.610 to −0.480"
    )
    assert difference_sentence(Estimate(-0.0001, None, None, 2)) == "difference 0.000, no interval"


def test_scores_have_intervals_where_their_documents_are_known(tmp_path: Path) -> None:
    write_predictions(tmp_path, scores())
    with_tallies, without = compare(scores(), read_tallies(tmp_path)), compare(scores())
    for comparison, bare in zip(with_tallies, without, strict=True):
        changed, plain = change(comparison), change(bare)
        assert changed is not None
        assert plain is not None
        assert changed.difference.value == pytest.approx(plain.difference.value)
        assert verdict(plain.difference) == "no interval"
        assert changed.before.score.value == bare.results[0].score.value
        assert bare.results[0].score.low is None
    morfitt, fracco = (change(comparison) for comparison in with_tallies)
    assert morfitt is not None
    assert fracco is not None
    assert verdict(morfitt.difference) == "higher", "1,088 documents show a difference of 0.06"
    assert verdict(fracco.difference) == "interval includes 0", "28 documents do not show one of 0.02"


def test_a_seed_without_predictions_leaves_its_model_without_an_interval(tmp_path: Path) -> None:
    write_predictions(tmp_path, [row for row in scores() if (row.model, row.seed) != ("base", 2)])
    comparison = compare(scores(), read_tallies(tmp_path))[0]
    base, trained = comparison.result("base"), comparison.result("trained")
    assert base is not None
    assert trained is not None
    assert base.score.low is None
    assert trained.score.low is not None


def test_differences_are_paired_by_seed() -> None:
    before = [score("base", seed, value) for seed, value in {0: 0.40, 1: 0.60, 2: 0.80, 7: 0.10}.items()]
    after = [score("trained", seed, value) for seed, value in {2: 0.81, 1: 0.61, 0: 0.41, 9: 0.99}.items()]
    changed = change(compare(before + after)[0])
    assert changed is not None
    assert changed.difference.n == 3
    assert changed.difference.value == pytest.approx(0.01)
    assert change(compare([score("base", 0, 1.0), score("trained", 1, 1.0)])[0]) is None


def test_two_protocols_are_never_ranked_together() -> None:
    rows = [score("base", 0, 0.5), score("trained", 0, 0.6, protocol="multilabel-weighted/v1")]
    with pytest.raises(InputError, match=r"multilabel-weighted/v1 and multilabel/v1"):
        only(compare(rows))


def test_two_measures_of_one_protocol_are_not_ranked_either() -> None:
    with pytest.raises(InputError, match="different measures"):
        only(compare([score("base", 0, 0.5), score("trained", 0, 0.6, metric="macro-f1")]))


def test_ranks_put_the_best_mean_first() -> None:
    rows = [score("a", 0, 0.5), score("b", 0, 0.9), score("b", 1, 0.1), score("c", 0, 0.6)]
    assert [result.model for result in ranked(only(compare(rows)))] == ["c", "a", "b"]


def test_V1_unequal_gold_is_an_error() -> None:
    with pytest.raises(InputError, match=r"base: 1560 in 1088; trained: 1401 in 1088"):
        compare([score("base", 0, 0.5), score("trained", 0, 0.6, gold=1401)])


def test_before_is_the_base_or_else_the_start() -> None:
    rows = [score("start", 0, 0.4), score("trained", 0, 0.6)]
    (comparison,) = compare(rows)
    changed = change(comparison)
    assert changed is not None
    assert changed.before.model == "start"
    (comparison,) = compare([*rows, score("base", 0, 0.5)])
    changed = change(comparison)
    assert changed is not None
    assert changed.before.model == "base"
    assert changed.difference.value == pytest.approx(0.1)
    (comparison,) = compare([score("base", 0, 0.5)])
    assert change(comparison) is None


def test_V9_a_baseline_stands_in_the_table_as_one() -> None:
    (comparison,) = compare([row for row in scores() if row.task == "morfitt"])
    (line,) = score_table([comparison]).to_dict("records")
    assert line["Baselines"] == "majority 0.121"
    assert line["Seeds"] == "3"
    last = ranking_table(comparison).to_dict("records")[-1]
    assert last == {"Model": "majority (baseline)", "Score": "0.121", "Seeds": "–", "Difference to the best": "–"}


def test_a_column_without_a_value_is_left_out() -> None:
    rows = [row for row in scores() if row.task == "fracco_sample" and row.model == "base"]
    assert {"Baselines", "Difference"}.isdisjoint(score_table(compare(rows)).columns)


def test_synthetic_tasks_are_labelled() -> None:
    frame = score_table(compare([score("base", 0, 0.5, synthetic=True)]))
    assert frame["Task"].tolist() == ["morfitt (synthetic)"]


def test_a_cell_cannot_break_out_of_a_markdown_table() -> None:
    frame = score_table(compare([score("base", 0, 0.5, task="a|b\nc <b>")]))
    lines = markdown(frame).splitlines()
    assert len(lines) == 3
    assert "| a\\|b c &lt;b&gt; |" in lines[2]
