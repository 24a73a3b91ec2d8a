"""What a reader of the page notices."""

import csv
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from medlingua.languages.errors import InputError
from medlingua.reports.card import write_card
from medlingua.reports.compare import write_comparison
from medlingua.reports.findings import tokens_by_corpus
from medlingua.reports.page import write_report
from medlingua.reports.quantities import short_path
from medlingua.reports.read import append_row, read_run
from medlingua.reports.rows import CorporaRow, DefaultRow, PlanRow

from ..small_runs import SVG_ALONE
from .conftest import RUN_TOML, corpus_row, evaluation_row, score, scores, write_predictions, write_run


@pytest.fixture(autouse=True)
def svg_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """But of `reported`, which has the figures' PDF."""
    monkeypatch.setattr(*SVG_ALONE)


ATTACK = "<script>alert('x')</script>"


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def read_page(reported: Path) -> str:
    return (reported / "report.html").read_text(encoding="utf-8")


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


def test_a_finished_run_gives_a_page_with_its_numbers(reported: Path) -> None:
    text = read_page(reported)
    for words in (
        "3.412 → 4.105 → 2.288",
        "base, with the new vocabulary, trained; −32.9\u202f% from the base, ",
        "from 3.412 (base), then 4.105 (with the new vocabulary), to 2.288 (",
        "408\u202f000",
        "2\u202f099",
        "1.4 GiB",
        "not measured on this machine",
        "CC BY-NC 4.0",
        "sentence-transformers/all-MiniLM-L6-v2",
        "from_pretrained(&#34;model&#34;)",
        "4\u202f211 embeddings were copied",
    ):
        assert words in text or words.replace("&#34;", '"') in text, words
    assert "This report is partial" not in text


def test_tiles_and_tables_state_differences_with_their_intervals(reported: Path) -> None:
    text = read_page(reported)
    details = re.findall(r'<div class="detail">([^<]+)</div>', text)[1:]
    assert len(details) == 2
    for detail in details:
        assert re.fullmatch(r"difference \+0\.\d{3}, 95 % interval [+−]?0\.\d{3} to \+0\.\d{3}", detail)
    assert re.search(r"<td class=number>0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)</td>", text)
    assert "noise" not in text


def test_figures_are_files_too(reported: Path) -> None:
    text = read_page(reported)
    files = {path.name for path in (reported / "figures").iterdir()}
    names = {"training", "held-out", "tokens-by-corpus", "scores-multilabel-v1", "scores-ner-strict-v1"}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "pdf", "csv")} | {"captions.md"}
    assert (reported / "figures" / "training.pdf").read_bytes().startswith(b"%PDF")
    with (reported / "figures" / "held-out.csv").open(encoding="utf-8", newline="") as file:
        last = [*csv.DictReader(file)][-1]
    assert float(last["bits_per_byte"]) == 2.288
    assert float(last["perplexity"]) == pytest.approx(math.exp(2.288 * 1.9))
    assert float(last["accuracy_of_masked_words"]) == pytest.approx(0.5 - 0.2288)
    report = (reported / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[[^]]+\]\((figures/[^)]+)\)", report)
    assert len(links) == len(names)
    assert all((reported / link).is_file() for link in links)
    captions = (reported / "figures" / "captions.md").read_text(encoding="utf-8")
    assert captions.splitlines()[0].removeprefix("**training.** ") in text


def test_the_corpora_figure_shows_the_tokens_that_were_trained(reported: Path) -> None:
    """408,000 tokens were trained, of corpora that hold 312,450 and 1,740,220."""
    with (reported / "figures" / "tokens-by-corpus.csv").open(encoding="utf-8", newline="") as file:
        trained = {row["corpus"]: int(row["tokens_trained"]) for row in csv.DictReader(file)}
    assert sum(trained.values()) == pytest.approx(408_000, abs=1)
    share = 312_450 / (312_450 + 1_740_220)
    assert trained["e3c_pamj_fr"] == pytest.approx(408_000 * share, abs=1)


def test_a_mixture_divides_the_tokens_of_its_phase(run_folder: Path) -> None:
    mixture = '[[phases.mixture]]\ncorpus = "{}"\nweight = {}\n'
    parts = mixture.format("e3c_pamj_fr", 3) + mixture.format("e3c_leaflets_fr", 1)
    alone = '[[phases.mixture]]\ncorpus = "e3c_leaflets_fr"\nrepeat = 0.5\n'
    first, second = RUN_TOML.split('[[phases]]\nname = "clinical"')
    settings = f'{first}{parts}[[phases]]\nname = "clinical"{second}{alone}'
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    last = 74 * 3_400  # tokens of the last row of the first phase
    tokens = tokens_by_corpus(read_run(run_folder))
    assert tokens == pytest.approx({"e3c_pamj_fr": 0.75 * last, "e3c_leaflets_fr": 408_000 - 0.75 * last})


