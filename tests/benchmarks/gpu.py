"""What a GPU does with us: kernels and families against their twins, and training against stock transformers.

    python tests/benchmarks/gpu.py [--only kernels families layer training] [--seconds 300] [--profile]

No download, no corpus: base-size models with random weights, documents of random tokens whose lengths are drawn like
those of clinical notes (log-normal, median 520). Writes reports/results/benchmarks/gpu-<name>.json and prints tables.
Runs on a CPU too, with tiny models, which shows that the script itself is right. What a machine lacks is said.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import transformers
from medlingua.adapters.attention import register
from medlingua.adapters.kernels.choice import choose
from medlingua.adapters.kernels.contract import Request

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.gpu_checks import check_families, check_kernels, time_layer
from tests.benchmarks.gpu_device import BF16, DEVICE, ON_GPU, attempt
from tests.benchmarks.gpu_training import train_ours, train_stock

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks"
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
        report[key] = attempt(work)
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
