"""What a reader has to know about a run, in sentences: what was done, what to beware of, what is missing."""

from .licences import is_stated
from .quantities import count, duration, percent, place, short
from .read import RunRecord
from .rows import CertificateRow
from .scores import Comparison, change, compare, verdict

LANGUAGES = {"fr": "French", "es": "Spanish", "de": "German", "en": "English"}


def language(record: RunRecord) -> str:
    """The code of the run's language; a pack brought from outside is told by its lineage."""
    if record.lineage and record.lineage.steps:
        return record.lineage.steps[-1].language
    return str(record.settings.get("lang", ""))


def phase_names(record: RunRecord) -> dict[int, str]:
    """Names by the number that training rows carry."""
    phases = record.settings.get("phases", [])
    return {number: str(phase["name"]) for number, phase in enumerate(phases) if "name" in phase}


def base(record: RunRecord) -> str:
    named = record.settings.get("base")
    if named:
        return str(named)
    return record.lineage.steps[-1].base if record.lineage and record.lineage.steps else ""


def summary(record: RunRecord) -> str:
    """One paragraph in words."""
    parts = [_deed(record)]
    if record.corpora:
        corpora = record.corpora.corpora
        documents = sum(row.documents for row in corpora)
        text = "synthetic text" if all(row.synthetic for row in corpora) else "text"
        parts.append(
            f"The {text} comes from {len(corpora)} {'corpus' if len(corpora) == 1 else 'corpora'} with "
            f"{count(documents)} documents and {short(sum(row.tokens for row in corpora))} tokens."
        )
    if record.plan:
        parts.append(
            f"The model has {short(record.plan.parameters)} parameters; it ran on {record.plan.device} in "
            f"{record.plan.precision} ({record.plan.precision_reason})."
        )
    if record.cost:
        parts.append(
            f"It trained on {short(record.cost.tokens)} tokens in {duration(record.cost.train_seconds)}, "
            f"{count(record.cost.tokens_per_second)} tokens a second."
        )
    return " ".join(parts + [line for line in [bits_per_byte_sentence(record)] if line])


def contexts(certificate: CertificateRow) -> list[str]:
    """How far each model uses a fact, in words."""
    lines = []
    for row in certificate.contexts:
        if row.tokens is None or row.low is None or row.high is None:
            lines.append(f"{row.model}: no use of the fact was seen, not even at the shortest distance.")
        else:
            lines.append(
                f"{row.model}: facts keep half of their worth over {count(row.tokens)} tokens "
                f"(95 % interval {count(row.low)} to {count(row.high)})."
            )
    return lines


def _deed(record: RunRecord) -> str:
    code, start = language(record), place(base(record)) or "a model"
    tongue = LANGUAGES.get(code, code)
    strategy = str(record.settings.get("strategy", ""))
    deeds = {
        "continue": f"trains {start} further on {tongue} text",
        "convert": f"converts {start} to read longer {tongue} text",
        "scratch": f"trains a new model from nothing on {tongue} text",
    }
    return f"A run that {deeds.get(strategy, f'adapts {start} to {tongue}')}."


def bits_per_byte_sentence(record: RunRecord) -> str:
    last = {row.model: row for row in record.evaluations}
    before, after = last.get("base") or last.get("start"), last.get("trained")
    if before is None or after is None:
        return ""
    fell = after.bits_per_byte < before.bits_per_byte
    amount = percent(abs(after.bits_per_byte - before.bits_per_byte), before.bits_per_byte)
    return (
        f"On {after.documents} held-out documents bits per byte {'fell' if fell else 'did not fall'}: "
        f"from {before.bits_per_byte:.3f} ({before.model}) to {after.bits_per_byte:.3f} "
        f"({amount} {'less' if fell else 'more'})."
    )


def is_synthetic(record: RunRecord) -> bool:
    return record.corpora is not None and any(row.synthetic for row in record.corpora.corpora)


def warnings(record: RunRecord) -> list[str]:
    """Sentences that belong above the numbers."""
    return [*_about_text(record), *_about_scores(compare(record.scores)), *_about_files(record)]


def missing(record: RunRecord) -> list[str]:
    """What the run has not left yet, and so the page cannot tell."""
    parts = (
        (record.plan, "the plan (plan.json): the machine was not looked at yet"),
        (record.corpora, "the corpora (corpora.json): the text was not prepared yet"),
        (record.training, "training (metrics.jsonl): no step was logged yet"),
        (record.evaluations, "bits per byte (metrics.jsonl): held-out text was not looked at yet"),
        (record.scores, "task scores (results.jsonl): no task was scored, or eval.tasks is none"),
        (record.cost, "the cost (cost.json): the run has not ended"),
        (record.lineage, "the model (model/lineage.json): nothing was saved yet"),
    )
    return [words for part, words in parts if not part]


def _about_text(record: RunRecord) -> list[str]:
    found = []
    corpora = record.corpora.corpora if record.corpora else ()
    if names := [row.name for row in corpora if row.synthetic]:
        found.append(
            f"Synthetic training text: {', '.join(names)} was written by a generator. Numbers on it show "
            "that the tool works, not that the model is good at clinical text."
        )
    if names := [row.name for row in corpora if row.non_commercial]:
        found.append(f"Non-commercial material: {', '.join(names)}. The model may not be used commercially.")
    if names := [row.name for row in corpora if not is_stated(row.licence)]:
        found.append(f"No licence is stated for {', '.join(names)}: ask the owners before you pass it on.")
    if record.corpora and record.corpora.unchecked:
        found.append(
            f"Not checked for overlap: {', '.join(record.corpora.unchecked)}. Their test documents were not "
            "at hand, so scores on them may rest on text seen in training."
        )
    adapt = record.settings.get("adapt", {})
    if adapt.get("head") == "fresh" and adapt.get("head_tokens"):
        found.append(
            "Fresh head: the base had no masked-LM head, so one was trained on "
            f"{short(adapt['head_tokens'])} tokens before anything was measured; it is in 'base'."
        )
    elif adapt.get("head") == "fresh":
        found.append(
            "Fresh head: the base had no masked-LM head, and got an untrained one. Part of the fall in "
            "bits per byte is the head's."
        )
    return found


def _about_scores(comparisons: tuple[Comparison, ...]) -> list[str]:
    found = []
    tests = [comparison for comparison in comparisons if comparison.measure.split == "test"]
    if names := sorted({comparison.task for comparison in tests if comparison.synthetic}):
        found.append(f"Synthetic tasks: {', '.join(names)}.")
    changes = [(comparison, change(comparison)) for comparison in tests]
    if names := [
        f"{comparison.task} {comparison.measure.metric}"
        for comparison, changed in changes
        if changed and verdict(changed.difference).startswith("inside")
    ]:
        found.append(f"Inside the noise of the seeds: {', '.join(names)}. Do not read these as a change.")
    if any(changed and changed.difference.n == 1 for _, changed in changes):
        found.append("Single seed: scores of one seed have no interval; three seeds or more give one.")
    return found


def _about_files(record: RunRecord) -> list[str]:
    return [f"{name}: last line incomplete, left out." for name in record.incomplete]
