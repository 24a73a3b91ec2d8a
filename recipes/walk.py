"""The walk of a run, from its settings to its report. Reads like the README's paragraph.

    run.toml -> corpora -> start (the strategy's change) -> shards -> loop -> model -> scores -> report

Every part leaves its result in the run's folder, so the same command goes on where a run was stopped.
"""

import datetime
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from medlingua.adapters import encoder as encoders
from medlingua.adapters.embeddings import new_rows
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.adapters.longformer import copy_untrained_global_projections
from medlingua.languages.errors import InputError
from medlingua.languages.grammar import load_grammar
from medlingua.languages.lineage import Lineage, LineageStep
from medlingua.languages.pack import Pack, load_pack
from medlingua.recipes import machine
from medlingua.recipes.bases import located
from medlingua.recipes.console import say
from medlingua.recipes.evaluation import held_out
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.held_out import Passage, passages
from medlingua.recipes.evaluation.terms import score_terms
from medlingua.recipes.folder import alone, claim, release, write
from medlingua.recipes.settings import Adapt, Eval, Run, resolve
from medlingua.recipes.strategies import convert
from medlingua.recipes.strategies.start import starting_encoder, unchanged, with_own_head
from medlingua.recipes.text import parts
from medlingua.recipes.text.corpus import Prepared, opened, prepare
from medlingua.recipes.text.sources import Selection, select
from medlingua.recipes.text.task_set import AtHand, find
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.loop import Evaluate, check_trackers, train
from medlingua.recipes.training.plan import decide, measured_seconds, told
from medlingua.recipes.training.processes import ALONE, Ranks
from medlingua.recipes.training.term_lists import concepts, related
from medlingua.recipes.training.term_stream import Concept, Kin
from medlingua.reports.card import write_card
from medlingua.reports.compare import write_comparison
from medlingua.reports.page import write_report
from medlingua.reports.read import append_row, read_run
from medlingua.reports.rows import CostRow, EvalRow

Watch = Callable[[EvalRow], None]

_HEAD_LR = 1e-3  # of a fresh masked-LM head trained alone: nothing learnt can be spoilt


def adapt(run: Run, folder: Path, watch: Watch | None = None, ranks: Ranks = ALONE) -> Path:
    """Do a run, or what is left of it, in `folder`. Returns the path of report.html.

    watch: shown each look at held-out text while training goes on; what it raises ends the run. ranks: the processes
    that do the run together, each by this call.
    Raises InputError for what cannot be used, Interrupted when it was asked to stop and has saved.
    """
    if any(phase.kind == "distil" for phase in run.phases) and not run.new_rotations:
        raise InputError(
            "objective.kind distil learns the hidden states of the model before new rotations: "
            "--strategy convert with adapt.target = 'rope' alone"
        )
    rows_alone = [phase.parameters == "rows" for phase in run.phases]
    if rows_alone != sorted(rows_alone, reverse=True):
        raise InputError("phases: those with parameters = 'rows' come first; after others the old rows still move")
    check_trackers(run.train.trackers)
    parts.check(run)
    machine.keep_pages()
    pack = load_pack(run.lang)
    selection = Selection((), ()) if run.data.prepared else select(run, pack)
    at_hand = find(
        pack, Path(run.data.root) if run.data.root else None, run.eval.tasks, run.allow, run.eval.warm_start
    )
    base_name = located(run.base)
    if not ranks.writes:
        if ranks.ready():
            _train_along(run, base_name, pack, selection, at_hand, folder, ranks)
        return folder / "report.html"
    with ranks.leading():
        return _lead(run, base_name, pack, selection, at_hand, folder, watch, ranks)


def _lead(
    run: Run,
    base_name: str,
    pack: Pack,
    selection: Selection,
    at_hand: AtHand,
    folder: Path,
    watch: Watch | None,
    ranks: Ranks,
) -> Path:
    claim(folder, run)
    with alone(folder):
        if (folder / "cost.json").exists():
            say(f"this run is finished: {folder}")
            return write_report(folder)
        for line in (*selection.left_out, *at_hand.left_out):
            say(line)
        try:
            return _walk(run, base_name, pack, selection, at_hand, folder, watch, ranks)
        except InputError:
            release(folder)
            raise


