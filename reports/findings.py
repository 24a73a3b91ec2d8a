"""Findings of a run, in sentences: what was done, warnings, and what is missing."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from .licences import is_stated
from .quantities import count, duration, percent, short, short_path
from .read import RunRecord
from .rows import CertificateRow, EvalRow
from .scores import Comparison, change, has_few_seeds, verdict

LANGUAGES = {"fr": "French", "es": "Spanish", "de": "German", "en": "English"}


def language(record: RunRecord) -> str:
    """The code of the run's language; for a pack given as a file, the lineage has it."""
    if record.lineage and record.lineage.steps:
        return record.lineage.steps[-1].language
    return str(record.settings.get("lang", ""))


def phase_names(record: RunRecord) -> dict[int, str]:
    """Names by the number that training rows carry."""
    phases = record.settings.get("phases", [])
    return {number: str(phase["name"]) for number, phase in enumerate(phases) if "name" in phase}


def has_likelihood(record: RunRecord) -> bool:
    """Whether the training loss is a negative log-likelihood per token in every phase, and so has a perplexity."""
    return all(phase.get("kind", "mlm") in ("mlm", "clm") for phase in record.settings.get("phases", []))


def tokens_by_corpus(record: RunRecord) -> dict[str, float]:
    """Tokens trained from each corpus: those of each phase, in proportion to its mixture. Empty before training."""
    corpora = {row.name: row.tokens for row in record.corpora.corpora} if record.corpora else {}
    phases = record.settings.get("phases", [])
    trained = dict.fromkeys(corpora, 0.0)
    before = 0
    for number, rows in groupby(record.training, key=lambda row: row.phase):
        *_, last = rows
        phase = phases[number] if number < len(phases) else {}
        if phase.get("kind", "mlm") not in ("terms", "relations"):  # which read term lists and terminologies
            parts = _parts(phase.get("mixture", ()), corpora, phase.get("sampling_exponent"))
            total = sum(parts.values())
            for name, part in parts.items():
                trained[name] += (last.tokens - before) * part / total
        before = last.tokens
    return trained if any(trained.values()) else {}


def _parts(
    mixture: Sequence[dict[str, Any]], corpora: dict[str, int], sampling_exponent: float | None
) -> dict[str, float]:
    """How much a pass takes of each corpus, up to a common factor."""
    if sampling_exponent is not None:
        named = {str(item["corpus"]) for item in mixture} or {*corpora}
        return {name: tokens**sampling_exponent for name, tokens in corpora.items() if tokens and name in named}
    if not mixture:
        return {name: float(tokens) for name, tokens in corpora.items() if tokens}
    parts: dict[str, float] = {}
    for item in mixture:
        name = str(item["corpus"])
        part = float(item.get("weight") or item.get("repeat", 1.0) * corpora.get(name, 0))
        if name in corpora and part:
            parts[name] = parts.get(name, 0.0) + part
    return parts


def base(record: RunRecord) -> str:
    named = record.settings.get("base")
    if named:
        return str(named)
    return record.lineage.steps[-1].base if record.lineage and record.lineage.steps else ""


def summary(record: RunRecord) -> str:
    """One paragraph in words."""
    parts = [_action(record)]
    if record.corpora:
        corpora = record.corpora.corpora
        documents = sum(row.documents for row in corpora)
        text = "synthetic text" if all(row.synthetic for row in corpora) else "text"
        parts.append(
            f"The {text} comes from {len(corpora)} {'corpus' if len(corpora) == 1 else 'corpora'} with "
            f"{count(documents)} documents and {short(sum(row.tokens for row in corpora))} tokens, special tokens "
            "not counted."
        )
    if record.plan:
        parts.append(
            f"The model has {short(record.plan.parameters)} parameters and was trained on {record.plan.device} in "
            f"{record.plan.precision}: {record.plan.precision_reason}."
        )
    if record.cost:
        parts.append(
            f"It was trained on {short(record.cost.tokens)} tokens in {duration(record.cost.train_seconds)} "
            f"({count(record.cost.tokens_per_second)} tokens per second)."
        )
    return " ".join(parts + [line for line in [bits_per_byte_sentence(record)] if line])


