"""Pages with hostile names in a real browser: nothing of them runs, and all of them is shown as text."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from medlingua.reports.compare import write_comparison
from medlingua.reports.page import write_report
from medlingua.reports.rows import ArmRow, ArmsRow, Score

from .conftest import write_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RAN = "a script ran here"
HOSTILE = [
    f"<script>document.title='{RAN}'</script>",
    f'"><img src=x onerror="document.title=\'{RAN}\'">',
    f"'><svg onload=\"document.title='{RAN}'\">",
    f"</svg><script>document.title='{RAN}'</script>",
    f"</style><script>document.title='{RAN}'</script>",
    f"[click](javascript:document.title='{RAN}')",
    f"javascript:document.title='{RAN}'",
]

# Names in the run of conftest.py, each replaced by a hostile one.
NAMES = [
    "e3c_pamj_fr",
    "CC BY 4.0",
    "README of hltfbk/E3C-Corpus",
    "2 cores, 8 GiB",
    "morfitt",
    "cas",
    "no CUDA device",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH: pages were not opened in a browser"),
]


def opened(page: Path, home: Path) -> str:
    """The page's elements after its scripts, if it had any, have run."""
    words = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        [*words, f"--user-data-dir={home}", page.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    assert "</html>" in done.stdout, done.stderr
    return done.stdout


def harmless(dom: str, names: list[str]) -> None:
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    assert title[1].strip() != RAN
    assert "<script" not in dom
    assert not re.search(r"<[^>]+\son\w+\s*=", dom)
    assert not re.search(r"(?:href|src)\s*=\s*[\"']?\s*javascript:", dom)
    shown = html.unescape(re.sub(r"<[^>]*>", "", dom))
    for name in names:
        assert name in shown


def test_the_browser_runs_what_is_not_escaped(tmp_path: Path) -> None:
    """Else the tests below show nothing."""
    for number, name in enumerate(HOSTILE[:4]):
        page = tmp_path / f"{number}.html"
        page.write_text(f"<html><title>x</title><body><a title='' name=\"\">{name}</a></body></html>")
        dom = opened(page, tmp_path / "home")
        assert f"<title>{RAN}</title>" in dom, name


def test_hostile_models_tasks_arms_and_notes_in_a_comparison(tmp_path: Path) -> None:
    rows = [
        Score(
            model=name, task=task, language="fr", split="test", metric="f1", protocol="ner-strict/1",
            value=0.5 + seed / 9, seed=seed, examples=1, gold=1, note=name,
        )
        for name in HOSTILE for task in HOSTILE[:2] for seed in (0, 1)
    ]  # fmt: skip
    (tmp_path / "results.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    arms = ArmsRow(arms=tuple(ArmRow(name=name, strategy="continue", base=name) for name in HOSTILE))
    (tmp_path / "arms.json").write_text(arms.model_dump_json())
    harmless(opened(write_comparison(tmp_path), tmp_path / "home"), HOSTILE)


def test_hostile_corpora_licences_bases_and_tasks_in_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for file in (folder / "run.toml", *folder.glob("*.json*"), folder / "model" / "lineage.json"):
        text = file.read_text(encoding="utf-8")
        for old, name in zip(NAMES, HOSTILE, strict=True):
            text = text.replace(json.dumps(old), json.dumps(name))
        file.write_text(text, encoding="utf-8")
    harmless(opened(write_report(folder), tmp_path / "home"), HOSTILE)