def _walk(
    run: Run,
    base_name: str,
    pack: Pack,
    selection: Selection,
    at_hand: AtHand,
    folder: Path,
    watch: Watch | None,
    ranks: Ranks,
) -> Path:
    began, joules = time.perf_counter(), machine.energy_joules()
    learnt, asked, hierarchy = concepts(run, pack)  # first: what they lack is told before anything is done
    kin = related(run, learnt, hierarchy)
    run = with_own_head(run, base_name)
    if run.adapt.head == "fresh" and run.adapt.head_tokens:
        base_name = str(_trained_head(run, base_name, folder))
    encoder = starting_encoder(run, base_name, pack, selection, at_hand, folder)
    if run.data.prepared:
        prepared = parts.gathered(run, encoder.tokenizer, at_hand.tested)
    else:
        prepared = prepare(
            run, pack, selection, encoder.tokenizer, folder / "shards", at_hand.tested, at_hand.unchecked, say
        )
    write(folder / "corpora.json", prepared.row)
    say(_told(prepared))
    kept = passages((h.text for h in prepared.held_out), pack.spacy)
    if not kept:
        say("no document was held out, so bits per byte are not measured: the corpus is small")
    source_name = _source_name(base_name, folder)
    _measure_before(run, base_name, encoder, kept, prepared, folder)
    if run.strategy == "convert":
        _certify(run, source_name, encoder, prepared, folder)
    encoder.model.to(machine.device())
    precision = machine.precision_of(run.train.precision, encoder.device)
    say(f"precision {precision.name}: {precision.reason}")
    write(folder / "plan.json", decide(run, encoder, precision))

    def look(model: Encoder, state: Checkpoint) -> EvalRow | None:
        if not kept:
            return None
        return held_out.measure(
            model,
            kept,
            len(prepared.held_out),
            model="trained",
            phase=state.phase,
            step=state.step,
            tokens=state.tokens,
        )

    ranks.ready()
    state = _trained(run, base_name, encoder, prepared, folder, precision, look, learnt, kin, watch, ranks)
    ranks.leave()
    if run.strategy == "scratch" and encoder.architecture.family == "longformer":
        copy_untrained_global_projections(encoder)
    if run.strategy == "convert" and run.tokens:
        _after_conversion(run, source_name, encoder, pack, prepared, folder)
    last = look(encoder, state)
    if last is not None:
        append_row(folder / "metrics.jsonl", last)
    _save(run, encoder, prepared, folder)
    if learnt:
        score_terms(run, base_name, encoder, learnt, asked, hierarchy, pack, folder)
    models = {"base": base_name} if base_name else {}
    models["trained"] = str(folder / "model")
    score_models(
        models, at_hand.tasks, run.eval, pack.spacy, folder, allow=run.allow, precision=precision, first=at_hand.first
    )
    _write_cost(folder, state, began, joules)
    write_card(folder)
    return write_report(folder)


def _train_along(
    run: Run, base_name: str, pack: Pack, selection: Selection, at_hand: AtHand, folder: Path, ranks: Ranks
) -> None:
    """What a process does that is not the first: train, on what the first one has prepared."""
    learnt, _, hierarchy = concepts(run, pack)
    run = with_own_head(run, base_name)
    if run.adapt.head == "fresh" and run.adapt.head_tokens:
        base_name = str(_head_model(folder))
    encoder = starting_encoder(run, base_name, pack, selection, at_hand, folder)
    if run.data.prepared:
        prepared = parts.gathered(run, encoder.tokenizer, at_hand.tested, check=False)
    else:
        prepared = opened(folder / "shards", encoder.tokenizer)
    encoder.model.to(machine.device())
    precision = machine.precision_of(run.train.precision, encoder.device)
    kin = related(run, learnt, hierarchy)
    _trained(run, base_name, encoder, prepared, folder, precision, lambda *_: None, learnt, kin, None, ranks)
    ranks.leave()


