"""Hidden states under a frozen body: the same in every epoch and for every seed, so computed once."""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.recipes.console import progress
from medlingua.recipes.evaluation.finetune import EncodedDocument, TaskModel, groups, token_states
from medlingua.recipes.settings import Eval
from torch import Tensor


class CachedStates:
    """`token_states` of one encoder that does not change, each document's computed once and kept in a temporary file.

    Kept in the type that they are computed in: width x 2 or 4 bytes a token, on disk, not in memory.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (as long as this object)
        self._places: dict[
            int, tuple[EncodedDocument, int]
        ] = {}  # with the document, so that no other one gets its id

    def __call__(self, documents: Sequence[EncodedDocument]) -> Tensor:
        """Hidden states of all tokens of the documents, in reading order: (sum of N, width)."""
        if new := [document for document in documents if id(document) not in self._places]:
            self._keep(new)
        states = [torch.from_numpy(self._read(document)) for document in documents]
        return torch.cat(states).view(self._dtype).to(self._encoder.device)

    @torch.no_grad()
    def read(
        self, model: TaskModel, parts: Sequence[str], settings: Eval, autocast: Callable[[], Any], what: str
    ) -> None:
        """Keep the states of a task's parts, under a bar of its own: most of the work lies here, so that a first
        epoch that did it would tell hours left where minutes are.
        """
        new = [e for part in parts for e in model.read(part) if id(e.document) not in self._places]
        if not new:
            return
        done = 0
        with progress(f"{what}, reading", len(new)) as bar:
            for group in groups(new, np.argsort([e.document.size for e in new], kind="stable"), settings):
                with autocast():
                    self._keep([e.document for e in group])
                done += len(group)
                bar.update(done, f"{done:,} of {len(new):,} documents")

    def _keep(self, documents: Sequence[EncodedDocument]) -> None:
        states = token_states(self._encoder, documents).detach().cpu()
        self._dtype, self._row = states.dtype, states.shape[1] * states.element_size()
        start = self._file.seek(0, 2)
        self._file.write(states.contiguous().view(torch.uint8).numpy().tobytes())
        for document in documents:
            self._places[id(document)] = (document, start)
            start += document.tokens * self._row

    def _read(self, document: EncodedDocument) -> np.ndarray:
        self._file.seek(self._places[id(document)][1])
        raw = self._file.read(document.tokens * self._row)
        return np.frombuffer(bytearray(raw), dtype=np.uint8).reshape(document.tokens, self._row)
