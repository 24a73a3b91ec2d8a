"""`adapt push`: a model, its tokenizer and card on the hub, where the licences of what it was made from allow it."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils._validators import validate_repo_id
from medlingua.languages.errors import InputError, reason
from medlingua.languages.lineage import Lineage
from medlingua.languages.pack import Pack, TaskSpec, load_pack
from medlingua.recipes.console import say
from medlingua.reports.licences import forbids_derivatives, is_stated
from medlingua.reports.quantities import short_path

# What a model is made of, and nothing else that may lie in its folder.
_KEPT = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "lineage.json", "README.md",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json",
)  # fmt: skip


def push(folder: Path, repository: str, allow: Sequence[str], public: bool, dry_run: bool) -> str:
    """Upload the model of a run, of a fine-tuning or of a folder; returns the address of the repository.

    allow: names of corpora, tasks and bases (or "base") whose licences were cleared by other means. InputError for a
    folder without model or card, and where a licence forbids it, is not stated, or a corpus or task is given under an
    agreement. A dry run checks the same and opens no connection.
    """
    model = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    files = _files(model)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"repository '{repository}': {reason(error)}; give owner/name") from error
    obstacles = dict(_obstacles(model))
    if unknown := [name for name in allow if name not in obstacles]:
        known = f"it is {', '.join(obstacles)} that stand in the way" if obstacles else "nothing stands in the way"
        raise InputError(f"--allow {unknown[0]}: {known}")
    if left := {name: why for name, why in obstacles.items() if name not in allow}:
        reasons = "; ".join(f"{name}: {why}" for name, why in left.items())
        flags = " ".join(f"--allow {name}" for name in left)
        raise InputError(f"{model} is not pushed. {reasons}. If you have cleared this: {flags}")
    size = sum(file.stat().st_size for file in files)
    kind = "public" if public else "private"
    say(f"{model}: {len(files)} files, {size / 1e6:,.1f} MB, to {repository} ({kind})")
    if dry_run:
        for file in files:
            say(f"  {file.relative_to(model).as_posix()}  {file.stat().st_size:,} bytes")
        return repository
    return _upload(model, files, repository, public)


def _upload(model: Path, files: Sequence[Path], repository: str, public: bool) -> str:
    api = HfApi()
    try:
        with tempfile.TemporaryDirectory() as place:
            for file in files:
                target = Path(place) / file.relative_to(model)
                target.parent.mkdir(parents=True, exist_ok=True)
                if file.name == "lineage.json":
                    plain = _without_folders(Lineage.model_validate_json(file.read_bytes()))
                    target.write_text(plain.model_dump_json(indent=2) + "\n", encoding="utf-8")
                else:
                    shutil.copyfile(file, target)
            address = api.create_repo(repository, private=not public, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=place, commit_message="Upload the model and its card")
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it, or try --dry-run") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise InputError(
                f"the hub refuses {repository} ({status}): log in with a token that may write there (hf auth login, "
                "or HF_TOKEN)"
            ) from error
        raise InputError(f"the hub did not take {repository}: {reason(error)}; try the same command again") from error
    except OSError as error:
        raise InputError(f"the hub is not reachable: {reason(error)}; try the same command again") from error
    return str(address)


def _without_folders(lineage: Lineage) -> Lineage:
    steps = tuple(
        step.model_copy(update={"base": short_path(step.base), "language": short_path(step.language)})
        for step in lineage.steps
    )
    return lineage.model_copy(update={"base": short_path(lineage.base), "steps": steps})


def _files(model: Path) -> list[Path]:
    if not (model / "config.json").is_file() or not any(model.glob("*.safetensors")):
        raise InputError(f"{model}: no model in it (config.json and safetensors); give a run, or a model's folder")
    if not (model / "README.md").is_file():
        raise InputError(
            f"{model}: no README.md, the model's card; adapt report RUN writes that of a run's model, "
            "others need one by hand"
        )
    files = {file for pattern in _KEPT for file in model.glob(pattern)}
    return sorted(file for file in files if file.is_file())


def _obstacles(model: Path) -> Iterator[tuple[str, str]]:
    """What stands in the way, by the name of the base, corpus or task, and why."""
    if not (model / "lineage.json").is_file():
        yield "base", "no lineage.json says what the model was made from"
        return
    lineage = Lineage.model_validate_json((model / "lineage.json").read_bytes())
    yield from _obstacle("base", lineage.base_licence, "open")
    for step in lineage.steps:
        if step.synthetic:
            continue
        pack = _pack(step.language)
        for name, licence in zip(step.corpora, step.licences, strict=True):
            if pack is None:
                yield name, f"its pack ({short_path(step.language)}) is not here, so how it is given is not known"
                continue
            access = next(
                (c.access for c in pack.corpora if c.name == name), "open"
            )  # one's own texts are in no pack
            yield from _obstacle(name, licence, access)
    config: Mapping[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    if record := config.get("medlingua"):
        task = TaskSpec.model_validate(record["task"])
        if not record.get("synthetic"):
            yield from _obstacle(task.name, task.licence, task.access)


def _obstacle(name: str, licence: str, access: str) -> Iterator[tuple[str, str]]:
    if access in ("request", "gated"):
        yield name, f"given under an agreement (access: {access}), which may not allow that models are passed on"
    elif access == "local":
        yield name, "text of this place, which nobody has said may leave it in a model"
    elif not is_stated(licence):
        yield name, "its licence is not stated"
    elif forbids_derivatives(licence):
        yield name, f"its licence ({licence}) forbids derivatives"


def _pack(code: str) -> Pack | None:
    try:
        return load_pack(code)
    except InputError:  # a language of somebody's own pack, whose file is elsewhere
        return None
