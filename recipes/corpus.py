"""From documents to token shards: de-duplicate, leave out what tasks test on, hold out, tokenize, write.

For each corpus a folder with its tokens end to end, in the smallest unsigned integer that fits the
vocabulary, and where each document starts. Everything streams: memory does not grow with the text.
"""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from medlingua.languages.compounds import Compounds, count_words, in_parts
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack
from medlingua.languages.words import cut, nfc, words
from medlingua.recipes.console import progress
from medlingua.recipes.filters import compile_filter
from medlingua.recipes.folder import check_digests, check_seal, digest, seal
from medlingua.recipes.overlap import OverlapCheck
from medlingua.recipes.settings import Mixture, Run
from medlingua.recipes.sources import Selection, Source, read
from medlingua.reports.rows import CorporaRow, CorpusRow, OverlapRow

Units = Callable[[str], Sequence[tuple[int, int]]]  # the words of a text, as ranges of characters

_BATCH_CHARS = 1_000_000  # tokenized at once: enough to keep the tokenizer's threads busy
_PIECE_CHARS = 20_000  # longer documents are tokenized in pieces cut at sentence ends


@dataclass(frozen=True, slots=True)
class Shard:
    """One corpus, tokenized. N documents of T tokens in all.

    tokens: (T,) uint16 or uint32, memory-mapped. starts: (N + 1,) int64. keys: (N,) uint64, from the text:
    they seed the masks. accepts: (N,) uint64, bit i says that filter i takes the document.
    word_starts: (T,) bool, memory-mapped, where words begin; None unless whole words are masked.
    """

    name: str
    tokens: np.ndarray
    starts: np.ndarray
    keys: np.ndarray
    accepts: np.ndarray
    word_starts: np.ndarray | None
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A document kept from training, to measure bits per byte on."""

    id: str
    corpus: str
    text: str


class Prepared(NamedTuple):
    shards: tuple[Shard, ...]
    held_out: tuple[HeldOut, ...]
    row: CorporaRow


def prepare(
    run: Run,
    pack: Pack,
    selection: Selection,
    tokenizer: Any,
    folder: Path,
    tested: dict[str, list[str]],
    unchecked: tuple[str, ...],
    report: Callable[[str], None],
) -> Prepared:
    """Shards of the run's corpora in `folder`, or those that a finished earlier call left there.

    tokenizer: a fast transformers tokenizer. tested: texts of each task's test documents; a document that
    shares `data.overlap_words` words in a row with one is left out and counted. Written beside `folder` and
    renamed when whole. InputError for an empty corpus and for what the readers refuse.
    """
    made = (folder / "corpora.json").exists()
    if not made:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _write(run, pack, selection, tokenizer, partial, tested, unchecked, report)
            seal(partial, (*partial.glob("*.json*"), *partial.glob("*/shard.json")))
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(folder)
    return opened(folder, tokenizer, check=made)


class Kept(NamedTuple):
    """A document that passed: its text in NFC, its digest, the filters that take it, whether it is held out."""

    id: str
    text: str
    digest: bytes
    accepted: int
    held_out: bool


class Cleaner:
    """What becomes of each document of a run: left out and counted, held out, or trained on.

    Holds what must be remembered between corpora: the digests seen. Every corpus gives its share of the
    held-out documents: bits per byte on the first corpus alone would not speak for the others.
    """

    def __init__(self, run: Run, pack: Pack, corpora: int, tested: dict[str, list[str]]) -> None:
        self._run, self._pack = run, pack
        self._held_out_each = max(1, run.data.held_out_documents // corpora)
        self._check = OverlapCheck(tested, run.data.overlap_words)
        self._seen: set[bytes] = set()
        self.overlapping: Counter[str] = Counter()

    def kept(self, source: Source, counts: Counter[str]) -> Iterator[Kept]:
        """The documents of one corpus that remain, streamed; `counts` says what happened to the others."""
        filters = filters_of(self._run, source.name)
        held = 0
        tests = [compile_filter(f, source.name) if f else None for f in filters]
        for document in read(source, self._pack, self._run):
            counts["read"] += 1
            text = nfc(document.text).strip()
            columns = {"id": document.id, **document.meta}
            accepted = sum(1 << i for i, test in enumerate(tests) if test is None or test(columns))
            digest = hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
            if not text:
                counts["empty"] += 1
            elif not accepted:
                counts["filtered"] += 1
            elif digest in self._seen:
                counts["duplicates"] += 1
            elif hits := self._check.tasks_in(text):
                counts["overlapping"] += 1
                self.overlapping.update(hits)
            else:
                self._seen.add(digest)
                drawn = int.from_bytes(digest[8:12], "big") < self._run.data.held_out * 2**32
                held_out = drawn and held < self._held_out_each
                held += held_out
                yield Kept(document.id, text, digest, accepted, held_out)
        if not counts["read"] or counts["empty"] == counts["read"]:
            raise InputError(f"corpus {source.name} ({source.path}) is empty: no text in {counts['read']} documents")
        if counts["filtered"] == counts["read"] - counts["empty"]:
            raise InputError(
                f"corpus {source.name}: the filter {' / '.join(filters)} lets none of {counts['read']} documents pass"
            )


def training_texts(run: Run, pack: Pack, selection: Selection, tested: dict[str, list[str]]) -> Iterator[str]:
    """The texts that will be trained on, streamed: what a new vocabulary is learnt from."""
    cleaner = Cleaner(run, pack, len(selection.sources), tested)
    for source in selection.sources:
        for kept in cleaner.kept(source, Counter()):
            if not kept.held_out:
                for start, end in cut(kept.text, _PIECE_CHARS, pack.spacy):
                    yield kept.text[start:end]


def _write(
    run: Run,
    pack: Pack,
    selection: Selection,
    tokenizer: Any,
    folder: Path,
    tested: dict[str, list[str]],
    unchecked: tuple[str, ...],
    report: Callable[[str], None],
) -> None:
    began = time.perf_counter()
    cleaner = Cleaner(run, pack, len(selection.sources), tested)
    units = _units(run, pack, training_texts(run, pack, selection, tested))
    rows = []
    with (folder / "held_out.jsonl").open("w", encoding="utf-8") as held_out:
        for source in selection.sources:
            counts: Counter[str] = Counter()
            with (
                _Writer(folder / source.name, tokenizer, units, pack.spacy) as writer,
                progress(f"reading {source.name}", None) as bar,
            ):
                batch, chars = list[Kept](), 0
                for kept in cleaner.kept(source, counts):
                    if kept.held_out:
                        counts["held_out"] += 1
                        about = {"id": kept.id, "corpus": source.name, "text": kept.text}
                        held_out.write(json.dumps(about, ensure_ascii=False) + "\n")
                        continue
                    batch.append(kept)
                    chars += len(kept.text)
                    if chars >= _BATCH_CHARS:
                        writer.add(batch)
                        bar.update(counts["read"], f"{counts['read']:,} documents, {writer.tokens:,} tokens")
                        batch, chars = [], 0
                writer.add(batch)
                writer.finish(filters_of(run, source.name))
            if counts["empty"]:
                report(f"{source.name}: {counts['empty']} documents without any text are left out")
            rows.append(_row(source, counts, writer, run))
    row = CorporaRow(
        corpora=tuple(rows),
        overlap=tuple(
            OverlapRow(task=task, test_documents=len(texts), overlapping=cleaner.overlapping[task])
            for task, texts in tested.items()
        ),
        unchecked=unchecked,
        vocabulary_size=len(tokenizer),
        seconds=time.perf_counter() - began,
    )
    (folder / "corpora.json").write_text(row.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _row(source: Source, counts: Counter[str], writer: "_Writer", run: Run) -> CorpusRow:
    repeats = [m.repeat for phase in run.phases for m in phase.mixture if m.corpus == source.name]
    return CorpusRow(
        name=source.name,
        path=source.path,
        licence=source.licence,
        licence_source=source.licence_source,
        non_commercial=source.non_commercial,
        synthetic=source.synthetic,
        documents_read=counts["read"],
        filtered=counts["filtered"] + counts["empty"],
        duplicates=counts["duplicates"],
        overlapping=counts["overlapping"],
        held_out=counts["held_out"],
        documents=writer.documents,
        tokens=writer.tokens,
        repeat=max(repeats, default=1.0),
    )


def filters_of(run: Run, corpus: str) -> tuple[str, ...]:
    """The distinct filters that the phases put on a corpus, "" for none."""
    mixtures = [m for phase in run.phases for m in phase.mixture if m.corpus == corpus]
    return tuple(dict.fromkeys(m.filter for m in mixtures)) or ("",)


class _Writer:
    """Appends documents to one corpus's token file."""

    def __init__(self, folder: Path, tokenizer: Any, units: Units | None, code: str) -> None:
        folder.mkdir()
        self._folder, self._tokenizer, self._code, self._units = folder, tokenizer, code, units
        self._dtype = token_dtype(len(tokenizer))
        self._starts, self._keys, self._accepts = [0], list[int](), list[int]()
        self._tokens = (folder / "tokens.bin").open("wb")
        self._word_starts = (folder / "word_starts.bin").open("wb") if units else None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self._tokens.close()
        if self._word_starts:
            self._word_starts.close()

    @property
    def documents(self) -> int:
        return len(self._keys)

    @property
    def tokens(self) -> int:
        return self._starts[-1]

    def add(self, batch: list[Kept]) -> None:
        pieces, owners = [], []
        for number, kept in enumerate(batch):
            ranges = cut(kept.text, _PIECE_CHARS, self._code)
            pieces += [kept.text[start:end] for start, end in ranges]
            owners += [number] * len(ranges)
        backend = self._tokenizer.backend_tokenizer
        # The fast form makes no offsets; words are told by them.
        encode = backend.encode_batch if self._word_starts else backend.encode_batch_fast
        lengths = np.zeros(len(batch), dtype=np.int64)
        encodings = encode(pieces, add_special_tokens=False)
        for owner, text, encoding in zip(owners, pieces, encodings, strict=True):
            ids = np.array(encoding.ids, dtype=np.uint32)
            lengths[owner] += len(ids)
            # Not ndarray.tofile: on a full disk it loses what it buffers, and says nothing.
            self._tokens.write(narrowed(ids, self._dtype).tobytes())
            if self._word_starts and self._units:
                self._word_starts.write(word_begins(encoding.offsets, self._units(text)).tobytes())
        for length, kept in zip(lengths.tolist(), batch, strict=True):
            if length:  # a text of characters that the tokenizer drops has no tokens
                self._starts.append(self._starts[-1] + length)
                self._keys.append(int.from_bytes(kept.digest[:8], "big"))
                self._accepts.append(kept.accepted)

    def finish(self, filters: tuple[str, ...]) -> None:
        np.save(self._folder / "starts.npy", np.array(self._starts, dtype=np.int64))
        np.save(self._folder / "keys.npy", np.array(self._keys, dtype=np.uint64))
        np.save(self._folder / "accepts.npy", np.array(self._accepts, dtype=np.uint64))
        self.__exit__()
        about = {
            "dtype": self._dtype.name,
            "vocabulary_size": len(self._tokenizer),
            "tokenizer": tokenizer_digest(self._tokenizer),
            "filters": filters,
            "words": self._word_starts is not None,
            "digests": {path.name: digest(path) for path in sorted(self._folder.iterdir())},
        }
        (self._folder / "shard.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def word_begins(offsets: Sequence[tuple[int, int]], ranges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which pieces begin a word, (pieces,) bool. offsets: characters of each piece; ranges: of each word, ascending.

    A piece belongs to the word that its last character stands in; white space alone, to the word behind it.
    """
    of_piece = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    starts, ends = np.array([(0, 0), *ranges], dtype=np.int64)[1:].reshape(-1, 2).T
    last = np.maximum(of_piece[:, 1] - 1, of_piece[:, 0])
    word = np.searchsorted(starts, last, side="right")
    word += last >= np.concatenate([[0], ends])[word]
    begins = np.ones(len(of_piece), dtype=np.bool_)
    begins[1:] = word[1:] != word[:-1]
    return begins


def _units(run: Run, pack: Pack, texts: Iterator[str]) -> Units | None:
    """What a word is to whole-word masking; None where pieces are masked. texts: read for compounds alone."""
    if all(phase.unit == "piece" for phase in run.phases):
        return None
    if run.objective.compounds == "whole":
        return partial(words, code=pack.spacy)
    if not pack.compound_links:
        raise InputError(
            f"objective.compounds 'parts': the pack of {pack.code} names no compound_links, so its words stay whole"
        )
    compounds = Compounds(count_words(_shown(texts), pack.spacy), pack.compound_links)
    return lambda text: in_parts(text, words(text, pack.spacy), compounds)


def _shown(texts: Iterator[str]) -> Iterator[str]:
    with progress("counting words", None) as bar:
        for number, text in enumerate(texts, 1):
            yield text
            bar.update(number, f"{number:,} documents")


def token_dtype(vocabulary: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if vocabulary <= 2**16 else np.uint32)


def narrowed(ids: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """ids as dtype; ValueError where one does not fit: numpy itself wraps silently (TRAPS T16)."""
    if len(ids) and int(ids.max()) > np.iinfo(dtype).max:
        raise ValueError(f"token id {int(ids.max())} does not fit {dtype.name}")
    return ids.astype(dtype)


def tokenizer_digest(tokenizer: Any) -> str:
    return hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=16).hexdigest()


def opened(folder: Path, tokenizer: Any, check: bool = False) -> Prepared:
    """What prepare() left in `folder`; check: InputError where a file is no longer what was written."""
    if check:
        check_seal(folder)
    row = CorporaRow.model_validate_json((folder / "corpora.json").read_text(encoding="utf-8"))
    # By lines of the file: str.splitlines also cuts at U+2028 and U+0085, which real text holds.
    with (folder / "held_out.jsonl").open(encoding="utf-8") as lines:
        held_out = tuple(HeldOut(**json.loads(line)) for line in lines)
    return Prepared(tuple(open_shard(folder / c.name, tokenizer, check) for c in row.corpora), held_out, row)


def open_shard(folder: Path, tokenizer: Any, check: bool = False) -> Shard:
    """A shard as it was written; InputError where another tokenizer made it or, with `check`, where it is damaged."""
    about = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
    if about["tokenizer"] != tokenizer_digest(tokenizer):
        raise InputError(
            f"shard {folder} was made with another tokenizer ({about['vocabulary_size']} pieces; the model has "
            f"{len(tokenizer)}); remove the folder to make it anew"
        )
    if check:
        check_digests(folder, about["digests"], f"shard {folder}", folder.parent)
    starts = np.load(folder / "starts.npy")

    def mapped(name: str, dtype: Any) -> np.ndarray:
        if not starts[-1]:
            return np.empty(0, dtype=dtype)
        # A plain view: each slice of a memmap object costs as much as masking a short document.
        return np.memmap(folder / name, dtype=dtype, mode="r", shape=(int(starts[-1]),)).view(np.ndarray)

    return Shard(
        folder.name,
        mapped("tokens.bin", np.dtype(about["dtype"])),
        starts,
        np.load(folder / "keys.npy"),
        np.load(folder / "accepts.npy"),
        mapped("word_starts.bin", np.bool_) if about["words"] else None,
        tuple(about["filters"]),
    )


def mixture_of(shards: tuple[Shard, ...], mixture: tuple[Mixture, ...]) -> tuple[tuple[Shard, Mixture], ...]:
    """Each shard of a phase with its entry; all shards, once a pass, where the phase lists none."""
    if not mixture:
        return tuple((shard, Mixture(corpus=shard.name)) for shard in shards)
    by_name = {shard.name: shard for shard in shards}
    missing = [m.corpus for m in mixture if m.corpus not in by_name]
    if missing:
        raise InputError(
            f"mixture: no corpus {', '.join(missing)} in this run (it reads: {', '.join(sorted(by_name))})"
        )
    return tuple((by_name[m.corpus], m) for m in mixture)
