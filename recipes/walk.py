"""A run from its settings to its report. `adapt` is where to start reading."""

import datetime
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from medlingua import __version__
from medlingua.adapters import encoder as encoders
from medlingua.adapters.embeddings import new_piece_ids
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.longformer import copy_untrained_global_projections
from medlingua.languages.errors import InputError
from medlingua.languages.grammar import load_grammar
from medlingua.languages.lineage import Lineage, LineageStep
from medlingua.recipes import machine
from medlingua.recipes.bases import located
from medlingua.recipes.console import part_of_run, say
from medlingua.recipes.cost import Meter, metered
from medlingua.recipes.evaluation import held_out
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.held_out import HeldOutText, held_out_text, piece_counts
from medlingua.recipes.evaluation.terms import score_terms
from medlingua.recipes.folder import alone, claim, release, write
from medlingua.recipes.job import Job, OnEvaluation
from medlingua.recipes.planning import decided, evaluation_seconds, planned, run_of, tasks_in_words
from medlingua.recipes.settings import Run
from medlingua.recipes.strategies import convert
from medlingua.recipes.strategies.head import head_run
from medlingua.recipes.strategies.start import starting_encoder, unchanged, with_own_head
from medlingua.recipes.text import parts
from medlingua.recipes.text.changes import changed_files
from medlingua.recipes.text.corpus import Prepared, open_prepared, prepare, why_none_held_out
from medlingua.recipes.text.inputs import Inputs, inputs_of
from medlingua.recipes.training import collapse
from medlingua.recipes.training.checkpoint import Checkpoint, optimizer_of, prune
from medlingua.recipes.training.learner import Training, check_lora_run, check_trackers
from medlingua.recipes.training.loop import train
from medlingua.recipes.training.optimizers import check_optimizer
from medlingua.recipes.training.plan import in_words, whole_steps
from medlingua.recipes.training.processes import SINGLE, Processes
from medlingua.recipes.training.schedules import check_schedules
from medlingua.recipes.training.term_lists import term_lists
from medlingua.reports.card import write_card
from medlingua.reports.findings import frequencies_sentence
from medlingua.reports.page import write_report
from medlingua.reports.read import append_row, read_run
from medlingua.reports.rows import EvalRow

_PLAN_SECONDS = 20.0  # of steps that are measured for a plan by itself


def adapt(run: Run, folder: Path, on_evaluation: OnEvaluation | None = None, processes: Processes = SINGLE) -> Path:
    """Do a run, or what is left of it, in `folder`. Returns the path of report.html.

    on_evaluation: receives each row of evaluation during training; what it raises ends the run. processes: those that
    do the run together, each by this call.
    Raises InputError for what cannot be used, Interrupted when it was asked to stop and has saved.
    """
    _check_phases(run)
    check_trackers(run.train.trackers)
    parts.check(run)
    machine.keep_pages()
    inputs = inputs_of(run)
    base = located(run.base, run.data.root)
    if processes.is_main:
        with processes.as_main():
            return _lead(run, inputs, base, folder, on_evaluation, processes)
    if processes.announce():
        _train_along(_job(inputs, base, folder, None, processes))
    return folder / "report.html"


def plan(run: Run) -> tuple[str, ...]:
    """What a run will cost here, in lines: all that it does before it trains is done, in a folder that is removed."""
    _check_phases(run)
    parts.check(run)
    machine.keep_pages()
    head_at_once = run.adapt.model_copy(update={"head_tokens": 0})
    inputs = replace(inputs_of(run), run=run.model_copy(update={"adapt": head_at_once}))
    _say_left_out(inputs)
    with tempfile.TemporaryDirectory() as folder:
        job = _job(inputs, located(run.base, run.data.root), Path(folder), None, SINGLE)
        encoder = starting_encoder(job.inputs, job.base, job.folder)
        encoder.model.eval().to(machine.device())
        prepared = _prepared(job, encoder)
        text = held_out_text([h.text for h in prepared.held_out], inputs.pack.spacy)
        seconds = evaluation_seconds(encoder, prepared, text)
        job, row = decided(job, encoder, prepared, seconds, _PLAN_SECONDS)
    fresh = job.run.adapt.head == "fresh" and run.adapt.head_tokens
    lines = (
        (f"head        {run.adapt.head_tokens:,} tokens for a fresh head come before, not measured",) if fresh else ()
    )
    return (*lines, *in_words(row), *tasks_in_words(job), *whole_steps(job.run))


