"""A fresh masked-LM head for a base that has none, trained alone before the run itself."""

from typing import Any

from medlingua.languages.errors import InputError
from medlingua.recipes.resolve import resolve
from medlingua.recipes.settings import Adapt, Eval, Run
from medlingua.recipes.text.sources import SYNTHETIC

_LR = 1e-3  # nothing learnt can be spoilt


def head_run(run: Run, base: str) -> Run:
    """The run that trains the head on the source language.

    The head alone: its first steps, from noise, would spoil the weights that are to be measured as "before".
    """
    return resolve(
        {
            "strategy": "continue",
            "lang": run.adapt.head_lang or run.lang,
            "base": base,
            **({"revision": run.revision} if run.revision else {}),
            "allow": list(run.allow),
            "data": _data(run),
            "adapt": Adapt(head="fresh", head_tokens=0).model_dump(),
            "train": run.train.model_dump()
            | {
                "tokens": run.adapt.head_tokens,
                "epochs": None,
                "parameters": "head",
                "lr": _LR,
                "shard": False,
                "lora": None,
                "optimizer_from": None,
                "average": 1,
                "keep_checkpoints": 0,
            },
            "eval": Eval(tasks="none").model_dump(),
        }
    )


def _data(run: Run) -> dict[str, Any]:
    """The run's own text where it is of that language, else what the data root has."""
    if run.adapt.head_lang in ("", run.lang):
        return run.data.model_dump(exclude_none=True)
    if SYNTHETIC in run.data.paths:
        return {"paths": [SYNTHETIC]}
    if run.data.root is None:
        raise InputError(
            f"adapt.head = 'fresh' trains a masked-LM head on text in {run.adapt.head_lang}: give --data ROOT, or "
            f"set adapt.head_lang = '{run.lang}' to train it on the run's own text"
        )
    return {"root": run.data.root}
