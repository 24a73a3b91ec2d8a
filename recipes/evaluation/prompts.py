"""NER by a language model that others prompt: what it is shown, and how its answers are scored.

A line a sentence of test, with sentences of train that the encoder finds alike, their entities, and terms of the
pack that stand in the sentence, with their English names. Answers come back as lines too and are scored as any
other model's spans are; a line that is not what was asked for is repaired where that needs no guess, or counts as
no answer.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.languages.annotations import Example, Span
from medlingua.languages.errors import InputError, shown
from medlingua.languages.files import parsed_json, read_text
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.task import Task
from medlingua.languages.terms import Term, read_terms
from medlingua.languages.words import sentences
from medlingua.recipes import machine
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.results import score_spans
from medlingua.recipes.evaluation.tasks import dictionary, nearest
from medlingua.recipes.evaluation.tasks.ner import Ner, spans_of
from medlingua.recipes.folder import model_of
from medlingua.recipes.text.task_set import find_tasks
from medlingua.reports.compare import write_comparison
from medlingua.reports.read import read_scores, write_whole

_FENCE = re.compile(r"^\s*```\w*\s*(.*?)\s*```\s*$", re.DOTALL)
_MOST_TERMS = 10  # of a sentence


def write_prompts(
    model: str, lang: str, task: str, data: str | None, count: int, allow: tuple[Permission, ...], file: Path
) -> Path:
    """The prompts for every test sentence of a NER task, as JSONL."""
    pack, ner_task = _ner_task(lang, task, data, allow)
    encoder = encoders.load(
        model_of(model, pack, data), head="fresh", allow=allow
    )  # its hidden states alone are read
    encoder.model.to(machine.device())
    root = Path(data) if data else None
    listed = root is not None and any((root / terms.path).exists() for terms in pack.terms)
    terms = read_terms(pack, root) if listed and root else []
    if not terms:
        say("no term list is at hand: prompts without terms")
    records = prompts(encoder, ner_task, pack.spacy, terms, count)
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def score_answers(
    file: Path, lang: str, task: str, data: str | None, name: str, allow: tuple[Permission, ...], folder: Path
) -> Path:
    """Score a language model's answers and add them to results.jsonl of `folder`. Returns the comparison."""
    pack, ner_task = _ner_task(lang, task, data, allow)
    answered = read_answers(file, ner_task, pack.spacy)
    counts = f"{answered.parsed:,} parsed, {answered.repaired:,} repaired, {answered.wrong:,} wrong"
    say(f"{file}: of the lines {counts}; a wrong one counts as no answer")
    folder.mkdir(parents=True, exist_ok=True)
    if any(row.model == name and row.task == task for row in read_scores(folder / "results.jsonl")):
        raise InputError(f"{folder} has scores of '{name}' on {task} already: take another --name or --out")
    score_spans(folder, name, ner_task, pack.spacy, answered.spans, f"answers of a language model: {counts}")
    return write_comparison(folder)


def _ner_task(lang: str, task: str, data: str | None, allow: tuple[Permission, ...]) -> tuple[Pack, Task]:
    pack = load_pack(lang)
    (ner_task,) = find_tasks(pack, Path(data) if data else None, (task,), allow).tasks
    if ner_task.spec.kind != "ner":
        raise InputError(f"task {task} is of kind {ner_task.spec.kind}; prompts and answers are for kind ner")
    return pack, ner_task


@dataclass(frozen=True, slots=True)
class Answered:
    """spans: an entry a test document. Of the lines: parsed as asked, repaired, and wrong, which hold no answer."""

    spans: list[tuple[Span, ...]]
    parsed: int
    repaired: int
    wrong: int


def prompts(encoder: Encoder, task: Task, spacy: str, terms: Sequence[Term], count: int) -> Iterator[dict[str, Any]]:
    """A record a sentence of test: id, instruction, labels, examples (text, entities), terms (text, english), text.

    examples: the `count` nearest sentences of train, the nearest last, beside what is asked.
    """
    model = Ner(task, encoder, spacy)
    known = nearest.read(encoder, task.train, model.read("train"), spacy, "reading train")
    english = {dictionary.surface(term.text, spacy): term.english for term in terms}
    listed = dictionary.Dictionary(english, max(map(len, english), default=0))
    queries = nearest.read(encoder, task.test, model.read("test"), spacy, "reading test")
    neighbours = zip(queries, nearest.nearest_sentences(queries, known, count), strict=True)
    near = {(sentence.example, sentence.start): numbers for sentence, numbers in neighbours}
    for id, (number, start, end) in _sentences(task, spacy).items():
        text = task.test[number].document.text[start:end]
        like = [known[i] for i in reversed(near.get((number, start), []))]
        meant = {span.surface(text): span.label for span in dictionary.find(listed, text, spacy)}
        yield {
            "id": id,
            "task": task.spec.name,
            "language": task.language,
            "instruction": (
                "List the entities of the text as JSON: a list of objects with text, exactly as it is written, and "
                f"label, one of {', '.join(task.labels)}. An entity that occurs twice is listed twice. None: []"
            ),
            "labels": task.labels,
            "examples": [_shown(task.train[s.example], s.start, s.end) for s in like],
            "terms": [{"text": t, "english": e} for t, e in list(meant.items())[:_MOST_TERMS]],
            "text": text,
        }


