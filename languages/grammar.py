"""The lexicon and grammar of a language's synthetic cases, read from cases.toml next to its pack."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from .errors import InputError, mismatch, nearest
from .pack import Pack, Record, read_toml

# "{symptom}", "{the:diagnosis}", "{2-14}": a slot, its form (article) and, for numbers, its range.
# "{is:last}" is a form alone, of the noun before it: verbs and endings agree.
SLOT = re.compile(r"\{(?:(?P<form>\w+):)?(?P<name>[\w-]+)\}")
FREE_SLOT = re.compile(r"(\d+)-(\d+)")
_MENTIONS = ("symptom", "absent", "diagnosis", "comorbidity", "drug", "dose", "procedure", "lab", "value")
_SLOTS = frozenset((*_MENTIONS, "age", "date", "place", "last"))


class Specialty(Record):
    """Nouns are written "tag:noun": the tag (gender, number) picks the article. Drugs: name, then doses."""

    place: str
    diagnoses: tuple[str, ...] = Field(min_length=1)
    symptoms: tuple[str, ...] = Field(min_length=1)
    drugs: tuple[tuple[str, ...], ...] = Field(min_length=1)
    procedures: tuple[str, ...] = Field(min_length=1)


class Section(Record):
    """`required`: one sentence in every case, no more; `repeat`: again at each visit; `history`: holds
    the other diseases of the patient."""

    title: str
    required: bool = False
    repeat: bool = False
    history: bool = False
    sentences: tuple[str, ...] = Field(min_length=1)


class Recall(Record):
    """`fact` and `question` hold {x}, one word of `values`; `neutral` takes the place of the fact."""

    fact: str
    neutral: str
    question: str
    values: tuple[str, ...] = Field(min_length=2)


class Grammar(Record):
    """What a language says. Templates: see the head of languages/fr/cases.toml.

    `vowels`: pattern of the beginnings that count as vowels. `history`: sentences with {comorbidity}.
    `visits`: headings. `labs`: name, lowest and highest value, digits after the sign, unit. `outcomes`:
    label to last sentences.
    """

    vowels: str
    decimal: str
    date: str
    ages: tuple[int, int]
    forms: dict[str, dict[str, str]] = Field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    specialties: dict[str, Specialty] = Field(min_length=1)
    labs: tuple[tuple[str, float, float, int, str], ...] = Field(min_length=1)
    sections: tuple[Section, ...] = Field(min_length=1)
    history: tuple[str, ...] = ()
    visits: tuple[str, ...] = Field(min_length=1)
    outcomes: dict[str, tuple[str, ...]] = Field(min_length=2)
    recall: tuple[Recall, ...] = ()

    @field_validator("sections")
    @classmethod
    def _a_section_repeats(cls, sections: tuple[Section, ...]) -> tuple[Section, ...]:
        if not any(section.repeat for section in sections):
            raise ValueError("no section has repeat = true, so no report can be long; set it in one")
        return sections

    def without_tag(self, noun: str) -> str:
        """The noun without its tag."""
        return noun.split(":", 1)[1] if _TAG.match(noun) else noun

    def article(self, form: str, noun: str) -> str:
        """What stands before a tagged noun: looked up as tag + "v" (before a vowel), tag, "v", "any"."""
        tag = noun.split(":", 1)[0] if _TAG.match(noun) else ""
        table = self.forms[form]
        vowel = re.match(self.vowels, self.without_tag(noun), re.IGNORECASE) is not None
        for key in (f"{tag}v" if vowel else tag, tag, "v" if vowel else "any", "any"):
            if key in table:
                return table[key]
        raise InputError(f"cases.toml: form '{form}' has nothing for '{noun}'; add '{tag}' or 'any'")


_TAG = re.compile(r"[a-z]{1,3}:\S")


def load_grammar(pack: Pack) -> Grammar:
    """The grammar next to a pack, every template checked. InputError names the key or the template."""
    file = pack.folder / "cases.toml"
    if not file.is_file():
        raise InputError(f"{file}: not there, so there are no synthetic cases in '{pack.code}'; write one")
    return _read(file, file.stat().st_mtime_ns)


@cache
def _read(file: Path, _changed: int) -> Grammar:
    try:
        grammar = Grammar.model_validate(read_toml(file))
    except ValidationError as error:
        raise InputError(f"{file}: " + "; ".join(_explain(item) for item in error.errors())) from error
    _check(grammar, file)
    return grammar


def _explain(error: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        models: dict[str, type[Record]] = {"specialties": Specialty, "sections": Section, "recall": Recall}
        model = models.get(str(error["loc"][0]), Grammar) if len(error["loc"]) > 1 else Grammar
        return f"unknown key '{key}'; {nearest(str(error['loc'][-1]), model.model_fields)}"
    return f"{key}: {mismatch(error)}"


def _check(grammar: Grammar, file: Path) -> None:
    known = _SLOTS | set(grammar.lists)
    templates = [
        *(template for section in grammar.sections for template in section.sentences),
        *(template for group in grammar.outcomes.values() for template in group),
        *(template for group in grammar.lists.values() for template in group),
        *grammar.visits,
        *grammar.history,
    ]
    for template in templates:
        first = SLOT.search(template)
        if first and first["name"] == "last":
            raise InputError(f"{file}: {{last}} stands before any noun ({template!r}); move it")
        for match in SLOT.finditer(template):
            if match["name"] not in known and not FREE_SLOT.fullmatch(match["name"]):
                hint = nearest(match["name"], known)
                raise InputError(f"{file}: no slot '{match['name']}' ({template!r}); {hint}")
            if match["form"] and match["form"] not in grammar.forms:
                hint = nearest(match["form"], grammar.forms)
                raise InputError(f"{file}: no form '{match['form']}' ({template!r}); {hint}")
            if match["name"] == "comorbidity" and template not in grammar.history:
                raise InputError(f"{file}: {{comorbidity}} is for 'history' alone ({template!r}); move it")
            if match["name"] == "last" and not match["form"]:
                raise InputError(f"{file}: {{last}} needs a form, such as {{is:last}} ({template!r})")
    for name, specialty in grammar.specialties.items():
        for drug in specialty.drugs:
            if len(drug) < 2:
                raise InputError(f"{file}: specialties.{name}: the drug {list(drug)} has no dose; add one")
    for recall in grammar.recall:
        for sentence in (recall.fact, recall.question):
            if sentence.count("{x}") != 1 or sentence.startswith("{x}"):
                raise InputError(f"{file}: recall: {sentence!r} must hold {{x}} once, not at its start")
    if not grammar.history and any(section.history for section in grammar.sections):
        raise InputError(f"{file}: a section tells history, but 'history' has no sentences; add some")
