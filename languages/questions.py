"""Labelled tasks that ask something of a text: pairs of texts, and questions with options."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .annotations import Example, Span, placed, tidy
from .archives import hidden, read_archive
from .documents import Document, without_nul
from .errors import InputError, kind_of, shown
from .files import decode, parsed_json, read_text


def read_nli4ct(path: Path, *, source: str, records: str = "") -> Iterator[Example]:
    """NLI4CT (Jullien et al. 2023): statements about one section of one or two trial records.

    `path` is a split; the records lie next to it in CT_json/ or CT_json.zip, or, as SemEval-2024 Task 2 has them
    (NLI4CT-P), in "training_data/CT json"; `records` names a folder next to that of the split which has them instead.
    The question is the statement, the document the section of each trial, one
    after the other. A statement that was changed on purpose says so in its meta: change (what was done), effect
    (Preserving or Altering the label), changed_from (the id of its source). InputError for a trial that is not there,
    for a split without labels, and for a change that does not say these.
    """
    if Path(records).name != records:
        raise InputError(f"{path}: records is '{records}', which is no name of a folder next to {path.parent.name}")
    trials = dict(_trials(path.parent.parent / records if records else path.parent))
    for name, row in _entries(path):
        place = f"{path}, {name}"
        if "Label" not in _object(row, place):
            raise InputError(
                f"{place}: no Label; this split has no gold, the labelled one is Gold_{path.name} or gold_{path.name}"
            )
        parts = []
        for role in ("Primary_id", "Secondary_id"):
            if role not in row:
                continue
            trial, name_of_section = _text(row, role, place), _text(row, "Section_id", place)
            if trial not in trials:
                raise InputError(f"{place}: trial {shown(trial)} is neither in CT_json nor in CT_json.zip")
            lines = trials[trial].get(name_of_section)
            if not isinstance(lines, list):
                raise InputError(f"{place}: trial {shown(trial)} has no section as its Section_id names; correct it")
            section = "\n".join(str(line).strip() for line in lines)
            parts.append(f"{role.removesuffix('_id')} trial, {name_of_section}\n{section}")
        meta = {"type": _text(row, "Type", place), "section": _text(row, "Section_id", place), **_change(row, place)}
        document = Document(name, "\n\n".join(parts), source, meta)
        yield Example(name, document, str(row["Label"]), question=_text(row, "Statement", place))


def _change(row: dict[str, Any], place: str) -> dict[str, str]:
    if "Intervention" not in row and "Causal_type" not in row:
        return {}
    effect = row.get("Causal_type")
    known = isinstance(effect, list) and len(effect) == 2 and effect[0] in ("Preserving", "Altering")
    if not known or "Intervention" not in row:
        raise InputError(
            f"{place}: a changed statement needs Intervention, and Causal_type as [Preserving or Altering, id of its "
            "source]",
            text=f"{row.get('Intervention')!r} and {effect!r}",
        )
    assert isinstance(effect, list)
    return {"change": str(row["Intervention"]), "effect": effect[0], "changed_from": str(effect[1])}


def _trials(folder: Path) -> Iterator[tuple[str, dict[str, list[str]]]]:
    places = [within / name for within in (folder, folder / "training_data") for name in ("CT_json", "CT json")]
    files_read: Iterable[tuple[str, bytes]]
    if unpacked := next((place for place in places if place.is_dir()), None):
        files = [file for file in sorted(unpacked.glob("*.json")) if not file.name.startswith(".")]
        files_read = ((file.name, file.read_bytes()) for file in files)
    elif (folder / "CT_json.zip").is_file():
        files_read = read_archive(folder / "CT_json.zip", (".json",))
    else:
        raise InputError(f"{folder}: neither CT_json/ nor CT_json.zip, the trial records, next to the statements")
    for name, raw in files_read:
        if not hidden(name):
            record = _object(_parsed(decode(raw, f"{folder}: {name}"), f"{folder}: {name}"), f"{folder}: {name}")
            yield _text(record, "Clinical Trial ID", f"{folder}: {name}"), record


def read_pubmedqa(path: Path, *, source: str) -> Iterator[Example]:
    """PubMedQA (Jin et al. 2019): yes, no or maybe by an abstract without its conclusion.

    `path` is ori_pqal.json (packed or not): all questions but those of test_ground_truth.json next to it; or
    test_ground_truth.json itself: its questions, with the texts of the other file.
    """
    folder, tested = path.parent, path.name.startswith("test_ground_truth")
    listed = [file for file in (folder / "ori_pqal.json", folder / "ori_pqal.json.gz") if file.is_file()]
    if not listed:
        raise InputError(f"{folder}: no ori_pqal.json, the questions and abstracts, next to {path.name}")
    gold = dict(_entries(folder / "test_ground_truth.json"))
    questions = dict(_entries(listed[0]))
    if absent := [name for name in gold if name not in questions]:
        raise InputError(f"{path}: question {shown(absent[0])} of the test set is not in {listed[0].name}")
    for name, row in questions.items():
        place = f"{listed[0]}, question {shown(name)}"
        if (name in gold) == tested:
            contexts = "\n".join(map(str, _list(_object(row, place), "CONTEXTS", place)))
            document = Document(name, contexts, source, {"year": str(row.get("YEAR", ""))})
            yield Example(name, document, _text(row, "final_decision", place), question=_text(row, "QUESTION", place))


def read_bioasq(path: Path, *, source: str) -> Iterator[Example]:
    """BioASQ, task b (Tsatsaronis et al. 2015): yes or no by a question's snippets; other questions are left out.

    The document is the distinct texts of the snippets, one after the other. InputError where no question is of this
    type, and for one whose answer is neither.
    """
    value = _object(_json(path), path)
    count = 0
    for number, row in enumerate(_list(value, "questions", path), 1):
        place = f"{path}, question {number}"
        if _object(row, place).get("type") != "yesno":
            continue
        answer = str(row.get("exact_answer", "")).strip().lower()
        if answer not in ("yes", "no"):
            raise InputError(f"{place}: its exact_answer is neither yes nor no; take the file with the gold answers")
        snippets = [_text(_object(snippet, place), "text", place) for snippet in _list(row, "snippets", place)]
        name, text = _text(row, "id", place), "\n".join(dict.fromkeys(snippets))
        count += 1
        yield Example(name, Document(name, text, source), answer, question=_text(row, "body", place))
    if not count:
        raise InputError(f"{path}: no question of type yesno in it; give a file of BioASQ's task b")


def read_options(
    path: Path,
    *,
    source: str,
    question: str = "question",
    options: str = "answers",
    right: str = "correct_answers",
    id: str = "id",
) -> Iterator[Example]:
    """A JSON list of questions with named options (FrenchMedMCQA): {"a": "...", ...} and the names that are right.

    The document is the question; the gold the set of right names. An id that comes again gets a number.
    InputError for a right name that is no option, and for a question without a right one.
    """
    seen: dict[str, int] = {}
    for number, row in enumerate(_listed(path), 1):
        place = f"{path}, entry {number}"
        if not isinstance(row.get(options), dict):
            raise InputError(f"{place}: '{options}' is no object of texts by name; correct it or name another")
        named = {str(name): str(text) for name, text in row[options].items()}
        gold = frozenset(map(str, _list(row, right, place)))
        if not gold or not gold <= named.keys():
            raise InputError(
                f"{place}: '{right}' does not name some of the {len(named)} options; correct it",
                text=f"{sorted(gold)}, and the options are {', '.join(named)}",
            )
        name = str(row.get(id, f"{path.name}:{number}"))
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name}#{seen[name]}"
        yield Example(name, Document(name, _text(row, question, place), source), gold, options=tuple(named.items()))


def read_squad(
    path: Path, *, source: str, notes: Counter[str] | None = None, misplaced: str = "refuse"
) -> Iterator[Example]:
    """SQuAD's JSON, 1.1 or 2.0 (RadQA; BioASQ as SQuAD): a question to a paragraph, its answers and their places.

    The gold is the set of distinct answer spans, empty where the question has none. `misplaced` as in `placed`, for
    an answer that is not at its place. `notes` counts what `placed` and `tidy` change.
    """
    value = _json(path)
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise InputError(f"{path}: no list 'data' in it; a SQuAD file has data, paragraphs and qas")
    for article in value["data"]:
        for paragraph in _list(_object(article, path), "paragraphs", path):
            text = _text(_object(paragraph, path), "context", path)
            for question in _list(paragraph, "qas", path):
                name = _text(_object(question, path), "id", path)
                place = f"{path}, question {shown(name)}"
                if "answers" not in question:
                    raise InputError(f"{place}: no 'answers'; this split has no gold, take the labelled one")
                spans = [_answer(entry, text, place, notes, misplaced) for entry in _list(question, "answers", place)]
                gold = tidy(spans, text, notes)
                yield Example(name, Document(name, text, source), gold, question=_text(question, "question", place))


def _answer(entry: Any, text: str, place: str, notes: Counter[str] | None, misplaced: str) -> Span:
    start, answer = _object(entry, place).get("answer_start"), _text(entry, "text", place)
    if not isinstance(start, int):
        raise InputError(f"{place}: 'answer_start' is no number; correct it")
    return placed(Span.of(start, start + len(answer), "ANSWER"), text, answer, place, notes, misplaced)


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    value = _json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: {kind_of(value)}, expected an object with one entry an id")
    yield from value.items()


def _listed(path: Path) -> list[dict[str, Any]]:
    value = _json(path)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise InputError(f"{path}: expected a JSON list of objects")
    return value


def _json(path: Path) -> Any:
    return _parsed(read_text(path).removeprefix("\ufeff"), path)


def _parsed(text: str, place: str | Path) -> Any:
    try:
        return parsed_json(text, place)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not JSON ({error.msg} at line {error.lineno}); it may be truncated") from error


def _object(value: Any, place: str | Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place}: {kind_of(value)} where an object is expected; correct it")
    return value


def _list(row: dict[str, Any], name: str, place: str | Path) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list):
        raise InputError(f"{place}: '{name}' is no list; correct it, or name another column")
    return value


def _text(row: dict[str, Any], name: str, place: str | Path) -> str:
    """A text; a number is taken for one."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{place}: '{name}' is no text; correct it, or name another column")
    return without_nul(str(value), str(place))
