"""What the code has to know about each family of encoders: one record a family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medlingua.languages.errors import InputError
from torch import Tensor, nn

# transformers' MPNet has both as numbers, whatever config.json says.
_MPNET_PADDING = 1
_MPNET_BUCKETS = 32


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family of encoders, by transformers' `model_type`.

    model_class: transformers class with the masked-LM head. positions: their kind; "relative" is DeBERTa's, which
    may have a table of absolute ones too. first_position: from the config to the position id of a document's first
    token (RoBERTa's tables reserve rows: TRAPS C1).
    interface: its attention goes through transformers' attention interface. Of the others, Longformer has attention
    of ours, and the rest are computed by the stock layers on padded batches (padded.py).
    token_types: its forward takes `token_type_ids`. head: from the model to (transform, decoder): hidden
    (N, width) -> features (N, F), and the Linear (F -> vocabulary).
    last_layer: from the body to two modules of its last layer: its attention, and the module from which on each token
    is computed alone, so that some can be left out; None where a residual connection bypasses that module.
    layers: from the body to the modules of its layers, in order; ALBERT's are fewer than its layers.
    """

    family: str
    model_class: str
    positions: Literal["learned", "rotary", "relative"]
    first_position: Callable[[Any], int]
    interface: bool
    token_types: bool
    head: Callable[[Any], tuple[Callable[[Tensor], Tensor], nn.Linear]]
    layers: Callable[[Any], Sequence[nn.Module]]
    last_layer: Callable[[Any], tuple[nn.Module, nn.Module]] | None = None

    @property
    def padded(self) -> bool:
        """Whether packed documents are computed as padded batches."""
        return not self.interface and self.family != "longformer"

    @property
    def narrows(self) -> bool:
        """Whether the last layer can compute some tokens alone."""
        return self.last_layer is not None or self.family == "longformer"


def _from_zero(config: Any) -> int:
    return 0


def _after_padding(config: Any) -> int:
    return int(config.pad_token_id) + 1


def _after_mpnets_padding(config: Any) -> int:
    return _MPNET_PADDING + 1


def _bert_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    return model.cls.predictions.transform, model.cls.predictions.decoder


def _roberta_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    head = model.lm_head
    return lambda hidden: head.layer_norm(nn.functional.gelu(head.dense(hidden))), head.decoder


def _electra_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    return model.generator_predictions, model.generator_lm_head


def _modernbert_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    return model.head, model.decoder


def _eurobert_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    return lambda hidden: hidden, model.lm_head


def _ultrabert_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    head = model.head
    return lambda hidden: head.act_fn(head.linear2(head.act_fn(head.linear1(hidden)))), head.decoder


def _albert_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    head = model.predictions
    return lambda hidden: head.LayerNorm(head.activation(head.dense(hidden))), head.decoder


def _deberta_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    if model.config.legacy:
        return model.cls.predictions.transform, model.cls.predictions.decoder
    # This head multiplies with the piece table itself, so that a decoder is built around both.
    head, table = model.lm_predictions.lm_head, model.get_input_embeddings().weight
    decoder = nn.Linear(table.shape[1], table.shape[0], device="meta")
    decoder.weight, decoder.bias = table, head.bias
    return lambda hidden: head.LayerNorm(head.transform_act_fn(head.dense(hidden))), decoder


def _distilbert_head(model: Any) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    def transform(hidden: Tensor) -> Tensor:
        return model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))  # type: ignore[no-any-return]

    return transform, model.vocab_projector


def _bert_layers(body: Any) -> Sequence[nn.Module]:
    return body.encoder.layer  # type: ignore[no-any-return]


def _layers(body: Any) -> Sequence[nn.Module]:
    return body.layers  # type: ignore[no-any-return]


def _distilbert_layers(body: Any) -> Sequence[nn.Module]:
    return body.transformer.layer  # type: ignore[no-any-return]


def _albert_layers(body: Any) -> Sequence[nn.Module]:
    return [layer for group in body.encoder.albert_layer_groups for layer in group.albert_layers]


def _bert_last_layer(body: Any) -> tuple[nn.Module, nn.Module]:
    attention = body.encoder.layer[-1].attention
    return attention, attention.output


