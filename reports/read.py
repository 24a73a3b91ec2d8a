"""The files of a run: rows are appended a line each, documents are written atomically."""

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from medlingua.languages.errors import InputError, mismatch
from medlingua.languages.lineage import Lineage
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from .rows import (
    ArmsRow,
    CertificateRow,
    CorporaRow,
    CostRow,
    ErrorRow,
    EvalRow,
    PlanRow,
    PrivacyRow,
    Row,
    Score,
    TaskPartRow,
    TrainRow,
    VocabularyRow,
)

R = TypeVar("R")
D = TypeVar("D", bound=BaseModel)
_METRIC: TypeAdapter[TrainRow | EvalRow] = TypeAdapter(Annotated[TrainRow | EvalRow, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of a run folder. Files that do not exist yet are None or empty."""

    folder: Path
    settings: dict[str, Any]
    plan: PlanRow | None
    corpora: CorporaRow | None
    training: tuple[TrainRow, ...]  # by tokens
    evaluations: tuple[EvalRow, ...]  # by tokens
    scores: tuple[Score, ...]
    task_parts: tuple[TaskPartRow, ...]
    cost: CostRow | None
    vocabulary: VocabularyRow | None
    certificate: CertificateRow | None
    privacy: PrivacyRow | None
    lineage: Lineage | None
    incomplete: tuple[str, ...]  # files whose last line is incomplete and was left out


def read_run(folder: Path) -> RunRecord:
    """Read the files of a run so far; only run.toml has to exist."""
    settings = _read_settings(folder / "run.toml")
    metrics, scores = folder / "metrics.jsonl", folder / "results.jsonl"
    training, evaluations = read_metrics(metrics)
    return RunRecord(
        folder=folder,
        settings=settings,
        plan=_read_document(folder / "plan.json", PlanRow),
        corpora=_read_document(folder / "corpora.json", CorporaRow),
        training=training,
        evaluations=evaluations,
        scores=read_scores(scores),
        task_parts=read_task_parts(folder / "tasks.jsonl"),
        cost=_read_document(folder / "cost.json", CostRow),
        vocabulary=_read_document(folder / "vocabulary.json", VocabularyRow),
        certificate=_read_document(folder / "certificate.json", CertificateRow),
        privacy=_read_document(folder / "privacy.json", PrivacyRow),
        lineage=_read_document(folder / "model" / "lineage.json", Lineage),
        incomplete=tuple(file.name for file in (metrics, scores) if half_written(file)),
    )


def read_metrics(path: Path) -> tuple[tuple[TrainRow, ...], tuple[EvalRow, ...]]:
    """Training and evaluation rows by tokens; where a resumed run repeats a step, the later row counts."""
    rows = _read_lines(path, _METRIC)
    training = {(row.phase, row.step): row for row in rows if isinstance(row, TrainRow)}
    evaluations = {(row.model, row.phase, row.step): row for row in rows if isinstance(row, EvalRow)}
    return (
        tuple(sorted(training.values(), key=lambda row: row.tokens)),
        tuple(sorted(evaluations.values(), key=lambda row: row.tokens)),
    )


def read_scores(path: Path) -> tuple[Score, ...]:
    """The scores in the order of the file; a repeated measurement replaces the earlier one."""
    scores: dict[tuple[object, ...], Score] = {}
    for row in read_rows(path, Score):
        key = (row.model, row.task, row.language, row.split, row.metric, row.protocol, row.seed)
        scores[key] = row
    return tuple(scores.values())


def read_errors(path: Path) -> tuple[ErrorRow, ...]:
    """The counts of errors in the order of the file; a repeated measurement replaces the earlier one."""
    errors: dict[tuple[object, ...], ErrorRow] = {}
    for row in read_rows(path, ErrorRow):
        errors[row.model, row.task, row.language, row.protocol, row.seed] = row
    return tuple(errors.values())


def read_task_parts(path: Path) -> tuple[TaskPartRow, ...]:
    """What the parts of scored tasks hold, in the order of the file; a later row adds its models and shared texts."""
    parts: dict[tuple[str, str, str], TaskPartRow] = {}
    for row in read_rows(path, TaskPartRow):
        key = (row.task, row.language, row.part)
        earlier = parts.get(key, row)
        more = {"tokens": earlier.tokens | row.tokens, "shared": earlier.shared | row.shared}
        parts[key] = row.model_copy(update=more)
    return tuple(parts.values())


def read_arms(folder: Path) -> ArmsRow | None:
    """The variants of a study; None in other folders."""
    return _read_document(folder / "arms.json", ArmsRow)


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """Every complete line of a file of rows; no file, no rows.

    A killed run can leave an incomplete last line, which is skipped (see `half_written`).
    InputError, with its number, for any other line that is not such a row.
    """
    return _read_lines(path, TypeAdapter(kind))


def append_row(path: Path, *rows: Row) -> None:
    """Append rows, a line each, in one write. An incomplete last line is removed first."""
    lines = b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        tail = _last_line(path)
        if tail and _is_json(tail):
            lines = b"\n" + lines
        elif tail:
            file.truncate(size - len(tail))
        file.write(lines)


def half_written(path: Path) -> bool:
    """Whether the last line is incomplete."""
    tail = _last_line(path)
    return bool(tail) and not _is_json(tail)


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file atomically: a reader sees the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent}: no run.toml here; give the folder of a run (runs/<id>)")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}; the run wrote this file, restore it") from error


def _read_document(path: Path, kind: type[D]) -> D | None:
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path}: not what a run writes there: {_reason(error)}; repeat the run to write it again"
        ) from error


def _read_lines(path: Path, reader: TypeAdapter[R]) -> list[R]:
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    if not _is_json(lines[-1]):
        lines.pop()
    return [_parse_line(path, number, line, reader) for number, line in enumerate(lines, 1) if line.strip()]


def _parse_line(path: Path, number: int, line: bytes, reader: TypeAdapter[R]) -> R:
    try:
        return reader.validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"{path}, line {number}: not a row of a run: {_reason(error)}; correct or remove that line"
        ) from error


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {mismatch(first)}".removeprefix(": ")


def _last_line(path: Path) -> bytes:
    """The bytes after the last line feed: empty where every row is complete."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        # A row is far shorter than this.
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
        return file.read().rpartition(b"\n")[2]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
