"""What the report says of held-out text: a model is compared with the frequencies of pieces."""

from pathlib import Path

import pytest
from medlingua.reports.findings import bits_per_byte_sentence, no_better_than_frequencies, warnings
from medlingua.reports.read import append_row, read_run
from medlingua.reports.tables import held_out_table

from .conftest import evaluation_row


@pytest.mark.parametrize(("bits", "useless"), [(2.60, True), (2.50, True), (2.46, True), (2.44, False)])
def test_a_model_within_two_percent_of_the_frequencies_is_no_better(bits: float, useless: bool) -> None:
    row = evaluation_row("trained", 9, bits).model_copy(update={"unigram_bits_per_byte": 2.5})
    assert no_better_than_frequencies(row) is useless


def test_a_row_of_before_the_frequencies_were_measured_is_not_judged() -> None:
    assert not no_better_than_frequencies(evaluation_row("trained", 9, 2.6))


@pytest.mark.parametrize("bits", [2.49, 2.0])
def test_the_report_says_what_the_model_adds_to_the_frequencies(run_folder: Path, bits: float) -> None:
    row = evaluation_row("trained", 999, bits).model_copy(update={"unigram_bits_per_byte": 2.5})
    append_row(run_folder / "metrics.jsonl", row)
    record = read_run(run_folder)
    warned = [line for line in warnings(record, ()) if "no better than piece frequencies" in line]
    praised = "better than piece frequencies" in bits_per_byte_sentence(record)
    assert (len(warned), praised) == ((1, False) if bits > 2.45 else (0, True))
    table = held_out_table(record.evaluations)
    assert table.loc[table["Model"] == "trained", "Piece frequencies alone"].item() == "2.500"