def _say_left_out(inputs: Inputs) -> None:
    for line in (*inputs.selection.left_out, *inputs.tasks.left_out):
        say(line)


def _check_phases(run: Run) -> None:
    check_schedules(run)
    check_optimizer(run.train)
    from_teacher = run.strategy == "scratch" and run.base
    if any(phase.kind == "distil" for phase in run.phases) and not (run.new_rotations or from_teacher):
        raise InputError(
            "objective.kind distil learns from another model: the one before new rotations (--strategy convert with "
            "adapt.target = 'rope' alone), or from the --base of --strategy scratch"
        )
    if run.tokens and run.phases[-1].kind == "clm":
        say(
            "the last phase is causal: its model has yet to learn to use what follows a word, which bits per byte "
            "measure. Let a phase of kind mlm follow, here or in another run"
        )
    if run.train.lora is not None:
        check_lora_run(run)
    new_alone = [phase.parameters == "rows" for phase in run.phases]
    if new_alone != sorted(new_alone, reverse=True):
        raise InputError("phases: those with parameters = 'rows' come first; after others the old rows still move")


def _lead(
    run: Run, inputs: Inputs, base: str, folder: Path, on_evaluation: OnEvaluation | None, processes: Processes
) -> Path:
    """What the main process does: claim the folder, walk through the run, give an empty folder back on bad input."""
    claim(folder, run)
    with alone(folder):
        finished = (folder / "cost.json").exists()
        if changed := changed_files(folder / "shards", inputs.selection.sources):
            listed = ", ".join(changed[:3]) + (f" and {len(changed) - 3:,} more" if len(changed) > 3 else "")
            if finished:
                raise InputError(
                    f"{folder} holds a finished run, and its text has changed since: {listed}. Give another --out, "
                    "or remove the folder"
                )
            say(f"the text has changed since this run read it, and it goes on with what it read: {listed}")
        if finished:
            say(f"this run is finished: {folder}")
            return write_report(folder)
        _say_left_out(inputs)
        try:
            if run.train.optimizer_from is not None and not (folder / "checkpoints").is_dir():
                optimizer_of(Path(run.train.optimizer_from))  # much is done before it is needed
            with metered(folder) as meter:
                return _walk(_job(inputs, base, folder, on_evaluation, processes), meter)
        except InputError:
            release(folder)
            raise


def _job(inputs: Inputs, base: str, folder: Path, on_evaluation: OnEvaluation | None, processes: Processes) -> Job:
    """The term lists are read first: what they lack is reported before anything is done."""
    terms = term_lists(inputs.run, inputs.pack)
    inputs = replace(inputs, run=with_own_head(inputs.run, base))
    run = inputs.run
    if run.adapt.head == "fresh" and run.adapt.head_tokens:
        head = folder / "head" / "model"
        if processes.is_main:
            _train_head(run, base, folder)
        base = str(head)
    return Job(inputs, base, folder, processes, on_evaluation, terms)


def _walk(job: Job, meter: Meter) -> Path:
    run, folder = job.run, job.folder
    encoder = starting_encoder(job.inputs, job.base, folder)
    prepared = _prepared(job, encoder)
    meter.save()
    text = held_out_text([h.text for h in prepared.held_out], job.inputs.pack.spacy)
    if not text.passages:
        say(f"bits per byte are not measured: {why_none_held_out(prepared, run.data)}")
    seconds = _evaluate_before(job, encoder, prepared, text)
    counts = piece_counts(prepared.shards, encoder.tokenizer, encoder.tokenizer)
    if run.strategy == "convert":
        _certify(job, encoder, prepared)
    encoder.model.to(machine.device())
    job = planned(job, encoder, prepared, seconds)
    precision = machine.precision_of(run.train.precision, encoder.device)

    def evaluate(model: Encoder, state: Checkpoint) -> EvalRow | None:
        if not text.passages:
            return None
        at = {"phase": state.phase, "step": state.step, "tokens": state.tokens}
        return held_out.measure(model, text, counts, model="trained", **at)

    training = _training(job, encoder, prepared, precision, counts)
    job.processes.announce()
    training = replace(training, evaluate=evaluate, on_evaluation=job.on_evaluation, on_checkpoint=meter.save)
    state = train(encoder, training)
    job.processes.disconnect()
    _after_training(job, encoder, prepared)
    last = evaluate(encoder, state)
    if last is not None:
        append_row(folder / "metrics.jsonl", last)
        if run.train.parameters != "head":  # a head on a frozen encoder is where a run begins, not its result
            say(frequencies_sentence(last))
    _save(job, encoder, prepared)
    meter.save()
    _score(job, encoder, precision)
    meter.finish(state)
    prune(folder / "checkpoints", run.train.keep_checkpoints)
    write_card(folder)
    return write_report(folder)


