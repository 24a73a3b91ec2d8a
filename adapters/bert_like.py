"""BERT, RoBERTa, CamemBERT, XLM-R and ELECTRA: the same layers under different names."""

from typing import Any

import torch
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.weights import share_head_bias
from medlingua.languages.errors import InputError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

FAMILIES = ("bert", "camembert", "electra", "roberta", "xlm-roberta")

_HEAD_NAMES = {
    "bert": {
        "cls.predictions.transform.dense.": "lm_head.dense.",
        "cls.predictions.transform.LayerNorm.": "lm_head.layer_norm.",
        "cls.predictions.decoder.": "lm_head.decoder.",
        "cls.predictions.bias": "lm_head.bias",
    },
    "electra": {
        "generator_predictions.dense.": "lm_head.dense.",
        "generator_predictions.LayerNorm.": "lm_head.layer_norm.",
        "generator_lm_head.": "lm_head.decoder.",
    },
}


def check_source(source: Encoder, target: str, families: tuple[str, ...] = FAMILIES) -> None:
    """InputError for a source whose masked-LM logits the target class cannot reproduce."""
    family, config = source.architecture.family, source.model.config
    if family not in families:
        raise InputError(
            f"{source.lineage.base}: a {family} model cannot become {target}; known sources: {', '.join(families)}"
        )
    if family == "bert" and config.hidden_act != "gelu":
        # RoBERTa-type heads are always exact gelu (TRAPS C14).
        raise InputError(
            f"{source.lineage.base}: its head uses hidden_act '{config.hidden_act}', a {target} head always 'gelu'; "
            "there is no exact image"
        )
    if family == "electra" and config.embedding_size != config.hidden_size:
        raise InputError(
            f"{source.lineage.base}: its embeddings are {config.embedding_size} wide and projected to "
            f"{config.hidden_size}; {target} has no such projection, so there is no exact image"
        )


def roberta_weights(source: Encoder) -> dict[str, Tensor]:
    """The source's weights under RoBERTa's names without the body's prefix: embeddings., encoder., lm_head."""
    prefix = source.model.base_model_prefix + "."
    renames = _HEAD_NAMES.get(source.architecture.family, {})
    weights = {}
    for name, tensor in source.model.state_dict().items():
        new = name.removeprefix(prefix)
        for old, replacement in renames.items():
            if new.startswith(old):
                new = replacement + new[len(old) :]
        weights[new] = tensor
    weights.setdefault("lm_head.bias", weights["lm_head.decoder.bias"])
    return weights


def config_from(kind: type[PreTrainedConfig], source: PreTrainedConfig, **changes: Any) -> Any:
    """A config of another class with every value that both classes know taken from the source (C9, C10)."""
    values = source.to_dict()
    shared = {
        key: values[key]
        for key in kind().to_dict()
        if key in values and key not in ("model_type", "architectures", "dtype", "transformers_version")
    }
    return kind(**{**shared, **changes})


@torch.no_grad()
def build_model(kind: type[PreTrainedModel], config: Any, weights: dict[str, Tensor], attention: str) -> Any:
    """A model of the class with exactly these weights (copies), in fp32, without dropout, as `load` gives it.

    ValueError where a weight is left over or missing.
    """
    model = kind._from_config(config, attn_implementation=attention, dtype=torch.float32)
    prefix = model.base_model_prefix + "."
    named = {name if name.startswith("lm_head.") else prefix + name: tensor for name, tensor in weights.items()}
    expected = model.state_dict()
    if expected.keys() != named.keys():
        raise ValueError(
            f"{kind.__name__}: weights over {sorted(named.keys() - expected.keys())[:5]}, "
            f"missing {sorted(expected.keys() - named.keys())[:5]}"
        )
    model.load_state_dict(named, strict=True)
    share_head_bias(model, ARCHITECTURES[config.model_type])
    set_dropout(model, 0.0)
    return model.eval()


def config_changes(before: PreTrainedConfig, after: PreTrainedConfig) -> dict[str, tuple[Any, Any]]:
    """Fields whose values differ, as (before, after); "-" for a field that a class does not have."""
    old, new = before.to_dict(), after.to_dict()
    return {
        key: (old.get(key, "-"), new.get(key, "-"))
        for key in sorted(old.keys() | new.keys())
        if old.get(key, "-") != new.get(key, "-") and key not in ("transformers_version", "_name_or_path", "dtype")
    }
