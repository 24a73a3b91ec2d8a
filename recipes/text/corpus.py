"""From documents to token shards: de-duplicate, leave out what tasks test on, hold out, tokenize, write.

For each corpus a folder with its tokens end to end, in the smallest unsigned integer that fits the
vocabulary, and where each document starts. Everything streams: memory does not grow with the text.
"""

import hashlib
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from medlingua.languages.compounds import Compounds, count_words, in_parts
from medlingua.languages.errors import InputError
from medlingua.languages.overlap import OverlapCheck
from medlingua.languages.word_runs import hash_words
from medlingua.languages.words import compared_words, cut, nfc, words
from medlingua.recipes.console import progress, say
from medlingua.recipes.folder import check_seal, seal
from medlingua.recipes.settings import WITHOUT_CORPUS, Data, Mixture, Run
from medlingua.recipes.text.changes import note_files
from medlingua.recipes.text.filters import compile_filter
from medlingua.recipes.text.inputs import Inputs
from medlingua.recipes.text.near_duplicates import NearDuplicates
from medlingua.recipes.text.shards import PIECE_CHARS, Cleaned, Shard, ShardWriter, Units, open_shard
from medlingua.recipes.text.sources import Source, read
from medlingua.reports.rows import CorporaRow, CorpusRow, OverlapRow

_SURELY = 0.95  # chance that one document at least is held out
_BATCH_CHARS = 1_000_000  # tokenized at once: enough to keep the tokenizer's threads busy


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


def why_none_held_out(prepared: Prepared, data: Data) -> str:
    """Why no document is there to measure on, and what to do, in words."""
    if prepared.held_out:
        return "the held-out documents have no words to predict; give longer documents"
    documents, share = sum(row.documents for row in prepared.row.corpora), data.held_out
    if not share:
        return "data.held_out = 0 holds no document out; set it to 0.05 or more"
    enough = math.ceil(math.log(1 - _SURELY) / math.log(1 - share))
    if documents == 1:
        return f"the text is one document, and it is trained on; split it, or give {enough:,} documents or more"
    larger = math.ceil(100 * (1 - (1 - _SURELY) ** (1 / max(documents, 4)))) / 100
    if documents >= enough:  # once in twenty times
        return f"by chance none of {documents:,} documents was drawn; set data.held_out = {min(0.5, 2 * share):g}"
    remedy = f"give {enough:,} documents or more"
    if larger > share:
        remedy += f", or set data.held_out = {larger:g}"
    return f"of {documents:,} documents none was drawn at data.held_out = {share:g}; {remedy}"


class Part(NamedTuple):
    """One of `of` parts of all text, counted from 1.

    A document is in the part that its digest falls to. Its near-duplicates may be in others, so every part looks for
    them in all text, and the parts need to know nothing of each other.
    """

    number: int
    of: int

    def includes(self, digest: bytes) -> bool:
        return int.from_bytes(digest[12:], "big") % self.of == self.number - 1


ALL_TEXT = Part(1, 1)


def prepare(inputs: Inputs, tokenizer: Any, folder: Path, part: Part = ALL_TEXT) -> Prepared:
    """Shards of the run's corpora in `folder`, or those that a finished earlier call left there.

    tokenizer: a fast transformers tokenizer. A document that shares `data.overlap_words` words in a row with a test
    document of a task, or has all of a shorter one, is left out and counted, and so is a near-duplicate. Written
    under another name and renamed when whole. part: of the documents, and its share of those held out. InputError
    for an empty corpus and for what the readers refuse.
    """
    exists = folder.exists()
    if not exists:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _write(inputs, tokenizer, partial, part)
            seal(partial, (*partial.glob("*.json*"), *partial.glob("*/shard.json")))
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(folder)
    return open_prepared(folder, tokenizer, check=exists)


