"""Figures of vocabularies: their numbers, and that an empty frame is no error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from medlingua.reports import vocabulary_figures as figures
from PIL import Image

LABEL = "fr, SYNTHETIC text"
COUNTED = pd.DataFrame(
    [("a", "cases", 1.5), ("b", "cases", 1.2), ("a", "leaflets", 1.6), ("b", "leaflets", 1.4)],
    columns=["tokenizer", "corpus", "pieces_per_word"],
)
LENGTHS = pd.DataFrame(
    [("a", 512, 300, 0.0), ("a", 4096, 2400, 0.0), ("b", 512, 375, 0.25), ("b", 4096, 3000, 0.25)],
    columns=["tokenizer", "pieces", "words", "gain"],
)
SHARES = pd.DataFrame(
    [("a", "I", 40, 0.1, 3.0), ("b", "I", 40, 0.4, 2.0), ("a", "rare", 3, 1.0, 1.0)],
    columns=["tokenizer", "group", "words", "in_one_piece", "pieces_per_word"],
)
RECUT = pd.DataFrame(
    [("a", "held out", 0.2, 0.0), ("a", "English", 0.01, 0.0)], columns=["tokenizer", "text", "changed", "longer"]
)
SPLITS = pd.DataFrame(
    [("a", "DISO", 9, 0.2, 2.5)], columns=["tokenizer", "label", "entities", "in_one_piece", "pieces"]
)
FINDINGS = pd.DataFrame(
    [
        ("a", "merged", "pâle", "pale", ""),
        ("a", "NFD differs", "pâle", "pale", ""),
        ("b", "unknown", "5 µg", "5", ""),
    ],
    columns=["tokenizer", "finding", "written", "read", "meaning"],
)
SIDES = pd.DataFrame(
    [
        ("fr", "a", "as it is", 1.6, 320, 0.1),
        ("fr", "a", "extended", 1.2, 420, 0.2),
        ("fr", "new fr", "new", 1.1, 460, 0.3),
    ],
    columns=["language", "tokenizer", "variant", "pieces_per_word", "words_in_512", "medical_in_one_piece"],
)
STATES = pd.concat([COUNTED.assign(state="before"), COUNTED.assign(state="after", pieces_per_word=1.1)])


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(
        text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible()
    )


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (figures.pieces_per_word_figure(COUNTED, LABEL), ["leaflets", "1.60", "b"]),
        (figures.effective_length_figure(LENGTHS, LABEL), ["+25%", "375 in 512", "3,000 in 4,096"]),
        (figures.one_piece_figure(SHARES, "letter", LABEL, {"I": "heart"}), ["I: heart (40)"]),
        (figures.extension_figure(STATES, RECUT, LABEL), ["1.50", "1.10", "20.0%, longer 0.00%", "English"]),
        (figures.entities_figure({"mantra": SPLITS, "none": SPLITS.iloc[:0]}, LABEL), ["mantra", "DISO (9)"]),
        (figures.audit_figure(FINDINGS, ["a", "b", "keeps all"], LABEL), ["= pale, NFD differs", "keeps all"]),
        (figures.overlap_figure(pd.DataFrame({"a": {"a": 1.0, "b": 0.5}}), LABEL), ["50%"]),
        (figures.languages_figure(SIDES, LABEL), ["1.60 → 1.20", "10% → 20%", "new fr"]),
    ],
)  # fmt: skip
def test_a_figure_tells_its_numbers_and_what_its_text_is(figure: Figure, expected: list[str]) -> None:
    assert figure.get_suptitle().endswith(LABEL)
    shown = texts(figure)
    for word in expected:
        assert word in shown, shown


def test_groups_of_few_words_are_left_out() -> None:
    assert "rare" not in texts(figures.one_piece_figure(SHARES, "branch", LABEL))


@pytest.mark.parametrize(
    "draw",
    [
        lambda none: figures.pieces_per_word_figure(none, LABEL),
        lambda none: figures.effective_length_figure(none, LABEL),
        lambda none: figures.one_piece_figure(none, "branch", LABEL),
        lambda none: figures.extension_figure(none, none, LABEL),
        lambda none: figures.entities_figure({}, LABEL),
        lambda none: figures.languages_figure(none, LABEL),
    ],
)
def test_a_frame_without_rows_gives_a_figure_that_says_so(draw: Callable[[pd.DataFrame], Figure]) -> None:
    figure = draw(pd.DataFrame())
    assert "nothing to show" in texts(figure)
    assert LABEL in figure.get_suptitle()


def test_no_finding_is_reported_too() -> None:
    assert "nothing to show" in texts(figures.audit_figure(FINDINGS.iloc[:0], ["a"], LABEL))


def test_a_saved_figure_is_a_file_with_its_title(tmp_path: Path) -> None:
    figure = figures.pieces_per_word_figure(COUNTED, LABEL)
    assert figures.save(figure, None, "bars") is figure
    assert figures.save(figure, tmp_path / "new", "bars") is figure
    with Image.open(tmp_path / "new" / "bars.png") as image:
        assert image.info["Title"] == f"Pieces a word by corpus · {LABEL}"


def test_a_table_has_a_title_and_no_row_numbers() -> None:
    table: Any = figures.table(COUNTED, "Pieces", LABEL)
    page = table.to_html()
    assert f"<caption>Pieces · {LABEL}</caption>" in page
    assert "row_heading" not in page
