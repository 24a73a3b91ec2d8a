"""Model folders that tests change, and what the package answers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import Encoder, load
from medlingua.languages.errors import InputError
from safetensors.torch import load_file, save_file


def logits(encoder: Encoder, text: str) -> torch.Tensor:
    with torch.no_grad():
        return encoder.model.eval()(**encoder.tokenizer(text, return_tensors="pt")).logits[0]


def rewrite(folder: Path, name: str, **changes: Any) -> None:
    """Change keys of a JSON file; None removes a key."""
    file = folder / name
    settings = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}), encoding="utf-8")


def reweight(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def refusal(base: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(str(base), **options)
    return str(caught.value)


def headless(folder: Path) -> Path:
    reweight(folder, lambda weights: [weights.pop(k) for k in list(weights) if k.startswith(("cls.", "lm_head."))])
    return folder
