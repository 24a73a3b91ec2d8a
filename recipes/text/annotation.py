"""Labels of text by a language model that others prompt: what it is asked, and what it answered.

The way of Biomed-Enriched (arXiv 2506.20331): a large model labels some paragraphs, a small encoder learns from them
and labels the rest. The model itself is no part of this project; prompts and answers are files.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError, mismatch, shown
from medlingua.languages.files import parsed_json, read_text
from medlingua.languages.pack import read_toml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Column(BaseModel):
    """What is asked of each text: its name, the values that it may have, and what they mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    values: tuple[str, ...] = Field(min_length=2)
    question: str


class Schema(BaseModel):
    """A file of [[columns]]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: tuple[Column, ...] = Field(min_length=1)


# The three questions of Biomed-Enriched, whose published columns have these names.
BIOMED_ENRICHED = Schema(
    columns=(
        Column(
            name="document_type",
            values=("Clinical case", "Study", "Review", "Other"),
            question="What kind of text is it: a report on a patient, a study, a review of others, or none of them?",
        ),
        Column(
            name="domain",
            values=("Clinical", "Biomedical", "Other"),
            question="Is it about the care of patients, biology and medicine otherwise, or something else?",
        ),
        Column(
            name="educational_score",
            values=("1", "2", "3", "4", "5"),
            question=(
                "How useful is it to teach medicine or biology to students, from 1 (not at all: references, thanks, "
                "tables) to 5 (clear, coherent, complete)?"
            ),
        ),
    )
)


def read_schema(file: Path | None) -> Schema:
    """A schema from a TOML file; without one, the questions of Biomed-Enriched. InputError for what is none."""
    if file is None:
        return BIOMED_ENRICHED
    try:
        return Schema.model_validate(read_toml(file))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{file}: {place}: {mismatch(first)}; a schema has [[columns]] with name, values and question"
        ) from error


def sampled(documents: Iterable[Document], count: int) -> list[Document]:
    """So many of the texts, chosen by a hash of their ids: the same ones each time."""
    ranked = sorted(documents, key=lambda document: hashlib.blake2b(document.id.encode(), digest_size=8).digest())
    return ranked[:count]


def prompts(documents: Iterable[Document], schema: Schema) -> Iterator[dict[str, Any]]:
    """A record a text: id, prompt, and the values that an answer may have."""
    questions = "\n".join(f'- "{c.name}": {c.question} One of {json.dumps(c.values)}.' for c in schema.columns)
    keys = ", ".join(f'"{c.name}": "..."' for c in schema.columns)
    for document in documents:
        yield {
            "id": document.id,
            "prompt": (
                f"Answer these questions on the text below.\n{questions}\n"
                f"Answer with a JSON object alone: {{{keys}}}\n\nText:\n{document.text}"
            ),
            "values": {c.name: c.values for c in schema.columns},
        }


@dataclass(frozen=True, slots=True)
class Answers:
    """labels: by id the value of each column. wrong: lines that hold no answer, by what is wrong with them."""

    labels: Mapping[str, Mapping[str, str]]
    wrong: Mapping[str, int]


def read_answers(file: Path, schema: Schema) -> Answers:
    """Answers of a JSONL file, {"id": ..., "answer": ...} a line; an answer is an object, or text that holds one.

    Capitals and code fences are forgiven; an answer without a column, or with another value, is wrong and counted.
    InputError for a line that is no such record, and for an id that comes twice.
    """
    if not file.is_file():
        raise InputError(f"--answers {file}: no such file")
    labels: dict[str, Mapping[str, str]] = {}
    wrong: Counter[str] = Counter()
    seen: set[str] = set()
    for number, line in enumerate(read_text(file).splitlines(), 1):
        try:
            record = parsed_json(line, f"{file}, line {number}")
            id, answer = str(record["id"]), record["answer"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f'{file}, line {number}: not {{"id": ..., "answer": ...}}', text=line[:200]) from error
        if id in seen:
            raise InputError(f"{file}, line {number}: id '{shown(id)}' is answered twice; keep one")
        seen.add(id)
        values = _values(answer, schema)
        if isinstance(values, str):
            wrong[values] += 1
        else:
            labels[id] = values
    return Answers(labels, wrong)


def _values(answer: Any, schema: Schema) -> Mapping[str, str] | str:
    """The value of each column, or what is wrong with the answer."""
    if isinstance(answer, str):  # models write a sentence before the object, and a fence around it
        start = answer.find("{")
        try:
            answer, _ = json.JSONDecoder().raw_decode(answer, max(start, 0))
        except (ValueError, RecursionError):
            return "no JSON object"
    if not isinstance(answer, dict):
        return "no JSON object"
    values = {}
    for column in schema.columns:
        if column.name not in answer:
            return f"without {column.name}"
        known = {value.lower(): value for value in column.values}
        value = known.get(str(answer[column.name]).strip().lower())
        if value is None:
            return f"another value of {column.name}"
        values[column.name] = value
    return values
