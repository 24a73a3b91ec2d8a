"""Task heads as the stock classes of transformers compute them, and a model with its head saved as one of these.

A head over tokens is one Linear in every family. A head over texts reads the state of the first token, through the
layers that the family's stock class has.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from medlingua.adapters.encoder import Encoder, quiet, write_lineage, write_tokenizer
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages.errors import InputError
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.models.auto import modeling_auto

Output = Literal["tokens", "text", "answers", "choice"]

_MAPPINGS = {
    "tokens": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "text": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "answers": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    "choice": modeling_auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
}
_SAMPLE = 62  # tokens that a saved model is compared on
_ATOL, _RTOL = 1e-4, 1e-3
_SMALL = 1e-6  # a weight of the last norm below which its state is a constant


@dataclass(frozen=True, slots=True)
class _Names:
    """Where the stock classes of a family have their heads: the name of each module of `TextHead`.

    text, choice: of classes for sequences and for multiple choice. answers: the Linear of question answering.
    activation: between dense and classifier; empty where the config names it. pooling: `classifier_pooling` of the
    config for the first token.
    """

    activation: str
    text: Mapping[str, str]
    choice: Mapping[str, str] = field(default_factory=dict)
    answers: str = "qa_outputs"
    pooling: str = ""


_POOLER = {"dense": "{prefix}.pooler.dense", "classifier": "classifier"}
_LINEAR_POOLER = {"dense": "{prefix}.pooler", "classifier": "classifier"}
_CLASSIFICATION_HEAD = {"dense": "classifier.dense", "classifier": "classifier.out_proj"}
_PREDICTION_HEAD = {"dense": "head.dense", "norm": "head.norm", "classifier": "classifier"}
_PRE_CLASSIFIER = {"dense": "pre_classifier", "classifier": "classifier"}
_OWN_POOLER = {"dense": "pooler.dense", "classifier": "classifier"}
_FAMILIES = {
    "bert": _Names("tanh", _POOLER, _POOLER),
    "roberta": _Names("tanh", _CLASSIFICATION_HEAD, _POOLER),
    "camembert": _Names("tanh", _CLASSIFICATION_HEAD, _POOLER),
    "xlm-roberta": _Names("tanh", _CLASSIFICATION_HEAD, _POOLER),
    "longformer": _Names("tanh", _CLASSIFICATION_HEAD, _POOLER),
    "jina_embeddings_v3": _Names("tanh", _CLASSIFICATION_HEAD),
    "electra": _Names(
        "gelu", _CLASSIFICATION_HEAD, {"dense": "sequence_summary.summary", "classifier": "classifier"}
    ),
    "modernbert": _Names("", _PREDICTION_HEAD, _PREDICTION_HEAD, answers="classifier", pooling="cls"),
    "eurobert": _Names("gelu", {"dense": "dense", "classifier": "classifier"}, pooling="bos"),
    "ultrabert": _Names("linear", {"classifier": "classifier"}, pooling="cls"),
    "nomic_bert": _Names("tanh", _POOLER),
    "gte": _Names("tanh", _POOLER),
    "albert": _Names("tanh", _LINEAR_POOLER, _LINEAR_POOLER),
    "mpnet": _Names("tanh", _CLASSIFICATION_HEAD, _POOLER),
    "distilbert": _Names("relu", _PRE_CLASSIFIER, _PRE_CLASSIFIER),
    "deberta-v2": _Names("", _OWN_POOLER, _OWN_POOLER),
}


class TextHead(nn.Module):
    """Logits of a text from the state of its first token: (n, width) -> (n, labels).

    The layers are those of the family's stock class for sequences: dense, activation, a norm in ModernBERT's, and
    the classifier. Dropout is left to training.
    """

    def __init__(self, encoder: Encoder, labels: int) -> None:
        super().__init__()
        config, family = encoder.model.config, encoder.architecture.family
        names, width = _FAMILIES[family], encoder.model.config.hidden_size
        modern = family == "modernbert"
        in_config = config.classifier_activation if modern else getattr(config, "pooler_hidden_act", "")
        self.activation = ACT2FN[names.activation or in_config]
        if "dense" in names.text:
            self.dense = nn.Linear(width, width, bias=config.classifier_bias if modern else True)
        if "norm" in names.text:
            self.norm = nn.LayerNorm(width, eps=config.norm_eps, bias=config.norm_bias)
        self.classifier = nn.Linear(width, labels)

    def forward(self, states: Tensor) -> Tensor:
        if hasattr(self, "dense"):
            states = self.activation(self.dense(states))
        if hasattr(self, "norm"):
            states = self.norm(states)
        return self.classifier(states)  # type: ignore[no-any-return]


def stock_class(encoder: Encoder, output: Output) -> str | None:
    """Name of the class of transformers that has such a head; None where the family has none."""
    name: str | None = _MAPPINGS[output].get(encoder.architecture.family)
    return name


@quiet()
def save_with_head(
    encoder: Encoder, head: nn.Module, output: Output, folder: Path, labels: Sequence[str], about: Mapping[str, Any]
) -> str:
    """Write encoder, head and tokenizer so that plain transformers opens them; returns the name of the class.

    head: a Linear over token states ("tokens": a row a label; "answers": first, last), or a `TextHead` ("text",
    "choice"). labels: names of its outputs, in order; none for answers and choice. about: added to config.json.
    ValueError unless plain transformers computes the same logits from what was written; InputError where the family
    has no such class.
    """
    name = stock_class(encoder, output)
    if name is None:
        family = encoder.architecture.family
        raise InputError(f"transformers has no class for {output} of the family '{family}'; take another base")
    config = copy.deepcopy(encoder.model.config)
    config.architectures = [name]
    config.num_labels = 2 if output == "answers" else len(labels) or 1
    if labels:
        config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    names = _FAMILIES[encoder.architecture.family]
    if names.pooling:
        config.classifier_pooling = names.pooling
    over_tokens = isinstance(head, nn.Linear)
    if over_tokens and encoder.architecture.family == "modernbert":
        config.classifier_activation = "linear"
        config.classifier_bias = config.norm_bias
    for key, value in about.items():
        setattr(config, key, value)
    model = getattr(transformers, name)._from_config(
        config, attn_implementation="sdpa" if encoder.architecture.interface else "eager"
    )
    model.base_model.load_state_dict(encoder.model.base_model.state_dict(), strict=False)
    with torch.no_grad():
        for target, weights in _head_weights(model, head, output, names).items():
            model.get_submodule(target).load_state_dict(weights)
        if over_tokens and encoder.architecture.family == "modernbert":
            _undo_prediction_head(model)
    _write(model, encoder, folder)
    _check(encoder, head, output, folder, name)
    return name


@quiet()
def save_without_head(encoder: Encoder, folder: Path, about: Mapping[str, Any]) -> str:
    """Write the encoder alone, as the class that AutoModel opens; returns its name. about: added to config.json."""
    model = copy.deepcopy(encoder.model.base_model)
    model.config._attn_implementation = "sdpa" if encoder.architecture.interface else "eager"
    for key, value in about.items():
        setattr(model.config, key, value)
    _write(model, encoder, folder)
    return type(model).__name__


def _write(model: Any, encoder: Encoder, folder: Path) -> None:
    model.save_pretrained(folder)
    write_tokenizer(encoder, folder)
    write_lineage(encoder, folder)


def _head_weights(model: Any, head: nn.Module, output: Output, names: _Names) -> dict[str, dict[str, Tensor]]:
    """State of each module of the head by its name in the stock model."""
    if isinstance(head, nn.Linear):
        return {names.answers if output == "answers" else "classifier": head.state_dict()}
    places = names.choice if output == "choice" else names.text
    prefix = model.base_model_prefix
    return {place.format(prefix=prefix): getattr(head, part).state_dict() for part, place in places.items()}


def _undo_prediction_head(model: Any) -> None:
    """Set ModernBERT's prediction head so that it changes no state.

    Its last norm gives w * n + b with n of mean 0 and variance 1. The head's dense layer takes n back, (x - b) / w,
    and its own norm gives w * n + b again, to the last but a few digits.
    """
    last, head = model.base_model.final_norm, model.head
    constant = last.weight.abs() < _SMALL * last.weight.abs().max()
    scale = torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, last.weight))
    head.dense.weight.copy_(torch.diag(scale))
    if last.bias is not None:
        head.dense.bias.copy_(-last.bias * scale)
    head.norm.load_state_dict(last.state_dict())


@torch.no_grad()
def _check(encoder: Encoder, head: nn.Module, output: Output, folder: Path, name: str) -> None:
    saved, info = getattr(transformers, name).from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    if problems := [str(key) for kind in ("missing_keys", "mismatched_keys") for key in info[kind]]:
        raise ValueError(f"saved model reads back without {', '.join(sorted(problems)[:6])}")
    ids = torch.tensor(list(_sample(encoder)))
    encoder.model.eval()
    packed = pack([ids.numpy()], encoder.first_position, encoder.global_ids).to(encoder.device)
    states = hidden_states(encoder, packed).float()
    ours = head(states if output in ("tokens", "answers") else states[:1]).cpu()
    inputs = {"input_ids": ids[None, None] if output == "choice" else ids[None]}
    if encoder.architecture.family == "longformer":
        inputs["global_attention_mask"] = torch.isin(inputs["input_ids"], torch.tensor(encoder.global_ids)).long()
    result = saved.eval()(**inputs)
    theirs = torch.stack([result.start_logits, result.end_logits], -1) if output == "answers" else result.logits
    difference, limit = (
        float((ours - theirs.reshape(ours.shape)).abs().max()),
        _ATOL + _RTOL * float(ours.abs().max()),
    )
    if not difference <= limit:
        raise ValueError(f"saved model reads back logits that differ by {difference:.2g}, more than {limit:.2g}")


def _sample(encoder: Encoder) -> Iterator[int]:
    """Ids spread over the vocabulary, in the frame of a text."""
    tokenizer = encoder.tokenizer
    plain = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    size = min(_SAMPLE, encoder.length - 2, len(plain))
    yield tokenizer.cls_token_id
    yield from (plain[place * len(plain) // size] for place in range(size))
    yield tokenizer.sep_token_id
