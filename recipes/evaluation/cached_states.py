"""Hidden states under a frozen body: the same in every epoch and for every seed, so computed once."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.recipes.console import progress
from medlingua.recipes.evaluation.finetune import TaskModel, groups, longest_first
from medlingua.recipes.evaluation.reading import EncodedDocument, token_states
from medlingua.recipes.settings import Eval
from torch import Tensor


class CachedStates:
    """`token_states` of one encoder that does not change, each document's computed once and kept.

    Documents of the same token ids are one, so that folds of a task do not compute again what an earlier one read.
    Kept in the type that they are computed in: width x 2 or 4 bytes a token, on a GPU while there is room for them,
    else in a temporary file, not in memory.

    room: bytes of the device's memory for states; None: a quarter of what a GPU has free, nothing of a CPU's.
    """

    def __init__(self, encoder: Encoder, room: int | None = None) -> None:
        self._encoder = encoder
        self._room = _free(encoder.device) // 4 if room is None else room
        self._on_device: dict[bytes, Tensor] = {}  # (tokens, width) of a document
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (as long as this object)
        self._starts: dict[bytes, int] = {}  # in the file, by document

    def __call__(self, documents: Sequence[EncodedDocument]) -> Tensor:
        """Hidden states of all tokens of the documents, in reading order: (sum of N, width)."""
        keys = [_key(document) for document in documents]
        if new := [document for document, key in zip(documents, keys, strict=True) if not self._has(key)]:
            self._keep(new)
        return torch.cat([self._of(key, document) for key, document in zip(keys, documents, strict=True)])

    @torch.no_grad()
    def read(
        self, model: TaskModel, parts: Sequence[str], settings: Eval, autocast: Callable[[], Any], what: str
    ) -> None:
        """Keep the states of a task's parts, under a bar of its own: most of the work lies here, so that a first
        epoch that did it would tell hours left where minutes are.
        """
        new = [e for part in parts for e in model.read(part) if not self._has(_key(e.document))]
        if not new:
            return
        sizes = [e.document.size for e in new]
        done = tokens = 0
        with progress(f"{what}, reading", sum(sizes)) as bar:
            for group in groups(new, longest_first(sizes), settings):
                with autocast():
                    self._keep([e.document for e in group])
                done += len(group)
                tokens += sum(e.document.size for e in group)
                bar.update(tokens, f"{done:,} of {len(new):,} documents")

    def _keep(self, documents: Sequence[EncodedDocument]) -> None:
        states = token_states(self._encoder, documents).detach()
        self._dtype, self._row = states.dtype, states.shape[1] * states.element_size()
        if states.numel() * states.element_size() <= self._room:
            self._room -= states.numel() * states.element_size()
            each = torch.split(states, [document.tokens for document in documents])
            self._on_device |= zip(map(_key, documents), each, strict=True)
            return
        start = self._file.seek(0, 2)
        self._file.write(states.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        for document in documents:
            self._starts[_key(document)] = start
            start += document.tokens * self._row

    def _has(self, key: bytes) -> bool:
        return key in self._on_device or key in self._starts

    def _of(self, key: bytes, document: EncodedDocument) -> Tensor:
        if key in self._on_device:
            return self._on_device[key]
        self._file.seek(self._starts[key])
        raw = self._file.read(document.tokens * self._row)
        states = np.frombuffer(bytearray(raw), dtype=np.uint8).reshape(document.tokens, self._row)
        return on_device(torch.from_numpy(states).view(self._dtype), self._encoder.device)


def _free(device: torch.device) -> int:
    """Bytes of a GPU's memory that nobody has; 0 of a CPU's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _key(document: EncodedDocument) -> bytes:
    """All that `token_states` reads of a document."""
    digest = hashlib.blake2b(digest_size=16)
    for ids in (*document.windows, document.window, document.place):
        digest.update(len(ids).to_bytes(8, "big"))
        digest.update(ids.tobytes())
    return digest.digest()
