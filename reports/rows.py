"""The typed rows of result files: everything in a report comes from these.

One JSON object a line in `metrics.jsonl` (TrainRow, EvalRow), `results.jsonl` (Score) and `tasks.jsonl`
(TaskPartRow); one JSON document in `corpora.json` (CorporaRow), `cost.json` (CostRow), `plan.json` (PlanRow),
`vocabulary.json` (VocabularyRow, where a run changed it), `certificate.json` (CertificateRow, of a conversion) and
`privacy.json` (PrivacyRow, after an audit). A study's folder has `arms.json` (ArmsRow);
`errors.jsonl` (ErrorRow) lies beside `results.jsonl`.
`model/lineage.json` holds a `medlingua.languages.lineage.Lineage`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    # JSON has no infinity and no NaN: they are written as strings and read again.
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
    """One evaluation on held-out text: words of it are masked, the same words for every model and tokenizer.

    Rows written before November 2026 lack the fields that may be None, and predicted a word's pieces all at once.
    """

    kind: Literal["eval"] = "eval"
    # "base"; "vocabulary" (changed, before a conversion); "start" (all changes made, before training); "trained"
    model: str
    phase: int
    step: int
    tokens: int
    eval_loss: float  # nats a masked piece, the earlier pieces of its word given; not comparable between tokenizers
    bits_per_byte: float  # over the bytes of the masked words; comparable between tokenizers
    unigram_bits_per_byte: float | None = (
        None  # the same words by the frequencies of their pieces in the training text
    )
    words_recovered: float | None = None  # accuracy of masked words: each piece, the earlier ones given, comes first
    most_frequent_word: float | None = None  # the accuracy of always answering the most frequent word
    masked_words: int | None = None
    masked_pieces: int
    masked_bytes: int
    unknown_bytes: int  # of masked words that the tokenizer cannot write; charged at 8 bits a byte
    normalized_characters: int | None = None  # that the normalizer changes or drops; charged at 8 bits each
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
    seed: int | None  # None where nothing is random (a majority baseline, an upper bound)
    examples: int
    gold: int  # gold items in the split (spans or labels), the same for every model
    synthetic: bool = False
    note: str = ""


class Counts(Row):
    """Right, predicted and gold items of a group: a label, a length of documents, a place in them."""

    name: str
    right: int
    predicted: int
    gold: int


class ErrorRow(Row):
    """Where one fine-tuned model errs on test, in counts alone: no word of a text.

    labels: by label. groups: by what divides the items ("length", "place", "mention"). kinds: of entities, by kind
    of error (Nejadgholi et al. 2020). confusion: (gold label, predicted label, count) of the same item. recovered: a
    string a document, a 0 or 1 for each gold item in order.
    """

    model: str
    task: str
    language: str
    protocol: str
    seed: int
    labels: tuple[Counts, ...]
    groups: dict[str, tuple[Counts, ...]] = {}
    kinds: dict[str, int] = {}
    confusion: tuple[tuple[str, str, int], ...] = ()
    recovered: tuple[str, ...] = ()


class TextLengths(Row):
    """Of distinct texts, in one unit. high: the 90th percentile."""

    median: int
    high: int
    longest: int
    total: int


class TaskPartRow(Row):
    """What one part of a task holds, in `tasks.jsonl`.

    texts: distinct documents. tokens: their lengths by model, without special tokens. labels: the most frequent
    with their counts; kinds: how many there are. nested: spans inside another one. shared: how many texts this part
    has in common with parts of other tasks that were scored, by their names ("train of other").
    """

    task: str
    language: str
    kind: str
    part: str
    examples: int
    texts: int
    words: TextLengths
    tokens: dict[str, TextLengths]
    labels: dict[str, int]
    kinds: int
    without_gold: int
    spans: int
    nested: int
    discontinuous: int
    shared: dict[str, int]


class CorpusRow(Row):
    """Documents and tokens of one corpus in a run."""

    name: str
    path: str  # as given, or the pack's path under the data root
    licence: str
    licence_source: str
    non_commercial: bool
    synthetic: bool
    documents_read: int
    filtered: int  # left out by the mixture's filter
    duplicates: int  # exact duplicates, left out
    near_duplicates: int = 0  # left out; rows that lack this were written when they were trained on
    overlapping: int  # documents that share an n-gram with a task's test document, left out
    held_out: int  # documents for the evaluation
    documents: int  # the others, for training
    tokens: int
    repeat: float  # times a pass


class OverlapRow(Row):
    """One task that the corpora were checked against."""

    task: str
    test_documents: int
    overlapping: int  # corpus documents left out because of it
    whole_only: int = 0  # test documents of a few words, which are compared with whole documents alone


class CorporaRow(Row):
    corpora: tuple[CorpusRow, ...]
    overlap: tuple[OverlapRow, ...]
    unchecked: tuple[str, ...]  # tasks of the pack whose files were not available
    vocabulary_size: int
    seconds: float


class CostRow(Row):
    seconds: float
    train_seconds: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    energy_joules: float | None  # None where the machine does not measure it
    resumed: int  # times


class DefaultRow(Row):
    """A setting that nobody gave, as the run decided it, and why."""

    setting: str
    value: int | float | tuple[str, ...]
    reason: str

    @property
    def text(self) -> str:
        """The value as a person writes it."""
        if isinstance(self.value, tuple):
            return ", ".join(self.value)
        return f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:g}"


class PlanRow(Row):
    """What was decided before training, and why, and what the run will cost."""

    machine: str
    device: str
    threads: int
    precision: Literal["fp32", "bf16", "fp16"]
    precision_reason: str
    attention: str
    attention_reason: str
    parameters: int
    tokens: int
    steps: int
    memory_bytes: int  # for training: an estimate, or the peak of measured steps
    seconds: float | None  # of training, from measured steps; None where none was measured
    corpus_tokens: int = 0  # of one pass
    passes: float = 0.0
    evaluation_seconds: float = 0.0  # of all evaluations on held-out text, from one that was measured
    task_seconds: float = 0.0  # of fine-tuning on tasks, from the speed of training
    disk_bytes: int = 0  # of the run's folder: tokens, checkpoints, models
    defaults: tuple[DefaultRow, ...] = ()
    own_head: bool = False  # the base has a masked-LM head, which was kept where adapt.head asked for a fresh one
    not_scored: tuple[str, ...] = ()  # tasks that would take longer than training


class VocabularyRow(Row):
    action: Literal["replace", "extend", "prune", "repair"]
    kind: str
    old_size: int
    new_size: int
    shared: int  # embeddings copied from the same token
    averaged: int  # embeddings initialized from old tokens, by `rows`
    fallback: int  # embeddings initialized from the mean of all
    rows: Literal["mean", "overlap", "focus", "wechsel"] = (
        "mean"  # initialization of the embeddings that are not copied
    )
    pieces_per_word_old: float
    pieces_per_word_new: float
    other_words_changed: float | None = None  # share of words in synthetic English cases split differently
    steps: int | None = None  # added tokens that are only steps to longer ones (BPE)
    examples: tuple[str, ...] = ()
    false_friends: tuple[str, ...] = ()  # tokens of both vocabularies, English words of another meaning


class ArmRow(Row):
    """One variant of a study and the cost of its training. None where nothing was trained or measured."""

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
    """One trial of a sweep: its settings, its values and the cost of its training."""

    number: int
    state: str  # Optuna's: complete, pruned, fail, running, waiting
    values: tuple[float, ...]  # by the sweep's objectives; empty unless complete
    parameters: dict[str, str | int | float | bool | None]
    tokens: int  # trained
    seconds: float  # of training
    evaluations: tuple[tuple[int, float, float], ...]  # (tokens, seconds, bits per byte) during training
    note: str = ""


class CheckRow(Row):
    """One property that a conversion must preserve; value and limit in the unit of its name."""

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
    """Masked-LM loss of the tokens between two positions of long held-out documents."""

    model: str  # "base", "start" (converted, before training), "trained"
    first: int
    end: int
    loss: float  # nats a masked token
    tokens: int


class ProbeRow(Row):
    """How much a distant fact helps to predict the word that it determines, in synthetic cases."""

    model: str
    words: int  # between the fact and the word
    tokens: int  # the same, in tokens of the model
    gain: float  # nats an answer: loss without the fact less loss with it
    low: float  # 95 % interval over cases
    high: float
    cases: int


class ContextRow(Row):
    """The distance in tokens at which the gain from a fact is half of the nearest; None without a gain."""

    model: str
    tokens: float | None
    low: float | None
    high: float | None


class CertificateRow(Row):
    """What a conversion preserves."""

    source: str  # families
    target: str
    length: int  # tokens, specials included
    checks: tuple[CheckRow, ...]
    changes: tuple[ChangeRow, ...]
    reach: int  # largest distance in tokens at which a change has an effect, in at most 2,048 tokens
    positions: tuple[PositionLossRow, ...]
    probes: tuple[ProbeRow, ...] = ()  # after training, where the language has synthetic cases
    contexts: tuple[ContextRow, ...] = ()


class IdentifiersRow(Row):
    """The number of tokens in a vocabulary that look like personal identifiers; which ones is not stored."""

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
    """Results of a privacy audit."""

    models: tuple[str, ...]
    identifiers: tuple[IdentifiersRow, ...]
    exposures: tuple[ExposureRow, ...] = ()
    repeats: int | None = None  # documents with each planted number
    candidates: int | None = None
