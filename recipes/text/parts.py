"""Text prepared once, in parts, by any number of processes and machines: what a run reads instead of corpora.

    adapt prepare --base MODEL --lang fr --data ROOT --part 1/4 --out prepared      # and 2/4, 3/4, 4/4, anywhere
    adapt --strategy continue --base MODEL --lang fr --set data.prepared=prepared

A part is a folder of shards that is whole or absent; the parts are merged by listing them. Every part reads all text
and tokenizes its own documents.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medlingua.adapters.encoder import read_tokenizer
from medlingua.languages.errors import InputError
from medlingua.recipes.bases import located
from medlingua.recipes.console import say
from medlingua.recipes.folder import lock
from medlingua.recipes.settings import Run
from medlingua.recipes.text.corpus import Part, Prepared, filters_of, open_prepared, prepare
from medlingua.recipes.text.inputs import inputs_of
from medlingua.recipes.text.shards import end_to_end
from medlingua.reports.read import write_whole
from medlingua.reports.rows import CorporaRow, CorpusRow, OverlapRow

_DESCRIPTION = "part.json"
_COUNTS = (
    "documents_read",
    "filtered",
    "duplicates",
    "near_duplicates",
    "overlapping",
    "held_out",
    "documents",
    "tokens",
)


def part_of(text: str) -> Part:
    """ "2/8" as a part; InputError for what is none."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= 9999):
        raise InputError(f"--part {text}: write which and of how many, from 1/8 to 8/8 for eight parts")
    return Part(int(number), int(of))


def prepare_part(run: Run, part: Part, out: Path) -> Path:
    """Write a part below `out`, or find it there; its folder. InputError where another process is at it."""
    inputs = inputs_of(run)
    selection, tasks = inputs.selection, inputs.tasks
    tokenizer = read_tokenizer(located(run.base, run.data.root), run.revision, run.allow)
    folder = out / f"part-{part.number:04d}-of-{part.of:04d}"
    about = {
        "part": part.number,
        "of": part.of,
        **_settings_of(run, [s.name for s in selection.sources], tasks.test_texts),
    }
    out.mkdir(parents=True, exist_ok=True)
    held = lock(out / f"{folder.name}.lock")
    if held is None:
        raise InputError(f"another process prepares {folder}: wait for it, or give another --part or --out")
    with held:
        if folder.exists() and (folder / _DESCRIPTION).exists():
            if (earlier := _description(folder)) != about:
                raise InputError(
                    f"{folder} was prepared with other settings ({_changed(earlier, about)}): give another --out"
                )
            say(f"this part is prepared: {folder}")
            return folder
        for line in (*selection.left_out, *tasks.left_out):
            say(line)
        prepared = prepare(inputs, tokenizer, folder, part)
        write_whole(folder / _DESCRIPTION, json.dumps(about, indent=2) + "\n")
    say(f"part {part.number} of {part.of}: {sum(len(s.keys) for s in prepared.shards):,} documents to train on")
    return folder


def merge_parts(run: Run, tokenizer: Any, tested: dict[str, list[str]], check: bool = True) -> Prepared:
    """All parts in data.prepared as one. check: every byte against its digest.

    InputError where a part is missing, damaged, of another tokenizer, or prepared otherwise than this run asks for.
    """
    assert run.data.prepared is not None
    folders = _complete_parts(Path(run.data.prepared))
    first = _description(folders[0])
    for folder in folders:
        expected = {
            **first,
            **_settings_of(run, list(first["filters"]), tested),
            "part": _description(folder)["part"],
        }
        unchecked = set(expected["tested"]) - set(first["tested"])
        if unchecked:
            raise InputError(
                f"{folder} was not checked against {', '.join(sorted(unchecked))}, which this run scores or has at "
                "hand: prepare it with the same --data and eval.tasks"
            )
        expected["tested"] = {**first["tested"], **expected["tested"]}
        if (about := _description(folder)) != expected:
            changed = _changed(about, expected)
            raise InputError(f"{folder} was prepared with other settings ({changed}): prepare it again")
    parts = [open_prepared(folder, tokenizer, check) for folder in folders]
    shards = tuple(end_to_end(of_corpus) for of_corpus in zip(*(p.shards for p in parts), strict=True))
    return Prepared(shards, tuple(h for p in parts for h in p.held_out), _summed([p.row for p in parts]))


