"""Run: everything a run was asked to do, frozen. TOML files, presets and --set resolve into one of these."""

import hashlib
import json
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Literal

import tomli_w
from medlingua.languages.errors import InputError, nearest
from medlingua.languages.pack import read_toml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

STRATEGIES = ("convert", "continue", "scratch")
# Settings of adapt.* that some strategies have no use for: said, they are refused there rather than ignored.
_USED_BY = {
    ("length", "window"): ("convert", "scratch"),
    ("architecture", "size", "tokenizer", "carry"): ("scratch",),
    ("target", "theta", "scaling", "start", "start_share"): ("convert",),
}
_HEAD_SHARE = 0.1  # of the tokens, for the masked-LM head after replaced-token detection
PRESETS = Path(__file__).parent / "presets"


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mixture(Settings):
    """One corpus in a mixture. `weight` is its share of the tokens of a pass, against the other weights;
    without weights each document comes `repeat` times a pass (0.5: half of them, drawn anew each pass).
    `filter` is a condition on the corpus's columns: `education >= 4 and type == "case"`."""

    corpus: str
    weight: float | None = Field(default=None, gt=0)
    repeat: float = Field(default=1.0, gt=0)
    filter: str = ""


class Data(Settings):
    root: str | None = None  # --data
    paths: tuple[str, ...] = ()  # --corpus
    text_field: str | None = None  # --text-field
    corpora: tuple[str, ...] = ()  # names of the pack; empty: all that are at hand and free to use
    mixture: tuple[Mixture, ...] = ()
    held_out: float = Field(default=0.05, ge=0, lt=1)  # share of documents kept for bits per byte
    held_out_documents: int = Field(default=150, ge=1)  # at most, shared evenly by the corpora
    overlap_words: int = Field(default=13, ge=4)  # n of the n-gram check against the tasks' test documents
    synthetic_documents: int = Field(default=1500, ge=1)  # of the embedded default
    prepared: str | None = None  # folder of `adapt prepare`, whose tokens are read instead of corpora


class Adapt(Settings):
    vocabulary: Literal["keep", "extend", "replace", "prune", "repair"] = "keep"  # repair: what add_tokens did
    new_pieces: int = Field(default=16_000, ge=1)  # size of a replaced vocabulary; pieces that extend adds
    piece_documents: int = Field(default=5, ge=1)  # documents of the corpus that an added piece must stand in
    priority: Literal["append", "insert"] = "append"  # of added pieces: behind the old ones, or before them
    # How rows of new pieces start. None: "focus" where the vocabulary is replaced (notes of 2026-11-22), else "mean".
    rows: Literal["mean", "overlap", "focus", "wechsel"] | None = None
    dictionary: str | None = None  # of "wechsel": a table with columns en, lang, translation; None: the pack's terms
    head: Literal["keep", "fresh"] = "keep"
    head_tokens: int = Field(default=0, ge=0)  # a fresh head is first trained this long, in `head_lang`
    head_lang: str = "en"
    # Of --strategy scratch: what is built, and the kind of tokenizer that is learnt where no base brings one.
    architecture: Literal["modernbert", "longformer", "bert", "roberta", "electra"] = "modernbert"
    size: Literal["tiny", "mini", "small", "medium", "base"] = "base"
    tokenizer: Literal["WordPiece", "BPE", "Unigram"] = "BPE"
    carry: Literal["nothing", "embeddings", "weights"] = "nothing"  # from the base into the new model
    length: int = Field(default=4_096, ge=16)  # tokens that a converted or a new model reads, specials included
    # Total width of Longformer's windows, for all layers or one a layer; of a new ModernBERT's local layers too.
    window: int | tuple[int, ...] = 512
    target: Literal["longformer", "rope"] = "longformer"  # of --strategy convert, as are the next four
    theta: float | None = None  # base of the rotation; None: 10,000, or the source's own where it rotates
    scaling: Literal["none", "linear", "ntk", "yarn"] = "none"  # of a rotary source's positions
    # How new rotations begin: gradually, over start_share of the tokens, as the old positions fade; at once; or with
    # a first phase of that share that learns the source's states on texts of its length (notes of 2026-11-21).
    start: Literal["gradual", "once", "distil"] = "gradual"
    start_share: float = Field(default=0.3, gt=0, lt=1)