def contexts(certificate: CertificateRow) -> list[str]:
    """How far each model uses a fact, a sentence a model."""
    lines = []
    for row in certificate.contexts:
        if row.tokens is None or row.low is None or row.high is None:
            lines.append(f"{row.model}: does not use the fact, even at the shortest distance.")
        else:
            lines.append(
                f"{row.model}: the gain from a fact halves after {count(row.tokens)} tokens "
                f"(95 % interval {count(row.low)} to {count(row.high)})."
            )
    return lines


def _action(record: RunRecord) -> str:
    code, start = language(record), short_path(base(record)) or "a model"
    name = LANGUAGES.get(code, code)
    strategy = str(record.settings.get("strategy", ""))
    actions = {
        "continue": f"trains {start} further on {name} text",
        "convert": f"converts {start} to read longer {name} text",
        "scratch": f"trains a new model from nothing on {name} text",
    }
    return f"A run that {actions.get(strategy, f'adapts {start} to {name}')}."


def bits_per_byte_sentence(record: RunRecord) -> str:
    last = {row.model: row for row in record.evaluations}
    before, after = last.get("base") or last.get("start"), last.get("trained")
    if before is None or after is None:
        return ""
    between = last.get("start") if before.model == "base" else None
    changed = f", then {between.bits_per_byte:.3f} ({changes_in_words(record)})," if between else ""
    fell = after.bits_per_byte < before.bits_per_byte
    amount = percent(abs(after.bits_per_byte - before.bits_per_byte), before.bits_per_byte)
    return (
        f"On {after.documents} held-out documents bits per byte {'fell' if fell else 'did not fall'}: "
        f"from {before.bits_per_byte:.3f} ({before.model}){changed} to {after.bits_per_byte:.3f} "
        f"({amount} {'less' if fell else 'more'} than {before.model})."
        + ("" if no_better_than_frequencies(after) else f" {frequencies_sentence(after)}")
    ).strip()


def no_better_than_frequencies(row: EvalRow) -> bool:
    """Whether a model's bits per byte are within 2 % of what the frequencies of pieces give without any model."""
    return row.unigram_bits_per_byte is not None and row.bits_per_byte > 0.98 * row.unigram_bits_per_byte


def frequencies_sentence(row: EvalRow) -> str:
    """What a model adds to the frequencies of pieces; empty for a row of before they were measured."""
    if row.unigram_bits_per_byte is None:
        return ""
    alone = f"the frequencies of pieces alone give {row.unigram_bits_per_byte:.3f} bits per byte"
    if no_better_than_frequencies(row):
        return (
            f"The {row.model} model is no better than piece frequencies: it gives {row.bits_per_byte:.3f}, {alone}."
        )
    gain = percent(row.unigram_bits_per_byte - row.bits_per_byte, row.unigram_bits_per_byte)
    return (
        f"The {row.model} model is {gain} better than piece frequencies: it gives {row.bits_per_byte:.3f}, {alone}."
    )


def changes_in_words(record: RunRecord) -> str:
    """What was changed in the base before training, in words."""
    words = ["with the new vocabulary"] if record.vocabulary else []
    if record.settings.get("strategy") == "convert":
        words.append("converted")
    return " and ".join(words) or "start of training"


def is_synthetic(record: RunRecord) -> bool:
    return record.corpora is not None and any(row.synthetic for row in record.corpora.corpora)


def warnings(record: RunRecord, comparisons: Sequence[Comparison]) -> list[str]:
    """Sentences that belong above the numbers."""
    return [*_about_text(record), *_about_held_out(record), *_about_scores(comparisons), *_about_files(record)]


