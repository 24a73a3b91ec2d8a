"""Synthetic clinical cases with gold labels: an engine without a language, fed by a pack's cases.toml.

Always labelled synthetic. The same pack and seed give the same cases on every machine.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from .annotations import Example, Gold, Span
from .documents import Document
from .errors import InputError
from .grammar import FREE_SLOT, SLOT, Grammar, load_grammar
from .pack import Pack, TaskSpec
from .task import Task

LABELS = MappingProxyType(
    {
        "symptom": "SYMPTOM",
        "absent": "SYMPTOM",
        "diagnosis": "DIAG",
        "comorbidity": "DIAG",
        "drug": "DRUG",
        "dose": "DOSE",
        "procedure": "PROC",
        "lab": "LAB",
        "value": "VALUE",
    }
)
_GENDERED = re.compile(r"<([^<>|]*)\|([^<>|]*)>")
_META = MappingProxyType({"synthetic": True})


@dataclass(frozen=True, slots=True)
class Case:
    """A synthetic case: its mentions, the specialties its diagnoses belong to, and how it ended."""

    document: Document
    spans: tuple[Span, ...]
    specialties: frozenset[str]
    outcome: str


@dataclass(frozen=True, slots=True)
class RecallCase:
    """A word stated once (`fact`) and needed again (`answer`) after a chosen number of words.

    `without_fact` is the same text with the fact's sentence replaced by a neutral one; the answer stands
    at `answer_without_fact` there, and nothing in that text determines it.
    """

    document: Document
    fact: Span
    answer: Span
    without_fact: Document
    answer_without_fact: Span


Sentence = tuple[str, tuple[Span, ...]]


class _Story:
    """One patient: what was drawn for the case, and the sentences that speak of it."""

    def __init__(self, grammar: Grammar, rng: random.Random) -> None:
        self.grammar, self.rng = grammar, rng
        self.female = rng.random() < 0.5
        self.age = rng.randint(*grammar.ages)
        self.year, self.day = rng.randint(2005, 2024), rng.randint(1, 330)
        names = sorted(grammar.specialties)
        self.main = rng.choice(names)
        others = [name for name in names if name != self.main]
        others = rng.sample(others, k=min(len(others), rng.choice((0, 0, 1, 1, 2))))
        self.specialties = tuple(sorted((self.main, *others)))
        self.diagnosis = rng.choice(grammar.specialties[self.main].diagnoses)
        self.comorbidities = [rng.choice(grammar.specialties[name].diagnoses) for name in others]
        symptoms = _shuffled(grammar.specialties[self.main].symptoms, rng)
        half = (len(symptoms) + 1) // 2
        self.present, self.absent = symptoms[:half], symptoms[half:] or symptoms
        self.outcome = rng.choice(sorted(grammar.outcomes))
        self.comorbidity = self.dose = self.value = ""
        self.used: set[str] = set()

    def sentence(self, template: str) -> Sentence:
        """A template with its slots filled and its mentions located, its first letter a capital."""
        self.used.clear()
        text, spans = self._fill(template)
        # Some capitals are two letters (ß): they would move the mentions.
        return (text[0].upper() + text[1:] if len(text[:1].upper()) == 1 else text), spans

    def _fill(self, template: str) -> Sentence:
        template = _GENDERED.sub(lambda match: match[2 if self.female else 1], template)
        text, noun, position = "", "", 0
        spans: list[Span] = []
        for match in SLOT.finditer(template):
            form, name = match["form"], match["name"]
            text += template[position : match.start()]
            position = match.end()
            if name == "last":
                text += self.grammar.article(form, noun)
                continue
            noun, inner = self._draw(name)
            text += self.grammar.article(form, noun) if form else ""
            if name in LABELS:
                noun, inner = self._fill(noun)  # a noun of the lexicon may hold a number
                start, end = len(text), len(text) + len(self.grammar.without_tag(noun))
                spans.append(Span.of(start, end, LABELS[name]))
            spans += [_moved(span, len(text)) for span in inner]
            text += self.grammar.without_tag(noun)
        return text + template[position:], tuple(spans)

    def _draw(self, name: str) -> Sentence:
        """What stands in a slot: a tagged noun, a value, or an item of a list with its own mentions."""
        rng, grammar = self.rng, self.grammar
        specialty = grammar.specialties[rng.choice(self.specialties)]
        if free := FREE_SLOT.fullmatch(name):
            return str(rng.randint(int(free[1]), int(free[2]))), ()
        if name in ("symptom", "absent"):
            # Those of the main disease: a reader must be able to learn what belongs together.
            return self._another(self.present if name == "symptom" else self.absent), ()
        if name == "procedure":
            return self._another(specialty.procedures), ()
        if name == "drug":
            doses = {drug[0]: drug[1:] for drug in specialty.drugs}
            drug = self._another(tuple(doses))
            self.dose = rng.choice(doses[drug])
            return drug, ()
        if name == "lab":
            labs = {lab[0]: lab[1:] for lab in grammar.labs}
            lab = self._another(tuple(labs))
            low, high, digits, unit = labs[lab]
            number = f"{rng.uniform(low, high):.{digits}f}".replace(".", grammar.decimal)
            self.value = f"{number} {unit}".rstrip()
            return lab, ()
        if name == "date":
            self.day += rng.randint(1, 9)
            year, day = self.year + self.day // 336, self.day % 336
            return grammar.date.format(d=day % 28 + 1, m=day // 28 + 1, y=year), ()
        known = {
            "diagnosis": self.diagnosis,
            "comorbidity": self.comorbidity,
            "dose": self.dose,
            "value": self.value,
            "age": str(self.age),
            "place": grammar.specialties[self.main].place,
        }
        return (known[name], ()) if name in known else self._fill(self._another(grammar.lists[name]))

    def _another(self, choices: Sequence[str]) -> str:
        """One of the choices, none twice in a sentence while there are others."""
        choice = self.rng.choice([item for item in choices if item not in self.used] or choices)
        self.used.add(choice)
        return choice


def _moved(span: Span, by: int) -> Span:
    return Span(tuple((start + by, end + by) for start, end in span.fragments), span.label)


@dataclass(frozen=True, slots=True)
class _Chapter:
    """The first account or a later visit: sentences by the number of their section."""

    heading: str
    sections: dict[int, list[Sentence]]

    def add(self, section: int, sentence: Sentence) -> int:
        """Put a sentence at the end of a section; its number of words."""
        self.sections.setdefault(section, []).append(sentence)
        return len(sentence[0].split())


def _write(story: _Story, target: int) -> Sentence:
    """About `target` words: what must be said, then more of each section, then further visits."""
    rng, grammar = story.rng, story.grammar
    ending = rng.choice(grammar.outcomes[story.outcome])
    left = target - len(ending.split())
    chapters = [_Chapter("", {})]
    for index, section in enumerate(grammar.sections):
        # A label must be true in the text: the text names the diagnosis and every other disease.
        for disease in story.comorbidities if section.history else ():
            story.comorbidity = disease
            left -= chapters[0].add(index, story.sentence(rng.choice(grammar.history)))
        if section.required:
            left -= chapters[0].add(index, story.sentence(rng.choice(section.sentences)))
    stock = {i: _shuffled(s.sentences, rng) for i, s in enumerate(grammar.sections) if not s.required}
    while left > 0:
        if not stock:
            chapters.append(_Chapter(story.sentence(rng.choice(grammar.visits))[0], {}))
            left -= len(chapters[-1].heading.split())
            stock = {i: _shuffled(s.sentences, rng) for i, s in enumerate(grammar.sections) if s.repeat}
        index = rng.choice(sorted(stock))
        left -= chapters[-1].add(index, story.sentence(stock[index].pop()))
        if not stock[index]:
            del stock[index]
    chapters[-1].add(max(chapters[-1].sections, default=0), story.sentence(ending))
    return _assemble(story, chapters)


def _shuffled(sentences: tuple[str, ...], rng: random.Random) -> list[str]:
    return rng.sample(sentences, len(sentences))


def _assemble(story: _Story, chapters: list[_Chapter]) -> Sentence:
    """Chapters, sections and sentences as one text: with headings, or as plain paragraphs."""
    titled = story.rng.random() < 0.6
    text = ""
    spans: list[Span] = []
    for chapter in chapters:
        text += f"{chapter.heading}\n\n" if chapter.heading else ""
        for index, sentences in sorted(chapter.sections.items()):
            text += f"{story.grammar.sections[index].title}\n" if titled else ""
            for sentence, inner in sentences:
                spans += [_moved(span, len(text)) for span in inner]
                text += f"{sentence} "
            text = f"{text[:-1]}\n\n"
    return f"{text[:-2]}\n", tuple(spans)


def _case(pack: Pack, grammar: Grammar, stream: str, seed: int, index: int, words: tuple[int, int]) -> Case:
    rng = random.Random(f"{pack.code}/{stream}/{seed}/{index}")
    story = _Story(grammar, rng)
    # Log-uniform: as many short notes as long reports.
    low, high = words
    text, spans = _write(story, round(low * (high / low) ** rng.random()))
    document = Document(f"{pack.code}-{stream}-{seed}-{index}", text, f"synthetic {pack.code}", _META)
    return Case(document, tuple(sorted(spans)), frozenset(story.specialties), story.outcome)


def generate_cases(pack: Pack, count: int, seed: int, words: tuple[int, int] = (60, 400)) -> Iterator[Case]:
    """`count` cases of about `words` (least, most) words each: short notes to reports over many visits.

    Raises InputError if the pack has no cases.toml, or one that cannot be used.
    """
    if count < 0 or not 0 < words[0] <= words[1]:
        raise InputError(f"synthetic cases: count {count}, words {words}; give count >= 0, 0 < least <= most")
    grammar = load_grammar(pack)
    for index in range(count):
        yield _case(pack, grammar, "cases", seed, index, words)


def synthetic_tasks(
    pack: Pack, seed: int, sizes: tuple[int, int, int] = (160, 40, 80), words: tuple[int, int] = (60, 400)
) -> tuple[Task, ...]:
    """Three tasks on the same cases: synthetic_ner, synthetic_specialty, synthetic_outcome.

    sizes: cases of train, dev and test. words: of the shortest and the longest.
    The cases are drawn from another stream than those of generate_cases: a model that was trained on
    these has not seen them.
    """
    grammar = load_grammar(pack)
    cases = [_case(pack, grammar, "tasks", seed, index, words) for index in range(sum(sizes))]
    train, dev, _ = sizes

    def task(name: str, kind: str, golds: list[Gold]) -> Task:
        spec = TaskSpec.model_validate(
            {"name": name, "kind": kind, "licence": "Apache-2.0", "verified": True, "note": "synthetic cases"}
        )
        examples = tuple(
            Example(case.document.id, case.document, gold) for case, gold in zip(cases, golds, strict=True)
        )
        return Task(spec, pack.code, examples[:train], examples[train : train + dev], examples[train + dev :], True)

    return (
        task("synthetic_ner", "ner", [case.spans for case in cases]),
        task("synthetic_specialty", "multilabel", [case.specialties for case in cases]),
        task("synthetic_outcome", "classification", [case.outcome for case in cases]),
    )


def recall_case(pack: Pack, seed: int, distance_words: int) -> RecallCase:
    """A case with a fact and, `distance_words` (within 5 %) words later, a word that only the fact tells.

    Distance counts white-space-separated words from the fact's word to the answer. Between, before and
    after nothing names any of the words that could be the answer.
    """
    grammar = load_grammar(pack)
    if not grammar.recall:
        raise InputError(f"{pack.folder / 'cases.toml'}: no [[recall]] entries, so no recall cases; add one")
    rng = random.Random(f"{pack.code}/recall/{seed}/{distance_words}")
    story = _Story(grammar, rng)
    recall = rng.choice(grammar.recall)
    value = rng.choice(recall.values)
    fact, neutral, question = (
        story.sentence(template.replace("{x}", value))[0]
        for template in (recall.fact, recall.neutral, recall.question)
    )
    templates = [t for section in grammar.sections if not section.required for t in section.sentences]
    banned = re.compile("|".join(rf"\b{re.escape(word)}" for r in grammar.recall for word in r.values), re.I)

    def filler() -> str:
        while True:
            text = story.sentence(rng.choice(templates))[0]
            if not banned.search(text):
                return text

    between = distance_words - len(fact[fact.index(value) :].split())
    between -= len(question[: question.index(value)].split())
    middle = _exactly(between, [filler() for _ in range(max(400, between // 4))])
    if middle is None:
        least = distance_words - between + 30
        raise InputError(f"recall case: {distance_words} words are too few; give a distance of {least} or more")
    opening = " ".join(filler() for _ in range(3))

    closing = filler()

    def document(sentence: str, name: str) -> tuple[Document, int]:
        head = " ".join((opening, sentence, *middle, ""))
        identity = f"{pack.code}-recall-{seed}-{distance_words}{name}"
        text = f"{head}{question} {closing}\n"
        return Document(identity, text, f"synthetic {pack.code}", _META), len(head) + question.index(value)

    full, answer = document(fact, "")
    without, answer_without = document(neutral, "-without")
    stated = len(opening) + 1 + fact.index(value)
    return RecallCase(
        full,
        Span.of(stated, stated + len(value), "FACT"),
        Span.of(answer, answer + len(value), "ANSWER"),
        without,
        Span.of(answer_without, answer_without + len(value), "ANSWER"),
    )


def _exactly(words: int, sentences: list[str]) -> list[str] | None:
    """Sentences of exactly `words` words together: in order, then the fewest that fit; None if none do."""
    chosen: list[str] = []
    left = words
    for sentence in sentences:
        size = len(sentence.split())
        if left - size >= 40:
            chosen.append(sentence)
            left -= size
    by_length = {len(sentence.split()): sentence for sentence in sentences}
    fits: dict[int, list[str]] = {0: []}
    for total in range(1, left + 1):
        ways = [fits[total - n] + [by_length[n]] for n in by_length if total - n in fits]
        if ways:
            fits[total] = min(ways, key=len)
    return chosen + fits[left] if left in fits else None
