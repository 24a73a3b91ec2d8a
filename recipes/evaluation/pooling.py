"""What the labels of a text are read from: the mean of all its tokens, or the first token of each of its windows."""

from typing import Literal

from medlingua.adapters.encoder import Encoder
from medlingua.adapters.task_heads import TextHead
from medlingua.recipes.evaluation.reading import EncodedDocument, first_tokens
from torch import nn

Pooling = Literal["mean", "first"]


def pooled_tokens(document: EncodedDocument, pooling: Pooling) -> EncodedDocument:
    """The document with the tokens whose states are averaged."""
    return first_tokens(document) if pooling == "first" else document


def text_head(encoder: Encoder, outputs: int, pooling: Pooling, texts: int = 1) -> nn.Module:
    """"mean": a Linear on the mean state of each of so many texts. "first": the head of the family's stock class, on
    the first token's state, which has read all texts."""  # fmt: skip
    if pooling == "first":
        return TextHead(encoder, outputs)
    return nn.Linear(texts * encoder.model.config.hidden_size, outputs)
