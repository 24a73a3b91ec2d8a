"""Run: everything a run was asked to do, frozen. `resolve` makes one from TOML files, presets and flags.

The text below a setting is its meaning in `adapt settings`, in the files of `adapt init` and in the JSON schema.
"""

import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from medlingua.languages.permissions import Permission
from pydantic import BaseModel, ConfigDict, Field, model_validator

STRATEGIES = ("convert", "continue", "scratch")
WITHOUT_CORPUS = ("terms", "relations")  # kinds of phases that read term lists or a terminology
LANGUAGE_MODELS = ("mlm", "clm")  # kinds of phases that train the language model's head on the text's own tokens
# Settings that a run decides for itself where they are not given: see training/defaults. What stands in their place
# until then is the default of the class.
DECIDED = (
    "train.tokens", "train.lr", "train.warmup", "train.batch_tokens", "train.micro_tokens", "train.checkpoint_tokens",
    "train.eval_tokens", "eval.tasks", "eval.seeds",
)  # fmt: skip
DECIDED_BY_PHASE = ("tokens", "lr", "warmup")
_BelowOne = Annotated[float, Field(ge=0, lt=1)]
_FROZEN_HEAD_LR = 1e-2  # reports/notes/2026-11-27-tasks.md


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys. A list of names may be written as one string, with commas."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: _as_list(cls.model_fields.get(name), value) for name, value in values.items()}


def _as_list(field: Any, value: Any) -> Any:
    """A string for a setting that takes a list of names, as that list."""
    if field is None or not isinstance(value, str):
        return value
    kinds = typing.get_args(field.annotation) if _is_union(field.annotation) else (field.annotation,)
    literals = [choice for kind in kinds if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)]
    lists = any(typing.get_origin(kind) is tuple for kind in kinds)
    if not lists or str in kinds or value in literals:
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


class Mixture(Settings):
    """One corpus in a mixture."""

    corpus: str
    """Name of the corpus."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the tokens of a pass, against the other weights; all corpora have one, or none."""
    repeat: float = Field(default=1.0, gt=0)
    """Without weights: times that each document comes in a pass (0.5: half of them, drawn again for each pass)."""
    filter: str = ""
    """Condition on the corpus's columns: education >= 4 and type == "case"."""


class Data(Settings):
    """The text of a run."""

    root: str | None = None
    """Data root: the folder of the pack's corpora and tasks (--data)."""
    paths: tuple[str, ...] = ()
    """Your own text, and no other: files, folders, patterns (--corpus); "synthetic": generated cases."""
    text_field: str | None = None
    """Column of the text in your own files (--text-field)."""
    corpora: tuple[str, ...] = ()
    """Names of the pack's corpora; empty: all under the data root that are free to use."""
    mixture: tuple[Mixture, ...] = ()
    """Corpora with weights, repeats and filters; empty: each document once a pass."""
    sampling_exponent: float | None = Field(default=None, ge=0, le=1)
    """Corpora weigh as their tokens to this power: 1 as they are, 0 all alike (mmBERT: 0.7, then 0.5, then 0.3)."""
    held_out: float = Field(default=0.05, ge=0, lt=1)
    """Share of the documents held out of training, to measure bits per byte on."""
    held_out_documents: int = Field(default=150, ge=1)
    """Most documents that are held out, shared evenly by the corpora."""
    overlap_words: int = Field(default=13, ge=4)
    """A document that shares so many words in a row with a task's test document, or has all of a shorter one, is left
    out."""
    near_duplicates: float = Field(default=0.8, ge=0, le=1)
    """A document that shares so much of its runs of five words with an earlier one is left out; 0: none is."""
    synthetic_documents: int = Field(default=1500, ge=1)
    """Generated cases, where paths has "synthetic"."""
    prepared: str | None = None
    """Folder of adapt prepare, whose tokens are read instead of corpora."""


