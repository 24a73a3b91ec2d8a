"""The walk of a run, from its settings to its report. Reads like the README's paragraph.

    run.toml -> corpora -> start (the strategy's change) -> shards -> loop -> model -> scores -> report

Every part leaves its result in the run's folder, so the same command goes on where a run was stopped.
"""

import datetime
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.embeddings import new_rows, set_bias_to_frequencies
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.adapters.longformer import copy_global_projections, global_ids
from medlingua.languages.errors import InputError
from medlingua.languages.grammar import load_grammar
from medlingua.languages.hierarchy import Hierarchy
from medlingua.languages.lineage import Lineage, LineageStep
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.terms import hierarchy_of_terms, read_terms
from medlingua.recipes import convert, held_out, machine, scratch, terms, vocabulary
from medlingua.recipes.checkpoint import Checkpoint
from medlingua.recipes.console import say
from medlingua.recipes.corpus import Prepared, opened, prepare, training_texts
from medlingua.recipes.evaluate import score_models
from medlingua.recipes.folder import alone, claim, release, write
from medlingua.recipes.held_out import Passage, passages
from medlingua.recipes.loop import Evaluate, check_trackers, train
from medlingua.recipes.plan import decide, measured_seconds, told
from medlingua.recipes.ranks import ALONE, Ranks
from medlingua.recipes.settings import Adapt, Eval, Run, resolve
from medlingua.recipes.sources import Selection, select
from medlingua.recipes.tasks_at_hand import AtHand, find
from medlingua.recipes.term_stream import Concept, Kin, concepts_of, kin_of
from medlingua.reports.card import write_card
from medlingua.reports.compare import write_comparison
from medlingua.reports.page import write_report
from medlingua.reports.read import append_row, read_run
from medlingua.reports.rows import CostRow, EvalRow, Score

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
    machine.keep_pages()
    pack = load_pack(run.lang)
    selection = select(run, pack)
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
    learnt, asked, hierarchy = _concepts(run, pack)  # first: what they lack is told before anything is done
    kin = _kin(run, learnt, hierarchy)
    if run.adapt.head == "fresh" and run.adapt.head_tokens:
        base_name = str(_trained_head(run, base_name, folder))
    encoder = _start(run, base_name, pack, selection, at_hand, folder)
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
        _settle_global_projections(encoder)
    if run.strategy == "convert" and run.tokens:
        _after_conversion(run, source_name, encoder, pack, prepared, folder)
    last = look(encoder, state)
    if last is not None:
        append_row(folder / "metrics.jsonl", last)
    _save(run, encoder, prepared, folder)
    if learnt:
        _score_terms(run, base_name, encoder, learnt, asked, hierarchy, pack, folder)
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
    learnt, _, hierarchy = _concepts(run, pack)
    if run.adapt.head == "fresh" and run.adapt.head_tokens:
        base_name = str(_head_model(folder))
    encoder = _start(run, base_name, pack, selection, at_hand, folder)
    prepared = opened(folder / "shards", encoder.tokenizer)
    encoder.model.to(machine.device())
    precision = machine.precision_of(run.train.precision, encoder.device)
    kin = _kin(run, learnt, hierarchy)
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
        source = _unchanged(run, _source_name(base_name, folder))
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


def located(base: str) -> str:
    """The base as a folder or hub id; `package:name/folder` is a folder inside an installed package."""
    if not base.startswith("package:"):
        return base
    from importlib.util import find_spec

    name, _, inside = base.removeprefix("package:").partition("/")
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"base {base}: the package {name} is not installed; make demo installs it")
    return str(Path(spec.submodule_search_locations[0]) / inside)


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
        "train": {**run.train.model_dump(), "tokens": run.adapt.head_tokens, "parameters": "head", "lr": _HEAD_LR},
        "eval": Eval(tasks="none").model_dump(),
    }
    adapt(resolve(settings), folder / "head")
    return _head_model(folder)


def _start(run: Run, base: str, pack: Pack, selection: Selection, at_hand: AtHand, folder: Path) -> Encoder:
    """The encoder that training starts from: kept in start/ where it is not the base itself.

    A conversion of a model whose vocabulary changed keeps the changed model too, in vocabulary/: what the
    conversion preserved is measured against that.
    """
    kept = folder / "start"
    if kept.exists():
        return encoders.load(str(kept))
    head: Literal["keep", "fresh"] = "keep" if run.adapt.head_tokens else run.adapt.head
    encoder = None
    if base:
        encoder = encoders.load(base, head=head, revision=run.revision, allow=run.allow, seed=run.train.seed)

    def texts() -> Iterator[str]:
        return training_texts(run, pack, selection, at_hand.tested)

    row = None
    if run.strategy == "scratch" or encoder is None:
        start, row = scratch.start(run, encoder, pack, texts)
    else:
        start, row = vocabulary.change(run, encoder, pack, texts)
    if run.strategy == "convert":
        made = convert.start(run, start)
        if row is not None:
            _keep(start, folder / "vocabulary")
        start = made
    family = start.architecture.family
    if family != "electra" and any(phase.kind == "rtd" for phase in run.phases):
        raise InputError(f"objective.kind rtd trains an ELECTRA, not a {family}: adapt.architecture = 'electra'")
    chosen = run.train.global_tokens
    if chosen is not None:
        ids = global_ids(start.tokenizer, chosen)
        if ids and family != "longformer":
            raise InputError(f"train.global_tokens: a {family} model has no global attention, only Longformer has")
        start.model.config.global_token_ids = list(ids)
    if row is not None:
        write(folder / "vocabulary.json", row)
    if head == "fresh" or (run.strategy == "scratch" and run.adapt.carry != "weights"):
        counts = torch.zeros(start.model.config.vocab_size)
        for text in texts():
            ids = start.tokenizer(text, add_special_tokens=False)["input_ids"]
            counts += torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=len(counts))
        set_bias_to_frequencies(start, counts)
    if head == "fresh" or row is not None or run.strategy != "continue":
        _keep(start, kept)
    return start


