"""Weights of a checkpoint, loaded whole: nothing that is missing is drawn at random (TRAPS C13)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers
from medlingua.adapters.architecture import Architecture, head_bias
from medlingua.adapters.attention import NAME
from medlingua.languages.errors import InputError, reason
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

# Weights that a checkpoint may carry or lack without harm to masked-LM.
_SPARE = ("pooler.", "cls.seq_relationship.", "sop_classifier.", "embeddings.position_ids")
# Names of torch.nn.DataParallel, DistributedDataParallel and torch.compile around what was saved.
_WRAPPER = re.compile(r"^(module\.|_orig_mod\.)+|\b_orig_mod\.")
_LFS = b"version https://git-lfs.github.com/spec/"


class Loaded(NamedTuple):
    """fresh_head: the masked-LM head was drawn. dropped: weights of a task head, which were left out."""

    model: Any
    fresh_head: bool
    dropped: tuple[str, ...]


def check_pointers(base: str) -> None:
    """InputError for a folder with a Git LFS pointer in the place of a file."""
    folder = Path(base)
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.is_file() and _starts_with(file, _LFS):
            raise InputError(
                f"{file} is a Git LFS pointer, not the file itself: run 'git lfs pull' in {folder}, or download the "
                "file from where the model comes"
            )


def check_files(base: str, allowed: frozenset[str]) -> None:
    """InputError for a folder without weights, and for one that has pickled weights alone."""
    folder = Path(base)
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")))
    if not pickled:
        raise InputError(f"model folder {base} has no weights: expected model.safetensors")
    if "pickle" not in allowed:
        raise InputError(
            f"model folder {base} has pickled weights only ({', '.join(pickled)}), which can run code when read. "
            "Convert them to safetensors, or say that you trust them: --allow pickle (in Python "
            "allow=['pickle'])"
        )


def _starts_with(file: Path, mark: bytes) -> bool:
    with file.open("rb") as content:
        return content.read(len(mark)) == mark


def load_weights(
    base: str,
    config: Any,
    architecture: Architecture,
    head: Literal["keep", "fresh"],
    revision: str | None,
    allowed: frozenset[str],
) -> Loaded:
    """The model with the weights of a folder or hub id; InputError where they do not fit its config.

    Prefixes of wrapped and compiled modules are removed. With head="fresh" a task head is left out. The head's own
    bias is the decoder's, as it was when the two were saved under one name.
    """
    model_class = getattr(transformers, architecture.model_class)
    try:
        unwrapped = _unwrapped(Path(base), allowed)
        model, info = model_class.from_pretrained(
            base if unwrapped is None else None,
            state_dict=unwrapped,
            config=config,
            revision=revision,
            dtype=torch.float32,  # whatever the file holds: bf16 weights stall in training (C15)
            attn_implementation=NAME if architecture.interface else "eager",
            use_safetensors=None if "pickle" in allowed else True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed below, with what else does not fit
        )
    except Exception as error:  # of sizes, types and headers that lie
        raise InputError(f"weights of {base} cannot be loaded: {reason(error)}") from error
    prefix = model.base_model_prefix + "."

    def needed(names: Iterable[str]) -> list[str]:
        # A bare body's file has no prefix.
        return sorted(k for k in names if not k.removeprefix(prefix).startswith(_SPARE))

    missing, unexpected = set(info["missing_keys"]), needed(info["unexpected_keys"])
    _share_bias(model, architecture, missing)
    absent = needed(missing)
    body = {name for name, _ in model.base_model.named_children()}
    of_task = [k for k in unexpected if not k.startswith(prefix) and k.split(".")[0] not in body]
    of_head = [k for k in absent if not k.startswith(prefix)]
    fresh_head = head == "fresh" and bool(absent) and of_head == absent
    if fresh_head:
        absent = []
    if head == "fresh":
        unexpected = [k for k in unexpected if k not in of_task]
    problems = []
    if absent and absent == of_head:
        task = f", and a task head that it leaves out ({_listed(of_task)})" if of_task else ""
        problems.append(
            f"no masked-LM head ({_listed(absent)} missing){task}. Start a fresh one with --set "
            f"adapt.head=fresh (in Python head='fresh'){_other_head(of_task)}"
        )
        unexpected = [k for k in unexpected if k not in of_task]
    elif absent:
        problems.append(f"weights missing: {_listed(absent)}")
    if unexpected:
        problems.append(f"weights that {architecture.model_class} does not know: {_listed(unexpected)}")
    if broken := [name for name, tensor in model.named_parameters() if not tensor.isfinite().all()]:
        problems.append(f"weights that are not finite: {_listed(broken)}; the file was damaged, or training diverged")
    if info["mismatched_keys"]:
        problems.append(f"weights of another shape: {_listed(sorted(str(k) for k in info['mismatched_keys']))}")
    if problems:
        raise InputError(f"{base} does not fit its config.json ({architecture.family}): " + "; ".join(problems))
    _, decoder = architecture.head(model)
    # Where both tables are in the file and differ, transformers ties nothing, whatever the config says.
    tied = decoder.weight is model.get_input_embeddings().weight
    if model.config.tie_word_embeddings != tied:
        model.config.tie_word_embeddings = tied
    return Loaded(model, fresh_head, tuple(of_task) if head == "fresh" else ())


def _other_head(of_task: list[str]) -> str:
    """What to do about a DeBERTa whose head has the name that its config.json does not read."""
    if not any(name.startswith("lm_predictions.") for name in of_task):
        return ""
    return (
        '. The file has the head lm_predictions, which "legacy": false in config.json reads; a model that detects '
        "replaced tokens (DeBERTa-v3) has not trained it"
    )


def _share_bias(model: Any, architecture: Architecture, missing: set[str]) -> None:
    """One bias for the head and its decoder; where a file has one of the two, that one."""
    if (names := head_bias(model)) is None:
        return
    of_decoder, of_head = names
    _, decoder = architecture.head(model)
    if of_decoder in missing and of_head not in missing:
        decoder.bias = model.get_parameter(of_head)
    share_head_bias(model, architecture)
    if not {of_decoder, of_head} <= missing:
        missing -= {of_decoder, of_head}
    else:  # transformers leaves a Longformer's unset: whatever was in memory
        nn.init.zeros_(decoder.bias)


def share_head_bias(model: Any, architecture: Architecture) -> None:
    """Make the head's own bias the one of its decoder, which alone is added to the logits.

    transformers shares them only where the output table is tied; otherwise the head's own would keep its old size
    and its old values.
    """
    if (names := head_bias(model)) is not None:
        _, decoder = architecture.head(model)
        model.get_submodule(names[1].rpartition(".")[0]).bias = decoder.bias


def _unwrapped(folder: Path, allowed: frozenset[str]) -> dict[str, Tensor] | None:
    """The weights of a folder under their own names, where a wrapper's name is on them; else None."""
    if not folder.is_dir():
        return None
    files = sorted(folder.glob("model*.safetensors"))
    if files:
        if not any(_WRAPPER.search(name) for file in files for name in _names(file)):
            return None
        weights = {name: tensor for file in files for name, tensor in load_file(file).items()}
    elif "pickle" in allowed:
        files = sorted(folder.glob("pytorch_model*.bin"))
        weights = {
            name: tensor
            for file in files
            for name, tensor in torch.load(file, map_location="cpu", weights_only=True, mmap=True).items()
        }
        if not any(_WRAPPER.search(name) for name in weights):
            return None
    else:
        return None
    return {_WRAPPER.sub("", name): tensor for name, tensor in weights.items()}


def _names(file: Path) -> Iterator[str]:
    try:
        with safe_open(file, framework="pt") as content:
            yield from content.keys()
    except SafetensorError:  # told by transformers, which reads the file next
        return


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
