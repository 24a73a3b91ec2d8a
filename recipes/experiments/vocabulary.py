"""adapt vocabulary: what tokenizers do to a language, in tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd
from medlingua.languages import vocabulary, writers
from medlingua.languages.annotations import Example
from medlingua.languages.cases import generate_cases
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.permissions import Permission
from medlingua.languages.tasks import available, read_task
from medlingua.languages.terms import read_terms
from medlingua.recipes.console import say
from tokenizers import Tokenizer

_DOCUMENTS = 200  # of each corpus
_CASES = 100
_LISTED = 15
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Texts:
    """Where text comes from: a data root, files of one's own (with the column of their text), or both; from neither,
    synthetic cases."""

    root: Path | None = None
    paths: tuple[str, ...] = ()
    text_field: str | None = None


def study(
    folders: tuple[str, ...], lang: str, texts: Texts, out: Path | None, allow: tuple[Permission, ...] = ()
) -> str:
    """All tables as text; as CSV files too, with `out`. Words are counted on one's own files where they are given."""
    pack = load_pack(lang)
    tokenizers = {name: _tokenizer(folder, allow) for name, folder in by_name(folders).items()}
    if texts.root is not None and not texts.root.is_dir():
        raise InputError(f"--data {texts.root}: no such folder")
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file, and tables go into a folder: give another --out")
    tables = dict(_tables(tokenizers, pack, texts))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for frame, name in zip(tables.values(), _file_names(tables), strict=True):
            named = frame if frame.index.name is None else frame.reset_index()
            harmless(named).to_csv(out / f"{name}.csv", index=False)
    return "\n\n".join(f"{title}\n{_shown(frame)}" for title, frame in tables.items())


def _tokenizer(folder: str, allow: tuple[Permission, ...]) -> Tokenizer:
    """Of a tokenizer.json, or of a model folder whose tokenizer is in older files (vocab.txt, SentencePiece)."""
    path = Path(folder)
    if not path.is_dir() or (path / "tokenizer.json").exists():
        return vocabulary.read_tokenizer(folder, allow)
    from medlingua.adapters.encoder import read_tokenizer  # with it come torch and all models: seconds

    read = read_tokenizer(folder, None, allow)
    if not getattr(read, "is_fast", False):
        raise InputError(
            f"{folder}: its tokenizer is none of the tokenizers library (tokenizer.json, vocab.txt, SentencePiece): "
            "save it as a fast one where the model comes from"
        )
    of_library: Tokenizer = read.backend_tokenizer
    return of_library


def harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """The same cells, but that none begins a formula in a spreadsheet: words of a corpus may be anybody's."""
    return frame.map(lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell)


def _file_names(titles: Iterable[str]) -> list[str]:
    """A name for the file of each table, no two alike on any file system: a title may hold a path."""
    names: list[str] = []
    for title in titles:
        name = safe = writers.file_name(title.replace(",", "").replace(" ", "_").replace("/", "_"))
        number = 1
        while name.casefold() in map(str.casefold, names):
            number += 1
            name = f"{safe}-{number}"
        names.append(name)
    return names


def by_name(folders: Sequence[str]) -> dict[str, str]:
    """Each folder by its last part, or by its whole path where two end alike."""
    last = [Path(folder).name for folder in folders]
    return {folder if last.count(name) > 1 else name: folder for name, folder in zip(last, folders, strict=True)}


def _tables(tokenizers: Mapping[str, Tokenizer], pack: Pack, source: Texts) -> Iterator[tuple[str, pd.DataFrame]]:
    root = source.root
    texts = _own_texts(source) if source.paths else corpora(pack, root, _CASES if root is None else _DOCUMENTS)
    for name, documents in texts.items():
        real = root is not None or source.paths
        say(
            f"{name}: its first {len(documents)} documents"
            if real
            else f"no --data and no --corpus: words are counted on {_CASES} {name}"
        )
    yield "pieces per word", vocabulary.pieces_per_word(tokenizers, texts, pack.spacy)
    yield "lost, merged or changed", vocabulary.audit(tokenizers, pack)
    if root is None:
        say("without --data there are no terms and no entities: those tables are left out")
    else:
        of_words = vocabulary.medical_words(tokenizers, read_terms(pack, root), pack.spacy)
        yield "medical words in one piece", vocabulary.one_piece_share(of_words)
        yield "medical words by branch", vocabulary.one_piece_share(of_words, by_group=True)
        for name in tokenizers:
            yield f"most broken medical words, {name}", vocabulary.longest_broken(of_words, name, _LISTED)
        for task, examples in entities(pack, root):
            yield f"entities of {task}", vocabulary.entity_splits(tokenizers, examples)
    if len(tokenizers) > 1:
        shared = vocabulary.overlap(tokenizers)
        shared.index.name = "pieces of, also in"
        yield "overlap", shared
    yield "pieces that may be somebody's number", numbers(tokenizers)


def _own_texts(source: Texts) -> dict[str, list[str]]:
    """The first documents of each of one's own files or folders."""
    texts = {}
    for path in source.paths:
        read = read_documents(path, source=path, text_field=source.text_field)
        texts[path] = [document.text for document in islice(read, _DOCUMENTS)]
    return texts


def corpora(pack: Pack, root: Path | None, documents: int | None = None) -> dict[str, list[str]]:
    """The texts of the pack's corpora under a data root, by corpus, the first `documents` of each (None: all).

    Without a root: so many synthetic cases, under the name "synthetic cases". InputError where the root has no
    corpus of the language.
    """
    if root is None:
        cases = generate_cases(pack, _CASES if documents is None else documents, seed=0)
        return {"synthetic cases": [case.document.text for case in cases]}
    texts = {}
    for corpus in pack.corpora:
        if corpus.path is not None and (root / corpus.path).exists():
            read = read_documents(root / corpus.path, source=corpus.name, text_field=corpus.text_field)
            try:
                texts[corpus.name] = [document.text for document in islice(read, documents)]
            except InputError as error:
                say(f"corpus {corpus.name} is left out, which cannot be read: {error}")
    if not texts:
        raise InputError(f"no corpus of language {pack.code} under {root}; adapt fetch fills a data root")
    return texts


def entities(pack: Pack, root: Path) -> Iterator[tuple[str, tuple[Example, ...]]]:
    """The NER tasks under a data root by name. Train parts alone: test is looked at once, by the evaluation."""
    for spec in pack.tasks:
        if spec.kind == "ner" and available(spec, root):
            try:
                yield spec.name, read_task(spec, root, pack.code).train
            except InputError as error:
                say(f"task {spec.name} is left out, which cannot be read: {error}")


def numbers(tokenizers: Mapping[str, Tokenizer]) -> pd.DataFrame:
    """Pieces that may be somebody's number, one row a tokenizer: tokenizer, pieces (int), first (some of them)."""
    identifiers = {name: vocabulary.identifiers(tokenizer) for name, tokenizer in tokenizers.items()}
    rows = [(name, len(pieces), ", ".join(pieces[:_LISTED])) for name, pieces in identifiers.items()]
    return pd.DataFrame(rows, columns=["tokenizer", "pieces", "first"])


def _shown(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "none"
    return frame.to_string(index=frame.index.name is not None, max_colwidth=80, float_format="{:.3f}".format)