def _train_along(job: Job) -> None:
    """What a process does that is not the main one: train, on what the main one has prepared."""
    encoder = starting_encoder(job.inputs, job.base, job.folder)
    if job.run.data.prepared:
        prepared = parts.merge_parts(job.run, encoder.tokenizer, job.inputs.tasks.test_texts, check=False)
    else:
        prepared = open_prepared(job.folder / "shards", encoder.tokenizer)
    encoder.model.to(machine.device())
    job = job.with_run(run_of(job))
    precision = machine.precision_of(job.run.train.precision, encoder.device)
    counts = piece_counts(prepared.shards, encoder.tokenizer, encoder.tokenizer)
    train(encoder, _training(job, encoder, prepared, precision, counts))
    job.processes.disconnect()


def _train_head(run: Run, base: str, folder: Path) -> None:
    """A base without a masked-LM head gets one, by a run of its own, so that it can be measured as "before"."""
    language = run.adapt.head_lang or run.lang
    say(
        f"the base has no masked-LM head: a fresh one is trained first ({run.adapt.head_tokens:,} tokens, {language})"
    )
    with part_of_run("head"):
        adapt(head_run(run, base), folder / "head")
    say("the head is trained; now the run itself")


def _prepared(job: Job, encoder: Encoder) -> Prepared:
    """The run's text as tokens, with corpora.json and a line on what was left out."""
    if job.run.data.prepared:
        prepared = parts.merge_parts(job.run, encoder.tokenizer, job.inputs.tasks.test_texts)
    else:
        prepared = prepare(job.inputs, encoder.tokenizer, job.folder / "shards")
    write(job.folder / "corpora.json", prepared.row)
    rows = prepared.row.corpora
    tokens, documents = sum(r.tokens for r in rows), sum(r.documents for r in rows)
    counts = {
        "exact duplicates": sum(r.duplicates for r in rows),
        "near-duplicates": sum(r.near_duplicates for r in rows),
        "overlapping with a task's test documents": sum(r.overlapping for r in rows),
        "filtered": sum(r.filtered for r in rows),
    }
    left_out = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "none"
    say(
        f"text: {documents:,} documents to train on, {tokens:,} tokens, special tokens not counted; "
        f"{len(prepared.held_out)} held out; left out: {left_out}"
    )
    return prepared


def _evaluate_before(job: Job, encoder: Encoder, prepared: Prepared, text: HeldOutText) -> float:
    """Held-out text by the base, by the base with another vocabulary, and by what training starts from; once.

    Returns the seconds of one of these evaluations, 0.0 where none was needed.
    """
    run, folder = job.run, job.folder
    done = {row.model for row in read_run(folder).evaluations}
    if not text.passages or {"base", "start"} & done:
        return 0.0
    changed, vocabulary = (folder / "start").exists(), folder / "vocabulary"
    models: list[tuple[str, Callable[[], Encoder]]] = []
    if job.base and (run.adapt.head == "keep" or run.adapt.head_tokens):
        models.append(("base", lambda: unchanged(run, job.base) if changed else encoder))
    if vocabulary.exists():
        models.append(("vocabulary", lambda: unchanged(run, str(vocabulary))))
    if changed:
        models.append(("start", lambda: encoder))
    rows = []
    began = time.perf_counter()
    for name, load in models:
        model = load()
        model.model.eval().to(machine.device())
        counts = piece_counts(prepared.shards, encoder.tokenizer, model.tokenizer)
        rows.append(held_out.measure(model, text, counts, model=name, phase=0, step=0, tokens=0))
    append_row(folder / "metrics.jsonl", *rows)
    return (time.perf_counter() - began) / max(1, len(rows))


def _certify(job: Job, encoder: Encoder, prepared: Prepared) -> None:
    """certificate.json, once; InputError where the conversion lost what it had to keep."""
    if (job.folder / "certificate.json").exists():
        return
    texts = [h.text for h in prepared.held_out]
    if not texts:
        raise InputError(
            f"a conversion is certified on held-out documents: {why_none_held_out(prepared, job.run.data)}"
        )
    bits = {row.model: row for row in read_run(job.folder).evaluations}
    row = convert.certificate(job.run, unchanged(job.run, job.source), encoder, texts, bits)
    convert.check(row)
    write(job.folder / "certificate.json", row)
    say("certificate: " + "; ".join(f"{c.name} {c.value:.2g}" for c in row.checks))


