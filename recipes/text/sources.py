"""Which text a run reads, and why it may: the lab's own, the pack's corpora, or synthetic cases where asked for."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medlingua.languages.cases import generate_cases
from medlingua.languages.documents import Document, read_documents
from medlingua.languages.errors import InputError, nearest, reason
from medlingua.languages.pack import Corpus, Pack
from medlingua.recipes.settings import Run

if TYPE_CHECKING:
    from pandas import DataFrame

SYNTHETIC = "synthetic"  # --corpus synthetic
CASE_WORDS = (60, 900)  # shortest and longest synthetic case


@dataclass(frozen=True, slots=True)
class Source:
    """One corpus that will be read. `path` is where it lies, or "synthetic", or hub:id."""

    name: str
    path: str
    text_field: str | None
    licence: str
    licence_source: str
    non_commercial: bool = False
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    sources: tuple[Source, ...]
    left_out: tuple[str, ...]  # a line each: which corpus, why, how to use it


def select(run: Run, pack: Pack) -> Selection:
    """The corpora of a run: those given with --corpus, else those named, else what the data root has of the pack.

    Restricted ones only when named or allowed; InputError when nothing remains.
    """
    own: tuple[Source, ...] = ()
    for path in run.data.paths:
        if path == SYNTHETIC:
            own += (_synthetic(pack),)
            continue
        own += (_own(path, run.data.text_field, {s.name for s in own} | {c.name for c in pack.corpora}),)
    named = run.data.corpora or tuple(m.corpus for m in run.data.mixture if m.corpus not in {s.name for s in own})
    if not (own or run.data.root or named):
        raise InputError(f"no text to train on: {remedy(pack)}")
    chosen: list[Source] = list(own)
    left_out: list[str] = []
    if named:
        chosen += [_named(name, run, pack) for name in named]
    elif run.data.root and not own:
        root = _root(run.data.root)
        for corpus in pack.corpora:
            if corpus.path is None or not (root / corpus.path).exists():
                continue
            allowed = corpus.non_commercial and "non-commercial" in run.allow
            if corpus.restricted and not allowed:
                flag = "--allow non-commercial, or " if corpus.non_commercial else ""
                left_out.append(
                    f"corpus {corpus.name} is left out ({corpus.restriction}): {flag}name it in data.corpora"
                )
                continue
            chosen.append(_under(root, corpus))
    if not chosen:
        raise InputError(
            f"no corpus of language {pack.code} to read under {run.data.root}: "
            + ("; ".join(left_out) or f"none of the pack's files is there; {remedy(pack)}")
        )
    return Selection(tuple(chosen), tuple(left_out))


def read(source: Source, pack: Pack, run: Run) -> Iterator[Document]:
    """The documents of a source, streamed."""
    if source.synthetic and source.path == SYNTHETIC:
        for case in generate_cases(pack, run.data.synthetic_documents, run.train.seed, CASE_WORDS):
            yield case.document
    elif source.path.startswith("hub:"):
        yield from _read_hub(source)
    else:
        yield from read_documents(source.path, source=source.name, text_field=source.text_field)


def _own(path: str, text_field: str | None, taken: set[str]) -> Source:
    if not Path(path).exists() and not glob.has_magic(path):
        raise InputError(f"--corpus {path}: no such file, folder or pattern")
    name = Path(path).name.split(".")[0].replace("*", "all") or "corpus"
    if name in taken:  # a/notes.txt and b/notes.txt
        name = next(f"{name}_{n}" for n in range(2, len(taken) + 3) if f"{name}_{n}" not in taken)
    if Path(path).suffix == ".parquet" and Path(path).is_file():
        from medlingua.languages.parquet import terms_of

        if terms := terms_of(Path(path)):  # adapt select scored a corpus, which stays whose it was
            return _scored(name, path, text_field, terms)
    return Source(name, path, text_field, "the lab's own", "given with --corpus")


def write_scored(table: "DataFrame", source: Source, file: Path) -> None:
    """A parquet file of a source's scored text, which says under what terms the source was read."""
    import pyarrow as pa
    from medlingua.languages.parquet import write_table

    terms: dict[str, str | bool] = {
        "licence": source.licence,
        "licence_source": source.licence_source,
        "non_commercial": source.non_commercial,
        "synthetic": source.synthetic,
    }
    write_table(pa.Table.from_pandas(table, preserve_index=False), file, terms)


