"""Settings that nobody gave, decided from the strategy, the model, the corpus and the machine, with the reason.

The rules stand on published recipes; where there is none, on measurements (reports/notes). They are a pure function
of the facts, so that they can be read as a table, and a run saves what it decided in its run.toml.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medlingua.recipes.settings import WITHOUT_CORPUS, Phase, Run
from medlingua.recipes.training.memory import Size, largest_pass
from medlingua.reports.quantities import memory
from medlingua.reports.rows import DefaultRow

_BASE_WIDTH = 768
_FEW_PASSES = 4  # from here on a run is warned of: repeated text teaches less (Muennighoff et al., arXiv 2305.16264)
_STEPS = 300
_LEAST_BATCH = 2_048
_WARMUP_STEPS = 20
_NEW_PARAMETERS_LR = 1e-3  # of a head or new embeddings alone: nothing learnt can be spoilt
_TERMS_LR = 2e-5
_LORA_FACTOR = 10  # LoRA without regret, thinkingmachines.ai, 2025
_INTERVAL = 250_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What the defaults are decided from. size: of the model that is trained. pass_tokens: of each phase's corpora,
    read once. memory_bytes: of the device, all of it. device: cpu, cuda or mps."""

    size: Size
    pass_tokens: Sequence[int]
    memory_bytes: int
    device: str


@dataclass(frozen=True, slots=True)
class _Strategy:
    """What published runs of a strategy did. most_tokens, most_batch: not exceeded by default."""

    passes: float
    passes_source: str
    most_tokens: int
    most_batch: int
    batch_source: str
    lr: float  # at a width of 768
    most_lr: float
    lr_source: str


_STRATEGIES = {
    "continue": _Strategy(
        3, "as BioClinical ModernBERT", 50_000 * 131_072, 131_072, "CamemBERT-bio", 5e-5, 5e-4,
        "CamemBERT-bio and DrBERT: 5e-5 at width 768",
    ),
    "convert": _Strategy(
        1, "as DrLongformer's conversion", 3_000 * 262_144, 131_072, "DrLongformer's conversion", 5e-5, 5e-4,
        "DrLongformer: 5e-5 at width 768",
    ),
    "scratch": _Strategy(
        3, "more teach less on the same text", 10_000 * 1_048_576, 1_048_576, "the BSC models", 5e-4, 1e-3,
        "the BSC models: 5e-4 at width 768",
    ),
}  # fmt: skip


