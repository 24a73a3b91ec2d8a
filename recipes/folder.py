"""A run's folder: whose it is, whether it can be used, and files written whole."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack
from medlingua.recipes.bases import hub_id, located
from medlingua.recipes.resolve import read_run
from medlingua.recipes.settings import Run
from medlingua.reports.read import write_whole
from pydantic import BaseModel

_SEAL = "digests.json"
CLAIM = {"run.toml", "run.lock"}  # of a run that has written nothing else


def claim(folder: Path, run: Run) -> None:
    """Make `folder` the run's own, with run.toml in it before anything starts.

    A folder of the same run is taken up again. InputError for another run's, and for one with other files.
    """
    if (folder / "run.toml").exists():
        theirs = read_run(folder)
        if _as_given(theirs) != _as_given(run) and _values(theirs) != _values(run):
            names = _differences(_as_given(theirs), _as_given(run))
            changed = ", ".join(name for name in names if name != "decided")
            raise InputError(
                f"{folder} holds another run, which differs in {changed}. Give another --out, or remove the folder"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty and holds no run: give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "run.toml", run.to_toml())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While open, no other process may work in a claimed folder; InputError where one does.

    A lock on run.lock, which ends with the process, however that ends. Not on Windows, which has no such lock.
    """
    held = lock(folder / "run.lock")
    if held is None:
        raise InputError(f"another process is at work in {folder}: wait for it or stop it, or give another --out")
    with held:
        yield


def lock(path: Path, wait: bool = False) -> IO[bytes] | None:
    """The file, open and locked until it is closed or its process ends; None where another process has it.

    Windows has no such lock, and there everybody gets the file.
    """
    try:
        file: IO[bytes] = path.open("ab")  # NFS locks what may be written
    except OSError:
        file = path.open("rb")
    if sys.platform == "win32":
        return file
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    return file


def language_of(models: Iterable[str]) -> str | None:
    """The language of the run folders among some models; None where there is none. InputError where they differ."""
    folders = [Path(model) for model in models if (Path(model) / "run.toml").is_file()]
    languages = {read_run(folder).lang: folder for folder in folders}
    if len(languages) > 1:
        listed = ", ".join(f"{lang} ({folder})" for lang, folder in languages.items())
        raise InputError(f"the runs are of several languages, {listed}: say with --lang whose tasks are scored")
    return next(iter(languages), None)


def release(folder: Path) -> None:
    """Undo claim() where nothing else came into the folder, so that a corrected command may use it."""
    if {path.name for path in folder.iterdir()} <= CLAIM:
        for name in sorted(CLAIM):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _as_given(run: Run) -> Run:
    """A run by what was given alone, whether it has decided the rest yet or not. What becomes of a collapse may be
    said anew, so that a run can go on."""
    first = Run(strategy=run.strategy, lang=run.lang)
    groups = {group: getattr(run, group) for group in ("train", "eval")}
    for name in (*run.decided, "train.collapse"):
        group, key = name.split(".")
        if group in groups:
            groups[group] = groups[group].model_copy(update={key: getattr(getattr(first, group), key)})
    neutral = {"tokens": 0, "lr": 1.0, "warmup": 0.0}
    phases = tuple(p.model_copy(update={key: neutral[key] for key in p.decided}) for p in run.phases)
    return run.model_copy(update={**groups, "phases": phases})


def model_of(model: str, pack: Pack, root: str | None = None) -> str:
    """Where a model lies: of a run's folder its model; anything else as the base of a run is found.

    InputError for a run that has no model yet, and for a name or package that is not known.
    """
    folder = Path(model)
    if not (folder / "run.toml").is_file():
        return located(hub_id(model, pack), root)
    if not (folder / "model").is_dir():
        raise InputError(f"{folder}: the run has no model yet; finish it with the command that began it")
    return str(folder / "model")


def digest(path: Path) -> str:
    """Thirty-two hex digits of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def seal(folder: Path, files: Iterable[Path]) -> None:
    """digests.json in `folder`: what the files have to be when they are read again."""
    known = {path.relative_to(folder).as_posix(): digest(path) for path in sorted(files)}
    write_whole(folder / _SEAL, json.dumps(known, indent=2) + "\n")


def check_seal(folder: Path) -> None:
    """InputError where a sealed file is no longer what was written; a folder without a seal is taken as it is."""
    if not (folder / _SEAL).exists():
        return
    try:
        known = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder}: {_SEAL} is no JSON, so it is damaged; {_removal_advice(folder)}") from error
    check_digests(folder, known, str(folder), folder)


def check_digests(folder: Path, known: Mapping[str, str], what: str, remove: Path) -> None:
    """InputError for the first file whose digest differs. what: whose it is; remove: what is then made anew."""
    for name, expected in known.items():
        if not (folder / name).is_file():
            raise InputError(f"{what}: {name} is gone; {_removal_advice(remove)}")
        if digest(folder / name) != expected:
            raise InputError(f"{what}: {name} does not match its digest, so it is damaged; {_removal_advice(remove)}")


def _removal_advice(folder: Path) -> str:
    return f"remove the folder {folder} to make it anew"


def write(path: Path, row: BaseModel) -> None:
    write_whole(path, row.model_dump_json(indent=2) + "\n")


def _values(run: Run) -> Run:
    """What a run does, whoever decided it."""
    phases = tuple(phase.model_copy(update={"decided": ()}) for phase in run.phases)
    train = run.train.model_copy(update={"epochs": None})
    return run.model_copy(update={"decided": (), "phases": phases, "train": train})


def _differences(theirs: BaseModel, ours: BaseModel, prefix: str = "") -> list[str]:
    names = []
    for name in type(ours).model_fields:
        left, right = getattr(theirs, name), getattr(ours, name)
        if left == right:
            continue
        if isinstance(left, BaseModel) and isinstance(right, BaseModel):
            names += _differences(left, right, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
