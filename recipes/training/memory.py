"""How much memory training needs, by a formula, and the largest forward pass that fits.

Weights, gradients and AdamW's two moments are fp32, four bytes each a parameter; on a GPU a copy in bf16 and its
gradients are two more each. A forward pass keeps for its backward pass, a token and layer, about 16 vectors of the
model's width (14.5 in bf16 on a GPU, compiled: reports/notes), and the attention weights where documents are short
enough that they are stored; and the logits of some masked tokens with their gradient. Families whose attention is
their own (DeBERTa, MPNet) keep about four matrices of attention scores, for padded tokens too.
"""

from dataclasses import dataclass

from medlingua.adapters.document_attention import DENSE_TOKENS
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.lora import lora_parameters
from medlingua.adapters.padded import MOST_PADDED
from medlingua.recipes.training.objectives import CHUNK_ON_GPU

_SHARE = 0.6  # of the memory: the rest is for the formula's error, evaluation, and the system
_LEAST, _MOST_ON_CPU, _MOST = 1_024, 8_192, 65_536  # tokens; a CPU gains nothing from larger passes
_VECTORS = 14.5  # measured: 13.5 to 15 for BERT, ModernBERT and Longformer of base size
_SCORES = 4  # a head's scores that DeBERTa-v2's layers keep: 3.5 matrices, and its projected positions
_LIBRARIES = 500 * 2**20  # torch and the tokenizer's tables, on a CPU


@dataclass(frozen=True, slots=True)
class Size:
    """What decides a model's memory. context: tokens that a document is cut to. predicted: share of the tokens.
    trained: parameters that are; None for all. padded: documents are computed as padded batches."""

    parameters: int
    width: int
    layers: int
    heads: int
    vocabulary: int
    context: int
    predicted: float = 0.3
    trained: int | None = None
    padded: bool = False


def size_of(encoder: Encoder, context: int | None, predicted: float, lora: int | None = None) -> Size:
    config = encoder.model.config
    return Size(
        parameters=sum(p.numel() for p in encoder.model.parameters()),
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        vocabulary=len(encoder.tokenizer),
        context=min(context or encoder.length, encoder.length),
        predicted=predicted,
        trained=None if lora is None else lora_parameters(encoder, lora),
        padded=encoder.architecture.padded,
    )


def training_bytes(size: Size, micro_tokens: int, device: str) -> int:
    """Memory of training with forward passes of `micro_tokens`: in fp32 on a CPU, in bf16 elsewhere."""
    predicted = round(micro_tokens * size.predicted)
    trained = size.parameters if size.trained is None else size.trained
    padded_scores = 0
    if size.padded:
        padded_scores = _SCORES * size.heads * size.context
        micro_tokens = round(micro_tokens * MOST_PADDED)
    if device == "cpu":
        whole = not size.padded and size.context <= DENSE_TOKENS
        stored = size.heads * size.context if whole else padded_scores
        activations = micro_tokens * size.layers * (16 * size.width + stored) * 4
        return 4 * size.parameters + 12 * trained + activations + predicted * size.vocabulary * 4 * 2 + _LIBRARIES
    activations = round(micro_tokens * size.layers * (_VECTORS * size.width + padded_scores) * 2)
    held = min(predicted, CHUNK_ON_GPU)  # rows of logits: themselves, their gradient, and a transposed copy
    return 6 * size.parameters + 14 * trained + activations + held * size.vocabulary * 2 * 3


def largest_pass(size: Size, memory_bytes: int, device: str, batch_tokens: int) -> tuple[int, int]:
    """(tokens, bytes): the largest power of two that fits into 0.6 of the memory, of one context at least."""
    tokens = min(_MOST_ON_CPU if device == "cpu" else _MOST, batch_tokens)
    while tokens > _LEAST and training_bytes(size, tokens, device) > _SHARE * memory_bytes:
        tokens //= 2
    tokens = max(tokens, size.context)
    return tokens, training_bytes(size, tokens, device)
