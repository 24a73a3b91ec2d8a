"""Steps of masked-LM training on random documents: ours, and stock transformers on padded batches."""

import time
from typing import Any

import numpy as np
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.attention import NAME
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.longformer_attention import accelerate_longformer
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Train
from medlingua.recipes.training.batches import Batch, Chunk, Fill, Place, batches
from medlingua.recipes.training.learner import plain_learner
from medlingua.recipes.training.memory import Size, training_bytes
from medlingua.recipes.training.objectives import LanguageModelLoss, Masker
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.optimizers import build_optimizer
from medlingua.recipes.training.prefetch import prefetched

from tests.benchmarks.gpu_device import BF16, DEVICE, ON_GPU, synchronisations

PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16, by the datasheets
VOCABULARY = 50_368 if ON_GPU else 500
MASK_RATE = 0.15


class Tokenizer:
    """What training asks a tokenizer for; the documents are numbers from the start."""

    pad_token_id, cls_token_id, sep_token_id, mask_token_id, unk_token_id = 0, 1, 2, 3, 4
    all_special_ids = (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return VOCABULARY


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

    def chunks(self, place: Place, read: int = 0) -> Any:
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


def _sizes(built: list[Batch]) -> list[int]:
    """Lengths of the documents; those of padding, without labels, count nowhere."""
    sizes: list[int] = []
    for batch in built:
        for packed in batch.micro:
            real = np.isin(packed.ids[packed.cu_seqlens[:-1].long()].numpy(), (1,))
            sizes += np.diff(packed.cu_seqlens.numpy())[real].tolist()
    return sizes


def train_stock(family: str, length: int, micro: int, steps: int, compiled: bool) -> dict[str, Any]:
    """A padded batch through the stock model with sdpa under autocast, and AdamW."""
    model = base_model(family, length, ours=False)
    optimizer = build_optimizer(model, Train())
    chunks = Notes(lengths(length, 200)).chunks(Place())
    # As many documents as fill our rows, and the same again without padding counted.
    padded, sizes = [], []
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
        padded.append([torch.from_numpy(x).to(DEVICE) for x in (ids, mask, labels)])
    forward = torch.compile(model) if compiled else model

    def go(inputs: list[Any]) -> None:
        with torch.autocast(DEVICE.type, BF16, enabled=ON_GPU):
            loss = forward(input_ids=inputs[0], attention_mask=inputs[1], labels=inputs[2]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for inputs in padded[:3]:
        go(inputs)
    if ON_GPU:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for inputs in padded:
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
