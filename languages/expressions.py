"""Regular expressions of a tokenizer.json. Some never end on some texts, so only known ones are taken unasked.

tokenizers hands them to a backtracking engine without a limit of time, and its calls cannot be broken off.
"""

import json
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer

from .errors import InputError

_ENGLISH = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT_2 = rf"{_ENGLISH}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_CL100K = (
    rf"(?i:{_ENGLISH})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KNOWN = frozenset(
    {
        _GPT_2,
        _CL100K % "{1,3}",  # Llama 3, EuroBERT
        _CL100K % "",  # Qwen
        r" {2,}",  # XLM-R, T5
        r"\s+",  # our own
        r"\s",
        r"\d",
        r"\d+",
        r"\p{N}",
        r"\p{N}{1,3}",
        r"\n",
        r"\r\n",
        r"[\r\n]",
        r"``|''",  # ALBERT, XLNet
    }
)  # fmt: skip


def check_expressions(tokenizer: Tokenizer, where: str) -> None:
    """InputError for a regular expression that is not known to end on every text."""
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder)
    for part in parts:
        for expression in _expressions(json.loads(part.__getstate__()) if part is not None else None):
            if expression not in KNOWN:
                shown = expression if len(expression) <= 80 else f"{expression[:80]}..."
                raise InputError(
                    f"{where}: its tokenizer.json cuts text by an expression that may never end on some texts: "
                    f"{shown!r}. Say that you trust it: --allow regex"
                )


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("Regex"), str):
            yield value["Regex"]
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from _expressions(inner)
