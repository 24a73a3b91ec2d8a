"""Checkpoints that are complete or absent: written elsewhere, flushed, renamed. Safetensors and JSON only."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from medlingua.languages.errors import InputError, reason
from medlingua.recipes.folder import digest
from medlingua.recipes.training.batches import Place
from medlingua.recipes.training.sharded import full_tensor, full_weights, like
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

_GROUP = "group."  # before the number of a group of parameters, in names of the optimizer's state
COPIES = 2  # the newest, and the one before should the newest be damaged


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a run is. phase_tokens: in the current phase; tokens: in all. window_*: see `collapse`.
    loss_scale: of a run in fp16; scale_steps: since it last changed."""

    phase: int = 0
    step: int = 0
    tokens: int = 0
    phase_tokens: int = 0
    place: Place = field(default_factory=Place)
    seconds: float = 0.0
    resumed: int = 0
    window_start: int = 0
    window_loss: float = 0.0
    windows_at_unigram: int = 0
    loss_scale: float | None = None
    scale_steps: int = 0


def save(
    folder: Path,
    state: Checkpoint,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    is_main: bool = True,
    copies: int = COPIES,
) -> Path:
    """checkpoints/step-N with the weights, the optimizer's state and how far the run is, all whole.

    is_main: whether this process writes it. Of a split model the others must call this too.
    """
    weights, moments = _tensors(model, optimizer, is_main)
    final = folder / f"step-{state.step:08d}"
    if not is_main:
        return final
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(weights, partial / "weights.safetensors")
    save_file(moments, partial / "optimizer.safetensors")
    files = ("weights.safetensors", "optimizer.safetensors")
    about = {"state": asdict(state), "optimizer": type(optimizer).__name__}
    about["digests"] = {"state": _digest_of(about)} | {name: digest(partial / name) for name in files}
    (partial / "state.json").write_text(json.dumps(about, indent=2), encoding="utf-8")  # without its end, no JSON
    for name in files:  # safetensors keeps its files to their owner, whatever the umask
        shutil.copymode(partial / "state.json", partial / name)
    for path in (*partial.iterdir(), partial):
        _flush(path)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    _flush(folder)
    prune(folder, copies)
    return final


def prune(folder: Path, copies: int) -> None:
    """Remove all but the newest checkpoints."""
    for old in _finished(folder)[: -copies or None]:
        shutil.rmtree(old)


def _tensors(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, is_main: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights, and the optimizer's state, by name; nothing where they are not wanted."""
    weights = {name: weight.contiguous() for name, weight in full_weights(model) if is_main}
    moments = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is None:
                continue
            full = full_tensor(value)
            if is_main:
                moments[f"{name}/{key}"] = full.contiguous()
    for number, group in enumerate(optimizer.param_groups):  # StableAdamW counts its steps by group
        if isinstance(group.get("step"), Tensor) and is_main:
            moments[f"{_GROUP}{number}/step"] = group["step"].clone()
    return weights, moments


def restore(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Checkpoint | None, list[str]]:
    """Load the newest complete checkpoint into model and optimizer: (how far it is or None, what was damaged)."""
    damaged = []
    for path in reversed(_finished(folder)):
        try:
            state = _load(path, model, optimizer)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            damaged.append(f"checkpoint {path} is damaged ({error}); the one before it is used")
            continue
        return state, damaged
    if damaged:
        raise InputError(
            f"no complete checkpoint is left in {folder}: {'; '.join(damaged)}. Remove the folder to start again"
        )
    return None, []


@torch.no_grad()
def set_to_average(folder: Path, count: int, phase: int, model: torch.nn.Module, prefix: str = "") -> int:
    """Set the weights to the mean of the newest `count` checkpoints of a phase; how many there were.

    prefix: of the model's weights among those of a checkpoint.

    Weights along the end of a run, averaged, lie nearer to the minimum (Izmailov et al., arXiv 1803.05407).
    """
    paths = [path for path in _finished(folder) if _phase_of(path) == phase][-count:]
    sums: dict[str, Tensor] = {}
    for path in paths:
        for name, weight in load_file(path / "weights.safetensors").items():
            sums[name] = sums[name] + weight.double() if name in sums else weight.double()
    for name, parameter in model.named_parameters():
        parameter.copy_(sums[prefix + name] / len(paths))
    return len(paths)


def _phase_of(path: Path) -> int:
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))["state"]
    return -1 if state["step"] == 0 else int(state["phase"])


