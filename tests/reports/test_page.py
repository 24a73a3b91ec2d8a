from pathlib import Path

from medlingua.reports.card import write_card
from medlingua.reports.page import write_report


def test_a_finished_run_gives_a_page_with_its_numbers(run_folder: Path) -> None:
    page = write_report(run_folder)
    text = page.read_text(encoding="utf-8")
    assert page == run_folder / "report.html"
    assert "3.412 → 2.288" in text
    assert "0.505 ± 0.017" in text
    assert (run_folder / "report.md").is_file()


def test_the_card_lies_beside_the_weights(run_folder: Path) -> None:
    assert write_card(run_folder) == run_folder / "model" / "README.md"