def _scored(name: str, path: str, text_field: str | None, terms: dict[str, str | bool]) -> Source:
    try:
        return Source(
            name, path, text_field, str(terms["licence"]), str(terms["licence_source"]),
            bool(terms["non_commercial"]), bool(terms["synthetic"]),
        )  # fmt: skip
    except KeyError as error:
        raise InputError(f"{path}: its terms of use lack {error}; score the corpus again") from error


def _root(folder: str) -> Path:
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"--data {folder}: no such folder")
    return root


def remedy(pack: Pack) -> str:
    """What to run where there is no text, in words."""
    free = [corpus.name for corpus in pack.corpora if (corpus.hub or corpus.address) and not corpus.restricted]
    fetch = f"adapt fetch --lang {pack.code} --data ROOT"
    listed = f" (free to use: {', '.join(free)})" if free else ""
    return (
        f"give your own text with --corpus FILES, or the pack's corpora with --data ROOT, which '{fetch}' "
        f"fills{listed}; --corpus {SYNTHETIC} takes generated cases, to try a command out"
    )


def _synthetic(pack: Pack) -> Source:
    if Path(SYNTHETIC).exists():
        raise InputError(
            f"--corpus {SYNTHETIC} means generated cases, and there is a file or folder of that name: write "
            f"./{SYNTHETIC} to read it, or run from another folder"
        )
    return Source(f"synthetic_{pack.code}", SYNTHETIC, None, "Apache-2.0", "written for medlingua", synthetic=True)


def _under(root: Path, corpus: Corpus) -> Source:
    assert corpus.path is not None
    return Source(
        corpus.name, str(root / corpus.path), corpus.text_field, corpus.licence or "not stated",
        corpus.licence_source, corpus.non_commercial,
    )  # fmt: skip


def _named(name: str, run: Run, pack: Pack) -> Source:
    corpus = next((c for c in pack.corpora if c.name == name), None)
    if corpus is None:
        raise InputError(f"data.corpora: unknown corpus '{name}' ({nearest(name, [c.name for c in pack.corpora])})")
    if corpus.path is not None and run.data.root is not None:
        root = _root(run.data.root)
        if not (root / corpus.path).exists():
            raise InputError(f"corpus {name}: {root / corpus.path} does not exist; adapt fetch fills a data root")
        return _under(root, corpus)
    if corpus.hub is not None:
        at = f"hub:{corpus.hub}" + (f"@{corpus.revision}" if corpus.revision else "")
        licence = corpus.licence or "not stated"
        return Source(name, at, corpus.text_field, licence, corpus.licence_source, corpus.non_commercial)
    raise InputError(f"corpus {name} lies under a data root ({corpus.path}): say where with --data ROOT")


def _read_hub(source: Source) -> Iterator[Document]:
    from datasets import load_dataset

    name, _, revision = source.path.removeprefix("hub:").partition("@")
    field = source.text_field or "text"
    try:
        rows = load_dataset(name, split="train", revision=revision or None, streaming=True)
        for number, row in enumerate(rows):
            if field not in row:
                raise InputError(f"corpus {source.name}: no column '{field}' on the hub ({nearest(field, row)})")
            meta = {k: v for k, v in row.items() if k != field and isinstance(v, str | int | float | bool | None)}
            yield Document(str(row.get("id", number)), row[field], source.name, meta)
    except (OSError, ConnectionError, ValueError) as error:
        raise InputError(
            f"corpus {source.name}: {name} cannot be read from the hub ({reason(error)}). "
            "Without a network give files with --corpus, or a data root with --data"
        ) from error