def _load(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    about: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    for name, known in about.pop("digests").items():
        if (_digest_of(about) if name == "state" else digest(path / name)) != known:
            raise ValueError(f"{name} does not match its digest")
    weights, moments = load_file(path / "weights.safetensors"), load_file(path / "optimizer.safetensors")
    state = about["state"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(like(weights[name].to(parameter.device), parameter))
    _set_moments(moments, model, optimizer)
    return Checkpoint(**{**state, "place": Place(**state["place"])})


def _set_moments(moments: dict[str, Tensor], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The optimizer's state as it was saved: of each parameter, and of its groups."""
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for name, value in moments.items():
        owner, _, key = name.rpartition("/")
        by_parameter.setdefault(owner, {})[key] = value
    for name, parameter in model.named_parameters():
        if state := by_parameter.get(name):
            # Fused AdamW counts steps on the device; all but the counts have the parameter's shape, or one entry.
            optimizer.state[parameter] = {
                key: like(value.to(parameter.device), parameter)
                if value.shape == parameter.shape
                else value.to(parameter.device)
                for key, value in state.items()
            }
    for number, group in enumerate(optimizer.param_groups):
        if step := by_parameter.get(f"{_GROUP}{number}"):
            group |= {"step": step["step"], "setup": True}
            for parameter in group["params"]:
                if parameter in optimizer.state:  # what it lacks there, it begins anew
                    optimizer.state[parameter].setdefault("kahan_comp", None)


def optimizer_of(folder: Path) -> tuple[Path, str]:
    """A run's last checkpoint, and the class of the optimizer that it is of. InputError where there is none."""
    checkpoints = _finished(folder / "checkpoints")
    if not checkpoints:
        raise InputError(
            f"train.optimizer_from: {folder} has no checkpoint; a run keeps its last one (train.keep_checkpoints)"
        )
    file = checkpoints[-1] / "state.json"
    try:
        return checkpoints[-1], str(json.loads(file.read_text(encoding="utf-8"))["optimizer"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"train.optimizer_from: {file} is not what a run wrote ({reason(error)}); name another run"
        ) from error


def carry_over(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Begin with the optimizer's state of another run's last checkpoint. InputError where it is of another model."""
    last, name = optimizer_of(folder)
    if name != type(optimizer).__name__:
        raise InputError(
            f"train.optimizer_from: {folder} was trained with {name}, this run trains with "
            f"{type(optimizer).__name__}: set train.optimizer as there"
        )
    moments = load_file(last / "optimizer.safetensors")
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, value in moments.items():
        owner = name.rpartition("/")[0]
        if owner.startswith(_GROUP):
            continue
        if owner not in shapes or (value.numel() > 1 and value.shape != shapes[owner]):
            shape = tuple(shapes[owner]) if owner in shapes else "absent here"
            raise InputError(
                f"train.optimizer_from: {folder} has the state of another model: {owner} is {tuple(value.shape)} "
                f"there and {shape}. Start from that run's model (--base {folder / 'model'}) with its vocabulary"
            )
    known = {name.rpartition("/")[0] for name in moments}
    layers = [n for n, parameter in model.named_parameters() if parameter.ndim == 2 and ".layer" in n]
    if absent := [name for name in layers if name not in known]:
        raise InputError(
            f"train.optimizer_from: {folder} has the state of another model, without {absent[0]}. Start from that "
            f"run's model (--base {folder / 'model'})"
        )
    _set_moments(moments, model, optimizer)


def _digest_of(about: dict[str, Any]) -> str:
    """Of what a state.json says, its digests left out."""
    return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-????????")) if folder.is_dir() else []


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
