"""adapt vocabulary: what tokenizers do to a language, in tables."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pandas as pd
from medlingua.languages import vocabulary
from medlingua.languages.annotations import Example
from medlingua.languages.cases import generate_cases
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.tasks import available, read_task
from medlingua.languages.terms import read_terms
from medlingua.recipes.console import say
from tokenizers import Tokenizer

_DOCUMENTS = 200  # of each corpus
_CASES = 100
_LISTED = 15


def study(folders: tuple[str, ...], lang: str, root: Path | None, out: Path | None) -> str:
    """All tables as text; as CSV files too, with `out`. Without a data root, on synthetic cases, and says so."""
    pack = load_pack(lang)
    tokenizers = {_name(folder, folders): vocabulary.read_tokenizer(folder) for folder in folders}
    if root is not None and not root.is_dir():
        raise InputError(f"--data {root}: no such folder")
    tables = dict(_tables(tokenizers, pack, root))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for title, frame in tables.items():
            frame.to_csv(out / f"{title.replace(',', '').replace(' ', '_')}.csv", index=frame.index.name is not None)
    return "\n\n".join(f"{title}\n{_shown(frame)}" for title, frame in tables.items())


def _name(folder: str, folders: tuple[str, ...]) -> str:
    names = [Path(other).name for other in folders]
    return Path(folder).name if names.count(Path(folder).name) == 1 else folder


def _tables(tokenizers: Mapping[str, Tokenizer], pack: Pack, root: Path | None) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "pieces per word", vocabulary.pieces_per_word(tokenizers, _corpora(pack, root), pack.spacy)
    yield "lost, merged or changed", vocabulary.audit(tokenizers, pack.code)
    if root is None:
        say("without --data there are no terms and no entities: those tables are left out")
    else:
        of_words = vocabulary.medical_words(tokenizers, read_terms(pack, root), pack.spacy)
        yield "medical words in one piece", vocabulary.one_piece_share(of_words)
        yield "medical words by branch", vocabulary.one_piece_share(of_words, by_group=True)
        for name in tokenizers:
            yield f"most broken medical words, {name}", vocabulary.longest_broken(of_words, name, _LISTED)
        for task, examples in _entities(pack, root):
            yield f"entities of {task}", vocabulary.entity_splits(tokenizers, examples)
    if len(tokenizers) > 1:
        shared = vocabulary.overlap(tokenizers)
        shared.index.name = "pieces of, also in"
        yield "overlap", shared
    numbers = {name: vocabulary.identifiers(tokenizer) for name, tokenizer in tokenizers.items()}
    yield (
        "pieces that may be somebody's number",
        pd.DataFrame(
            [(name, len(found), ", ".join(found[:_LISTED])) for name, found in numbers.items()],
            columns=["tokenizer", "pieces", "first"],
        ),
    )


def _corpora(pack: Pack, root: Path | None) -> dict[str, list[str]]:
    if root is None:
        say(f"no --data: words are counted on {_CASES} synthetic cases")
        return {"synthetic cases": [case.document.text for case in generate_cases(pack, _CASES, seed=0)]}
    found = {}
    for corpus in pack.corpora:
        if corpus.path is not None and (root / corpus.path).exists():
            documents = read_documents(root / corpus.path, source=corpus.name, text_field=corpus.text_field)
            found[corpus.name] = [document.text for document in islice(documents, _DOCUMENTS)]
            say(f"{corpus.name}: its first {len(found[corpus.name])} documents")
    if not found:
        raise InputError(f"no corpus of language {pack.code} under {root}; adapt fetch fills a data root")
    return found


def _entities(pack: Pack, root: Path) -> Iterator[tuple[str, tuple[Example, ...]]]:
    """Entities of the train part alone: test is looked at once, by the evaluation."""
    for spec in pack.tasks:
        if spec.kind == "ner" and available(spec, root):
            yield spec.name, read_task(spec, root, pack.code).train


def _shown(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "none"
    return frame.to_string(index=frame.index.name is not None, max_colwidth=80, float_format="{:.3f}".format)