class Objective(Settings):
    # distil: hidden states of the model before --strategy convert. rtd: replaced tokens, ELECTRA's
    # alone. terms: names of one thing brought together, from the pack's term lists under data.root.
    kind: Literal["mlm", "distil", "rtd", "terms"] = "mlm"
    unit: Literal["piece", "word", "span"] = "piece"
    # Of kind terms: names so many steps apart in the hierarchy of the lists are kept near too, less than synonyms.
    hierarchy_steps: int = Field(default=0, ge=0, le=3)
    compounds: Literal["whole", "parts"] = "whole"  # what a word is where compounds are written as one (German)
    mask_rate: float = Field(default=0.3, gt=0, lt=1)


class Train(Settings):
    tokens: int = Field(default=1_000_000, ge=0)  # 0: change and save, no training
    # head: the masked-LM head alone, the body and its table as they are. rows: the rows of new pieces alone.
    parameters: Literal["all", "head", "rows"] = "all"
    lr: float = Field(default=5e-4, gt=0)
    batch_tokens: int = Field(default=4_096, gt=0)  # of one optimizer step, over all processes
    micro_tokens: int = Field(default=8_192, gt=0)  # of one forward pass: what memory allows
    context: int | None = Field(default=None, gt=8)  # tokens a document chunk; None: what the model takes
    schedule: Literal["wsd", "constant", "linear", "decay"] = "wsd"
    warmup: float = Field(default=0.05, ge=0, le=1)  # share of the phase's tokens
    decay: float = Field(default=0.2, ge=0, le=1)  # share of the phase's tokens, wsd only
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    # Longformer's global attention: of each chunk's first token, or of these pieces wherever they stand; None: as
    # the model was trained before. Kept with the model, and so in its looks at held-out text and its tasks.
    global_tokens: Literal["none", "first"] | tuple[str, ...] | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    shard: bool = False  # weights, gradients and the optimizer's state split over the processes (FSDP2)
    checkpoint_tokens: int = Field(default=1_000_000, gt=0)
    eval_tokens: int = Field(default=250_000, gt=0)
    trackers: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()
    seed: int = Field(default=0, ge=0)


class Eval(Settings):
    tasks: Literal["all", "none"] | tuple[str, ...] = "all"
    seeds: int = Field(default=3, ge=1)
    epochs: int = Field(default=8, ge=1)
    min_steps: int = Field(default=200, ge=0)  # a small task gets more epochs, until so many steps
    lr: float = Field(default=5e-5, gt=0)  # for models of base size; small ones want three to six times as much
    head_lr: float | None = Field(default=None, gt=0)  # of the task's fresh head; None: lr, 1e-3 on a frozen body
    # Learning rates tried on dev before the seeds are run, the same for every model; under a protocol of its own.
    trials: int = Field(default=0, ge=0)
    warm_start: str = ""  # a task whose train set is learnt first, under a protocol of its own
    ner_head: Literal["tags", "spans"] = "tags"  # spans: entities inside entities too, under a protocol of its own
    body: Literal["trained", "frozen"] = "trained"  # frozen: a linear head on states that stay, its own protocol
    batch_tokens: int = Field(default=4_096, gt=0)  # of one step, at most; a longer document goes alone
    batch_documents: int = Field(default=32, gt=0)  # of one step, at most


