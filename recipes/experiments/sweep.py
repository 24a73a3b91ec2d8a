"""Sweeps: trials of one budget, chosen by Optuna, each a run of its own below trials/.

Any number of processes, on any machines that see the folder, are workers of one sweep: each gives the same command.
A worker holds a lock on its trial that ends with it, however it ends. A trial that is begun and that nobody holds is
taken up by the next worker from its last checkpoint; so nothing here depends on a clock or a heartbeat.
"""

import json
import shlex
import sys
import time
import uuid
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import optuna
import tomli_w
import torch
from medlingua.languages.errors import InputError, nearest
from medlingua.languages.pack import load_pack
from medlingua.recipes import machine
from medlingua.recipes.console import say
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_dev
from medlingua.recipes.experiments.space import BITS, Sweep, read_sweep
from medlingua.recipes.folder import lock
from medlingua.recipes.resolve import read_run as read_settings
from medlingua.recipes.settings import Eval, Run
from medlingua.recipes.text.task_set import find_tasks
from medlingua.recipes.walk import adapt
from medlingua.reports.page import write_report
from medlingua.reports.read import read_run, write_whole
from medlingua.reports.rows import EvalRow, Score, TrialRow
from medlingua.reports.sweep import trials_table, write_sweep
from medlingua.reports.tables import markdown
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from pandas import DataFrame
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

_EARLIER = 3  # trials of each earlier sweep whose settings are tried first
_REFRESH_SECONDS = 2.0  # of a live table
_HOPELESS = 3  # trials refused in a row before any went well: what is wrong is not one value


def sweep(
    source: Path | Mapping[str, Any], folder: Path, flags: Mapping[str, Any] | None = None, resume: bool = False
) -> optuna.Study:
    """Work on a sweep until its trials are done or others do the rest; writes its report. For notebooks too.

    source: SWEEP.toml, or the same as a mapping (see `experiments.space`). flags: settings over those of the file.
    resume: only where it was begun before; a folder mistyped is an error, not another sweep.
    InputError for what cannot be used, before any trial starts; Interrupted when asked to stop.
    """
    plan = opened(source, folder, flags or {})[0] if resume else read_sweep(source, flags or {})
    first = plan.first_run()
    find_tasks(load_pack(first.lang), _root(first), plan.tasks or "none", first.allow)
    begun = (folder / "sweep.json").is_file() and bool(_study(folder, plan).get_trials(deepcopy=False))
    queue = [] if begun else [(where, _best_of(Path(where), plan)) for where in plan.earlier]
    _claim(folder, plan)
    study = _study(folder, plan)
    _try_first(study, folder, queue)
    refused = 0
    while (work := _next(study, plan, folder)) is not None:
        trial, held = work
        with held:
            try:
                values = _measured(study, trial, plan, _place(folder, trial.number))
            except optuna.TrialPruned:
                say(f"trial {trial.number}: pruned")
                write_report(_place(folder, trial.number))
                go_on = _tell(study, trial, TrialState.PRUNED)
            except (InputError, torch.OutOfMemoryError) as error:
                say(f"trial {trial.number} failed: {error}")
                trial.set_user_attr("failed", str(error))
                go_on = _tell(study, trial, TrialState.FAIL)
                refused += 1
                well = (TrialState.COMPLETE, TrialState.PRUNED)
                if refused >= _HOPELESS and not study.get_trials(deepcopy=False, states=well):
                    raise InputError(f"the first {refused} trials failed, the last one so: {error}") from error
            else:
                shown = ", ".join(f"{n} {v:.4g}" for n, v in zip(plan.objective, values, strict=True))
                say(f"trial {trial.number}: {shown}")
                go_on = _tell(study, trial, TrialState.COMPLETE, values)
        if not go_on:
            say(f"{plan.sampler.name} has nothing left to try")
            break
    if others := study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        say(f"{len(others)} trials are at work elsewhere; if one stops, the same command resumes it")
    write_sweep(folder, study, plan.objective, rows(study, folder))
    return study


