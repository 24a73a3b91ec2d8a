"""What all figures share: limits of metrics, styles of lines, names of files."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from medlingua.reports.figures import Chart, file_name, line_style, metric_limits, perplexity_axis, write_charts


@given(st.lists(st.floats(0, 1), min_size=1))
def test_an_axis_never_leaves_the_range_of_a_metric(values: list[float]) -> None:
    low, high = metric_limits(values)
    assert 0 <= low <= min(values)
    assert max(values) <= high <= 1
    assert low < high


def test_a_correlation_has_an_axis_below_zero() -> None:
    low, high = metric_limits([-0.2, 0.4])
    assert -1 <= low < -0.2
    assert 0.4 < high <= 1


def test_the_variants_of_a_study_look_different() -> None:
    styles = [line_style(place) for place in range(14)]
    assert len({style["color"] for style in styles[:7]}) == 7
    assert len({(style["color"], style["marker"]) for style in styles}) == 14


@pytest.mark.parametrize("name", ["ner-strict/1, frozen body", "../../etc/passwd", "<script>", "...", ""])
def test_a_name_from_anywhere_is_a_file_in_the_folder(name: str, tmp_path: Path) -> None:
    chart = Chart(f"scores-{file_name(name)}", "A caption.", [{"x": 1, "y": "a,b"}], 1.0, lambda figure: None)
    pictures = write_charts(tmp_path, [chart])
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {f"{chart.name}.{kind}" for kind in ("svg", "pdf", "csv")} | {"captions.md"}
    assert (tmp_path / "figures" / f"{chart.name}.csv").read_text() == 'x,y\n1,"a,b"\n'
    ElementTree.fromstring((tmp_path / "figures" / f"{chart.name}.svg").read_text())
    assert pictures[chart.name].startswith("<svg ")


def test_long_protocols_that_differ_at_their_end_have_files_of_their_own() -> None:
    long = "ner-strict/1, 5 folds, after another_task, learnt on another_language, frozen body, tuned in {} trials"
    names = {file_name(long.format(number)) for number in (10, 20)}
    assert len(names) == 2
    assert max(map(len, names)) <= 80


def test_nothing_to_draw_makes_no_folder(tmp_path: Path) -> None:
    assert write_charts(tmp_path, []) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lowest", [0.0, 0.69, 1.63, 2.31, 6.05, 6.287])
@pytest.mark.parametrize("range_of_losses", [0.03, 0.1, 0.389, 0.7, 1.2, 1.8, 2.5, 5, 9, 20, 45])
def test_the_ticks_of_a_perplexity_axis_are_two_or_more_and_do_not_overlap(
    lowest: float, range_of_losses: float
) -> None:
    figure = Figure(figsize=(3.0, 3.1), layout="constrained")  # a third of the page, as on held-out text
    axes = figure.subplots()
    axes.plot([0, 1], [lowest, lowest + range_of_losses])
    perplexity_axis(axes)
    figure.legend(axes.lines, ["model"], loc="outside lower left")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (second,) = axes.child_axes
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in second.get_yticklabels()]
    words = [label.get_text() for label in second.get_yticklabels()]
    assert len(set(words)) == len(words) >= 2
    assert all(upper.y0 > lower.y1 for lower, upper in pairwise(sorted(boxes, key=lambda box: box.y0))), words