def read_answers(path: Path, task: Task, spacy: str) -> Answered:
    """Answers of a JSONL file, {"id": ..., "answer": ...} a line, as spans of the test documents.

    An entity is taken at its first place that is not taken yet. Repaired: a list inside a code fence or a string,
    labels in other capitals. Wrong: no list of objects with text and label, a label that is not known, or a text
    that is not there so often. InputError for a line that is no such record, and for ids that are not those of the
    task's sentences, each once.
    """
    sentence_ids = _sentences(task, spacy)
    spans: list[set[Span]] = [set() for _ in task.test]
    outcomes: Counter[str] = Counter()
    seen: set[str] = set()
    for line, (id, answer) in _lines(path):
        if id not in sentence_ids:
            raise InputError(
                f"{path}, line {line}: id '{shown(id)}' is no sentence of task {task.spec.name}'s test part"
            )
        if id in seen:
            raise InputError(f"{path}, line {line}: id '{shown(id)}' is answered twice; keep one")
        seen.add(id)
        number, start, end = sentence_ids[id]
        parsed, kind = _spans(answer, task.test[number].document.text, start, end, task.labels)
        spans[number] |= parsed
        outcomes[kind] += 1
    if absent := [id for id in sentence_ids if id not in seen]:
        raise InputError(
            f"{path}: {len(absent):,} of {len(sentence_ids):,} sentences have no line, the first is "
            f"'{shown(absent[0])}'"
            '; give each one, with "answer": [] where there is nothing'
        )
    return Answered([tuple(sorted(of)) for of in spans], outcomes["parsed"], outcomes["repaired"], outcomes["wrong"])


def _lines(path: Path) -> Iterator[tuple[int, tuple[str, Any]]]:
    if not path.is_file():
        raise InputError(f"answers {path}: no such file")
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            record = parsed_json(line, f"{path}, line {number}")
            yield number, (str(record["id"]), record["answer"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f'{path}, line {number}: not {{"id": ..., "answer": ...}}', text=line[:200]) from error


def _spans(answer: Any, text: str, start: int, end: int, labels: Sequence[str]) -> tuple[set[Span], str]:
    kind = "parsed"
    if isinstance(answer, str):
        kind = "repaired"
        fenced = _FENCE.match(answer)
        try:
            answer = json.loads(fenced[1] if fenced else answer)
        except (ValueError, RecursionError):
            return set(), "wrong"
    if not isinstance(answer, list):
        return set(), "wrong"
    exact = {label.lower(): label for label in labels}
    used: Counter[str] = Counter()
    spans = set()
    for entity in answer:
        if not isinstance(entity, dict) or not all(isinstance(entity.get(key), str) for key in ("text", "label")):
            return set(), "wrong"
        label = exact.get(entity["label"].lower())
        at = _place(text[start:end], entity["text"], used[entity["text"]])
        if label is None or at is None:
            return set(), "wrong"
        if label != entity["label"]:
            kind = "repaired"
        used[entity["text"]] += 1
        spans.add(Span.of(start + at, start + at + len(entity["text"]), label))
    return spans, kind


def _place(text: str, queries: str, skip: int) -> int | None:
    """Where `wanted` stands for the time after `skip` times."""
    at = -1
    for _ in range(skip + 1):
        at = text.find(queries, at + 1)
        if not queries or at < 0:
            return None
    return at


def _sentences(task: Task, spacy: str) -> dict[str, tuple[int, int, int]]:
    """The sentences of the test part by id: number of the document, start, end."""
    return {
        f"{example.id}:{start}-{end}": (number, start, end)
        for number, example in enumerate(task.test)
        for start, end in sentences(example.document.text, spacy)
        if example.document.text[start:end].strip()
    }


def _shown(example: Example, start: int, end: int) -> Mapping[str, Any]:
    text = example.document.text
    inside = [s for s in spans_of(example) if start <= s.start and s.end <= end and not s.discontinuous]
    return {"text": text[start:end], "entities": [{"text": s.surface(text), "label": s.label} for s in inside]}