def opened(source: Path | Mapping[str, Any], folder: Path, flags: Mapping[str, Any]) -> tuple[Sweep, optuna.Study]:
    """A sweep that exists. What its first command gave on the command line need not be given again.

    InputError where there is none, and for another sweep's file.
    """
    if not (folder / "sweep.json").is_file():
        raise InputError(f"{folder} holds no sweep yet: start it with adapt sweep {source} --out {folder}")
    settings = _stored(folder)["sweep"]["settings"]
    first = {key: settings[key] for key in ("lang", "allow") if key in settings}
    if root := settings.get("data", {}).get("root"):
        first["data"] = {"root": root}
    plan = read_sweep(source, {**first, **flags})
    _compare(folder, plan)
    return plan, _study(folder, plan)


def watch(plan: Sweep, study: optuna.Study, folder: Path) -> None:
    """The trials as a table; on a terminal a live one, until all are done or Ctrl-C."""
    table = trials_table(rows(study, folder), plan.objective)
    if not sys.stdout.isatty():
        print(markdown(table), end="")
        return
    with suppress(KeyboardInterrupt), Live(_shown(table), console=Console(), auto_refresh=False) as live:
        while True:
            states = [trial.state for trial in study.get_trials(deepcopy=False)]
            live.update(_shown(trials_table(rows(study, folder), plan.objective)), refresh=True)
            if len(states) >= plan.trials and all(state.is_finished() for state in states):
                return
            time.sleep(_REFRESH_SECONDS)


def _shown(table: DataFrame) -> Table:
    shown = Table(*map(escape, table.columns))
    for line in table.itertuples(index=False):
        shown.add_row(*map(escape, line))
    return shown


def best(plan: Sweep, study: optuna.Study, folder: Path) -> list[str]:
    """Write the best settings as preset files; the command of each with the full budget.

    With several objectives, a file for each trial that no other beats in all of them.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        raise InputError(f"{folder}: no trial has been finished yet, so none is the best")
    one = len(plan.objective) == 1
    commands = []
    for trial in [study.best_trial] if one else study.best_trials:
        merged = plan.merged(plan.values(optuna.trial.FixedTrial(trial.params)))
        preset = merged.pop("preset", None)
        name = "best" if one else f"best-{trial.number}"
        path = write_whole(folder / f"{name}.toml", tomli_w.dumps(merged))
        words = ["adapt", *(["--preset", preset] if preset else []), "--config", str(path)]
        if plan.full_tokens:
            words += ["--set", f"train.tokens={plan.full_tokens}"]
        commands.append(shlex.join([*words, "--out", str(folder / name)]))
    return commands


def rows(study: optuna.Study, folder: Path) -> tuple[TrialRow, ...]:
    """What the trials were and cost, in their order."""
    return tuple(_row(trial, _place(folder, trial.number)) for trial in study.get_trials(deepcopy=False))


def _best_of(folder: Path, plan: Sweep) -> list[dict[str, Any]]:
    """What this one's space holds of an earlier sweep's best settings. InputError where there is none."""
    if not (folder / "sweep.json").is_file():
        raise InputError(f"earlier: {folder} holds no sweep")
    theirs = Sweep.model_validate(_stored(folder)["sweep"])
    if theirs.objective != plan.objective:
        raise InputError(
            f"earlier: {folder} sought {', '.join(theirs.objective)} and this one seeks {', '.join(plan.objective)}: "
            "its best trials are not this one's. Leave it out"
        )
    study = _study(folder, theirs)
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(plan.objective) > 1:
        done = study.best_trials
    sign = 1.0 if plan.directions[0] == "minimize" else -1.0
    ranked = sorted(done, key=lambda trial: sign * trial.values[0])[:_EARLIER]
    if not ranked:
        raise InputError(f"earlier: no trial of {folder} has been finished")
    settings = []
    for trial in ranked:
        values = {name: value for name, value in trial.params.items() if plan.holds(name, value)}
        if left := sorted(set(trial.params) - set(values)):
            say(f"trial {trial.number} of {folder}: {', '.join(left)} left out, not in this space")
        settings.append(values)
    return settings


def _try_first(study: optuna.Study, folder: Path, queue: list[tuple[str, list[dict[str, Any]]]]) -> None:
    """Queue earlier sweeps' settings, once; their values are not taken over: they are of another budget."""
    gate = lock(folder / "sweep.lock", wait=True)
    assert gate is not None
    with gate:
        if study.get_trials(deepcopy=False):
            return
        for where, settings in queue:
            say(f"the best {len(settings)} settings of {where} are tried first, on this sweep's budget")
            for values in settings:
                study.enqueue_trial(values, skip_if_exists=True)