def _trained(
    run: Run,
    base_name: str,
    encoder: Encoder,
    prepared: Prepared,
    folder: Path,
    precision: machine.Precision,
    look: Evaluate,
    learnt: list[Concept],
    kin: Kin,
    watch: Watch | None,
    ranks: Ranks,
) -> Checkpoint:
    """The training of a run, with the model and the rows that its phases need beside the encoder."""
    source = None
    if run.learns_from_source:
        source = unchanged(run, _source_name(base_name, folder))
        source.model.eval().to(machine.device())
    rows = None
    if base_name and any(phase.parameters == "rows" for phase in run.phases):
        rows = new_rows(encoders.read_tokenizer(base_name, run.revision, run.allow), encoder.tokenizer)
    return train(encoder, prepared.shards, run, folder, precision, look, source, rows, learnt, kin, watch, ranks)


def _source_name(base_name: str, folder: Path) -> str:
    """The model before a conversion: the base, or the base with another vocabulary."""
    changed = folder / "vocabulary"
    return str(changed) if changed.exists() else base_name


def evaluate(
    models: tuple[str, ...],
    lang: str,
    data: str | None,
    settings: Eval,
    allow: tuple[Permission, ...],
    folder: Path,
) -> Path:
    """Score models on the tasks of a language, into results.jsonl and a report of `folder`."""
    machine.keep_pages()
    pack = load_pack(lang)
    at_hand = find(pack, Path(data) if data else None, settings.tasks, allow, settings.warm_start)
    for line in at_hand.left_out:
        say(line)
    if not at_hand.tasks:
        raise InputError(f"no task of language {pack.code} is at hand: give --data ROOT")
    names = {Path(model).name if Path(model).is_dir() else model: model for model in models}
    if len(names) < len(models):
        names = {model: model for model in models}
    folder.mkdir(parents=True, exist_ok=True)
    precision = machine.precision_of("auto", machine.device())
    score_models(
        names, at_hand.tasks, settings, pack.spacy, folder, allow=allow, precision=precision, first=at_hand.first
    )
    return write_comparison(folder)


def plan(run: Run) -> str:
    """What a run will cost here, in words, from steps measured on this machine."""
    machine.keep_pages()
    if run.strategy == "scratch":
        raise InputError("adapt plan measures a model that exists; of --strategy scratch there is none yet")
    encoder = encoders.load(located(run.base), head="fresh" if run.adapt.head == "fresh" else "keep", allow=run.allow)
    encoder.model.to(machine.device())
    precision = machine.precision_of(run.train.precision, encoder.device)
    seconds = measured_seconds(run, encoder, precision)
    return told(decide(run, encoder, precision, seconds))


def _head_model(folder: Path) -> Path:
    return folder / "head" / "model"


def _trained_head(run: Run, base: str, folder: Path) -> Path:
    """A base without a masked-LM head gets one, trained on the source language by a run of its own.

    The head alone: its first steps, from noise, would spoil the body that is to be measured as "before".
    """
    language = run.adapt.head_lang
    say(f"the base has no masked-LM head: training a fresh one on {run.adapt.head_tokens:,} tokens ({language})")
    settings = {
        "strategy": "continue",
        "lang": language,
        "base": base,
        "allow": list(run.allow),
        "data": {"root": run.data.root} if run.data.root else {},
        "adapt": Adapt(head="fresh").model_dump(),
        "train": run.train.model_dump()
        | {"tokens": run.adapt.head_tokens, "parameters": "head", "lr": _HEAD_LR, "shard": False},
        "eval": Eval(tasks="none").model_dump(),
    }
    adapt(resolve(settings), folder / "head")
    return _head_model(folder)


def _told(prepared: Prepared) -> str:
    rows = prepared.row.corpora
    tokens, documents = sum(r.tokens for r in rows), sum(r.documents for r in rows)
    left = {
        "exact duplicates": sum(r.duplicates for r in rows),
        "overlapping with a task's test documents": sum(r.overlapping for r in rows),
        "filtered": sum(r.filtered for r in rows),
    }
    dropped = ", ".join(f"{n:,} {what}" for what, n in left.items() if n) or "none"
    return f"text: {documents:,} documents, {tokens:,} tokens; {len(prepared.held_out)} held out; left out: {dropped}"