class Adapt(Settings):
    """What the strategy makes of the base."""

    vocabulary: Literal["keep", "extend", "replace", "prune", "repair"] = "keep"
    """What becomes of the tokenizer; repair: words that add_tokens added become pieces."""
    new_pieces: int = Field(default=16_000, ge=1)
    """Pieces that extend adds, or the size of a replaced vocabulary; unset: fewer where the corpus yields fewer."""
    piece_documents: int = Field(default=5, ge=1)
    """Documents of the corpus that an added piece must occur in."""
    priority: Literal["append", "insert"] = "append"
    """Where added pieces stand: behind the old ones, or before them."""
    rows: Literal["mean", "overlap", "focus", "wechsel"] | None = None
    """Initialization of new embeddings; unset: focus where the vocabulary is replaced, else mean (notes of
    2026-11-22)."""
    dictionary: str | None = None
    """Dictionary of rows = "wechsel": a table with columns en, lang, translation; unset: the pack's terms."""
    head: Literal["keep", "fresh"] = "keep"
    """fresh: a new masked-LM head for a base that has none."""
    head_tokens: int = Field(default=500_000, ge=0)
    """Tokens that a fresh head is trained on alone first, in head_lang; 0: with the rest from the start. Unset: no
    more than train.tokens, where they are given."""
    head_lang: str = ""
    """Language that a fresh head is trained on first; unset: the run's, on its own text."""
    architecture: Literal["modernbert", "longformer", "bert", "roberta", "electra", "deberta-v2", "distilbert"] = (
        "modernbert"
    )
    """Of a new model (scratch); deberta-v2 is built as v3."""
    size: Literal["tiny", "mini", "small", "medium", "base", "large"] = "base"
    """Of a new model (scratch): base and large as published, the others as small BERTs (arXiv 1908.08962)."""
    tokenizer: Literal["WordPiece", "BPE", "Unigram"] = "BPE"
    """Kind of a new tokenizer where no base brings one (scratch)."""
    carry: Literal["nothing", "embeddings", "weights"] = "nothing"
    """What a new model takes from the base (scratch)."""
    layers: int | None = Field(default=None, ge=1)
    """The new model is the base with so many of its layers, evenly spaced, not an adapt.architecture (scratch)."""
    length: int = Field(default=4_096, ge=16)
    """Tokens that a converted or a new model reads, special tokens included."""
    window: int | tuple[int, ...] = 512
    """Total width of Longformer's windows, for all layers or one a layer; of a new ModernBERT's local layers too."""
    target: Literal["longformer", "rope"] = "longformer"
    """What convert makes: a Longformer, or a model with rotary positions."""
    theta: float | None = None
    """Base of the rotation (rope_theta); unset: 10,000, or the source's own where it rotates."""
    scaling: Literal["none", "linear", "ntk", "yarn"] = "none"
    """Scaling of a rotary source's positions."""
    start: Literal["gradual", "once", "distil"] = "gradual"
    """How new rotations begin: gradually while the old positions fade, at once, or after a phase that learns the
    source's hidden states (notes of 2026-11-21)."""
    start_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the tokens that the start takes."""


class Objective(Settings):
    """What the model learns to predict."""

    kind: Literal["mlm", "clm", "distil", "rtd", "terms", "relations"] = "mlm"
    """mlm: masked words. clm: the next token, with causal attention, for a phase before mlm. distil: what the base
    answers at masked words (scratch), or the hidden states of the model before a conversion to rotary positions. rtd:
    replaced tokens (ELECTRA). terms: names of one thing brought together, from the term lists under data.root or
    objective.terminology. relations: masked words, and how two things of objective.terminology are related."""
    unit: Literal["piece", "word", "span"] = "piece"
    """What is masked as a whole."""
    terminology: str | None = None
    """Of kinds terms and relations: a terminology, as adapt terminology reads it, whose synonyms and hierarchy are
    learnt; unset: the pack's lists of translations, with the Disease Ontology."""
    hierarchy_steps: int = Field(default=0, ge=0, le=3)
    """Of kind terms: names so many steps apart in the hierarchy are brought near too, less than synonyms."""
    compounds: Literal["whole", "parts"] = "whole"
    """What a word is where compounds are written as one (German)."""
    mask_rate: float = Field(default=0.3, gt=0, lt=1)
    """Share of the tokens that are masked."""
    mask_rate_end: float | None = Field(default=None, gt=0, lt=1)
    """The share at the end of a phase, from mask_rate at its beginning; unset: the same."""
    mask_rate_steps: int | None = Field(default=None, ge=2)
    """Equal parts of a phase, each with one share, from mask_rate to mask_rate_end; unset: it changes evenly."""