def _next(study: optuna.Study, plan: Sweep, folder: Path) -> tuple[Trial, IO[bytes]] | None:
    """A trial and the lock on it: one that a dead worker left, or a new one; None where all are spent."""
    gate = lock(folder / "sweep.lock", wait=True)
    assert gate is not None
    with gate:  # no other worker may see a trial before it is locked
        for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if (held := lock(_lock(folder, left.number))) is not None:
                say(f"taking up trial {left.number}, which its worker left")
                return Trial(study, left._trial_id), held
        spent = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
        if len(spent) >= plan.trials:
            return None
        study.sampler = plan.sampler_for(len(spent))
        trial = study.ask()
        say(f"trial {trial.number} of {plan.trials}")
        held = lock(_lock(folder, trial.number))
        assert held is not None
        return trial, held


def _measured(study: optuna.Study, trial: Trial, plan: Sweep, folder: Path) -> list[float]:
    """Train and score one trial: its values by the objectives. TrialPruned where it is not worth going on."""
    run = plan.run(plan.values(trial))
    sign = 1.0 if plan.directions[0] == "minimize" else -1.0
    # A worker that died between an evaluation and a checkpoint has reported it; it comes again, with the same value.
    known = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def watch(row: EvalRow) -> None:
        if len(plan.objective) > 1:
            return
        every = read_settings(folder).train.eval_tokens  # as the run has decided it
        if (step := row.tokens // every * every) not in known:
            trial.report(sign * row.bits_per_byte, step)
        if trial.should_prune():
            raise optuna.TrialPruned

    # Scored below, on dev alone: a trial never meets a test document.
    adapt(run.model_copy(update={"eval": Eval(tasks="none")}), folder, watch)
    tokens = read_settings(folder).tokens
    last = {row.model: row for row in read_run(folder).evaluations}.get("trained")
    if last is not None:
        _same_text(study, trial, last)
        if len(plan.objective) == 1 and tokens not in known:
            trial.report(sign * last.bits_per_byte, tokens)
    scores = _dev_scores(run, plan, folder) if plan.tasks else []
    return [_value(name, last, scores) for name in plan.objective]


def _dev_scores(run: Run, plan: Sweep, folder: Path) -> list[Score]:
    pack = load_pack(run.lang)
    task_set = find_tasks(pack, _root(run), plan.tasks, run.allow, run.eval.warm_start)
    precision = machine.precision_of(run.train.precision, machine.device())
    known = len(read_run(folder).scores)
    how = Evaluation(
        run.eval, pack.spacy, folder, precision, run.allow, warm_start=task_set.warm_start, overlaps=pack.overlaps
    )
    scores = score_dev(str(folder / "model"), task_set.tasks, how)
    if len(scores) > known:
        write_report(folder)
    return scores


def _value(name: str, last: EvalRow | None, scores: list[Score]) -> float:
    if name == BITS:
        if last is None:
            raise InputError(
                f"objective {BITS}: no document was held out: raise data.held_out, or give a task as objective"
            )
        return last.bits_per_byte
    task, _, metric = name.partition(".")
    of_task = [score for score in scores if score.task == task]
    metrics = list(dict.fromkeys(score.metric for score in of_task))
    metric = metric or metrics[0]  # a task's first metric is its own
    if metric not in metrics:
        raise InputError(f"objective '{name}': unknown metric '{metric}' of task {task} ({nearest(metric, metrics)})")
    values = [score.value for score in of_task if score.metric == metric]
    return sum(values) / len(values)


def _same_text(study: optuna.Study, trial: Trial, last: EvalRow) -> None:
    """InputError where a trial was measured on another text than the others: their bits would not compare."""
    text = f"{last.documents} documents, {last.masked_bytes} bytes"
    trial.set_user_attr("held_out", text)
    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if (theirs := other.user_attrs.get("held_out", text)) != text:
            raise InputError(f"its held-out text ({text}) is not that of trial {other.number} ({theirs})")


def _tell(study: optuna.Study, trial: Trial, state: TrialState, values: list[float] | None = None) -> bool:
    """False where the sampler has nothing left: Optuna's grid samplers say so by stopping their study."""
    try:
        study.tell(trial, values, state)
    except RuntimeError as error:
        if "Study.stop" not in str(error):
            raise
        return False
    return True


def _study(folder: Path, plan: Sweep) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    gate = lock(folder / "sweep.lock", wait=True)
    assert gate is not None
    with gate:
        storage: Any = _in_folder(plan.storage, folder)
        if not storage:
            backend = JournalFileBackend(str(folder / "journal.log"))
            storage = optuna.storages.JournalStorage(backend)
        return optuna.create_study(
            study_name=_stored(folder)["study"], storage=storage, load_if_exists=True,
            directions=plan.directions, pruner=plan.pruner_of(),
        )  # fmt: skip


def _in_folder(storage: str, folder: Path) -> str:
    """A database in a file without a root counts from the sweep's folder, wherever its workers are started."""
    head, slashes, place = storage.partition(":///")
    if not head.startswith("sqlite") or not slashes or not place or place.startswith((":memory:", "file:")):
        return storage
    return f"{head}:///{(folder.resolve() / place)}"


def _claim(folder: Path, plan: Sweep) -> None:
    """Make the folder this sweep's. InputError for another sweep's, and for one with other files."""
    ours = {"sweep.lock", "sweep.json"}
    if folder.exists() and not (folder / "sweep.json").exists() and {p.name for p in folder.iterdir()} - ours:
        raise InputError(f"{folder} is not empty and holds no sweep: give another --out")
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    gate = lock(folder / "sweep.lock", wait=True)
    assert gate is not None
    with gate:
        if (folder / "sweep.json").exists():
            _compare(folder, plan)
            name = _stored(folder)["study"]
        else:
            name = f"{folder.resolve().name}-{uuid.uuid4().hex[:8]}"  # a server keeps the studies of many
        record = {"study": name, "sweep": plan.model_dump(mode="json")}
        write_whole(folder / "sweep.json", json.dumps(record, indent=2) + "\n")


def _stored(folder: Path) -> dict[str, Any]:
    """sweep.json: the study's name in its storage, and the sweep."""
    return json.loads((folder / "sweep.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _compare(folder: Path, plan: Sweep) -> None:
    """More trials and another full budget are the same sweep; all else is another."""
    theirs = _stored(folder)["sweep"]
    ours = plan.model_dump(mode="json")
    changed = [key for key in ours if ours[key] != theirs[key] and key not in ("trials", "full_tokens")]
    if changed:
        raise InputError(
            f"{folder} holds another sweep, which differs in {', '.join(changed)}. Give another --out, or remove the "
            "folder"
        )


def _row(trial: FrozenTrial, folder: Path) -> TrialRow:
    state, note = trial.state.name.lower(), str(trial.user_attrs.get("failed", ""))
    if trial.state == TrialState.RUNNING and (held := lock(_lock(folder.parents[1], trial.number))) is not None:
        held.close()
        note = "its worker is gone: the next one takes it up"
    tokens, seconds = 0, 0.0
    evaluations: list[tuple[int, float, float]] = []
    if (folder / "run.toml").exists():
        record = read_run(folder)
        if record.training:
            tokens, seconds = record.training[-1].tokens, record.training[-1].seconds
        for evaluation in record.evaluations:
            if evaluation.model == "trained":
                spent = next((row.seconds for row in record.training if row.tokens >= evaluation.tokens), seconds)
                evaluations.append((evaluation.tokens, spent, evaluation.bits_per_byte))
    return TrialRow(
        number=trial.number,
        state=state,
        values=tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else (),
        parameters=trial.params,
        tokens=tokens,
        seconds=seconds,
        evaluations=tuple(evaluations),
        note=note,
    )


def _place(folder: Path, number: int) -> Path:
    return folder / "trials" / f"{number:04d}"


def _lock(folder: Path, number: int) -> Path:
    return folder / "trials" / f"{number:04d}.lock"


def _root(run: Run) -> Path | None:
    return Path(run.data.root) if run.data.root else None