def test_a_sampling_exponent_divides_the_tokens_of_its_phase(run_folder: Path) -> None:
    """0: all corpora alike, whatever their size."""
    settings = RUN_TOML.replace("mask_rate = 0.3\n", "mask_rate = 0.3\nsampling_exponent = 0.0\n", 1)
    assert settings != RUN_TOML
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    tokens = tokens_by_corpus(read_run(run_folder))
    last = 74 * 3_400  # tokens of the last row of the first phase
    share = 312_450 / (312_450 + 1_740_220)
    assert tokens["e3c_pamj_fr"] == pytest.approx(0.5 * last + share * (408_000 - last))


def test_only_a_likelihood_has_a_perplexity(reported: Path, run_folder: Path) -> None:
    assert "perplexity" in (reported / "figures" / "training.csv").read_text().splitlines()[0]
    settings = RUN_TOML.replace("mask_rate = 0.3\n", 'mask_rate = 0.3\nkind = "rtd"\n')
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    page_of(run_folder)
    assert "perplexity" not in (run_folder / "figures" / "training.csv").read_text()


def test_a_task_has_one_tile_of_its_first_metric(run_folder: Path) -> None:
    for row in scores():
        append_row(run_folder / "results.jsonl", row.model_copy(update={"metric": "accuracy", "value": 0.9}))
    names = re.findall(r'<div class="name">([^<]+)</div>', page_of(run_folder))
    assert names == ["Bits per byte", "morfitt, micro-f1", "fracco_sample, entity-f1"]


def test_the_page_has_its_three_figures_and_one_more_a_protocol(reported: Path) -> None:
    text = read_page(reported)
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    starts = ["Held-out text", "Training loss", "Scores under protocol multilabel/v1"]
    starts += ["Scores under protocol ner-strict/v1", "Tokens trained, by corpus"]
    assert [label[: len(start)] for label, start in zip(labels, starts, strict=True)] == starts
    assert [*re.findall("<figcaption>([^<]+)</figcaption>", text)] == labels


def test_phases_are_named_where_they_begin(reported: Path) -> None:
    figure = read_page(reported).partition('aria-label="Training loss')[2].partition("</svg>")[0]
    assert "clinical" in figure
    assert "broad" not in figure


def test_the_folders_of_a_machine_stay_out_of_sentences(run_folder: Path) -> None:
    settings = RUN_TOML.replace("models/english", "/home/someone/models/english")
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    text = page_of(run_folder)
    assert "A run that trains english-clinical-mini further on French text." in text
    assert "/home/someone" not in write_card(run_folder).read_text(encoding="utf-8")


def test_a_head_trained_before_the_base_is_measured_differs_from_an_untrained_one(run_folder: Path) -> None:
    settings = RUN_TOML.replace('head = "keep"', 'head = "fresh"\nhead_tokens = 120_000')
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    text = page_of(run_folder)
    assert "one was trained on 120\u202f000 tokens. The values of" in text
    assert "comes from training the head" not in text


def test_the_page_loads_nothing_and_is_well_formed(reported: Path) -> None:
    text = read_page(reported)
    parser = Loads()
    parser.feed(text)
    assert [address for address in parser.addresses if not address.startswith("#")] == []
    assert parser.wrong == []
    assert parser.open == []
    assert not re.search(r"url\((?!#)|@import", text)


def test_an_id_is_used_once(reported: Path) -> None:
    ids = re.findall(r'\sid="([^"]+)"', read_page(reported))
    assert len(ids) == len(set(ids))


def test_a_complete_run_warns_of_what_it_used(reported: Path) -> None:
    text = read_page(reported)
    assert "Non-commercial material: e3c_leaflets_fr" in text
    assert "No change shown: fracco_sample entity-f1. The 95 % interval" in text
    assert "Fewer than three seeds" not in text
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
    for words in (
        "Synthetic training text: cases",
        "Synthetic tasks: morfitt (synthetic)",
        "No licence is stated for cases, notes",
        "Fresh head",
        "difference +0.200, no interval",
        "Bits per byte (synthetic)",
        "<h2>Held-out text (synthetic)</h2>",
        "training tokens, synthetic text",
        "The text is synthetic.",
        "cases (synthetic)",
        "morfitt (synthetic), test",
    ):
        assert words in text, words


def test_tasks_that_were_not_available_are_a_sentence_and_no_rows(reported: Path) -> None:
    text = read_page(reported)
    assert "Not checked, because their files were not available: cas, quaero." in text
    table = text.partition("<h3>Overlap with tasks</h3>")[2].partition("</table>")[0]
    assert "morfitt" in table
    assert "quaero" not in table