class Train(Settings):
    """The optimizer and its budget."""

    tokens: int = Field(default=1_000_000, ge=0)
    """Tokens to train on; 0: change and save, no training. Unset: three passes over the corpus, one to convert."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the corpus, in place of train.tokens."""
    parameters: Literal["all", "head", "rows"] = "all"
    """What is trained: everything, the masked-LM head alone, or the embeddings of new pieces alone."""
    lora: int | None = Field(default=None, ge=1)
    """Rank of LoRA matrices, which are trained in place of the layers' weights and merged at the end (needs peft)."""
    lr: float = Field(default=5e-4, gt=0)
    """Peak learning rate; unset: by the strategy and the model's width, ten times as much with lora."""
    batch_tokens: int = Field(default=4_096, gt=0)
    """Tokens of one optimizer step, over all processes; unset: what leaves 300 steps, up to the published sizes."""
    batch_start: int | None = Field(default=None, gt=0)
    """Tokens of a phase's first steps, which grow to batch_tokens; unset: no growth."""
    batch_warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of a phase's tokens over which steps grow, with batch_start alone."""
    micro_tokens: int = Field(default=8_192, gt=0)
    """Tokens of one forward pass; unset: what memory allows."""
    context: int | None = Field(default=None, gt=8)
    """Tokens that documents are cut to; unset: what the model reads."""
    schedule: Literal["wsd", "constant", "linear", "cosine", "decay"] = "wsd"
    """Of the learning rate, after its warm-up; wsd: stable, then 1 - sqrt decay; decay: that decay from the start."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of a phase's tokens; unset: 0.05, at least 20 steps."""
    decay: float = Field(default=0.2, ge=0, le=1)
    """Share of a phase's tokens, schedule wsd only."""
    min_lr_rate: float = Field(default=0.0, ge=0, le=1)
    """What a falling learning rate ends at, as a share of lr."""
    optimizer: Literal["adamw", "stableadamw", "muon"] = "adamw"
    """stableadamw: torch-optimi's, made for clip = 0. muon: Muon for the layers' matrices, AdamW for the rest."""
    optimizer_from: str | None = None
    """Folder of a run whose optimizer's state this one begins with; --base is that run's model."""
    betas: tuple[_BelowOne, _BelowOne] = (0.9, 0.98)
    """Of the optimizer's two running means."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of matrices; norms, biases and embeddings have none."""
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0: any."""
    average: int = Field(default=1, ge=1)
    """Newest checkpoints of the last phase whose weights the saved model is the mean of; 1: the last alone."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of hidden states; attention weights have none."""
    global_tokens: Literal["none", "first"] | tuple[str, ...] | None = None
    """Longformer's global attention: of each chunk's first token, or of these pieces wherever they stand; unset: as
    the model was trained before. Saved with the model, and so used in evaluation."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of forward and backward passes; weights are fp32. fp16: with dynamic loss scaling."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the layers (torch.compile) for masked-LM training; auto: on a GPU, but not in fp16."""
    checkpoint_layers: bool = False
    """Keep each layer's input alone and compute the layer again in the backward pass: less memory, slower."""
    shard: bool = False
    """Split weights, gradients and the optimizer's state over the processes (FSDP2)."""
    checkpoint_tokens: int = Field(default=1_000_000, gt=0)
    """Tokens between two checkpoints; unset: a twentieth of the run, at least 250,000."""
    keep_checkpoints: int = Field(default=1, ge=0)
    """Newest checkpoints that are left once the run has finished."""
    eval_tokens: int = Field(default=250_000, gt=0)
    """Tokens between two evaluations on held-out text; unset: a tenth of the run, at least 250,000."""
    collapse: Literal["stop", "warn"] = "stop"
    """What happens where all hidden states become alike, or the loss stays at that of piece frequencies."""
    trackers: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()
    """Experiment trackers that get the metrics too."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Random seed."""


