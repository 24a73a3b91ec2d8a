"""How the rows of a new vocabulary start."""

from dataclasses import dataclass
from typing import Any

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.tokenizer import surface
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Where the new rows came from."""

    shared: int
    averaged: int
    fallback: int


@torch.no_grad()
def replace_vocabulary(encoder: Encoder, tokenizer: PreTrainedTokenizerFast) -> tuple[Encoder, RowCounts]:
    """The encoder with another tokenizer: rows (and the masked-LM bias) of shared pieces are copied, the
    others start from the mean of the old pieces of their surface, or around the mean of all rows where there
    are none.

    Special tokens are matched by role, pieces by their text and by whether they begin a word. The table is
    not padded: config.vocab_size is len(tokenizer). Changes the encoder's model in place.
    """
    old, model = encoder.tokenizer, encoder.model
    known = old.get_vocab()  # once: transformers builds it anew at each call
    sources = [_source(old, known, tokenizer, id) for id in range(len(tokenizer))]
    table = model.get_input_embeddings().weight
    _, decoder = encoder.architecture.head(model)
    tied = decoder.weight.data_ptr() == table.data_ptr()
    rows = _rows(table, sources)
    output = None if tied else _rows(decoder.weight, sources)
    bias = None if decoder.bias is None else _rows(decoder.bias[:, None], sources)[:, 0]
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    _, decoder = encoder.architecture.head(model)
    model.get_input_embeddings().weight.copy_(rows)
    if output is not None:
        decoder.weight.copy_(output)
    if bias is not None:
        decoder.bias.copy_(bias)
    for role in ("pad", "bos", "eos", "cls", "sep"):
        # bos and eos are what the tokenizer frames a text with, where it has no other.
        stand_in = {"bos": "cls", "eos": "sep"}.get(role, role)
        if getattr(model.config, f"{role}_token_id", None) is not None:
            setattr(model.config, f"{role}_token_id", getattr(tokenizer, f"{stand_in}_token_id"))
    counts = RowCounts(
        shared=sum(len(ids) == 1 and exact for ids, exact in sources),
        averaged=sum(bool(ids) and not exact for ids, exact in sources),
        fallback=sum(not ids for ids, _ in sources),
    )
    return Encoder(model, tokenizer, encoder.architecture, encoder.lineage), counts


def new_rows(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> torch.Tensor:
    """Ids (int64) of the pieces of `new` that `old` did not have; special tokens play the same roles and are none."""
    known = {*old.get_vocab(), *new.all_special_tokens}
    return torch.tensor(sorted(id for piece, id in new.get_vocab().items() if piece not in known), dtype=torch.int64)


@torch.no_grad()
def set_bias_to_frequencies(encoder: Encoder, counts: torch.Tensor) -> None:
    """Start a fresh head's bias from the log-frequencies of the pieces, add-one: counts (vocabulary,)."""
    _, decoder = encoder.architecture.head(encoder.model)
    if decoder.bias is not None:
        frequencies = (counts + 1).double()
        decoder.bias.copy_((frequencies / frequencies.sum()).log().to(decoder.bias))


def _source(old: Any, known: dict[str, int], new: Any, id: int) -> tuple[list[int], bool]:
    """Old ids that a new piece starts from, and whether it is the same piece."""
    piece = new.convert_ids_to_tokens(id)
    for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        if piece == getattr(new, f"{role}_token") and getattr(old, f"{role}_token_id") is not None:
            return [getattr(old, f"{role}_token_id")], True
    same = known.get(piece)
    if same is not None:
        return [same], True
    text, inside = surface(new, piece)
    # A continuation is cut as the end of a word, so that its pieces are continuations too; a beginning
    # after a space, which byte-level pieces carry.
    encoding = old.backend_tokenizer.encode(f"a{text}" if inside else f" {text}", add_special_tokens=False)
    start = 1 if inside else 0
    ids = [
        i for i, (_, end) in zip(encoding.ids, encoding.offsets, strict=True) if end > start and i != old.unk_token_id
    ]
    return ids, False


def _rows(table: torch.Tensor, sources: list[tuple[list[int], bool]]) -> torch.Tensor:
    """Rows of the new table. Pieces without a source are spread around the mean as the old rows are, not all
    alike (TRAPS T12), and the same each time."""
    mean, spread = table.mean(dim=0), table.std(dim=0)
    drawn = torch.randn(len(sources), table.shape[1], generator=torch.Generator().manual_seed(0)).to(table)
    rows = [table[ids].mean(dim=0) if ids else mean + spread * drawn[i] for i, (ids, _) in enumerate(sources)]
    return torch.stack(rows)
