"""What a reader of the page notices."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.reports.card import write_card
from medlingua.reports.compare import write_comparison
from medlingua.reports.page import write_report
from medlingua.reports.quantities import place
from medlingua.reports.read import append_row
from medlingua.reports.rows import CorporaRow

from .conftest import RUN_TOML, corpus_row, evaluation_row, score, scores, write_run

ATTACK = "<script>alert('x')</script>"


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


class Loads(HTMLParser):
    """Everything that a browser would fetch, and every tag that is not closed in its place."""

    NAMES = ("src", "href", "xlink:href", "data")
    VOID = ("meta", "link", "img", "br", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_a_finished_run_gives_a_page_with_its_numbers(run_folder: Path) -> None:
    text = page_of(run_folder)
    for told in (
        "3.412 → 2.288",
        "−32.9 %, lower is better",
        "0.505 ± 0.017",
        "+0.052 [+0.044, +0.059]",
        "408\u202f000",
        "2\u202f099",
        "1.4 GiB",
        "not told by the machine",
        "CC BY-NC 4.0",
        "sentence-transformers/all-MiniLM-L6-v2",
        "from_pretrained(&#34;model&#34;)",
        "4\u202f211 rows copied",
    ):
        assert told in text or told.replace("&#34;", '"') in text, told
    assert "This report is partial" not in text


def test_a_task_has_one_tile_of_its_first_metric(run_folder: Path) -> None:
    for row in scores():
        append_row(run_folder / "results.jsonl", row.model_copy(update={"metric": "accuracy", "value": 0.9}))
    names = re.findall(r'<div class="name">([^<]+)</div>', page_of(run_folder))
    assert names == ["Bits per byte", "morfitt, micro-f1", "fracco_sample, entity-f1"]


def test_the_page_has_its_four_figures_and_one_more_a_protocol(run_folder: Path) -> None:
    text = page_of(run_folder)
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert labels == [
        "Bits per byte on held-out text over tokens",
        "Training loss and learning rate over tokens",
        "Scores under protocol multilabel/v1",
        "Scores under protocol ner-strict/v1",
        "Training tokens by corpus",
    ]


def test_phases_are_named_where_they_begin(run_folder: Path) -> None:
    figure = page_of(run_folder).partition("Training loss and learning rate")[2].partition("</svg>")[0]
    assert "clinical" in figure
    assert "broad" not in figure


def test_the_folders_of_a_machine_stay_out_of_sentences(run_folder: Path) -> None:
    settings = RUN_TOML.replace("models/english", "/home/someone/models/english")
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    text = page_of(run_folder)
    assert "A run that trains english-clinical-mini further on French text." in text
    assert "/home/someone" not in write_card(run_folder).read_text(encoding="utf-8")


def test_a_head_trained_before_base_is_told_apart_from_an_untrained_one(run_folder: Path) -> None:
    settings = RUN_TOML.replace('head = "keep"', 'head = "fresh"\nhead_tokens = 120_000')
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    text = page_of(run_folder)
    assert "one was trained on 120\u202f000 tokens before anything was measured" in text
    assert "the head&#39;s" not in text


def test_the_page_loads_nothing_and_is_well_formed(run_folder: Path) -> None:
    text = page_of(run_folder)
    parser = Loads()
    parser.feed(text)
    assert [address for address in parser.addresses if not address.startswith("#")] == []
    assert parser.wrong == []
    assert parser.open == []
    assert not re.search(r"url\((?!#)|@import", text)


def test_an_id_is_used_once(run_folder: Path) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page_of(run_folder))
    assert len(ids) == len(set(ids))


def test_a_complete_run_warns_of_what_it_used(run_folder: Path) -> None:
    text = page_of(run_folder)
    assert "Non-commercial material: e3c_leaflets_fr" in text
    assert "Not checked for overlap: cas, quaero" in text
    assert "Inside the noise of the seeds: fracco_sample entity-f1" in text
    assert "Single seed" not in text
    assert "Fresh head" not in text
    assert "Synthetic" not in text


def test_a_demo_warns_of_synthetic_text_fresh_head_and_one_seed(tmp_path: Path) -> None:
    rows = [score(model, 0, value, synthetic=True) for model, value in (("base", 0.2), ("trained", 0.4))]
    folder = write_run(tmp_path / "demo", rows)
    settings = RUN_TOML.replace('head = "keep"', 'head = "fresh"')
    (folder / "run.toml").write_text(settings, encoding="utf-8")
    corpora = CorporaRow(
        corpora=(
            corpus_row("cases", synthetic=True, licence=""),
            corpus_row("notes", licence="not stated"),
        ),
        overlap=(),
        unchecked=(),
        vocabulary_size=30_522,
        seconds=1,
    )
    (folder / "corpora.json").write_text(corpora.model_dump_json(), encoding="utf-8")
    text = page_of(folder)
    for told in (
        "Synthetic training text: cases",
        "Synthetic tasks: morfitt (synthetic)",
        "No licence is stated for cases, notes",
        "Fresh head",
        "Single seed",
        "inside the noise (one seed)",
        "Bits per byte (synthetic)",
        "<h2>Held-out text (synthetic)</h2>",
        "Training loss, nats a masked token (synthetic text)",
        "Bits per byte on held-out text (synthetic text)",
        "Training tokens by corpus (synthetic text)",
        "morfitt (synthetic), micro-f1, test",
    ):
        assert told in text, told


def test_a_run_that_has_only_started_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN_TOML, encoding="utf-8")
    text = page_of(tmp_path)
    assert "This report is partial" in text
    for file in ("plan.json", "corpora.json", "metrics.jsonl", "results.jsonl", "cost.json", "lineage.json"):
        assert file in text
    assert "Load the model" not in text
    assert "<svg" not in text


def test_a_run_without_training_still_has_its_page(run_folder: Path) -> None:
    (run_folder / "metrics.jsonl").unlink()
    append_row(run_folder / "metrics.jsonl", evaluation_row("base", 0, 3.4))
    text = page_of(run_folder)
    assert "3.400" in text
    assert "no step was logged yet" in text


def test_a_half_written_line_is_left_out_and_told(run_folder: Path) -> None:
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind":"train","phase":0,"st')
    assert "metrics.jsonl: last line incomplete, left out." in page_of(run_folder)


def test_names_with_html_are_shown_and_not_run(run_folder: Path) -> None:
    (run_folder / "results.jsonl").unlink()
    for row in scores():
        hostile = {"task": f"{row.task} {ATTACK}", "protocol": ATTACK, "model": row.model + ATTACK}
        append_row(run_folder / "results.jsonl", row.model_copy(update=hostile))
    settings = RUN_TOML.replace("models/english-clinical-mini", ATTACK)
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    corpora = (run_folder / "corpora.json").read_text(encoding="utf-8")
    (run_folder / "corpora.json").write_text(corpora.replace("e3c_pamj_fr", f"$x_1$ {ATTACK}"), encoding="utf-8")
    text = page_of(run_folder)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<script" not in (run_folder / "report.md").read_text(encoding="utf-8").split("## Settings")[1]


def test_a_long_run_keeps_a_small_page(run_folder: Path) -> None:
    row = (run_folder / "metrics.jsonl").read_text().splitlines()[0]
    with (run_folder / "metrics.jsonl").open("a") as file:
        for step in range(1_000, 21_000):
            file.write(row.replace('"step":1,"tokens":3400', f'"step":{step},"tokens":{step * 3400}') + "\n")
    assert len(page_of(run_folder)) < 200_000


def test_the_report_is_written_again_and_leaves_no_other_file(run_folder: Path) -> None:
    before = {file.name for file in run_folder.iterdir()}
    assert page_of(run_folder) == page_of(run_folder)
    assert {file.name for file in run_folder.iterdir()} == before | {"report.md", "report.html"}


def test_a_comparison_ranks_inside_each_protocol(tmp_path: Path) -> None:
    for row in scores():
        append_row(tmp_path / "results.jsonl", row)
    text = write_comparison(tmp_path).read_text(encoding="utf-8")
    assert text.index("multilabel/v1") < text.index("ner-strict/v1")
    told = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert re.search(r"\| trained \|.*\n\| base \|.*−0\.052 \[−0\.059, −0\.044\], lower.*\n\| majority", told)


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.jsonl: no scores to compare"):
        write_comparison(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/ana/runs/english/model", "english/model"),
        ("/home/ana/bases/mini", "mini"),
        ("almanach/camembert-base", "almanach/camembert-base"),
        ("../models/mini", "../models/mini"),
    ],
)
def test_a_path_is_shown_without_the_machines_folders_and_never_as_model_alone(path: str, shown: str) -> None:
    assert place(path) == shown
