"""A model on samples of tasks, where the whole ones would take hours: the same code and settings, on fewer documents.

    python tests/benchmarks/task_samples.py MODEL --lang es --task pharmaconer --data ROOT --sizes 60,20,40 --out OUT

Documents are taken by a hash of their ids, from each part so many. The task is called NAME_sample: its scores are not
those of the task, and stand beside no published figure.
"""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

from medlingua.languages.annotations import Example
from medlingua.languages.pack import load_pack
from medlingua.languages.task import Task
from medlingua.languages.tasks import read_task
from medlingua.recipes import machine
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.settings import Eval
from medlingua.reports.compare import write_comparison


def sample(examples: tuple[Example, ...], count: int, most_words: int) -> tuple[Example, ...]:
    short = [e for e in examples if len(e.document.text.split()) <= most_words]
    order = sorted(short, key=lambda e: hashlib.blake2b(e.id.encode(), digest_size=8).digest())
    return tuple(order[:count])


def sampled(task: Task, sizes: tuple[int, int, int], most_words: int) -> Task:
    parts = zip(("train", "dev", "test"), sizes, strict=True)
    chosen = {part: sample(getattr(task, part), count, most_words) for part, count in parts}
    return replace(task, spec=task.spec.model_copy(update={"name": f"{task.spec.name}_sample"}), **chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--lang", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", default="60,20,40", help="documents of train, dev and test")
    parser.add_argument("--words", type=int, default=1_000_000, help="longer documents are left out")
    parser.add_argument("--body", choices=("frozen", "trained"), default="frozen")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--head-lr", type=float, default=1e-2, help="of a linear head on a model of small width")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pack = load_pack(options.lang)
    train, dev, test = map(int, options.sizes.split(","))
    spec = next(spec for spec in pack.tasks if spec.name == options.task)
    task = sampled(read_task(spec, options.data, pack.code), (train, dev, test), options.words)
    options.out.mkdir(parents=True, exist_ok=True)
    settings = Eval(
        body=options.body, seeds=options.seeds, epochs=options.epochs, min_steps=0, head_lr=options.head_lr
    )
    precision = machine.precision_of("auto", machine.device())
    name = Path(options.model).name
    score_models({name: options.model}, [task], Evaluation(settings, pack.spacy, options.out, precision))
    print(write_comparison(options.out))


if __name__ == "__main__":
    main()