class Cleaner:
    """What becomes of each document of a run: left out and counted, held out, or trained on.

    Holds what must be remembered between corpora: the digests seen, and what near-duplicates are found by. As they
    are left out, no document that is held out has one in training. Every corpus gives its share of the held-out
    documents: bits per byte on the first corpus alone would not speak for the others.
    """

    def __init__(self, inputs: Inputs, part: Part = ALL_TEXT) -> None:
        run, corpora = inputs.run, len(inputs.selection.sources)
        self._run, self._pack, self._part = run, inputs.pack, part
        self._held_out_each = max(1, run.data.held_out_documents // corpora // part.of)
        self._check = OverlapCheck(inputs.tasks.test_texts, run.data.overlap_words)
        self._near = NearDuplicates(run.data.near_duplicates) if run.data.near_duplicates else None
        self._seen: set[bytes] = set()
        self.overlapping: Counter[str] = Counter()

    @property
    def whole_only(self) -> dict[str, int]:
        """By task, test documents that are too short to be looked for inside others."""
        return self._check.whole_only

    def clean(self, source: Source, counts: Counter[str]) -> Iterator[Cleaned]:
        """The documents of one corpus that remain, streamed; `counts` says what happened to the others."""
        filters = filters_of(self._run, source.name)
        held = 0
        tests = [compile_filter(f, source.name) if f else None for f in filters]
        elsewhere = 0
        for document in read(source, self._pack, self._run):
            text = nfc(document.text).strip()
            digest = hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
            own = self._part.includes(digest)
            if not own and self._near is None:
                elsewhere += 1
                continue
            columns = {"id": document.id, **document.meta}
            accepted = sum(1 << i for i, test in enumerate(tests) if test is None or test(columns))
            reason, hits = self._reason_against(text, digest, accepted)
            if not own:
                elsewhere += 1
                continue
            counts["read"] += 1
            if reason:
                counts[reason] += 1
                self.overlapping.update(hits)
            else:
                drawn = int.from_bytes(digest[8:12], "big") < self._run.data.held_out * 2**32
                held_out = drawn and held < self._held_out_each
                held += held_out
                yield Cleaned(document.id, text, digest, accepted, held_out)
        if elsewhere:
            return  # of a corpus that is not empty a part may be
        if not counts["read"] or counts["empty"] == counts["read"]:
            raise InputError(f"corpus {source.name} ({source.path}) is empty: no text in {counts['read']} documents")
        if counts["filtered"] == counts["read"] - counts["empty"]:
            raise InputError(
                f"corpus {source.name}: the filter {' / '.join(filters)} lets none of {counts['read']} documents pass"
            )

    def _reason_against(self, text: str, digest: bytes, accepted: int) -> tuple[str, frozenset[str]]:
        """Why a document is left out, "" where it is not, and the tasks whose test documents it holds."""
        if not text:
            return "empty", frozenset()
        if not accepted:
            return "filtered", frozenset()
        if digest in self._seen:
            return "duplicates", frozenset()
        hashed = hash_words(compared_words(text))
        if hits := self._check.tasks_in(hashed):
            return "overlapping", hits
        self._seen.add(digest)
        if self._near is not None and self._near.nearest(hashed) is not None:
            return "near_duplicates", frozenset()
        return "", frozenset()


def training_documents(inputs: Inputs) -> Iterator[str]:
    """The documents that will be trained on, streamed and whole: what is counted by document."""
    cleaner = Cleaner(inputs)
    for source in inputs.selection.sources:
        for document in cleaner.clean(source, Counter()):
            if not document.held_out:
                yield document.text


def training_texts(inputs: Inputs) -> Iterator[str]:
    """The same in stretches that a tokenizer takes at once: what a new vocabulary is learnt from."""
    for text in training_documents(inputs):
        for start, end in cut(text, PIECE_CHARS, inputs.pack.spacy):
            yield text[start:end]


def _write(inputs: Inputs, tokenizer: Any, folder: Path, part: Part) -> None:
    began = time.perf_counter()
    cleaner = Cleaner(inputs, part)
    units = _units(inputs)
    rows = []
    with (folder / "held_out.jsonl").open("w", encoding="utf-8") as held_out:
        for source in inputs.selection.sources:
            with ShardWriter(folder / source.name, tokenizer, units, inputs.pack.spacy) as writer:
                rows.append(_write_corpus(inputs.run, source, cleaner, writer, held_out))
    tasks = inputs.tasks
    row = CorporaRow(
        corpora=tuple(rows),
        overlap=tuple(
            OverlapRow(
                task=task,
                test_documents=len(texts),
                overlapping=cleaner.overlapping[task],
                whole_only=cleaner.whole_only[task],
            )
            for task, texts in tasks.test_texts.items()
        ),
        unchecked=tasks.unchecked,
        vocabulary_size=len(tokenizer),
        seconds=time.perf_counter() - began,
    )
    note_files(folder, inputs.selection.sources)
    (folder / "corpora.json").write_text(row.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _write_corpus(run: Run, source: Source, cleaner: Cleaner, writer: ShardWriter, held_out: TextIO) -> CorpusRow:
    """Documents of one corpus into its shard, those held out into a file of their own."""
    counts: Counter[str] = Counter()
    with progress(f"reading {source.name}", None) as bar:
        batch, chars = list[Cleaned](), 0
        for document in cleaner.clean(source, counts):
            if document.held_out:
                counts["held_out"] += 1
                about = {"id": document.id, "corpus": source.name, "text": document.text}
                held_out.write(json.dumps(about, ensure_ascii=False) + "\n")
                continue
            batch.append(document)
            chars += len(document.text)
            if chars >= _BATCH_CHARS:
                writer.add(batch)
                bar.update(counts["read"], f"{counts['read']:,} documents, {writer.tokens:,} tokens")
                batch, chars = [], 0
        writer.add(batch)
        writer.finish(filters_of(run, source.name))
    if counts["empty"]:
        say(f"{source.name}: {counts['empty']} documents without any text are left out")
    return _row(source, counts, writer, run)


def _row(source: Source, counts: Counter[str], writer: ShardWriter, run: Run) -> CorpusRow:
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
        near_duplicates=counts["near_duplicates"],
        overlapping=counts["overlapping"],
        held_out=counts["held_out"],
        documents=writer.documents,
        tokens=writer.tokens,
        repeat=max(repeats, default=1.0),
    )


def filters_of(run: Run, corpus: str) -> tuple[str, ...]:
    """The distinct filters that the phases put on a corpus, "" for none."""
    phases = [phase for phase in run.phases if phase.kind not in WITHOUT_CORPUS]
    mixtures = [m for phase in phases for m in phase.mixture or (Mixture(corpus=corpus),) if m.corpus == corpus]
    return tuple(dict.fromkeys(m.filter for m in mixtures)) or ("",)


def _units(inputs: Inputs) -> Units | None:
    """What a word is to whole-word masking; None where pieces are masked."""
    run, pack = inputs.run, inputs.pack
    if all(phase.unit == "piece" for phase in run.phases):
        return None
    if run.objective.compounds == "whole":
        return partial(words, code=pack.spacy)
    if not pack.compound_links:
        raise InputError(
            f"objective.compounds 'parts': the pack of {pack.code} names no compound_links, so its words stay whole"
        )
    compounds = Compounds(count_words(_with_progress(training_texts(inputs)), pack.spacy), pack.compound_links)
    return lambda text: in_parts(text, words(text, pack.spacy), compounds)


def _with_progress(texts: Iterator[str]) -> Iterator[str]:
    with progress("counting words", None) as bar:
        for number, text in enumerate(texts, 1):
            yield text
            bar.update(number, f"{number:,} documents")


def open_prepared(folder: Path, tokenizer: Any, check: bool = False) -> Prepared:
    """What prepare() left in `folder`; check: InputError where a file is no longer what was written."""
    if check:
        check_seal(folder)
    row = CorporaRow.model_validate_json((folder / "corpora.json").read_text(encoding="utf-8"))
    # By lines of the file: str.splitlines also cuts at U+2028 and U+0085, which real text holds.
    with (folder / "held_out.jsonl").open(encoding="utf-8") as lines:
        held_out = tuple(HeldOut(**json.loads(line)) for line in lines)
    return Prepared(tuple(open_shard(folder / c.name, tokenizer, check) for c in row.corpora), held_out, row)