def _keep(encoder: Encoder, folder: Path) -> None:
    """Save whole or not at all; what a stopped run left there is written again."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    encoders.save(encoder, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _unchanged(run: Run, base: str) -> Encoder:
    """A model as it came, beside what the strategy made of it."""
    return encoders.load(base, revision=run.revision, allow=run.allow)


def _told(prepared: Prepared) -> str:
    rows = prepared.row.corpora
    tokens, documents = sum(r.tokens for r in rows), sum(r.documents for r in rows)
    left = {
        "exact duplicates": sum(r.duplicates for r in rows),
        "overlapping with a task's test documents": sum(r.overlapping for r in rows),
        "filtered": sum(r.filtered for r in rows),
    }
    parts = ", ".join(f"{n:,} {what}" for what, n in left.items() if n) or "none"
    return f"text: {documents:,} documents, {tokens:,} tokens; {len(prepared.held_out)} held out; left out: {parts}"


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
        before = _unchanged(run, base) if changed else encoder
        before.model.eval().to(machine.device())
        rows.append(held_out.measure(before, kept, count, model="base", phase=0, step=0, tokens=0))
    if between.exists():
        model = _unchanged(run, str(between))
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
        source = _unchanged(run, base)
        bits = {row.model: row for row in read_run(folder).evaluations}
        row = convert.certificate(run, source, encoder, texts, bits)
        convert.check(row)
        write(folder / "certificate.json", row)
        say("certificate: " + "; ".join(f"{c.name} {c.value:.2g}" for c in row.checks))


def _settle_global_projections(encoder: Encoder) -> None:
    """Those that no global token trained follow the local ones: nothing else would move them (TRAPS C6, C7)."""
    if not encoder.global_ids:
        copy_global_projections(encoder.model)


def _after_conversion(run: Run, base: str, encoder: Encoder, pack: Pack, prepared: Prepared, folder: Path) -> None:
    """Global projections follow; loss by place and distant facts."""
    if run.adapt.target == "longformer":
        _settle_global_projections(encoder)
    row = read_run(folder).certificate
    if row is not None and all(p.model != "trained" for p in row.positions):
        trained = convert.positions(encoder, "trained", [h.text for h in prepared.held_out])
        row = row.model_copy(update={"positions": (*row.positions, *trained)})
        if load_grammar(pack).recall:
            source = _unchanged(run, base)
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


def _concepts(run: Run, pack: Pack) -> tuple[list[Concept], list[Concept], Hierarchy | None]:
    """The things of the pack's terms, to learn and held out, and their hierarchy; none where no phase learns them."""
    if all(phase.kind != "terms" for phase in run.phases):
        return [], [], None
    if run.data.root is None:
        raise InputError("objective.kind terms reads the pack's term lists: say where they lie with --data ROOT")
    return *concepts_of(read_terms(pack, Path(run.data.root))), hierarchy_of_terms(Path(run.data.root))


def _kin(run: Run, learnt: list[Concept], hierarchy: Hierarchy | None) -> Kin:
    if not learnt or not run.objective.hierarchy_steps:
        return ()
    if hierarchy is None:
        raise InputError("objective.hierarchy_steps: the Disease Ontology is not under data.root (terms/doid)")
    return kin_of(learnt, hierarchy, run.objective.hierarchy_steps)


def _score_terms(
    run: Run,
    base: str,
    encoder: Encoder,
    learnt: list[Concept],
    asked: list[Concept],
    hierarchy: Hierarchy | None,
    pack: Pack,
    folder: Path,
) -> None:
    """Retrieval across languages, and what names say of the hierarchy, by the base and by what was trained, once."""
    task = f"terms_{pack.code}"
    if any(score.task == task for score in read_run(folder).scores):
        return
    rows = []
    for name in ("base", "trained") if base else ("trained",):
        model = encoder if name == "trained" else _unchanged(run, base)
        model.model.eval().to(machine.device())
        queries = sum(len(concept.names) - 1 for concept in asked)
        note = f"among the English names of {len(learnt) + len(asked):,} things"
        found = [(terms.PROTOCOL, queries, note, terms.retrieval(model, learnt, asked, name))]
        if hierarchy is not None:
            related, things = terms.hierarchy_scores(model, learnt, asked, hierarchy, name)
            found.append((terms.HIERARCHY_PROTOCOL, things, "English names in the Disease Ontology", related))
        rows += [
            Score(
                model=name, task=task, language=pack.code, split="test", metric=metric, protocol=protocol,
                value=value, seed=None, examples=count, gold=count, note=note,
            )
            for protocol, count, note, values in found
            for metric, value in values.items()
        ]  # fmt: skip
    append_row(folder / "results.jsonl", *rows)


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
