"""Token shards: one corpus's tokens end to end in a file, where each document starts, and digests of it all."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from medlingua.languages.errors import InputError
from medlingua.languages.words import cut
from medlingua.recipes.folder import check_digests, digest
from medlingua.recipes.settings import Mixture

PIECE_CHARS = 20_000  # longer documents are tokenized in pieces cut at sentence ends

Units = Callable[[str], Sequence[tuple[int, int]]]  # the words of a text, as ranges of characters


class Sliced(Protocol):
    """What a shard's tokens are asked for: slices that lie in one document. An array, or several as one."""

    def __getitem__(self, place: slice) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Shard:
    """One corpus, tokenized. N documents of T tokens in all.

    tokens: (T,) uint16 or uint32, memory-mapped. starts: (N + 1,) int64. keys: (N,) uint64, from the text:
    they seed the masks. accepts: (N,) uint64, bit i says that filter i takes the document.
    word_starts: (T,) bool, memory-mapped, where words begin; None unless whole words are masked.
    """

    name: str
    tokens: Sliced
    starts: np.ndarray
    keys: np.ndarray
    accepts: np.ndarray
    word_starts: Sliced | None
    filters: tuple[str, ...]


class Cleaned(NamedTuple):
    """A document that passed: its text in NFC, its digest, the filters that take it, whether it is held out."""

    id: str
    text: str
    digest: bytes
    accepted: int
    held_out: bool


class ShardWriter:
    """Appends documents to one corpus's token file."""

    def __init__(self, folder: Path, tokenizer: Any, units: Units | None, code: str) -> None:
        folder.mkdir()
        self._folder, self._tokenizer, self._code, self._units = folder, tokenizer, code, units
        self._dtype = token_dtype(len(tokenizer))
        self._starts, self._keys, self._accepts = [0], list[int](), list[int]()
        self._tokens = (folder / "tokens.bin").open("wb")
        self._word_starts = (folder / "word_starts.bin").open("wb") if units else None

    def __enter__(self) -> "ShardWriter":
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

    def add(self, batch: list[Cleaned]) -> None:
        pieces, owners = [], []
        for number, document in enumerate(batch):
            ranges = cut(document.text, PIECE_CHARS, self._code)
            pieces += [document.text[start:end] for start, end in ranges]
            owners += [number] * len(ranges)
        backend = self._tokenizer.backend_tokenizer
        # The fast form makes no offsets; they mark the words.
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
        for length, document in zip(lengths.tolist(), batch, strict=True):
            if length:  # a text of characters that the tokenizer drops has no tokens
                self._starts.append(self._starts[-1] + length)
                self._keys.append(int.from_bytes(document.digest[:8], "big"))
                self._accepts.append(document.accepted)

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


def token_dtype(vocabulary: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if vocabulary <= 2**16 else np.uint32)


def narrowed(ids: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """ids as dtype; ValueError where one does not fit: numpy itself wraps silently (TRAPS T16)."""
    if len(ids) and int(ids.max()) > np.iinfo(dtype).max:
        raise ValueError(f"token id {int(ids.max())} does not fit {dtype.name}")
    return ids.astype(dtype)


def tokenizer_digest(tokenizer: Any) -> str:
    return hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=16).hexdigest()


def open_shard(folder: Path, tokenizer: Any, check: bool = False) -> Shard:
    """A shard as it was written; InputError where another tokenizer made it or, with `check`, where it is damaged."""
    about = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
    if about["tokenizer"] != tokenizer_digest(tokenizer):
        raise InputError(
            f"shard {folder} was made with another tokenizer ({about['vocabulary_size']} pieces; the model has "
            f"{len(tokenizer)}); remove the folder to build it again"
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


class _EndToEnd:
    """Several arrays as one, for slices that lie in one of them."""

    def __init__(self, parts: Sequence[Sliced], ends: np.ndarray) -> None:
        self._parts, self._ends = parts, ends

    def __getitem__(self, place: slice) -> np.ndarray:
        number = int(np.searchsorted(self._ends, place.start, side="right"))
        first = int(self._ends[number - 1]) if number else 0
        return self._parts[number][place.start - first : place.stop - first]


def end_to_end(shards: Sequence[Shard]) -> Shard:
    """Shards of one corpus as one, in their order; nothing is copied but where documents start."""
    sizes = [int(shard.starts[-1]) for shard in shards]
    ends = np.cumsum(sizes)
    starts = [shard.starts[:-1] + end - size for shard, end, size in zip(shards, ends, sizes, strict=True)]
    words = [shard.word_starts for shard in shards if shard.word_starts is not None]
    return replace(
        shards[0],
        tokens=_EndToEnd([shard.tokens for shard in shards], ends),
        starts=np.concatenate([*starts, ends[-1:]]),
        keys=np.concatenate([shard.keys for shard in shards]),
        accepts=np.concatenate([shard.accepts for shard in shards]),
        word_starts=_EndToEnd(words, ends) if words else None,
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