def _measure_before(
    run: Run, base: str, encoder: Encoder, kept: tuple[Passage, ...], prepared: Prepared, folder: Path
) -> None:
    done = {row.model for row in read_run(folder).evaluations}
    if not kept or {"base", "start"} & done:
        return
    count = len(prepared.held_out)
    changed = (folder / "start").exists()
    between = folder / "vocabulary"
    rows = []
    if base and (run.adapt.head == "keep" or run.adapt.head_tokens):
        before = unchanged(run, base) if changed else encoder
        before.model.eval().to(machine.device())
        rows.append(held_out.measure(before, kept, count, model="base", phase=0, step=0, tokens=0))
    if between.exists():
        model = unchanged(run, str(between))
        model.model.eval().to(machine.device())
        rows.append(held_out.measure(model, kept, count, model="vocabulary", phase=0, step=0, tokens=0))
    if changed:
        encoder.model.eval().to(machine.device())
        rows.append(held_out.measure(encoder, kept, count, model="start", phase=0, step=0, tokens=0))
    for row in rows:
        append_row(folder / "metrics.jsonl", row)


def _certify(run: Run, base: str, encoder: Encoder, prepared: Prepared, folder: Path) -> None:
    """certificate.json, once; InputError where the conversion lost what it had to keep."""
    if not (folder / "certificate.json").exists():
        texts = [h.text for h in prepared.held_out]
        if not texts:
            raise InputError("a conversion is certified on held-out documents and none was held out: give more text")
        source = unchanged(run, base)
        bits = {row.model: row for row in read_run(folder).evaluations}
        row = convert.certificate(run, source, encoder, texts, bits)
        convert.check(row)
        write(folder / "certificate.json", row)
        say("certificate: " + "; ".join(f"{c.name} {c.value:.2g}" for c in row.checks))


def _after_conversion(run: Run, base: str, encoder: Encoder, pack: Pack, prepared: Prepared, folder: Path) -> None:
    """Global projections follow; loss by place and distant facts."""
    if run.adapt.target == "longformer":
        copy_untrained_global_projections(encoder)
    row = read_run(folder).certificate
    if row is not None and all(p.model != "trained" for p in row.positions):
        trained = convert.positions(encoder, "trained", [h.text for h in prepared.held_out])
        row = row.model_copy(update={"positions": (*row.positions, *trained)})
        if load_grammar(pack).recall:
            source = unchanged(run, base)
            row = convert.probed(row, {"base": source, "trained": encoder}, pack)
        else:
            say(f"no probes of distant facts: the pack of {pack.code} has no [[recall]] cases")
        write(folder / "certificate.json", row)


def _save(run: Run, encoder: Encoder, prepared: Prepared, folder: Path) -> None:
    rows = prepared.row.corpora
    step = LineageStep(
        strategy=run.strategy,
        language=run.lang,
        base=run.base or "random weights",
        settings_digest=run.digest,
        corpora=tuple(r.name for r in rows),
        licences=tuple(r.licence for r in rows),
        tokens=run.tokens,
        synthetic=any(r.synthetic for r in rows),
        date=datetime.date.today().isoformat(),
        version=version("medlingua"),
    )
    past = encoder.lineage
    lineage = Lineage(base=past.base, base_licence=past.base_licence, steps=(*past.steps, step))
    partial = folder / "model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    sample = [h.text[:2_000] for h in prepared.held_out]
    encoders.save(encoders.with_lineage(encoder, lineage), partial, sample=sample)
    shutil.rmtree(folder / "model", ignore_errors=True)
    partial.rename(folder / "model")


def _write_cost(folder: Path, state: Checkpoint, began: float, joules: float | None) -> None:
    after = machine.energy_joules()
    row = CostRow(
        seconds=max(time.perf_counter() - began, state.seconds),
        train_seconds=state.seconds,
        tokens=state.tokens,
        tokens_per_second=state.tokens / state.seconds if state.seconds else 0.0,
        peak_memory_bytes=machine.peak_memory_bytes(),
        energy_joules=None if joules is None or after is None else after - joules,
        resumed=state.resumed,
    )
    write(folder / "cost.json", row)
