"""Kernels and families against their twins on a device, and the time of a Longformer layer, stock and ours."""

import tempfile
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import load
from medlingua.adapters.kernels.choice import KERNELS
from medlingua.adapters.kernels.contract import Request
from medlingua.adapters.longformer_attention import FastLongformerSelfAttention
from medlingua.adapters.packed import hidden_states, pack

from tests.adapters import conftest as tiny
from tests.adapters.kernel_cases import cases, errors
from tests.benchmarks.gpu_device import BF16, DEVICE, ON_GPU, seconds_of


def check_kernels(slow: bool) -> dict[str, Any]:
    """Largest error of each kernel over all cases that it takes, against the plain one in fp32."""
    result: dict[str, Any] = {}
    for name in KERNELS:
        print(f"  {name}", flush=True)
        for dtype in (BF16, torch.float32):
            if name == "plain" or (name == "flex" and not ON_GPU):
                continue
            if ON_GPU and not slow and name in ("flex", "blockwise", "plain-summed"):
                continue
            measured = {}
            for case in cases():
                try:
                    measured[case] = errors(name, case, DEVICE, dtype)
                except Exception as error:
                    result[f"{name} {str(dtype)[6:]} failed"] = f"{case}: {type(error).__name__}: {str(error)[-300:]}"
                    break
            taken = {case: max(e) for case, e in measured.items() if e is not None}
            key = f"{name} {str(dtype)[6:]}"
            if not taken:
                result[key] = KERNELS[name].refusal(Request(DEVICE, dtype)) or "takes none of the cases"
                continue
            worst = max(taken, key=lambda case: taken[case])
            result[key] = {"cases": len(taken), "largest_error": round(taken[worst], 6), "in": str(worst)}
    return result


def check_families() -> dict[str, Any]:
    """Packed against alone, and this device against the CPU in fp32: relative distance of hidden states."""
    result: dict[str, Any] = {}
    for family in sorted(ARCHITECTURES):
        kind = getattr(transformers, ARCHITECTURES[family].model_class, None)
        if kind is None:
            result[family] = f"transformers {transformers.__version__} has no {ARCHITECTURES[family].model_class}"
            continue
        tokenizer = tiny.tiny_tokenizer(family)
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            kind(tiny.tiny_config(family, tokenizer)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            exact, encoder = load(folder), load(folder)
        draw = np.random.default_rng(0)
        ids = [draw.integers(5, len(tokenizer), n) for n in (40, 3, 57, 90)]
        encoder.model.to(DEVICE)
        row = pack(ids, encoder.first_position)
        with torch.no_grad():
            truth = hidden_states(exact, row)
            for precision in ("fp32", "bf16"):
                with torch.autocast(DEVICE.type, BF16, enabled=precision == "bf16"):
                    packed = hidden_states(encoder, row.to(DEVICE)).float().cpu()
                    alone = torch.cat(
                        [
                            hidden_states(encoder, pack([i], encoder.first_position).to(DEVICE)).float().cpu()
                            for i in ids
                        ]
                    )
                result[f"{family} {precision}"] = {
                    "from_cpu": float((packed - truth).norm() / truth.norm()),
                    "packed_from_alone": float((packed - alone).norm() / truth.norm()),
                }
            if not encoder.architecture.padded:  # as a phase of kind clm computes them
                before = hidden_states(exact, row, causal=True)
                after = hidden_states(encoder, row.to(DEVICE), causal=True).cpu()
                result[f"{family} causal"] = {"from_cpu": float((after - before).norm() / before.norm())}
    return result


def time_layer() -> dict[str, Any]:
    """One Longformer self-attention layer, forward and backward, in milliseconds: stock and ours."""
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    documents, length = (8, 4_096) if ON_GPU else (2, 512)
    result = {}
    for window in (64, 512, 1_024) if ON_GPU else (64,):
        for precision in ("bf16", "fp32") if ON_GPU else ("fp32",):  # bf16 is slow on a CPU without units for it
            for count in (0, 1):
                row: dict[str, Any] = {}
                for ours in (False, True):
                    config = transformers.LongformerConfig(
                        hidden_size=768, num_attention_heads=12, attention_window=[window], num_hidden_layers=1,
                        attention_probs_dropout_prob=0.0,
                    )  # fmt: skip
                    torch.manual_seed(0)
                    layer = LongformerSelfAttention(config, 0).to(DEVICE)
                    if ours:
                        layer.__class__ = FastLongformerSelfAttention
                    mask = torch.zeros(documents, length, device=DEVICE)
                    mask[:, :count] = 10_000.0
                    masked, every = mask < 0, mask > 0
                    states = torch.randn(documents, length, 768, device=DEVICE, requires_grad=True)
                    toward = torch.randn(documents, length, 768, device=DEVICE)

                    masks = (mask, masked, every, bool(count))
                    work = partial(_pass, layer, states, toward, masks, precision == "bf16")
                    for _ in range(2):
                        work()
                    row["ours" if ours else "stock"] = round(1_000 * seconds_of(work, 7), 2)
                row["times"] = round(row["stock"] / row["ours"], 2)
                result[f"window {window}, {precision}, {count} global"] = row
    return result


def _pass(layer: Any, states: torch.Tensor, toward: torch.Tensor, masks: tuple[Any, ...], half: bool) -> None:
    with torch.autocast(DEVICE.type, BF16, enabled=half):
        out = layer(states, *masks)[0]
    out.backward(toward.to(out.dtype))
    layer.zero_grad()
    states.grad = None
