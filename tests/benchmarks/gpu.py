"""What a GPU does with us: kernels and families against their twins, and training against stock transformers.

    python tests/benchmarks/gpu.py [--only kernels families layer training finetune] [--seconds 300] [--profile]

No download, no corpus: base-size models with random weights, documents of random tokens whose lengths are drawn like
those of clinical notes (log-normal, median 520). Writes reports/results/benchmarks/gpu-<name>.json and prints tables.
Runs on a CPU too, with tiny models, which shows that the script itself is right. What a machine lacks is said.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.attention import NAME, register
from medlingua.adapters.encoder import Encoder, load
from medlingua.adapters.kernels.choice import KERNELS, choose
from medlingua.adapters.kernels.contract import Request
from medlingua.adapters.longformer_attention import FastLongformerSelfAttention, accelerate_longformer
from medlingua.adapters.packed import hidden_states, pack
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Train
from medlingua.recipes.training.batches import Batch, Chunk, Fill, Place, batches
from medlingua.recipes.training.learner import plain_learner
from medlingua.recipes.training.loop import step
from medlingua.recipes.training.memory import Size, training_bytes
from medlingua.recipes.training.objectives import LanguageModelLoss, Masker
from medlingua.recipes.training.optimizers import build_optimizer
from medlingua.recipes.training.prefetch import prefetched

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.adapters import conftest as tiny
from tests.adapters.kernel_cases import cases, errors

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks"
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16, by the datasheets
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
VOCABULARY = 50_368 if ON_GPU else 500
MASK_RATE = 0.15
BF16 = torch.bfloat16


class Tokenizer:
    """What training asks a tokenizer for; the documents are numbers from the start."""

    pad_token_id, cls_token_id, sep_token_id, mask_token_id, unk_token_id = 0, 1, 2, 3, 4
    all_special_ids = (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return VOCABULARY


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Median, by events on a GPU."""
    times = []
    for _ in range(repeats):
        if not ON_GPU:
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
            continue
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) / 1000)
    return statistics.median(times)


def synchronisations(work: Callable[[], Any]) -> int | None:
    """How often the host waits for the device."""
    if not ON_GPU:
        return None
    import warnings

    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in caught)


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


def lengths(length: int, count: int) -> list[int]:
    """Of documents that are cut at `length`; for long models, mostly long ones."""
    draw = np.random.default_rng(0)
    median = 520 if length <= 1_024 else 0.75 * length
    spread = 0.8 if length <= 1_024 else 0.25
    return [int(n) for n in np.clip(draw.lognormal(np.log(median), spread, count), 24, length)]