def decide(run: Run, facts: Facts) -> tuple[Run, tuple[DefaultRow, ...]]:
    """The run with a value for every setting that it leaves open, and what was decided, with the reasons.

    A run of which all is given comes back as it is.
    """
    rows: list[DefaultRow] = []
    run = _with_tokens(run, facts, rows)
    train: dict[str, Any] = {}

    def set_default(key: str, value: float, reason: str) -> None:
        if f"train.{key}" in run.decided:
            train[key] = value
            rows.append(DefaultRow(setting=f"train.{key}", value=value, reason=reason))

    published = _STRATEGIES[run.strategy]
    batch, reason = _batch_tokens(run, facts, published)
    set_default("batch_tokens", batch, reason)
    batch = train.get("batch_tokens", run.train.batch_tokens)
    micro, reason = _micro_tokens(facts, batch)
    set_default("micro_tokens", micro, reason)
    set_default("checkpoint_tokens", max(run.tokens // 20, _INTERVAL), "a twentieth of the run, at least 250,000")
    set_default("eval_tokens", max(run.tokens // 10, _INTERVAL), "a tenth of the run, at least 250,000")
    phases = []
    for number, phase in enumerate(run.phases):
        changes: dict[str, float] = {}
        where = f"phases.{number}" if len(run.phases) > 1 else "train"
        if "lr" in phase.decided:
            changes["lr"], reason = _lr(phase, run.train.lora, facts, published)
            rows.append(DefaultRow(setting=f"{where}.lr", value=changes["lr"], reason=reason))
        if "warmup" in phase.decided:
            changes["warmup"], reason = _warmup(phase.tokens, batch)
            rows.append(DefaultRow(setting=f"{where}.warmup", value=changes["warmup"], reason=reason))
        phases.append(phase.model_copy(update=changes))
    train |= {key: getattr(phases[0], key) for key in ("lr", "warmup") if f"train.{key}" in run.decided}
    settings = run.train.model_copy(update=train)
    return run.model_copy(update={"train": settings, "phases": tuple(phases)}), tuple(rows)


def passes(run: Run, pass_tokens: Sequence[int]) -> float:
    """How often the run reads its corpora: of the phase that reads its own most often."""
    counts = [
        phase.tokens / tokens
        for phase, tokens in zip(run.phases, pass_tokens, strict=True)
        if tokens and phase.kind not in WITHOUT_CORPUS
    ]
    return max(counts, default=0.0)


def many_passes(run: Run, pass_tokens: Sequence[int]) -> tuple[str, ...]:
    """A line where the corpora are read four times or more."""
    count = passes(run, pass_tokens)
    if count < _FEW_PASSES:
        return ()
    return (
        f"the corpus is read {count:.1f} times: from the fourth time on the same text teaches less. More text, or "
        "fewer tokens, may serve better",
    )


def _with_tokens(run: Run, facts: Facts, rows: list[DefaultRow]) -> Run:
    if not any("tokens" in phase.decided for phase in run.phases):
        return run
    published = _STRATEGIES[run.strategy]
    count = run.train.epochs or published.passes
    given = run.train.epochs is not None
    total = run.tokens
    phases = []
    for phase, tokens in zip(run.phases, facts.pass_tokens, strict=True):
        if phase.kind in WITHOUT_CORPUS:
            phases.append(phase)
            continue
        share = phase.tokens / total
        budget = round(count * tokens * share)
        phases.append(phase.model_copy(update={"tokens": budget if given else min(budget, published.most_tokens)}))
    run = run.model_copy(update={"phases": tuple(phases)})
    times = "one pass" if count == 1 else f"{count:g} passes"
    reason = f"{times} over the corpus, {'train.epochs' if given else published.passes_source}"
    if not given and run.tokens == published.most_tokens:
        reason = "as many as the published runs of this strategy"
    rows.append(DefaultRow(setting="train.tokens", value=run.tokens, reason=reason))
    return run.model_copy(update={"train": run.train.model_copy(update={"tokens": run.tokens})})


def _batch_tokens(run: Run, facts: Facts, published: _Strategy) -> tuple[int, str]:
    """The largest power of two that leaves 300 steps, between 2,048 tokens or one context and the published size."""
    least = max(_LEAST_BATCH, _power_of_two(facts.size.context))
    batch = min(max(_power_of_two(run.tokens // _STEPS), least), published.most_batch)
    if run.train.batch_start is not None and run.train.batch_start > batch:
        return run.train.batch_start, "as train.batch_start"
    if batch == published.most_batch:
        return batch, f"as {published.batch_source}"
    if batch == least:
        return (
            batch,
            "the smallest, because the run is short"
            if least == _LEAST_BATCH
            else "one context, because the run is short",
        )
    return batch, f"leaves {run.tokens // batch:,} steps (at least {_STEPS} are wanted)"


def _micro_tokens(facts: Facts, batch_tokens: int) -> tuple[int, str]:
    tokens, needed = largest_pass(facts.size, facts.memory_bytes, facts.device, batch_tokens)
    reason = f"training takes {memory(needed)} of this machine's {memory(facts.memory_bytes)}, by the formula"
    return tokens, reason if needed <= facts.memory_bytes else f"{reason}: it will not fit"


def _lr(phase: Phase, lora: int | None, facts: Facts, published: _Strategy) -> tuple[float, str]:
    if phase.kind == "terms":
        return _TERMS_LR, "SapBERT"
    if phase.parameters != "all":
        return _NEW_PARAMETERS_LR, "new parameters alone are trained"
    width = facts.size.width
    factor = 1 if lora is None else _LORA_FACTOR
    value = min(factor * published.lr * _BASE_WIDTH / width, factor * published.most_lr)
    reason = published.lr_source
    if lora is not None:
        reason += f", {_LORA_FACTOR} times as much for LoRA (Schulman et al. 2025)"
    if width != _BASE_WIDTH:
        reason += f", in inverse proportion to the width (here {width})"
        reason += f", at most {value:g}" if value == factor * published.most_lr else ""
    return float(f"{value:.2g}"), reason


def _warmup(tokens: int, batch_tokens: int) -> tuple[float, str]:
    steps = tokens / batch_tokens
    if steps * 0.05 >= _WARMUP_STEPS:
        return 0.05, "a twentieth of the steps"
    if steps < 2 * _WARMUP_STEPS:
        return 0.5, f"half of about {max(1, round(steps))} steps"
    return round(_WARMUP_STEPS / steps, 4), f"{_WARMUP_STEPS} of about {round(steps):,} steps"


def _power_of_two(tokens: int) -> int:
    return 1 << max(0, tokens.bit_length() - 1)
