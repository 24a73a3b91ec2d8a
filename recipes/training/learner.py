"""What a run trains: the model and its optimizer, and the records that go with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.gradual import Gradual
from medlingua.adapters.lora import add_lora, check_lora
from medlingua.languages.errors import InputError
from medlingua.languages.terminologies import concept as terminologies
from medlingua.recipes.console import say
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import LANGUAGE_MODELS, Run, Train
from medlingua.recipes.text.shards import Shard
from medlingua.recipes.training import sharded
from medlingua.recipes.training.checkpoint import Checkpoint
from medlingua.recipes.training.collapse import CollapseProbe
from medlingua.recipes.training.optimizers import build_optimizer
from medlingua.recipes.training.processes import SINGLE, Processes
from medlingua.recipes.training.relations import relation_head
from medlingua.recipes.training.replaced_tokens import GeneratorAndDetector
from medlingua.recipes.training.term_stream import Concept, Relations
from medlingua.recipes.training.working_copy import WorkingCopy, checkpoint_layers, working_copy
from medlingua.reports.rows import EvalRow
from torch import Tensor, nn

Evaluate = Callable[[Encoder, Checkpoint], EvalRow | None]

# Parameters of which a part is not trained, each with the factor on its gradient: 0 for that part, 1 for the rest.
GradientMasks = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Training:
    """What a run trains on and with, except the model.

    evaluate: measures the model on held-out text during training. on_evaluation: receives each such row once it is
    written; what it raises ends the training. on_checkpoint: called before each checkpoint, by the main process.
    source: the model before a conversion, for phases that learn from it and for positions that change gradually.
    new_ids: ids of the pieces that the base did not have, for phases that train their embeddings alone. concepts,
    relations: for phases of kind terms. terminology: for phases of kind relations. probe: watches for a collapse."""

    run: Run
    folder: Path
    shards: tuple[Shard, ...]
    precision: Precision
    evaluate: Evaluate
    on_evaluation: Callable[[EvalRow], None] | None = None
    on_checkpoint: Callable[[], None] | None = None
    source: Encoder | None = None
    new_ids: Tensor | None = None
    concepts: Sequence[Concept] = ()
    relations: Relations = ()
    terminology: Sequence[terminologies.Concept] = ()
    processes: Processes = SINGLE
    probe: CollapseProbe | None = None


@dataclass(frozen=True, slots=True)
class Learner:
    """A model in training.

    encoder: the whole model, which the main process evaluates and saves. trained: the one whose weights move;
    `encoder` itself unless it is split over processes. module: everything with gradients, with a generator and a
    detector where an ELECTRA learns to detect replaced tokens, or the classifier of relations. working: a copy for
    the passes, where there is one. scaler: of the loss, in fp16."""

    encoder: Encoder
    trained: Encoder
    module: nn.Module
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    clip: float
    processes: Processes = SINGLE
    split: sharded.Split | None = None
    electra: GeneratorAndDetector | None = None
    relation_head: nn.Linear | None = None
    gradual: Gradual | None = None
    trackers: tuple[str, ...] = field(default=())
    working: WorkingCopy | None = None
    scaler: torch.amp.GradScaler | None = None

    @property
    def passing(self) -> Encoder:
        """The model that forward passes go through."""
        return self.trained if self.working is None else self.working.encoder

    def gather(self) -> None:
        """Bring the weights of a split model into the whole one, on the main process; all processes call this."""
        if self.split is not None:
            sharded.gather(self.trained, self.encoder, self.processes.is_main)


def check_trackers(names: tuple[str, ...]) -> None:
    """InputError for a tracker that is not installed: accelerate would leave it out without a word."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InputError(f"train.trackers: {', '.join(missing)} is not installed (pip install {' '.join(missing)})")


def check_lora_run(run: Run) -> None:
    """InputError where LoRA cannot train what the run is about."""
    check_lora("train.lora")
    if run.strategy == "scratch":
        raise InputError("train.lora: a new model has no weights to keep; --strategy scratch trains all of them")
    if run.train.shard:
        raise InputError("train.lora leaves little to split over processes: leave train.shard out")
    if any(phase.kind == "rtd" for phase in run.phases):
        raise InputError("train.lora: an ELECTRA's generator and detector are trained whole; leave one of them out")
    grows = run.adapt.vocabulary in ("extend", "replace", "repair")
    if grows and not any(phase.parameters == "rows" for phase in run.phases):
        raise InputError(
            f"train.lora trains no embeddings, and adapt.vocabulary = '{run.adapt.vocabulary}' makes new ones: let a "
            "phase with parameters = 'rows' come first"
        )


