"""Every notebook runs without a network on small data, and is committed without what it showed."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import zstandard
from medlingua.languages.cases import generate_cases, synthetic_tasks
from medlingua.languages.pack import load_pack
from nbclient import NotebookClient
from PIL import Image

from ..recipes.conftest import write_base

FOLDER = Path(__file__).parents[2] / "reports" / "notebooks"
PICTURES = sorted((FOLDER / "pictures").glob("*"))
NAMES = ["vocabulary_compare", "vocabulary_de", "vocabulary_es", "vocabulary_fr"]
LANGUAGE_FIGURES = {
    "pieces_per_word", "effective_length", "medical_words_by_branch", "medical_words_by_icd10", "extension",
    "entities", "audit",
}  # fmt: skip
BEFORE_AFTER = re.compile(r"^(.+) \+ [\d,]+ pieces: ([\d.]+) pieces a word before, ([\d.]+) after", re.MULTILINE)
ABSOLUTE = re.compile(r"(?<![\w.:/<)\]])(/[A-Za-z][\w.-]*/|~/|[A-Z]:\\)")


class Shown:
    """What a person sees of a notebook that has run. Titles are those of the figures, and of the tables."""

    def __init__(self, book: Any, pictures: Path) -> None:
        outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
        self.errors = [output for output in outputs if output.output_type == "error"]
        self.text = "".join(output.text for output in outputs if output.output_type == "stream")
        data = [output.data for output in outputs if "data" in output]
        self.figures = sum("image/png" in d for d in data)
        captions = [re.findall("<caption>(.+?)</caption>", d.get("text/html", "")) for d in data]
        self.tables = [title for titles in captions for title in titles]
        self.pictures = {file.stem: title(file) for file in pictures.glob("*.png")}


def title(picture: Path) -> str:
    with Image.open(picture) as image:
        return str(image.info["Title"])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A notebook run as by a person who set the environment; `then` is what was typed below the parameters."""

    def execute(name: str, data: Path | None = None, tokenizers: str = "", then: str = "") -> Shown:
        pictures = tmp_path / "pictures"
        environment = {
            "MEDLINGUA_DATA": str(data or ""),
            "MEDLINGUA_TOKENIZERS": tokenizers,
            "MEDLINGUA_PICTURES": str(pictures),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"),
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        book = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        (parameters,) = (cell for cell in book.cells if "parameters" in cell.metadata.get("tags", ()))
        parameters.source += f"\n{then}"
        NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
        return Shown(book, pictures)

    return execute


def write_root(root: Path, code: str, terms: bool) -> Path:
    """A data root with one corpus of the language and, if asked, a list of terms with branches and codes."""
    pack = load_pack(code)
    file = root / str(pack.corpora[0].path)
    file.parent.mkdir(parents=True)
    lines = [json.dumps({"text": case.document.text}) for case in generate_cases(pack, 120, seed=5)]
    raw = "\n".join(lines).encode()
    file.write_bytes(gzip.compress(raw) if file.suffix == ".gz" else zstandard.compress(raw))
    if terms:
        ner = synthetic_tasks(pack, seed=1)[0]
        mentions = sorted({s.surface(e.document.text) for e in ner.train for s in e.gold if not isinstance(s, str)})
        named = [(f"disease {number}", text) for number, text in enumerate(mentions) if "\n" not in text]
        write_table(root / pack.terms[0].path, "en\tlang\ttranslation", *(f"{e}\t{code}\t{t}" for e, t in named))
        lists = root / "terms" / "doid"
        write_table(lists / "HumanDO.tsv.gz", "id\tlabel\tsubClassOf", *(f"1\t{e}\tinfection" for e, _ in named))
        write_table(lists / "ICD10inDO.tsv.gz", "id\tlabel\txrefs", *(f"1\t{e}\tICD10CM:J11" for e, _ in named))
    return root


def write_table(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def fewer_after(shown: Shown) -> set[str]:
    """The tokenizers that the notebook says are extended; each cuts held-out text into fewer pieces."""
    matches = BEFORE_AFTER.findall(shown.text)
    assert all(float(after) < float(before) for _, before, after in matches), matches
    return {name for name, _, _ in matches}


def test_a_language_as_it_is_opened_runs_on_synthetic_cases_and_says_so(run: Any) -> None:
    shown = run("vocabulary_fr")
    assert not shown.errors
    assert "no data root: all text is SYNTHETIC, and there are no terms" in shown.text
    assert fewer_after(shown) == {f"new fr {kind}, 900" for kind in ("WordPiece", "BPE", "Unigram")}
    assert shown.figures == len(LANGUAGE_FIGURES)
    assert set(shown.pictures) == {f"fr_{name}" for name in LANGUAGE_FIGURES}
    assert all("SYNTHETIC" in caption for caption in (*shown.pictures.values(), *shown.tables))
    heads = [caption.split(" · ")[0] for caption in shown.tables]
    assert heads == [
        "Pieces a word",
        "Held-out words that are cut otherwise, the most frequent",
        "Pieces that may be somebody's number",
    ]


def test_a_data_root_and_model_folders_are_read_and_nothing_is_called_synthetic(run: Any, tmp_path: Path) -> None:
    folder = write_base(tmp_path / "tiny-wordpiece")
    shown = run("vocabulary_es", write_root(tmp_path / "root", "es", terms=True), str(folder), "NEW_PIECES = 60")
    assert not shown.errors
    assert fewer_after(shown) == {"tiny-wordpiece"}
    assert re.search(r"^\d+ terms$", shown.text, re.MULTILINE)
    assert any(caption.startswith("Most broken by tiny-wordpiece + 60") for caption in shown.tables)
    assert all(caption.endswith("es, real text") for caption in (*shown.pictures.values(), *shown.tables))


def test_a_data_root_without_terms_says_so_in_a_line(run: Any, tmp_path: Path) -> None:
    shown = run("vocabulary_de", write_root(tmp_path / "root", "de", terms=False), then="SIZE, NEW_PIECES = 900, 60")
    assert not shown.errors
    assert "\nno terms in this data root: what needs them is left out\n" in shown.text
    assert "\nno task with entities in this data root: they are left out\n" in shown.text
    assert "de, real text" in shown.pictures["de_pieces_per_word"]


def test_languages_are_compared(run: Any) -> None:
    shown = run("vocabulary_compare")
    assert not shown.errors
    assert fewer_after(shown) == {f"new fr+es+de {kind}, 900" for kind in ("WordPiece", "BPE", "Unigram")}
    assert set(shown.pictures) == {"compare_languages", "compare_overlap", "compare_audit"}
    assert all("fr, es, de, SYNTHETIC" in caption for caption in (*shown.pictures.values(), *shown.tables))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_bare(name: str) -> None:
    file = FOLDER / f"{name}.ipynb"
    book = nbformat.read(file, as_version=nbformat.NO_CONVERT)
    nbformat.validate(book)
    assert book.nbformat == 4
    assert [
        cell.id for cell in book.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)
    ] == []
    assert all(re.fullmatch("[a-z][a-z0-9-]+", cell.id) for cell in book.cells), "ids that say what the cell is"
    assert file.stat().st_size < 20_000
    assert not ABSOLUTE.findall("\n".join(cell.source for cell in book.cells))


def test_every_notebook_is_tested_and_languages_differ_in_their_first_cells_alone() -> None:
    assert [file.stem for file in sorted(FOLDER.glob("*.ipynb"))] == NAMES
    cells = [
        [cell.source for cell in nbformat.read(FOLDER / f"vocabulary_{code}.ipynb", as_version=4).cells[2:]]
        for code in ("fr", "es", "de")
    ]
    assert cells[0] == cells[1] == cells[2]


def test_pictures_are_small_of_real_text_and_all_shown() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not ABSOLUTE.findall(readme)
    assert sorted(re.findall(r"\]\(pictures/([^)]+)\)", readme)) == [file.name for file in PICTURES]
    for file in PICTURES:
        assert file.stat().st_size < 300 * 2**10, file.name
        assert title(file).endswith("real text"), file.name