def missing(record: RunRecord) -> list[str]:
    """The files that the run has not written."""
    no_evaluation = "no evaluation yet" if not record.cost else "no document was held out (data.held_out)"
    parts = (
        (record.plan, "the plan (plan.json): training was not planned yet"),
        (record.corpora, "the corpora (corpora.json): the text was not prepared yet"),
        (record.training, "training (metrics.jsonl): no step was logged yet"),
        (record.evaluations, f"held-out text (metrics.jsonl): {no_evaluation}"),
        (record.scores or record.cost or _scores_nothing(record), "task scores (results.jsonl): no task was scored"),
        (record.cost, "the cost (cost.json): the run has not ended"),
        (record.lineage, "the model (model/lineage.json): no model was saved yet"),
    )
    return [words for part, words in parts if not part]


def _scores_nothing(record: RunRecord) -> bool:
    return bool(record.settings.get("eval", {}).get("tasks") == "none")


def _about_held_out(record: RunRecord) -> list[str]:
    trained = [row for row in record.evaluations if row.model == "trained"][-1:]
    return [frequencies_sentence(row) for row in trained if no_better_than_frequencies(row)]


def _about_text(record: RunRecord) -> list[str]:
    lines = []
    corpora = record.corpora.corpora if record.corpora else ()
    if names := [row.name for row in corpora if row.synthetic]:
        lines.append(
            f"Synthetic training text: {', '.join(names)} was written by a generator. Results on it show "
            "that the tool works, not that the model is good at clinical text."
        )
    if names := [row.name for row in corpora if row.non_commercial]:
        lines.append(f"Non-commercial material: {', '.join(names)}. The model may not be used commercially.")
    if names := [row.name for row in corpora if not is_stated(row.licence)]:
        lines.append(f"No licence is stated for {', '.join(names)}: ask the owners before you pass it on.")
    scored = {score.task for score in record.scores}
    if record.corpora and (names := [task for task in record.corpora.unchecked if task in scored]):
        lines.append(
            f"Not checked for overlap: {', '.join(names)}. Their test documents were not available when the corpora "
            "were prepared, so the model may have been trained on them."
        )
    adapt = record.settings.get("adapt", {})
    if record.plan and record.plan.own_head:
        lines.append("Own head: a fresh head was asked for, and the base has a masked-LM head, which was kept.")
    elif adapt.get("head") == "fresh" and adapt.get("head_tokens"):
        lines.append(
            "Fresh head: the base had no masked-LM head, so one was trained on "
            f"{short(adapt['head_tokens'])} tokens. The values of 'base' were measured with it."
        )
    elif adapt.get("head") == "fresh":
        lines.append(
            "Fresh head: the base had no masked-LM head, and got an untrained one. Part of the fall in "
            "bits per byte comes from training the head."
        )
    return lines


def _about_scores(comparisons: Iterable[Comparison]) -> list[str]:
    lines = []
    tests = [comparison for comparison in comparisons if comparison.measure.split == "test"]
    if names := sorted({comparison.task for comparison in tests if comparison.synthetic}):
        lines.append(f"Synthetic tasks: {', '.join(names)}.")
    changes = [(comparison, change(comparison)) for comparison in tests]
    if names := [
        f"{comparison.task} {comparison.measure.metric}"
        for comparison, changed in changes
        if changed and verdict(changed.difference) == "interval includes 0"
    ]:
        lines.append(
            f"No change shown: {', '.join(names)}. The 95 % interval of the difference includes 0, so the data do "
            "not show whether training helped."
        )
    if names := sorted({comparison.task for comparison in tests if has_few_seeds(comparison)}):
        lines.append(
            f"Fewer than three seeds: {', '.join(names)}. The intervals are over test documents alone and leave out "
            "how much scores vary between seeds."
        )
    return lines


def _about_files(record: RunRecord) -> list[str]:
    return [f"{name}: the last line is incomplete and was left out." for name in record.incomplete]