def _training(
    job: Job, encoder: Encoder, prepared: Prepared, precision: machine.Precision, counts: np.ndarray
) -> Training:
    """The training of a run, with the model and the ids that its phases need beside the encoder; it evaluates
    nothing yet."""
    run = job.run
    source = None
    if run.learns_from_source:
        source = unchanged(run, job.source)
        source.model.eval().to(machine.device())
    new_ids: torch.Tensor | None = None
    if job.base and any(phase.parameters == "rows" for phase in run.phases):
        new_ids = new_piece_ids(encoders.read_tokenizer(job.base, run.revision, run.allow), encoder.tokenizer)
    texts = [h.text for h in prepared.held_out]
    unigram_loss, samples = collapse.unigram_loss(counts), collapse.samples(texts, encoder)
    probe = collapse.CollapseProbe(run.train.collapse, unigram_loss, samples)
    if run.strategy == "scratch":
        probe = replace(probe, action="warn", why_warn="as a run from nothing does: it begins with the frequencies")
    return Training(
        run,
        job.folder,
        prepared.shards,
        precision,
        evaluate=lambda *_: None,
        source=source,
        new_ids=new_ids,
        concepts=job.terms.train,
        relations=job.terms.relations,
        terminology=job.terms.concepts,
        processes=job.processes,
        probe=probe,
    )


def _after_training(job: Job, encoder: Encoder, prepared: Prepared) -> None:
    """Global projections that training did not move follow the local ones; a conversion is probed again."""
    run = job.run
    longformer = encoder.architecture.family == "longformer"
    if longformer and (run.strategy == "scratch" or (run.strategy == "convert" and run.tokens)):
        copy_untrained_global_projections(encoder)
    if run.strategy != "convert" or not run.tokens:
        return
    row = read_run(job.folder).certificate
    if row is None or any(p.model == "trained" for p in row.positions):
        return
    trained = convert.positions(encoder, "trained", [h.text for h in prepared.held_out])
    row = row.model_copy(update={"positions": (*row.positions, *trained)})
    pack = job.inputs.pack
    if load_grammar(pack).recall:
        row = convert.probed(row, {"base": unchanged(run, job.source), "trained": encoder}, pack)
    else:
        say(f"no probes of distant facts: the pack of {pack.code} has no [[recall]] cases")
    write(job.folder / "certificate.json", row)


def _save(job: Job, encoder: Encoder, prepared: Prepared) -> None:
    """model/ of the run's folder, whole or not at all."""
    run, corpora = job.run, prepared.row.corpora
    step = LineageStep(
        strategy=run.strategy,
        language=run.lang,
        base=run.base or "random weights",
        settings_digest=run.digest,
        corpora=tuple(r.name for r in corpora),
        licences=tuple(r.licence for r in corpora),
        tokens=run.tokens,
        synthetic=any(r.synthetic for r in corpora),
        date=datetime.date.today().isoformat(),
        version=__version__,
    )
    past = encoder.lineage
    lineage = Lineage(base=past.base, base_licence=past.base_licence, steps=(*past.steps, step))
    partial = job.folder / "model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    sample = [h.text[:2_000] for h in prepared.held_out]
    encoders.save(encoders.with_lineage(encoder, lineage), partial, sample=sample)
    shutil.rmtree(job.folder / "model", ignore_errors=True)
    partial.rename(job.folder / "model")


def _score(job: Job, encoder: Encoder, precision: machine.Precision) -> None:
    """The base and the trained model on term lists and tasks."""
    run, pack, tasks = job.run, job.inputs.pack, job.inputs.tasks
    if job.terms.train:
        score_terms(run, job.base, encoder, job.terms, pack, job.folder)
    models = {"base": job.base} if job.base else {}
    models["trained"] = str(job.folder / "model")
    how = Evaluation(
        run.eval, pack.spacy, job.folder, precision, run.allow, warm_start=tasks.warm_start, overlaps=pack.overlaps
    )
    names = run.eval.tasks
    score_models(models, [t for t in tasks.tasks if names == "all" or t.spec.name in names], how)