def _jina_last_layer(body: Any) -> tuple[nn.Module, nn.Module]:
    layer = body.layers[-1]
    return layer.self_attn, layer.post_attention_layernorm


def _distilbert_last_layer(body: Any) -> tuple[nn.Module, nn.Module]:
    layer = body.transformer.layer[-1]
    return layer.attention, layer.sa_layer_norm


ARCHITECTURES: dict[str, Architecture] = {
    a.family: a
    for a in (
        Architecture(
            "bert", "BertForMaskedLM", "learned", _from_zero, True, True, _bert_head, _bert_layers, _bert_last_layer
        ),
        Architecture(
            "roberta", "RobertaForMaskedLM", "learned", _after_padding, True, True, _roberta_head, _bert_layers,
            _bert_last_layer,
        ),
        Architecture(
            "camembert", "CamembertForMaskedLM", "learned", _after_padding, True, True, _roberta_head, _bert_layers,
            _bert_last_layer,
        ),
        Architecture(
            "xlm-roberta", "XLMRobertaForMaskedLM", "learned", _after_padding, True, True, _roberta_head,
            _bert_layers, _bert_last_layer,
        ),
        Architecture(
            "electra", "ElectraForMaskedLM", "learned", _from_zero, True, True, _electra_head, _bert_layers,
            _bert_last_layer,
        ),
        Architecture(
            "modernbert", "ModernBertForMaskedLM", "rotary", _from_zero, True, False, _modernbert_head, _layers
        ),
        Architecture(
            "eurobert", "EuroBertForMaskedLM", "rotary", _from_zero, True, False, _eurobert_head, _layers
        ),
        Architecture(
            "ultrabert", "UltrabertForMaskedLM", "rotary", _from_zero, True, False, _ultrabert_head, _layers
        ),
        Architecture(
            "jina_embeddings_v3", "JinaEmbeddingsV3ForMaskedLM", "rotary", _from_zero, True, True, _roberta_head,
            _layers, _jina_last_layer,
        ),
        Architecture(
            "longformer", "LongformerForMaskedLM", "learned", _after_padding, False, True, _roberta_head,
            _bert_layers,
        ),
        Architecture(
            "nomic_bert", "NomicBertForMaskedLM", "rotary", _from_zero, True, True, _bert_head, _layers,
            _jina_last_layer,
        ),
        Architecture(
            "gte", "GteForMaskedLM", "rotary", _from_zero, True, True, _roberta_head, _layers, _jina_last_layer
        ),
        Architecture(
            "distilbert", "DistilBertForMaskedLM", "learned", _from_zero, True, False, _distilbert_head,
            _distilbert_layers, _distilbert_last_layer,
        ),
        Architecture(  # all layers are one, so that no last one can be told from the others
            "albert", "AlbertForMaskedLM", "learned", _from_zero, True, True, _albert_head, _albert_layers
        ),
        Architecture(
            "mpnet", "MPNetForMaskedLM", "learned", _after_mpnets_padding, False, False, _roberta_head, _bert_layers
        ),
        Architecture(
            "deberta-v2", "DebertaV2ForMaskedLM", "relative", _from_zero, False, True, _deberta_head, _bert_layers
        ),
    )
}  # fmt: skip


# Families that are refused, by model_type: their name, why, and what serves instead.
INSTEAD = {
    "big_bird": (
        "BigBird",
        "transformers computes it with other blocks in training than after it, and without blocks from the first "
        "short text on",
        "Longformer and ModernBERT read documents as long",
    ),
    "deberta": ("DeBERTa (v1)", "its attention has other weights than v2", "DeBERTa-v2 and v3 serve the same use"),
    "flaubert": ("FlauBERT", "its layers are those of XLM", "CamemBERT serves the same use"),
    "megatron-bert": ("Megatron-BERT", "its norms stand before its layers", "BERT and ModernBERT serve the same use"),
    "neobert": ("NeoBERT", "transformers has no class for it", "ModernBERT serves the same use"),
    "new": (
        "GTE with code of its own",
        "transformers does not read this format",
        "the family 'gte' is the same model, converted: alibaba-nlp-community/gte-multilingual-base",
    ),
    "roformer": (
        "RoFormer",
        "it rotates pairs of neighbouring columns",
        "rotary BERT (Jina v3) and ModernBERT serve the same use",
    ),
}


