"""The optimizer and its learning rate."""

import math

import torch
from medlingua.recipes.settings import Phase, Train


def build_optimizer(model: torch.nn.Module, settings: Train) -> torch.optim.Optimizer:
    """AdamW; no decay on norms, biases and embeddings, whose unseen pieces it would shrink (TRAPS C8)."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    decayed = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in tables]
    others = [p for p in model.parameters() if p.ndim < 2 or id(p) in tables]
    if any(p.dtype != torch.float32 for p in model.parameters()):
        raise ValueError("the optimizer needs fp32 weights: in bf16 most steps change nothing (TRAPS C15)")
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


def schedule(phase: Phase, tokens: int) -> float:
    """Factor on the learning rate after `tokens` of the phase. wsd: warm-up, stable, 1 - sqrt decay."""
    done = tokens / max(1, phase.tokens)
    if done < phase.warmup:
        return (done + 1e-3) / (phase.warmup + 1e-3)
    if phase.schedule == "constant":
        return 1.0
    if phase.schedule == "wsd":
        start = max(phase.warmup, 1 - phase.decay)
        return 1.0 if done < start else 1 - math.sqrt((done - start) / (1 - start + 1e-9))
    share = min(1.0, (done - phase.warmup) / (1 - phase.warmup + 1e-9))
    return 1 - share if phase.schedule == "linear" else 1 - math.sqrt(share)
