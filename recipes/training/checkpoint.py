"""Checkpoints that are complete or absent: written elsewhere, flushed, renamed. Safetensors and JSON only."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from medlingua.languages.errors import InputError
from medlingua.recipes.folder import digest
from medlingua.recipes.training.batches import Place
from medlingua.recipes.training.sharded import full_tensor, full_weights, like
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

COPIES = 2  # the newest, and the one before should the newest be damaged


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a run is. phase_tokens: in the current phase; tokens: in all. window_*: see `collapse`."""

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
    digests = {name: digest(partial / name) for name in files} | {"state": _digest_of(asdict(state))}
    about = {"state": asdict(state), "digests": digests}
    (partial / "state.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
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
            full = full_tensor(value)
            if is_main:
                moments[f"{name}/{key}"] = full.contiguous()
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


def _load(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    about: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    for name, known in about["digests"].items():
        if (_digest_of(about["state"]) if name == "state" else digest(path / name)) != known:
            raise ValueError(f"{name} does not match its digest")
    weights, moments = load_file(path / "weights.safetensors"), load_file(path / "optimizer.safetensors")
    state = about["state"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(like(weights[name].to(parameter.device), parameter))
            state_of = {
                key: moments[f"{name}/{key}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}/{key}" in moments
            }
            if state_of:
                on_device = {
                    k: v if k == "step" else like(v.to(parameter.device), parameter) for k, v in state_of.items()
                }
                if parameter.device.type != "cpu":
                    on_device["step"] = on_device["step"].to(parameter.device)  # fused AdamW counts there
                optimizer.state[parameter] = on_device
    return Checkpoint(**{**state, "place": Place(**state["place"])})


def _digest_of(state: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16).hexdigest()


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-????????")) if folder.is_dir() else []


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