def check_family(settings: Mapping[str, Any], where: str) -> None:
    """InputError for a family that is known and refused; settings: a config.json, before any class has read it."""
    family = settings.get("model_type")
    if family == "nomic_bert" and "n_embd" in settings:
        raise InputError(
            f"{where}: config.json is that of NomicBERT's own code, and transformers' class has other names for its "
            "sizes. Give a checkpoint that was converted for transformers; ModernBERT serves the same use"
        )
    if isinstance(family, str) and family in INSTEAD:
        name, reason, serves = INSTEAD[family]
        raise InputError(f"{where}: a {name} model ('{family}') is not supported: {reason}; {serves}")


def architecture_of(config: Any, where: str) -> Architecture:
    """The record of a config's family; InputError for decoders and for families we do not know."""
    declared = getattr(config, "architectures", None) or ()
    if not isinstance(declared, list | tuple):
        raise InputError(f"{where}: config.json: architectures = {declared!r} is no list of class names")
    names = [str(name) for name in declared]
    decoder = any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names)
    if decoder or getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{where}: {', '.join(names) or config.model_type} is a decoder; masked-LM needs an encoder. "
            f"Give an encoder: {', '.join(sorted(ARCHITECTURES))}"
        )
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise InputError(
            f"{where}: models of the family '{config.model_type}' are not supported, and their weights fit no other "
            f"family. Give a model of one of these: {', '.join(sorted(ARCHITECTURES))}"
        )
    kind = getattr(config, "position_embedding_type", None) or "absolute"
    if architecture.positions == "learned" and kind != "absolute":
        # transformers 5 accepts the key, builds no table for it and answers with wrong positions (C11).
        raise InputError(
            f"{where}: config.json asks for position_embedding_type '{kind}', which transformers no longer "
            "computes; only 'absolute' gives this checkpoint's own outputs"
        )
    _check_computed(architecture, config, where)
    return architecture


def _check_computed(architecture: Architecture, config: Any, where: str) -> None:
    """InputError for a config that the family's class takes, and does not compute."""
    check_padding(architecture, config.pad_token_id, where)
    buckets = getattr(config, "relative_attention_num_buckets", _MPNET_BUCKETS)
    if architecture.family == "mpnet" and buckets != _MPNET_BUCKETS:
        raise InputError(
            f"{where}: config.json says relative_attention_num_buckets = {buckets}, and transformers computes every "
            f"MPNet with {_MPNET_BUCKETS}; it would not be the model that was trained"
        )
    narrow = getattr(config, "embedding_size", None)
    if architecture.family == "deberta-v2" and not config.legacy and narrow not in (None, config.hidden_size):
        raise InputError(
            f"{where}: config.json says embedding_size = {narrow} and legacy = false, and transformers' head for "
            f"that takes embeddings as wide as the states, {config.hidden_size}"
        )


def check_padding(architecture: Architecture, padding_id: int | None, where: str) -> None:
    """InputError for a padding piece from which the family's class does not count positions."""
    if architecture.family == "mpnet" and padding_id != _MPNET_PADDING:
        raise InputError(
            f"{where}: the padding piece of an MPNet has id {_MPNET_PADDING}, because transformers counts positions "
            f"from the pieces with another id; here it is {padding_id}"
        )


def head_bias(model: Any) -> tuple[str, str] | None:
    """Names of the decoder's bias and of the head's own, where the class of the model has both."""
    pairs: dict[str, str] = getattr(model, "_tied_weights_keys", None) or {}
    return next(((of_decoder, own) for of_decoder, own in pairs.items() if of_decoder.endswith(".bias")), None)


def usable_length(architecture: Architecture, config: Any) -> int:
    """Tokens a document may have, special tokens included (TRAPS C2)."""
    table_length = int(config.max_position_embeddings)
    return table_length - architecture.first_position(config) if architecture.positions == "learned" else table_length
