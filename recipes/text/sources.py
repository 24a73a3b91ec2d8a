"""Which text a run reads, and why it may: the lab's own, the pack's corpora, or synthetic cases where asked for."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medlingua.languages.cases import generate_cases
from medlingua.languages.documents import Document, check_first_rows, read_documents
from medlingua.languages.errors import InputError, nearest
from medlingua.languages.folders import files_of
from medlingua.languages.pack import Corpus, Pack, known_languages, load_pack
from medlingua.recipes.settings import WITHOUT_CORPUS, Run
from medlingua.recipes.text.hub import read_hub

if TYPE_CHECKING:
    from pandas import DataFrame

SYNTHETIC = "synthetic"  # --corpus synthetic
CASE_WORDS = (60, 900)  # shortest and longest synthetic case


@dataclass(frozen=True, slots=True)
class Source:
    """One corpus that will be read. `path` is where it lies, or "synthetic", or hub:id.

    hub: its id there, also where it was fetched; with `revision`, `config` and `split`."""

    name: str
    path: str
    text_field: str | None
    licence: str
    licence_source: str
    non_commercial: bool = False
    synthetic: bool = False
    hub: str | None = None
    revision: str | None = None
    config: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    sources: tuple[Source, ...]
    left_out: tuple[str, ...]  # a line each: which corpus or files, why, how to use them


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
        chosen += [_named(name, run, pack, own) for name in named]
    elif run.data.root and not own:
        root = _root(run.data.root)
        for corpus in pack.corpora:
            if corpus.place is None or not (root / corpus.place).exists():
                continue
            allowed = corpus.non_commercial and "non-commercial" in run.allow
            if corpus.restricted and not allowed:
                flag = "--allow non-commercial, or " if corpus.non_commercial else ""
                left_out.append(
                    f"corpus {corpus.name} is left out ({corpus.restriction}): {flag}name it in data.corpora"
                )
                continue
            source = _under(root, corpus)
            try:
                next(read(source, pack, run), None)
            except InputError as error:  # one that nobody named stops no run
                left_out.append(f"corpus {corpus.name} is left out, which cannot be read: {error}")
                continue
            chosen.append(source)
    unnamed = _unnamed(chosen, run)
    for source in unnamed:
        if source in own or source.name in run.data.corpora:
            raise InputError(
                f"data.mixture does not name corpus '{source.name}', which the run is given: name it, or leave it out"
            )
        left_out.append(f"corpus {source.name} is left out: data.mixture does not name it")
    chosen = [source for source in chosen if source not in unnamed]
    for source in own:
        if source.path != SYNTHETIC:
            check_first_rows(source.path, text_field=source.text_field)
    left_out += [line for source in chosen if (line := _unread(source))]
    if not chosen:
        raise InputError(
            f"no corpus of language {pack.code} to read under {run.data.root}: "
            + ("; ".join(left_out) or f"none of the pack's files is there; {remedy(pack)}")
        )
    return Selection(tuple(chosen), tuple(left_out))


def _unnamed(sources: Sequence[Source], run: Run) -> list[Source]:
    """Those that no phase would train on."""
    mixtures = [phase.mixture for phase in run.phases if phase.kind not in WITHOUT_CORPUS]
    if not mixtures or not all(mixtures):
        return []
    named = {entry.corpus for mixture in mixtures for entry in mixture}
    return [source for source in sources if source.name not in named]


def read(source: Source, pack: Pack, run: Run) -> Iterator[Document]:
    """The documents of a source, streamed."""
    if source.synthetic and source.path == SYNTHETIC:
        for case in generate_cases(pack, run.data.synthetic_documents, run.train.seed, CASE_WORDS):
            yield case.document
    elif source.hub is not None:
        local = None if source.path.startswith("hub:") else source.path
        yield from read_hub(
            source.name, local or source.hub, text_field=source.text_field or "text", config=source.config,
            split=source.split, revision=None if local else source.revision,
        )  # fmt: skip
    else:
        yield from read_documents(source.path, source=source.name, text_field=source.text_field)


def _unread(source: Source) -> str:
    """A line on what a folder or an archive holds and is not read."""
    if source.hub is not None or source.path == SYNTHETIC:
        return ""
    note = files_of(source.path).note
    return f"corpus {source.name}: {source.path} also has files that are not read: {note}" if note else ""


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
    free = [corpus.name for corpus in pack.corpora if (corpus.hub or corpus.download) and not corpus.restricted]
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
    assert corpus.place is not None
    return _source(corpus, str(root / corpus.place), corpus.hub if corpus.path is None else None)


def _source(corpus: Corpus, path: str, hub: str | None) -> Source:
    return Source(
        corpus.name, path, corpus.text_field, corpus.licence or "not stated", corpus.licence_source,
        corpus.non_commercial, hub=hub, revision=corpus.revision, config=corpus.config, split=corpus.split,
    )  # fmt: skip


def _elsewhere(name: str, pack: Pack, given: list[str]) -> str:
    """The language whose pack has such a corpus, or the corpora that are given and those that this one has."""
    known = [*given, *(corpus.name for corpus in pack.corpora)]
    others = (code for code in known_languages() if code != pack.code)
    where = [code for code in others if any(corpus.name == name for corpus in load_pack(code).corpora)]
    return f"it is one of --lang {where[0]}" if where else nearest(name, known)


def _named(name: str, run: Run, pack: Pack, own: tuple[Source, ...]) -> Source:
    corpus = next((c for c in pack.corpora if c.name == name), None)
    if corpus is None:
        of_pack = f"the pack of {pack.code} has no corpus '{name}'"
        if run.data.corpora:
            raise InputError(f"data.corpora: {of_pack}: {_elsewhere(name, pack, [])}")
        elsewhere = _elsewhere(name, pack, [source.name for source in own])
        raise InputError(f"data.mixture: {of_pack}, and --corpus gives none of that name: {elsewhere}")
    if corpus.place is not None and run.data.root is not None:
        root = _root(run.data.root)
        if (root / corpus.place).exists():
            return _under(root, corpus)
        if corpus.path is not None:
            raise InputError(f"corpus {name}: {root / corpus.path} does not exist; adapt fetch fills a data root")
    if corpus.hub is not None:
        at = f"hub:{corpus.hub}" + (f"@{corpus.revision}" if corpus.revision else "")
        return _source(corpus, at, corpus.hub)
    raise InputError(f"corpus {name} lies under a data root ({corpus.path}): say where with --data ROOT")