def check(run: Run) -> None:
    """InputError where a run cannot read prepared parts, or they are not all there."""
    if run.data.prepared is None:
        return
    if run.strategy == "scratch" or run.adapt.vocabulary != "keep" or run.adapt.head != "keep":
        raise InputError(
            "data.prepared holds the tokens of a model that exists: make that one first, with train.tokens=0, "
            "prepare with it as --base, and continue or convert it with adapt.vocabulary and adapt.head = 'keep'"
        )
    if run.data.paths or run.data.corpora:
        raise InputError("data.prepared says which text is read: leave out --corpus and data.corpora")
    _complete_parts(Path(run.data.prepared))


def _complete_parts(root: Path) -> list[Path]:
    """The folders of all parts in their order."""
    folders = sorted(path.parent for path in root.glob(f"part-*/{_DESCRIPTION}"))
    if not folders:
        raise InputError(f"data.prepared: {root} holds no prepared part; adapt prepare writes them")
    counts = sorted({int(folder.name.rpartition("-")[2]) for folder in folders})
    if len(counts) > 1:
        raise InputError(f"{root} holds parts of {' and of '.join(map(str, counts))}: keep each set in a folder")
    there = {int(folder.name.split("-")[1]) for folder in folders}
    if missing := [number for number in range(1, counts[0] + 1) if number not in there]:
        raise InputError(
            f"{root} lacks part {', '.join(map(str, missing))} of {counts[0]}: adapt prepare --part "
            f"{missing[0]}/{counts[0]} with the options of the others"
        )
    return folders


def _settings_of(run: Run, corpora: Sequence[str], tested: dict[str, list[str]]) -> dict[str, Any]:
    """What decides what is in a part, as JSON gives it back."""
    return {
        "lang": run.lang,
        "filters": {name: list(filters_of(run, name)) for name in corpora},
        "held_out": run.data.held_out,
        "held_out_documents": run.data.held_out_documents,
        "overlap_words": run.data.overlap_words,
        "near_duplicates": run.data.near_duplicates,
        "words": "pieces" if all(p.unit == "piece" for p in run.phases) else run.objective.compounds,
        "tested": {task: _digest(texts) for task, texts in sorted(tested.items())},
    }


def _digest(texts: list[str]) -> str:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).hexdigest()


def _description(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except ValueError as error:
        raise InputError(f"{folder}: {_DESCRIPTION} is damaged; remove the folder and prepare it again") from error


def _changed(earlier: dict[str, Any], expected: dict[str, Any]) -> str:
    return ", ".join(key for key in expected if earlier.get(key) != expected[key])


def _summed(rows: Sequence[CorporaRow]) -> CorporaRow:
    """The tables of all parts as one; seconds are those of all processes together."""
    return rows[0].model_copy(
        update={
            "corpora": tuple(_sum_of(of_corpus) for of_corpus in zip(*(row.corpora for row in rows), strict=True)),
            "overlap": tuple(_overlap_of(of_task) for of_task in zip(*(row.overlap for row in rows), strict=True)),
            "seconds": sum(row.seconds for row in rows),
        }
    )


def _sum_of(rows: Sequence[CorpusRow]) -> CorpusRow:
    return rows[0].model_copy(update={name: sum(getattr(row, name) for row in rows) for name in _COUNTS})


def _overlap_of(rows: Sequence[OverlapRow]) -> OverlapRow:
    return rows[0].model_copy(update={"overlapping": sum(row.overlapping for row in rows)})