def plain_learner(encoder: Encoder, settings: Train, precision: Precision) -> Learner:
    """The model and its optimizer alone, in one process, for masked-LM training."""
    accelerator = Accelerator(mixed_precision=_mixed(precision), cpu=encoder.device.type == "cpu")
    if settings.lora is not None:
        add_lora(encoder, settings.lora, settings.seed)
    optimizer = build_optimizer(encoder.model, settings)
    if settings.checkpoint_layers:
        checkpoint_layers(encoder)
    working = _working(encoder, settings, precision)
    scaler = _scaler(encoder, precision)
    return Learner(
        encoder, encoder, encoder.model, optimizer, accelerator, settings.clip, working=working, scaler=scaler
    )


def _working(encoder: Encoder, settings: Train, precision: Precision) -> WorkingCopy | None:
    """A copy to compute with, where that is faster: bf16 on a GPU, or compiled layers."""
    on_gpu = encoder.device.type == "cuda"
    # Not by itself in fp16: compiled layers were not measured on the older GPUs that need it.
    wanted = settings.compile == "on" or (settings.compile == "auto" and on_gpu and precision.name != "fp16")
    compiled = wanted and not encoder.architecture.padded  # padded batches have too many shapes
    half = on_gpu and precision.name == "bf16"
    if not half and not compiled:
        return None
    return working_copy(encoder, torch.bfloat16 if half else torch.float32, compiled)


def build_learner(encoder: Encoder, training: Training) -> Learner:
    """The model of a run with its optimizer, split over the processes where `train.shard` says so."""
    run, processes = training.run, training.processes
    splits = run.train.shard and processes.size > 1
    if splits and training.precision.name == "fp16":
        raise InputError("train.shard: fp16 scales the loss of a whole model; set train.precision to bf16 or fp32")
    if run.train.shard and not splits:
        say("train.shard splits the model over the processes of a run, and there is one: it stays whole")
    trained = sharded.copied(encoder) if splits else encoder
    trackers = run.train.trackers if processes.is_main else ()
    accelerator = Accelerator(
        mixed_precision=_mixed(training.precision),
        cpu=encoder.device.type == "cpu",
        log_with=list(trackers) or None,
        project_dir=training.folder,
    )
    if trackers:
        accelerator.init_trackers("medlingua", config={"name": run.name, "digest": run.digest})
    gradual = None
    if training.source is not None and run.adapt.start == "gradual":
        gradual = Gradual(training.source, trained)
    if run.train.lora is not None:
        add_lora(trained, run.train.lora, run.train.seed)
    electra, head = None, None
    parts: dict[str, nn.Module] = {}  # what learns beside the model and is thrown away
    if any(phase.kind == "rtd" for phase in run.phases):
        parts["electra"] = electra = GeneratorAndDetector(trained, run.train.seed, run.train.dropout)
    if any(phase.kind == "relations" for phase in run.phases):
        parts["relations"] = head = relation_head(trained, run.train.seed)
    module: nn.Module = nn.ModuleDict({"model": trained.model, **parts}) if parts else trained.model
    split = sharded.split(module, trained.model.base_model) if splits else None
    if splits and not processes.is_main:
        encoder.model.to("meta")  # the main process alone keeps a whole one
    optimizer = build_optimizer(module, run.train)
    if run.train.optimizer == "muon" and encoder.device.type == "cpu" and training.precision.name != "bf16":
        say("train.optimizer = 'muon': torch computes its steps in bf16, which takes this CPU many times as long")
    if run.train.checkpoint_layers:
        checkpoint_layers(trained)
    working = None
    # The other objectives have parts of their own, and positions that change gradually belong to one model.
    if not splits and gradual is None and all(phase.kind in LANGUAGE_MODELS for phase in run.phases):
        working = _working(trained, run.train, training.precision)
        if run.train.compile == "on" and encoder.architecture.padded:
            family = encoder.architecture.family
            say(f"train.compile: the family '{family}' is computed in padded batches; this run goes without")
    elif run.train.compile == "on":
        say("train.compile: layers are compiled for masked words and the next token alone; this run goes without")
    return Learner(
        encoder, trained, module, optimizer, accelerator, run.train.clip, processes, split, electra, head,
        gradual, trackers, working, _scaler(encoder, training.precision),
    )  # fmt: skip


def _mixed(precision: Precision) -> str:
    return "bf16" if precision.name == "bf16" else "no"


def _scaler(encoder: Encoder, precision: Precision) -> torch.amp.GradScaler | None:
    """Dynamic loss scaling for fp16, whose least number is 6e-8 (Micikevicius et al., arXiv 1710.03740).

    torch's own, not accelerate's, which refuses fp16 on a CPU, where the tests are.
    """
    return torch.amp.GradScaler(encoder.device.type) if precision.name == "fp16" else None
