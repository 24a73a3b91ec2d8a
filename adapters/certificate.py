"""The certificate of a conversion: what it preserved, measured before any training.

Each check has a value and its limit. The converted model is measured through its stock class, as plain transformers
opens it, wherever possible; attention windows are measured by perturbation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from medlingua.adapters.bert_like import config_changes
from medlingua.adapters.encoder import Encoder, quiet, save
from medlingua.adapters.packed import hidden_states, pack
from medlingua.adapters.positions import rotations
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForMaskedLM

ATOL = 1e-4  # of logits
_RTOL = 1e-5
_SAMPLES = 4  # texts compared
_EDGES = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)


@dataclass(frozen=True, slots=True)
class Check:
    """One property. value and limit in the unit that the name says; passed where value <= limit."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.value <= self.limit  # False for NaN


@dataclass(frozen=True, slots=True)
class Certificate:
    """checks: what must hold. changes: config fields, (source, result). reach: distance in tokens at which a
    change of one token still changes a state."""

    checks: tuple[Check, ...]
    changes: dict[str, tuple[Any, Any]]
    reach: int


@torch.no_grad()
def certify(source: Encoder, result: Encoder, texts: Sequence[str]) -> Certificate:
    """Compare a conversion with its source. texts: some of the language, the longest are used.

    Longformer: the source's logits inside one window, and at its full length with every token global. Rotary: those
    of the source without positions when all positions are zero, and the same logits wherever a text stands.
    Rescaled: the rotations themselves.
    """
    documents = _longest_documents(source, texts)
    with TemporaryDirectory() as folder, quiet():
        save(result, Path(folder))
        stock = AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True).eval()
    if result.architecture.family == "longformer":
        checks = _longformer_checks(source, result, stock, documents)
    elif source.architecture.positions == "rotary":
        checks = _rescaling_checks(source, result, stock)
    else:
        checks = _rotary_checks(source, stock, documents)
    long = np.concatenate([row[1:-1] for row in documents])
    long = np.resize(long, min(result.length, 2_048) - 2)
    framed = np.array([result.tokenizer.cls_token_id, *long, result.tokenizer.sep_token_id])
    converted = _packed_logits(result, framed)
    # The same sums in another order: their difference in fp32 grows with the logits.
    limit = ATOL + _RTOL * float(converted.abs().max())
    checks.append(Check("logits after saving and loading", _difference(_logits(stock, framed), converted), limit))
    reach = _reach(result, framed)
    if result.architecture.family == "longformer":
        sides = sum(w // 2 for w in result.model.config.attention_window)
        checks.append(Check("tokens felt beyond the windows", max(0, reach - sides), 0))
    return Certificate(tuple(checks), config_changes(source.model.config, result.model.config), reach)


def _longformer_checks(source: Encoder, result: Encoder, stock: Any, documents: list[np.ndarray]) -> list[Check]:
    side = min(result.model.config.attention_window) // 2
    inside = [row[: min(side + 1, source.length)] for row in documents]
    all_global = [
        _difference(_logits(stock, row, global_attention_mask=torch.ones(1, len(row), dtype=torch.int64)),
               _logits(source.model, row)) for row in documents
    ]  # fmt: skip
    return [
        Check(
            "logits inside one window",
            max(_difference(_logits(stock, row), _logits(source.model, row)) for row in inside),
            ATOL,
        ),
        Check("logits with every token global", max(all_global), ATOL),
    ]


def _rotary_checks(source: Encoder, stock: Any, documents: list[np.ndarray]) -> list[Check]:
    table = source.model.base_model.embeddings.position_embeddings.weight
    saved = table.clone()
    table[:] = saved[source.first_position :].mean(dim=0)
    at_zero = max(
        _difference(_logits(stock, row, position_ids=torch.zeros(1, len(row), dtype=torch.int64)),
               _logits(source.model, row)) for row in documents
    )  # fmt: skip
    table.copy_(saved)
    shifted = max(
        _difference(_logits(stock, row), _logits(stock, row, position_ids=torch.arange(300, 300 + len(row))[None]))
        for row in documents
    )
    return [
        Check("logits with all positions zero, against the source without positions", at_zero, ATOL),
        Check("logits of a text moved by 300 places", shifted, 10 * ATOL),
    ]


def _rescaling_checks(source: Encoder, result: Encoder, stock: Any) -> list[Check]:
    """The stock model rotates as ours does, local layers as the source's did (C18, C20, C22)."""
    before, converted, reopened = (dict(rotations(model)) for model in (source.model, result.model, stock))
    local = [name for name in before if "sliding" in name]
    return [
        Check(
            "rotations after saving and loading",
            max(_difference(converted[n], reopened[n]) for n in converted),
            0,
        ),
        Check(
            "local rotations, against the source",
            max((_difference(before[n], reopened[n]) for n in local), default=0),
            0,
        ),
    ]


@torch.no_grad()
def loss_by_position(
    encoder: Encoder, documents: Sequence[np.ndarray], seed: int = 0
) -> list[tuple[int, int, float, int]]:
    """Masked-LM loss of tokens by their place in the document: (first, end, nats a token, tokens), 15 % masked.

    documents: id arrays without specials; each is read up to the model's length. Stretches without a masked token
    are left out.
    """
    nats, counts = np.zeros(len(_EDGES)), np.zeros(len(_EDGES), dtype=np.int64)
    transform, decoder = encoder.architecture.head(encoder.model)
    rng = np.random.default_rng(seed)
    tokenizer = encoder.tokenizer
    for document in documents:
        masked = np.flatnonzero(rng.random(len(document)) < 0.15)  # the same for a model that reads less of it
        ids = np.array([tokenizer.cls_token_id, *document[: encoder.length - 2], tokenizer.sep_token_id])
        where = 1 + masked[masked < len(ids) - 2]
        if not len(where):
            continue
        shown = ids.copy()
        shown[where] = tokenizer.mask_token_id
        packed = (
            pack([shown], encoder.first_position, encoder.global_ids)
            .with_labels(ids[where], where)
            .to(encoder.device)
        )
        features = transform(hidden_states(encoder, packed, packed.label_positions))
        places = np.searchsorted(_EDGES, where, side="right") - 1
        for part in torch.split(torch.arange(len(where)), 512):
            logits = decoder(features[part])[:, : len(tokenizer)].float()
            losses = functional.cross_entropy(logits, packed.labels[part], reduction="none").cpu().numpy()
            np.add.at(nats, places[part.numpy()], losses)
            np.add.at(counts, places[part.numpy()], 1)
    ends = (*_EDGES[1:], encoder.length)
    return [
        (first, min(end, encoder.length), float(nats[i] / counts[i]), int(counts[i]))
        for i, (first, end) in enumerate(zip(_EDGES, ends, strict=True))
        if counts[i]
    ]


def _longest_documents(source: Encoder, texts: Sequence[str]) -> list[np.ndarray]:
    """Ids of the longest texts with special tokens, truncated to the length of the source."""
    tokenizer = source.tokenizer
    longest = sorted(texts, key=len, reverse=True)[:_SAMPLES]
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"][: source.length - 2] for text in longest]
    documents = [np.array([tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]) for ids in encoded if ids]
    if not documents:
        raise ValueError("no text to certify with")
    return documents


@torch.no_grad()
def _logits(model: Any, ids: np.ndarray, **inputs: Tensor) -> Tensor:
    inputs_on_device = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    return model(input_ids=torch.tensor(ids, device=model.device)[None], **inputs_on_device).logits[0].cpu()  # type: ignore[no-any-return]


def _packed_logits(encoder: Encoder, ids: np.ndarray) -> Tensor:
    transform, decoder = encoder.architecture.head(encoder.model)
    states = hidden_states(encoder, pack([ids], encoder.first_position).to(encoder.device))
    return decoder(transform(states)).cpu()  # type: ignore[no-any-return]


def _difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


def _reach(encoder: Encoder, ids: np.ndarray) -> int:
    """Largest distance from a changed token, in the middle, at which a last state changes; without global tokens."""
    middle = len(ids) // 2
    other = ids.copy()
    other[middle] = encoder.tokenizer.mask_token_id
    states = [hidden_states(encoder, pack([row], encoder.first_position).to(encoder.device)) for row in (ids, other)]
    changed = (states[0] != states[1]).any(dim=1).nonzero()[:, 0]
    return int((changed - middle).abs().max())
