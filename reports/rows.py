"""The typed rows that recipes hand over: everything a report shows comes from these.

One JSON object a line in `metrics.jsonl` (TrainRow, EvalRow) and `results.jsonl` (Score); one JSON
document in `corpora.json` (CorporaRow), `cost.json` (CostRow), `plan.json` (PlanRow), `vocabulary.json`
(VocabularyRow, only where a run changed it), `certificate.json` (CertificateRow, of a conversion) and `privacy.json`
(PrivacyRow, once its model was audited). A study's folder has `arms.json` (ArmsRow).
`model/lineage.json` holds a `medlingua.languages.lineage.Lineage`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    # Infinity and NaN as words: JSON has no numbers for them, and a row written has to be a row read.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class TrainRow(Row):
    """One logged optimizer step. `tokens` counts from the start of the run."""

    kind: Literal["train"] = "train"
    phase: int
    step: int
    tokens: int
    loss: float  # nats a masked token
    lr: float
    grad_norm: float
    tokens_per_second: float
    seconds: float  # since the run's first step, pauses between resumes left out


class EvalRow(Row):
    """One look at held-out text, always with 15 % of the words masked, the same words each time."""

    kind: Literal["eval"] = "eval"
    # "base"; "vocabulary" (another one, before a conversion); "start" (all changes done, before training); "trained"
    model: str
    phase: int
    step: int
    tokens: int
    eval_loss: float  # nats a masked piece; not comparable between tokenizers
    bits_per_byte: float  # over the bytes of the masked words; comparable between tokenizers
    words_recovered: float | None = None  # share of the masked words whose every piece is the likeliest
    masked_pieces: int
    masked_bytes: int
    unknown_bytes: int  # of masked words that the tokenizer cannot write; charged at 8 bits a byte
    documents: int


class Score(Row):
    """One number under one protocol. Rows of different protocols are never ranked together."""

    model: str
    task: str
    language: str
    split: Literal["dev", "test"]
    metric: str
    protocol: str
    value: float
    seed: int | None  # None where nothing is drawn (a majority baseline, an upper bound)
    examples: int
    gold: int  # gold items in the split (spans or labels), the same for every model
    synthetic: bool = False
    note: str = ""


class CorpusRow(Row):
    """What one corpus gave to the run."""

    name: str
    path: str  # as given, or the pack's path under the data root
    licence: str
    licence_source: str
    non_commercial: bool
    synthetic: bool
    documents_read: int
    filtered: int  # left out by the mixture's filter
    duplicates: int  # exact duplicates, left out
    overlapping: int  # documents that share an n-gram with a task's test document, left out
    held_out: int  # documents kept for bits per byte
    documents: int  # what remains, trained on
    tokens: int
    repeat: float  # times a pass


class OverlapRow(Row):
    """One task that the corpora were checked against."""

    task: str
    test_documents: int
    overlapping: int  # corpus documents left out because of it


class CorporaRow(Row):
    corpora: tuple[CorpusRow, ...]
    overlap: tuple[OverlapRow, ...]
    unchecked: tuple[str, ...]  # tasks of the pack that were not at hand, so not checked
    vocabulary_size: int
    seconds: float


class CostRow(Row):
    seconds: float
    train_seconds: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    energy_joules: float | None  # where the machine tells
    resumed: int  # times


class PlanRow(Row):
    """What was decided from the machine before training, and why."""

    machine: str
    device: str
    threads: int
    precision: Literal["fp32", "bf16"]
    precision_reason: str
    attention: str
    attention_reason: str
    parameters: int
    tokens: int
    steps: int
    memory_bytes: int  # estimate for training
    seconds: float | None  # estimate, where it was measured


class VocabularyRow(Row):
    action: Literal["replace", "extend", "prune", "repair"]
    kind: str
    old_size: int
    new_size: int
    shared: int  # rows copied from the same piece
    averaged: int  # rows started from the mean of old pieces
    fallback: int  # rows that no old piece described, started from the mean of all
    rows: Literal["mean", "overlap", "focus", "wechsel"] = "mean"  # how the rows started that were not copied
    pieces_per_word_old: float
    pieces_per_word_new: float
    other_words_changed: float | None = None  # share of the words of synthetic English cases cut otherwise
    steps: int | None = None  # added pieces that only lead to others (BPE)
    examples: tuple[str, ...] = ()
    false_friends: tuple[str, ...] = ()  # pieces of both vocabularies that are English words of another meaning


class ArmRow(Row):
    """One arm of a study: what it was and what its training cost. None where nothing was trained or measured."""

    name: str
    strategy: str
    base: str
    tokens: int = 0
    seconds: float | None = None
    peak_memory_bytes: float | None = None
    parameters: int | None = None
    bits_before: float | None = None
    bits_after: float | None = None


class ArmsRow(Row):
    arms: tuple[ArmRow, ...]


class TrialRow(Row):
    """One trial of a sweep: its settings, what it reached and what its training cost."""

    number: int
    state: str  # Optuna's: complete, pruned, fail, running, waiting
    values: tuple[float, ...]  # by the sweep's objectives; empty unless complete
    parameters: dict[str, str | int | float | bool | None]
    tokens: int  # trained
    seconds: float  # of training
    evaluations: tuple[tuple[int, float, float], ...]  # (tokens, seconds, bits per byte) during training
    note: str = ""


class CheckRow(Row):
    """One property that a conversion had to keep; value and limit in the unit that the name says."""

    name: str
    value: float
    limit: float
    passed: bool


class ChangeRow(Row):
    """One field of the config that a conversion changed."""

    field: str
    before: str
    after: str


class PositionLossRow(Row):
    """Masked-LM loss of the tokens between two places of long held-out documents."""

    model: str  # "base", "start" (converted, before training), "trained"
    first: int
    end: int
    loss: float  # nats a masked token
    tokens: int


class ProbeRow(Row):
    """What a fact gives to the word that it determines, from a distance, in synthetic cases."""

    model: str
    words: int  # between the fact and the word
    tokens: int  # the same, in the model's own pieces
    gain: float  # nats an answer: loss without the fact less loss with it
    low: float  # 95 % interval over cases
    high: float
    cases: int


class ContextRow(Row):
    """Tokens over which a fact keeps at least half of what it gives nearest; None where it gives nothing."""

    model: str
    tokens: float | None
    low: float | None
    high: float | None


class CertificateRow(Row):
    """What a conversion preserved."""

    source: str  # families
    target: str
    length: int  # tokens, specials included
    checks: tuple[CheckRow, ...]
    changes: tuple[ChangeRow, ...]
    reach: int  # tokens away that a change is felt, in a text of 2,048 tokens at most
    positions: tuple[PositionLossRow, ...]
    probes: tuple[ProbeRow, ...] = ()  # after training, where the language has synthetic cases
    contexts: tuple[ContextRow, ...] = ()


class IdentifiersRow(Row):
    """How many pieces of a tokenizer look like somebody's identifiers; which, is not written down."""

    model: str
    kind: str
    pieces: int


class ExposureRow(Row):
    """Exposure of record numbers in bits: log2 of all candidates less log2 of their rank among them."""

    model: str
    numbers: Literal["planted", "absent"]
    of: int
    mean: float
    low: float | None  # 95 % interval over numbers
    high: float | None
    most: float


class PrivacyRow(Row):
    """What an audit found that models give away of their text."""

    models: tuple[str, ...]
    identifiers: tuple[IdentifiersRow, ...]
    exposures: tuple[ExposureRow, ...] = ()
    repeats: int | None = None  # documents that each planted number stood in
    candidates: int | None = None