def base_model(family: str, length: int, ours: bool, attention: str = "sdpa") -> Any:
    large = family == "modernbert-large"
    layers = {"modernbert": 22, "modernbert-large": 28}.get(family, 12) if ON_GPU else 3
    width, heads, inner = (1_024, 16, 2_624) if large else (768, 12, 1_152)
    shared = {"vocab_size": VOCABULARY, "hidden_size": width, "num_attention_heads": heads, "pad_token_id": 0}
    torch.manual_seed(0)
    if family.startswith("modernbert"):
        config = transformers.ModernBertConfig(
            **shared, num_hidden_layers=layers, intermediate_size=inner, max_position_embeddings=length,
            bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
        )  # fmt: skip
        kind = transformers.ModernBertForMaskedLM
    elif family == "longformer":
        config = transformers.LongformerConfig(
            **shared, num_hidden_layers=layers, intermediate_size=3_072, attention_window=[512] * layers,
            max_position_embeddings=length + 2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        model = transformers.LongformerForMaskedLM(config)
        if ours:
            accelerate_longformer(model)
        return model.to(DEVICE).train()
    elif family == "jina_embeddings_v3":
        config = transformers.JinaEmbeddingsV3Config(
            **shared, num_hidden_layers=layers, intermediate_size=3_072, max_position_embeddings=length,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        kind = transformers.JinaEmbeddingsV3ForMaskedLM
    else:
        config = transformers.BertConfig(
            **shared, num_hidden_layers=layers, intermediate_size=3_072, max_position_embeddings=length,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        kind = transformers.BertForMaskedLM
    return kind._from_config(config, attn_implementation=NAME if ours else attention).to(DEVICE).train()


class Notes:
    """Chunks of random documents, masked, without end."""

    def __init__(self, sizes: list[int]) -> None:
        special = np.zeros(VOCABULARY, dtype=np.bool_)
        special[list(Tokenizer.all_special_ids)] = True
        self._masker = Masker("piece", MASK_RATE, Tokenizer.mask_token_id, special, np.flatnonzero(~special))
        self._sizes = sizes

    def chunks(self, place: Place) -> Any:
        number = 0
        while True:
            draw = np.random.default_rng([1, number])
            ids = np.concatenate([[1], draw.integers(5, VOCABULARY, self._sizes[number % len(self._sizes)] - 2), [2]])
            shown, masked = self._masker(ids, None, draw)
            number += 1
            yield Chunk(shown, masked, ids[masked], Place(0, number))


def flops(model: Any, family: str, sizes: list[int]) -> float:
    """Of forward and backward: 6 N a token for the layers, attention by the pairs seen, the head at masks."""
    config = model.config
    width, layers = config.hidden_size, config.num_hidden_layers
    inner = sum(
        p.numel() for n, p in model.base_model.named_parameters() if "embeddings" not in n and "_global" not in n
    )
    tokens = sum(sizes)
    windows = {"longformer": [513] * layers}.get(family, [10**9] * layers)
    if family.startswith("modernbert"):
        windows = [10**9 if kind == "full_attention" else 129 for kind in config.layer_types]
    pairs = sum(sum(min(n, window) * n for n in sizes) for window in windows)
    head = 6 * MASK_RATE * tokens * (width * width + width * VOCABULARY)
    return 6 * inner * tokens + head + 12 * width * pairs


def train_ours(
    family: str, length: int, micro: int, compile: str, global_first: bool, steps: int, profile: bool
) -> dict[str, Any]:
    model = base_model(family, length, ours=True)
    encoder = Encoder(model, Tokenizer(), ARCHITECTURES[family.removesuffix("-large")], None)  # type: ignore[arg-type]
    learner = plain_learner(encoder, Train(compile=compile), Precision("bf16" if ON_GPU else "fp32", ""))
    if learner.working is not None:
        learner.working.prepare(0.0)
    objective = LanguageModelLoss(learner.passing)
    sizes = lengths(length, 200)
    fill = Fill(0, min(length, 128)) if learner.working is not None and learner.working.compiled else None
    endless = batches(
        Notes(sizes), Place(), micro, micro, encoder.first_position, (1,) if global_first else (), fill=fill
    )
    stream = prefetched(endless) if ON_GPU else endless  # as in a run
    began = time.perf_counter()
    losses = [step(learner, objective, next(stream), 5e-5)[0]]
    first = time.perf_counter() - began
    for _ in range(3):
        losses.append(step(learner, objective, next(stream), 5e-5)[0])
    waits = synchronisations(lambda: step(learner, objective, next(stream), 5e-5))
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    used: list[Batch] = []
    began = time.perf_counter()
    for _ in range(steps):
        used.append(next(stream))
        losses.append(step(learner, objective, used[-1], 5e-5)[0])
    elapsed = time.perf_counter() - began
    tokens = sum(batch.tokens for batch in used)
    row = result_of(tokens, elapsed, flops(model, family, _sizes(used)) / elapsed)
    if profile:
        from torch.profiler import ProfilerActivity
        from torch.profiler import profile as record

        with record(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            step(learner, objective, used[1], 5e-5)
        print(seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=28, max_name_column_width=60))
    size = Size(
        sum(p.numel() for p in model.parameters()), model.config.hidden_size, model.config.num_hidden_layers,
        model.config.num_attention_heads, VOCABULARY, length, MASK_RATE,
    )  # fmt: skip
    return row | {
        "predicted_gib": round(training_bytes(size, micro, DEVICE.type) / 2**30, 1),
        "first_step_s": round(first, 1), "waits": waits, "tokens_a_step": tokens // steps,
        "losses": [round(x, 4) for x in (losses[0], losses[3], losses[-1])],
    }  # fmt: skip


def _sizes(made: list[Batch]) -> list[int]:
    """Lengths of the documents; those of padding, without labels, count nowhere."""
    found: list[int] = []
    for batch in made:
        for packed in batch.micro:
            real = np.isin(packed.ids[packed.cu_seqlens[:-1].long()].numpy(), (1,))
            found += np.diff(packed.cu_seqlens.numpy())[real].tolist()
    return found


def train_stock(family: str, length: int, micro: int, steps: int, compiled: bool) -> dict[str, Any]:
    """A padded batch through the stock model with sdpa under autocast, and AdamW."""
    model = base_model(family, length, ours=False)
    optimizer = build_optimizer(model, Train())
    chunks = Notes(lengths(length, 200)).chunks(Place())
    # As many documents as fill our rows, and the same again without padding counted.
    made, sizes = [], []
    for _ in range(steps):
        group, tokens = [], 0
        while tokens < micro:
            group.append(next(chunks))
            tokens += len(group[-1].ids)
        ids, mask = (np.zeros((len(group), length), dtype=np.int64) for _ in range(2))
        labels = np.full((len(group), length), -100)
        for n, chunk in enumerate(group):
            ids[n, : len(chunk.ids)], mask[n, : len(chunk.ids)] = chunk.ids, 1
            labels[n, chunk.positions] = chunk.labels
        sizes += [len(chunk.ids) for chunk in group]
        made.append([torch.from_numpy(x).to(DEVICE) for x in (ids, mask, labels)])
    forward = torch.compile(model) if compiled else model

    def go(inputs: list[Any]) -> None:
        with torch.autocast(DEVICE.type, BF16, enabled=ON_GPU):
            loss = forward(input_ids=inputs[0], attention_mask=inputs[1], labels=inputs[2]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for inputs in made[:3]:
        go(inputs)
    if ON_GPU:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for inputs in made:
        go(inputs)
    if ON_GPU:
        torch.cuda.synchronize()
    elapsed = time.perf_counter() - began
    return result_of(sum(sizes), elapsed, flops(model, family, sizes) / elapsed)


def result_of(tokens: int, elapsed: float, work: float) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if ON_GPU else ""
    peak = next((rate for card, rate in PEAK.items() if card in name), None)
    return {
        "tokens_per_second": round(tokens / elapsed),
        "mfu": round(work / peak, 3) if peak else None,
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if ON_GPU else None,
    }


TRAINING = (
    ("bert", 512, 65_536, False),
    ("modernbert", 1_024, 65_536, False),
    ("modernbert", 8_192, 65_536, False),
    ("longformer", 4_096, 65_536, False),
    ("longformer", 4_096, 65_536, True),
    ("jina_embeddings_v3", 8_192, 65_536, False),
    ("modernbert-large", 8_192, 16_384, False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    sections = ("kernels", "families", "layer", "training")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections)
    parser.add_argument("--seconds", type=float, default=300, help="nothing new is begun after so many")
    parser.add_argument("--models", nargs="+", help="of the training table, such as bert-512")
    parser.add_argument("--ways", nargs="+", default=["ours", "ours eager", "stock", "stock compiled"])
    parser.add_argument("--all-kernels", action="store_true", help="check those too that take minutes")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step of ours goes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    register()
    name = torch.cuda.get_device_name().replace(" ", "-").lower() if ON_GPU else "cpu"
    report: dict[str, Any] = {
        "device": name, "torch": torch.__version__, "transformers": transformers.__version__, "seconds": {},
        "kernels_chosen": {
            f"{str(dtype)[6:]}, {'global tokens' if some else 'none'}": choose(
                Request(DEVICE, dtype, 64, False, True, False, some)
            ).kernel.name
            for dtype in (torch.float32, BF16) for some in (False, True)
        },
    }  # fmt: skip
    started = time.monotonic()

    def run(key: str, work: Callable[[], Any]) -> None:
        began = time.monotonic()
        if began - started > arguments.seconds:
            report[key] = "no time left"
            return
        try:
            report[key] = work()
        except Exception as error:
            report[key] = {
                "error": f"{type(error).__name__}: {str(error)[-600:]}",
                "at": traceback.format_exc()[-1200:],
            }
        report["seconds"][key] = round(time.monotonic() - began, 1)
        gc.collect()
        if ON_GPU:
            torch.cuda.empty_cache()
        torch._dynamo.reset()
        print(f"[{time.monotonic() - started:6.1f}] {key}: {json.dumps(report[key])}", flush=True)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / f"gpu-{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    kernels = partial(check_kernels, arguments.all_kernels)
    for section, work in (("kernels", kernels), ("families", check_families), ("layer", time_layer)):
        if section in arguments.only:
            run(section, work)
    for way, (family, length, micro, global_first) in product(arguments.ways, TRAINING):
        label = f"{family}-{length}" + ("-global" if global_first else "")
        unwanted = arguments.models and label not in arguments.models
        if "training" not in arguments.only or unwanted:
            continue
        steps = 8
        if not ON_GPU:
            length, micro, steps = min(length, 512), 1_024, 2
        if way.startswith("ours"):
            compiled = "off" if way == "ours eager" else "on"
            run(
                f"{label} {way}",
                partial(train_ours, family, length, micro, compiled, global_first, steps, arguments.profile),
            )
        elif not global_first and family in ("bert", "modernbert", "longformer"):
            run(f"{label} {way}", partial(train_stock, family, length, micro // 2, steps, way == "stock compiled"))


if __name__ == "__main__":
    main()