class Eval(Settings):
    """Fine-tuning on tasks."""

    tasks: Literal["all", "none"] | tuple[str, ...] = "all"
    """all that are under the data root, none, or names; unset: all that take no longer than training."""
    seeds: int = Field(default=3, ge=1)
    """Fine-tuning runs a task; unset: 3, or 1 where evaluation would take longer than training."""
    epochs: int = Field(default=8, ge=1)
    """Passes over a task's train part."""
    min_steps: int = Field(default=200, ge=0)
    """A small task gets more epochs, until so many steps; 0 where epochs are given."""
    lr: float = Field(default=5e-5, gt=0)
    """Learning rate, for models of base size; small ones want three to six times as much."""
    head_lr: float | None = Field(default=None, gt=0)
    """Learning rate of the task's head; unset: lr, 1e-2 on a frozen body."""
    trials: int = Field(default=0, ge=0)
    """Learning rates tried on dev before the seeds are run, the same for every model; under a protocol of its own."""
    warm_start: str = ""
    """A task whose train part is learnt first, under a protocol of its own."""
    ner_head: Literal["tags", "spans"] = "tags"
    """spans: entities inside entities too, under a protocol of its own."""
    pooling: Literal["mean", "first"] = "mean"
    """What a text's labels are read from: the mean of its tokens, or its first token as the stock classes of
    transformers do, under a protocol of its own. `adapt finetune` reads the first where this is unset."""
    body: Literal["trained", "frozen"] = "trained"
    """frozen: a linear head on hidden states that do not change, under a protocol of its own."""
    lora: int | None = Field(default=None, ge=1)
    """Rank of LoRA matrices, fine-tuned in place of the layers' weights (needs peft), under a protocol of its own."""
    long_questions: Literal["refuse", "cut"] = "refuse"
    """cut: questions that leave a model less than a quarter of its length for the document, under a protocol of its
    own."""
    batch_tokens: int = Field(default=4_096, gt=0)
    """Most tokens of one step; a longer document goes alone."""
    batch_documents: int = Field(default=32, gt=0)
    """Most documents of one step."""

    @property
    def rate_of_head(self) -> float:
        """head_lr, or what stands for it where it is unset."""
        return self.head_lr or (_FROZEN_HEAD_LR if self.body == "frozen" else self.lr)

    @model_validator(mode="before")
    @classmethod
    def _epochs_given(cls, values: Any) -> Any:
        if isinstance(values, dict) and "epochs" in values:
            return {"min_steps": 0, **values}
        return values


class Phase(Settings):
    """A stretch of training. What a phase leaves out comes from objective.*, data.* and train.*."""

    name: str = "train"
    tokens: int = Field(ge=0)
    kind: Literal["mlm", "clm", "distil", "rtd", "terms", "relations"] = "mlm"
    unit: Literal["piece", "word", "span"] = "piece"
    mask_rate: float = Field(default=0.3, gt=0, lt=1)
    mask_rate_end: float | None = Field(default=None, gt=0, lt=1)
    mask_rate_steps: int | None = Field(default=None, ge=2)
    parameters: Literal["all", "head", "rows"] = "all"
    mixture: tuple[Mixture, ...] = ()
    sampling_exponent: float | None = Field(default=None, ge=0, le=1)
    context: int | None = Field(default=None, gt=8)
    theta: float | None = Field(default=None, gt=0)
    schedule: Literal["wsd", "constant", "linear", "cosine", "decay"] = "wsd"
    lr: float = Field(default=5e-4, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    decay: float = Field(default=0.2, ge=0, le=1)
    min_lr_rate: float = Field(default=0.0, ge=0, le=1)
    decided: tuple[Literal["tokens", "lr", "warmup"], ...] = ()


class Run(Settings):
    """One run."""

    strategy: Literal["convert", "continue", "scratch"]
    """convert: a short model of the language, made to read long text. continue: train an English clinical model on
    the language. scratch: a new model."""
    lang: str
    """fr, es, de, en, or the path of a pack.toml."""
    base: str = ""
    """Model to start from: a folder, a hub id, or a name of adapt bases; unset: the pack's default for the strategy
    (scratch: none)."""
    revision: str | None = None
    """Of the base, on the hub."""
    licence: str = ""
    """Of the model, in its card: a hub id such as cc-by-4.0; unset: the strictest of base and corpora."""
    preset: str | None = None
    """Recipe whose settings lie below all others."""
    allow: tuple[Permission, ...] = ()
    """What is refused unless it is named here."""
    data: Data = Data()
    adapt: Adapt = Adapt()
    objective: Objective = Objective()
    train: Train = Train()
    eval: Eval = Eval()
    phases: tuple[Phase, ...] = ()
    """Stretches of training, each with its own objective, mixture, context and schedule; empty: one."""
    decided: tuple[str, ...] = ()
    """Written by the run: the settings that were not given."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits that change with any setting."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def name(self) -> str:
        return f"{self.strategy}-{Path(self.lang).stem}-{self.digest[:8]}"

    @property
    def tokens(self) -> int:
        return sum(phase.tokens for phase in self.phases)

    @property
    def new_rotations(self) -> bool:
        return self.strategy == "convert" and self.adapt.target == "rope"

    @property
    def learns_from_source(self) -> bool:
        """Whether training also needs the model before conversion."""
        distils = any(phase.kind == "distil" for phase in self.phases)
        return self.tokens > 0 and (distils or (self.new_rotations and self.adapt.start == "gradual"))

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def setting_names(model: type[Settings] = Run, prefix: str = "") -> list[str]:
    """Every setting by its full name, groups left out: train.lr."""
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            names += setting_names(inner, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
