"""The optimizers: AdamW, StableAdamW, and Muon for the matrices with AdamW for the rest."""

from collections import defaultdict
from importlib.util import find_spec
from typing import Any

import torch
from medlingua.languages.errors import InputError
from medlingua.recipes.console import say
from medlingua.recipes.settings import Train
from torch import nn

_EPS = 1e-6


def build_optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """No decay on norms, biases and embeddings, whose unseen pieces it would shrink (TRAPS C8).

    Groups of parameters that decay have the key "decayed". InputError for an optimizer that is not installed.
    """
    if any(p.dtype != torch.float32 for p in model.parameters()):
        raise ValueError("the optimizer needs fp32 weights: in bf16 most steps change nothing (TRAPS C15)")
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in tables]
    others = [p for p in model.parameters() if p.ndim < 2 or id(p) in tables]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay, "decayed": True},
        {"params": others, "weight_decay": 0.0},
    ]
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=_EPS, fused=True)
        case "stableadamw":
            return _stable_adamw(groups, settings)
        case "muon":
            heads = {id(weight) for weight in _output_weights(model)}
            matrices = [p for p in decayed if p.ndim == 2 and id(p) not in heads]
            rest = [p for p in decayed if p.ndim != 2 or id(p) in heads]
            return MuonWithAdamW(matrices, [{**groups[0], "params": rest}, groups[1]], settings)


def check_optimizer(settings: Train) -> None:
    """InputError for an optimizer that is not installed, or that cannot work on split weights."""
    if settings.optimizer == "stableadamw" and find_spec("optimi") is None:
        raise InputError("train.optimizer = 'stableadamw' is torch-optimi's: pip install torch-optimi")
    if settings.optimizer != "adamw" and settings.shard:
        raise InputError(
            f"train.optimizer = '{settings.optimizer}' needs whole matrices, and train.shard splits them: "
            "leave one of them out"
        )
    if settings.optimizer == "stableadamw" and settings.clip:
        say(
            f"train.clip = {settings.clip:g}: gradients are clipped, and StableAdamW bounds its updates itself; it "
            "was made for train.clip = 0"
        )


def _stable_adamw(groups: list[dict[str, Any]], settings: Train) -> torch.optim.Optimizer:
    """AdamW whose update of each tensor is divided by its root mean square where that is above one, as Adafactor does
    it (Wortsman et al., arXiv 2304.13013): no clipping of gradients is needed."""
    import optimi

    # Said here, and not left to its first step: a resumed run has no first step.
    triton = groups[0]["params"][0].device.type == "cuda" and find_spec("triton") is not None
    optimizer: torch.optim.Optimizer = optimi.StableAdamW(
        groups, lr=settings.lr, betas=settings.betas, eps=_EPS, triton=triton
    )
    return optimizer


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of the layers, AdamW for embeddings, the output head, norms and biases.

    Muon's updates have the root mean square of AdamW's (Liu et al., arXiv 2502.16982), so that one learning rate and
    one weight decay serve both.
    """

    def __init__(self, matrices: list[nn.Parameter], rest: list[dict[str, Any]], settings: Train) -> None:
        decay = {"weight_decay": settings.weight_decay, "decayed": True}
        super().__init__([{"params": matrices, **decay}, *rest], {"lr": settings.lr})
        self._muon = torch.optim.Muon([{"params": matrices, **decay}], lr=settings.lr, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(rest, lr=settings.lr, betas=settings.betas, eps=_EPS)
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]
        self.state = defaultdict(dict)
        self._muon.state = self._adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()


def _output_weights(model: nn.Module) -> list[nn.Parameter]:
    """The matrices that score the vocabulary."""
    modules: list[Any] = list(model.modules())
    outputs = [m.get_output_embeddings() for m in modules if hasattr(m, "get_output_embeddings")]
    return [output.weight for output in outputs if output is not None]