def test_a_scored_task_that_was_not_checked_for_overlap_is_a_warning(run_folder: Path) -> None:
    corpora = (run_folder / "corpora.json").read_text(encoding="utf-8")
    (run_folder / "corpora.json").write_text(corpora.replace('"quaero"', '"fracco_sample"'), encoding="utf-8")
    warnings = page_of(run_folder).partition('<ul class="warnings">')[2].partition("</ul>")[0]
    assert "Not checked for overlap: fracco_sample" in warnings


def test_tasks_with_fewer_than_three_seeds_are_named(run_folder: Path) -> None:
    rows = [row for row in scores() if row.seed is not None and row.seed < 2]
    (run_folder / "results.jsonl").unlink()
    append_row(run_folder / "results.jsonl", *rows)
    text = page_of(run_folder)
    assert "Fewer than three seeds: fracco_sample, morfitt" in text
    assert "95 % interval" in text


def test_the_page_says_what_the_run_decided_and_did_not_score(run_folder: Path) -> None:
    plan = PlanRow.model_validate_json((run_folder / "plan.json").read_text(encoding="utf-8"))
    rows = (
        DefaultRow(setting="train.lr", value=1e-4, reason="by the width"),
        DefaultRow(setting="train.batch_tokens", value=131_072, reason="as published"),
    )
    plan = plan.model_copy(
        update={"defaults": rows, "not_scored": ("morfitt",), "corpus_tokens": 1_000, "passes": 3.0}
    )
    (run_folder / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
    page = write_report(run_folder).read_text(encoding="utf-8")
    for part in ("0.0001: by the width", "131\u202f072: as published", "morfitt: evaluation would", "read 3 times"):
        assert part in page


def test_numbers_have_one_separator_of_thousands(run_folder: Path) -> None:
    plan = PlanRow.model_validate_json((run_folder / "plan.json").read_text())
    row = DefaultRow(setting="train.eval_tokens", value=250_000, reason="a tenth, at least 250,000")
    plan = plan.model_copy(update={"defaults": (row,), "attention_reason": "whole weights up to 1,024 tokens"})
    (run_folder / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
    page_of(run_folder)
    for name in ("report.md", "report.html"):
        text = (run_folder / name).read_text(encoding="utf-8")
        assert re.findall(r"\d,\d{3}\b", re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)) == []


def test_a_finished_run_without_tasks_is_not_partial(run_folder: Path) -> None:
    (run_folder / "results.jsonl").unlink()
    assert "This report is partial" not in page_of(run_folder)


def test_a_run_that_has_only_started_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN_TOML, encoding="utf-8")
    text = page_of(tmp_path)
    assert "This report is partial" in text
    for file in ("plan.json", "corpora.json", "metrics.jsonl", "results.jsonl", "cost.json", "lineage.json"):
        assert file in text
    assert "Load the model" not in text
    assert "<svg" not in text


def test_a_finished_run_that_held_nothing_out_says_why_it_has_no_bits_per_byte(run_folder: Path) -> None:
    file = run_folder / "metrics.jsonl"
    rows = [row for row in file.read_text(encoding="utf-8").splitlines() if '"kind":"eval"' not in row]
    file.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    text = page_of(run_folder)
    assert "no document was held out (data.held_out)" in text
    assert "no evaluation yet" not in text


def test_a_run_without_training_still_has_its_page(run_folder: Path) -> None:
    (run_folder / "metrics.jsonl").unlink()
    append_row(run_folder / "metrics.jsonl", evaluation_row("base", 0, 3.4))
    text = page_of(run_folder)
    assert "3.400" in text
    assert "no step was logged yet" in text


def test_a_half_written_line_is_left_out_and_stated(run_folder: Path) -> None:
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind":"train","phase":0,"st')
    assert "metrics.jsonl: the last line is incomplete and was left out." in page_of(run_folder)


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
    assert {file.name for file in run_folder.iterdir()} == before | {"report.md", "report.html", "figures"}


def test_a_comparison_ranks_inside_each_protocol(tmp_path: Path) -> None:
    for row in scores():
        append_row(tmp_path / "results.jsonl", row)
    write_predictions(tmp_path, scores())
    text = write_comparison(tmp_path).read_text(encoding="utf-8")
    assert text.index("multilabel/v1") < text.index("ner-strict/v1")
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    number = r"−0\.0\d\d"
    assert re.search(
        rf"\| trained \|.*\n\| base \|.*{number} \({number} to {number}\) \| 0\.00.*\n\| majority", report
    )


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
    assert short_path(path) == shown
