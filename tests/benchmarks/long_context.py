"""Long documents: our Longformer layer against the stock one, and training of whole models at growing lengths.

    python tests/benchmarks/long_context.py layer [--rounds 3]
    python tests/benchmarks/long_context.py training --corpus FILE.jsonl.zst --model FOLDER [--rounds 2]

Training also tells the rate of ours in matrix products, and its share of the machine's measured rate.

Each figure comes from a process of its own, interleaved. Prints ratios and writes
reports/results/benchmarks/long_context_{layer,training}.json. Absolute times depend on the machine.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks"
HEADS, WIDTH = 12, 768
WINDOWS = (64, 128, 256, 512, 1024)
LENGTHS = (1024, 2048, 4096, 8192)
DOCUMENTS = 2  # a batch of the stock models, padded to the longest


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def layer(ours: bool, precision: str, length: int, window: int, steps: int) -> dict:
    """Forward and backward of one self-attention, one document, its first token global."""
    import torch
    from medlingua.adapters.longformer_attention import FastLongformerSelfAttention
    from medlingua.recipes.machine import keep_pages
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    if ours:
        keep_pages()
    torch.manual_seed(0)
    config = LongformerConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, attention_window=[window], num_hidden_layers=1,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    module = LongformerSelfAttention(config, 0)
    if ours:
        module.__class__ = FastLongformerSelfAttention
    mask = torch.zeros(1, length)
    mask[0, 0] = 10_000.0
    states = torch.randn(1, length, WIDTH, requires_grad=True)
    toward = torch.randn(1, length, WIDTH)
    before, times = peak_mib(), []
    for _ in range(steps + 2):
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            out = module(states, mask, mask < 0, mask > 0, True)[0]
        out.backward(toward.to(out.dtype))
        times.append(time.perf_counter() - began)
        module.zero_grad()
        states.grad = None
    return {"seconds": statistics.median(times[2:]), "peak_mib": peak_mib() - before}


def training(ours: bool, family: str, precision: str, length: int, model: str, corpus: str, steps: int) -> dict:
    """Masked-LM steps on real documents of about `length` tokens: real tokens a second."""
    import numpy as np
    import torch
    from medlingua.adapters.encoder import Encoder, load
    from medlingua.recipes.machine import Precision, keep_pages
    from medlingua.recipes.settings import Train
    from medlingua.recipes.training.learner import plain_learner
    from medlingua.recipes.training.objectives import LanguageModelLoss, masker
    from medlingua.recipes.training.optimizer_step import step
    from medlingua.recipes.training.optimizers import build_optimizer
    from torch.utils.flop_counter import FlopCounterMode

    tokenizer = load(model).tokenizer
    documents = _documents(corpus, tokenizer, length, (steps + 1) * DOCUMENTS)
    mask = masker(tokenizer, "piece", 0.15)
    torch.manual_seed(0)
    built, architecture = _built(family, tokenizer, length, ours)
    optimizer = build_optimizer(built, Train())
    built.train()
    if ours:
        keep_pages()
        encoder = Encoder(built, tokenizer, architecture, None)
        learner = plain_learner(encoder, Train(), Precision("bf16" if precision == "bf16" else "fp32", ""))
        objective = LanguageModelLoss(encoder)
    times, tokens = [], []
    for number in range(steps + 1):
        group = documents[number * DOCUMENTS : (number + 1) * DOCUMENTS]
        drawn = [mask(ids, None, np.random.default_rng([number, i])) for i, ids in enumerate(group)]
        began = time.perf_counter()
        if ours:
            step(learner, objective, _batch(encoder, group, drawn), 5e-5)
        else:
            longest = max(len(ids) for ids in group)
            shown = np.full((len(group), longest), tokenizer.pad_token_id)
            labels = np.full((len(group), longest), -100)
            for row, (ids, (seen, where)) in enumerate(zip(group, drawn, strict=True)):
                shown[row, : len(ids)], labels[row, where] = seen, ids[where]
            attended = torch.from_numpy((np.arange(longest) < np.array([[len(ids)] for ids in group])).astype(int))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = built(
                    input_ids=torch.from_numpy(shown), attention_mask=attended, labels=torch.from_numpy(labels)
                ).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(built.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        times.append(time.perf_counter() - began)
        tokens.append(sum(len(ids) for ids in group))
    result = {"tokens_per_second": sum(tokens[1:]) / sum(times[1:]), "peak_mib": peak_mib()}
    if ours:  # products that were computed, what bands compute twice or outside the window included
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: _in_place_flops}) as counter:
            step(learner, objective, _batch(encoder, group, drawn), 5e-5)
        result["flops_per_token"] = counter.get_total_flops() / tokens[-1]
    return result


def _in_place_flops(total: list[int], left: list[int], right: list[int], **others: object) -> int:
    """Of shapes; torch counts the product that is not in place alone."""
    return 2 * left[0] * left[1] * left[2] * right[2]


def _documents(corpus: str, tokenizer, length: int, count: int) -> list:
    """Real documents joined to at least `length` tokens and cut there or a little before, as documents differ."""
    import numpy as np
    from medlingua.languages.documents import read_documents

    rng = np.random.default_rng(0)
    encoded: list = []
    waiting: list[int] = []
    for document in read_documents(corpus, source="benchmark"):
        waiting += tokenizer(document.text, add_special_tokens=False)["input_ids"]
        if len(waiting) >= length:
            size = int(length * rng.uniform(0.6, 1.0)) - 2
            encoded.append(np.array([tokenizer.cls_token_id, *waiting[:size], tokenizer.sep_token_id]))
            waiting = []
        if len(encoded) == count:
            return encoded
    raise SystemExit(f"{corpus} has {len(encoded)} documents of {length} tokens; {count} are needed")


def _built(family: str, tokenizer, length: int, ours: bool):
    import transformers
    from medlingua.adapters.architecture import ARCHITECTURES
    from medlingua.adapters.attention import NAME, register
    from medlingua.adapters.longformer_attention import accelerate_longformer

    register()
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    if family == "longformer":
        config = transformers.LongformerConfig(
            **sizes, intermediate_size=1536, attention_window=[512] * 6, max_position_embeddings=length + 2,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        built = transformers.LongformerForMaskedLM(config)
        if ours:
            accelerate_longformer(built)
    else:
        config = transformers.ModernBertConfig(
            **sizes, intermediate_size=1024, max_position_embeddings=length,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"] * 2,
            bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
            cls_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id,
        )  # fmt: skip
        built = transformers.ModernBertForMaskedLM._from_config(config, attn_implementation=NAME if ours else "sdpa")
    return built, ARCHITECTURES[family]


def _batch(encoder, group: list, drawn: list):
    import numpy as np
    from medlingua.adapters.packed import pack
    from medlingua.recipes.training.batches import Batch, Place

    row = pack([shown for shown, _ in drawn], encoder.first_position)
    offsets = row.cu_seqlens[:-1].tolist()
    where = np.concatenate([places + offset for (_, places), offset in zip(drawn, offsets, strict=True)])
    labels = np.concatenate([ids[places] for ids, (_, places) in zip(group, drawn, strict=True)])
    return Batch((row.with_labels(labels, where),), len(row.ids), len(labels), Place())


def measure(what: dict) -> dict:
    answer = subprocess.run(
        [sys.executable, __file__, "one", json.dumps(what)], capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout.splitlines()[-1])


def compare(cases: list[dict], rounds: int, figure: str) -> list[dict]:
    """Stock and ours by turns for each case; medians, and ours over stock."""
    import torch
    from throughput import matrix_rate

    rows = []
    for case in cases:
        runs: dict[bool, list[dict]] = {False: [], True: []}
        for _ in range(rounds):
            for ours in (False, True):
                runs[ours].append(measure({**case, "ours": ours}))
        stock, mine = (
            {key: statistics.median(one[key] for one in runs[ours]) for key in (figure, "peak_mib")}
            for ours in (False, True)
        )
        faster = stock[figure] / mine[figure] if figure == "seconds" else mine[figure] / stock[figure]
        row = {k: v for k, v in case.items() if k not in ("kind", "model", "corpus", "steps")} | {
            f"stock_{figure}": round(stock[figure], 4),
            f"ours_{figure}": round(mine[figure], 4),
            "times_as_fast": round(faster, 2),
            "share_of_memory": round(mine["peak_mib"] / stock["peak_mib"], 2),
        }
        if "flops_per_token" in runs[True][0]:
            rate = matrix_rate({"fp32": torch.float32, "bf16": torch.bfloat16}[case["precision"]])
            flops = runs[True][0]["flops_per_token"] * mine[figure]
            row |= {"matrix_tflops": round(flops / 1e12, 3), "share_of_matrix_rate": round(flops / rate, 2)}
        print(row, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    if sys.argv[1] == "one":
        what = json.loads(sys.argv[2])
        kind = {"layer": layer, "training": training}[what.pop("kind")]
        print(json.dumps(kind(**what)))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("layer", "training"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    parser.add_argument("--model")
    parser.add_argument("--corpus")
    options = parser.parse_args()
    common = {"kind": options.kind, "steps": options.steps}
    if options.kind == "layer":
        cases = [{**common, "precision": p, "length": 4096, "window": w} for p in options.precision for w in WINDOWS]
        rows = compare(cases, options.rounds, "seconds")
    else:
        cases = [
            {**common, "family": f, "precision": p, "length": n, "model": options.model, "corpus": options.corpus}
            for f in ("longformer", "modernbert")
            for p in options.precision
            for n in options.lengths
        ]
        rows = compare(cases, options.rounds, "tokens_per_second")
    import torch
    from medlingua.recipes.machine import describe

    whole = {"machine": describe(), "threads": torch.get_num_threads(), "rounds": options.rounds, "rows": rows}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"long_context_{options.kind}.json"
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