class Phase(Settings):
    """A stretch of training. What a phase leaves out comes from objective.*, data.* and train.*."""

    name: str = "train"
    tokens: int = Field(ge=0)
    kind: Literal["mlm", "distil", "rtd", "terms"] = "mlm"
    unit: Literal["piece", "word", "span"] = "piece"
    mask_rate: float = Field(default=0.3, gt=0, lt=1)
    parameters: Literal["all", "head", "rows"] = "all"
    mixture: tuple[Mixture, ...] = ()
    context: int | None = Field(default=None, gt=8)
    schedule: Literal["wsd", "constant", "linear", "decay"] = "wsd"
    lr: float = Field(default=5e-4, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    decay: float = Field(default=0.2, ge=0, le=1)


class Run(Settings):
    strategy: Literal["convert", "continue", "scratch"]
    lang: str
    base: str = ""  # "scratch" needs none
    revision: str | None = None
    preset: str | None = None
    allow: tuple[Literal["non-commercial", "pickle", "remote-code", "regex"], ...] = ()
    data: Data = Data()
    adapt: Adapt = Adapt()
    objective: Objective = Objective()
    train: Train = Train()
    eval: Eval = Eval()
    phases: tuple[Phase, ...] = ()

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
        """Whether training needs the model before conversion beside it."""
        distils = any(phase.kind == "distil" for phase in self.phases)
        return self.tokens > 0 and (distils or (self.new_rotations and self.adapt.start == "gradual"))

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def presets() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def resolve(
    flags: dict[str, Any],
    *,
    preset: str | None = None,
    config: Path | None = None,
    sets: tuple[str, ...] = (),
) -> Run:
    """One Run from, in rising order: the preset, the config file, --set KEY=VALUE, the other flags.

    flags: nested like a config file, without None. InputError for unknown keys, presets and bad values.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    if preset is not None:
        if preset not in presets():
            raise InputError(f"unknown preset '{preset}' ({nearest(preset, presets())})")
        layers.append((f"preset {preset}", read_toml(PRESETS / f"{preset}.toml")))
    if config is not None:
        if not config.is_file():
            raise InputError(f"settings file {config} does not exist")
        layers.append((str(config), read_toml(config)))
    layers += [(f"--set {item}", setting(item)) for item in sets]
    layers.append(("command line", flags))
    merged: dict[str, Any] = {}
    for where, layer in layers:
        check_keys(layer, Run, where)
        merge(merged, layer)
    if preset is not None:
        merged["preset"] = preset
    for needed, flag in (("strategy", "--strategy"), ("lang", "--lang"), ("base", "--base")):
        if not merged.get(needed) and not (needed == "base" and merged.get("strategy") == "scratch"):
            raise InputError(f"{flag} is needed: {_needs(needed)}")
    run = _validated(_with_phases(merged))
    _check_used(run)
    return run


def resolve_eval(flags: dict[str, Any], sets: tuple[str, ...]) -> Eval:
    """The settings of an evaluation alone: eval.* keys of --set, then the flags."""
    merged: dict[str, Any] = {}
    for item in sets:
        layer = setting(item)
        check_keys(layer, Run, f"--set {item}")
        if set(layer) != {"eval"}:
            raise InputError(f"--set {item}: only eval.* settings apply here")
        merge(merged, layer["eval"])
    whole = {"strategy": "continue", "lang": "-", "base": "-", "eval": {**merged, **flags}}
    return _validated(whole).eval


def permissions(named: list[str]) -> tuple[Literal["non-commercial", "pickle", "remote-code", "regex"], ...]:
    """--allow of a command that has no Run of its own, checked like a run's."""
    return _validated({"strategy": "continue", "lang": "-", "base": "-", "allow": named}).allow


def read_run(folder: Path) -> Run:
    return _validated(read_toml(folder / "run.toml"))


def _needs(key: str) -> str:
    return {
        "strategy": f"one of {', '.join(STRATEGIES)}",
        "lang": "a language code, or the path of a pack.toml",
        "base": "the model to start from, a folder or a hub id (or a preset that names one)",
    }[key]


def _check_used(run: Run) -> None:
    default = Adapt()
    if not run.base and run.adapt.head != default.head:
        raise InputError("adapt.head is about a base without a masked-LM head: give the --base, or leave it out")
    for keys, strategies in _USED_BY.items():
        for key in keys:
            if run.strategy not in strategies and getattr(run.adapt, key) != getattr(default, key):
                raise InputError(
                    f"adapt.{key} says nothing to --strategy {run.strategy}, only to {' and '.join(strategies)}: "
                    "leave it out"
                )


def _with_phases(merged: dict[str, Any]) -> dict[str, Any]:
    """Phases complete: what each leaves out comes from the groups; one phase where none is listed."""
    defaults = _validated({**merged, "phases": []})
    common = {
        "tokens": defaults.train.tokens,
        "kind": defaults.objective.kind,
        "unit": defaults.objective.unit,
        "mask_rate": defaults.objective.mask_rate,
        "parameters": defaults.train.parameters,
        "mixture": [m.model_dump() for m in defaults.data.mixture],
        "context": defaults.train.context,
        "schedule": defaults.train.schedule,
        "lr": defaults.train.lr,
        "warmup": defaults.train.warmup,
        "decay": defaults.train.decay,
    }
    listed = merged.get("phases") or _default_phases(defaults)
    budget_given = "tokens" in merged.get("train", {})
    if budget_given and len(listed) > 1:
        # A budget for a recipe of several phases is shared out as the recipe shares its own.
        given = [phase["tokens"] for phase in listed if "tokens" in phase]
        if given and (len(given) < len(listed) or not sum(given)):
            raise InputError("phases: give every phase its tokens, or none (then they share train.tokens evenly)")
        shares = given or [1] * len(listed)
        listed = [
            {**phase, "tokens": round(defaults.train.tokens * share / sum(shares))}
            for phase, share in zip(listed, shares, strict=True)
        ]
    elif budget_given:
        listed = [{**listed[0], "tokens": defaults.train.tokens}]
    return {**merged, "phases": [{**common, **phase} for phase in listed]}


def _default_phases(run: Run) -> list[dict[str, Any]]:
    if run.objective.kind == "rtd" and run.train.tokens:
        # Detection trains no masked-LM head: it is trained alone at the end, so that the model can be measured.
        return [
            {"name": "replaced tokens", "tokens": round((1 - _HEAD_SHARE) * run.train.tokens)},
            {"name": "head", "kind": "mlm", "parameters": "head", "tokens": round(_HEAD_SHARE * run.train.tokens)},
        ]
    if run.new_rotations and run.adapt.start == "distil" and run.train.tokens:
        share = run.adapt.start_share
        return [
            {"name": "distil", "kind": "distil", "tokens": round(share * run.train.tokens)},
            {"tokens": round((1 - share) * run.train.tokens)},
        ]
    return [{}]


def setting(item: str) -> dict[str, Any]:
    """KEY=VALUE of --set, nested like a config file."""
    key, separator, value = item.partition("=")
    if not separator or not key.strip():
        raise InputError(f"--set {item}: write KEY=VALUE, for example --set train.lr=3e-4")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    nested: Any = parsed
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested  # type: ignore[no-any-return]


def merge(into: dict[str, Any], layer: dict[str, Any]) -> None:
    """Lay nested settings over others, in place."""
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def _model_of(annotation: Any) -> type[Settings] | None:
    """The Settings class in an annotation: itself, or inside tuple[...]."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, Settings) else None
    for part in typing.get_args(annotation):
        if (found := _model_of(part)) is not None:
            return found
    return None


def check_keys(layer: dict[str, Any], model: type[Settings], where: str, prefix: str = "") -> None:
    """InputError for a key that `model` does not have; `where` says whose it is."""
    for key, value in layer.items():
        field = model.model_fields.get(key)
        if field is None:
            known = [prefix + name for name in model.model_fields]
            raise InputError(f"{where}: unknown setting '{prefix}{key}' ({nearest(prefix + key, known)})")
        inner = _model_of(field.annotation)
        if inner is None:
            continue
        entries = value if isinstance(value, list | tuple) else [value]
        for entry in entries:
            if not isinstance(entry, dict):
                raise InputError(
                    f"{where}: '{prefix}{key}' is a group; set one of "
                    + ", ".join(f"{prefix}{key}.{name}" for name in inner.model_fields)
                )
            check_keys(entry, inner, where, f"{prefix}{key}.")


def _validated(merged: dict[str, Any]) -> Run:
    try:
        return Run.model_validate(merged)
    except ValidationError as error:
        problems: list[str] = []
        named: set[str] = set()
        for item in error.errors():
            # A setting of several kinds is tried as each, and fails as each.
            name = ".".join(part for part in map(str, item["loc"]) if "[" not in part)
            if name in named:
                problems[-1] += "; or a list" if item["type"] == "tuple_type" else ""
                continue
            named.add(name)
            given = f" (given: {item['input']!r})" if not isinstance(item["input"], dict) else ""
            choices = item.get("ctx", {}).get("expected")
            if item["type"] == "literal_error" and isinstance(item["input"], str) and choices:
                known = [choice.strip(" '") for choice in choices.replace(" or ", ", ").split(",")]
                problems.append(f"unknown {name} '{item['input']}' ({nearest(item['input'], known)})")
            else:
                problems.append(f"setting {name}: {item['msg']}{given}")
        raise InputError("; ".join(problems)) from error
