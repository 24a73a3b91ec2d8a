"""A language as data: its corpora, base models, tasks, terms and known overlaps, read from pack.toml."""

import datetime
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import InputError, check_name, mismatch, nearest

Access = Literal["open", "request", "gated", "local"]
Kind = Literal[
    "ner", "tagging", "multilabel", "classification", "pairs", "choice", "answers", "relations", "similarity",
    "normalization",
]  # fmt: skip
Reader = Literal[
    "brat", "brat_relations", "conll", "tokens", "table", "json", "uima", "webanno", "bioc", "pubtator", "doccano",
    "label_studio", "prodigy", "docbin", "offsets", "span_tables", "codes", "line_labels", "paraphrases", "nli4ct",
    "pubmedqa", "options", "squad", "e3c_relations", "cues", "concepts", "id_pairs", "deft_pairs", "bioasq",
    "bio_lists", "tag_lists",
]  # fmt: skip
_NO_FOLDS = ("choice", "answers", "normalization")
_TAGGED = ("tokens", "tag_lists", "cues")  # readers
_BIO = {"tokens": "conll", "tag_lists": "bio_lists"}  # the reader of entities in the same format
_ROOM = Path(__file__).parent


def _inside(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"'{path}' leads outside the data root; give a path below it")
    return path


def _plain(name: str) -> str:
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(f"'{name}' names files of a run, so it has no slash and no dot in front")
    return name


_Below = Annotated[str, AfterValidator(_inside)]  # a path under the data root
_Name = Annotated[str, AfterValidator(_plain)]


class Record(BaseModel):
    """Every record of a pack: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Corpus(Record):
    """Raw text: under the data root (`path`), on the hub (`hub`, `revision`), or got from its owners (`address`).

    `download`: the address of the file itself, which `adapt fetch` takes. `address`: a page to read or to ask at.
    `config`, `split`: of the hub's data set; without a split all are read. `verified`: its files were opened and
    counted when the pack was written.
    """

    name: _Name
    path: _Below | None = None
    hub: str | None = None
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    download: str | None = None
    address: str | None = None
    text_field: str = "text"
    licence: str = ""
    licence_source: str = ""
    access: Access = "open"
    non_commercial: bool = False
    date: datetime.date | None = None
    verified: bool = False
    words: int | None = None
    note: str = ""

    @property
    def place(self) -> str | None:
        """Where it lies under a data root: its path, or where `adapt fetch` puts a corpus of the hub."""
        return self.path or (f"corpora/{self.name}" if self.hub else None)

    @property
    def restriction(self) -> str:
        """Why this corpus is used only when named or allowed; empty when it is free to use."""
        reasons = []
        if self.non_commercial:
            reasons.append("non-commercial use only")
        if self.access != "open":
            reasons.append({"request": "given on request", "gated": "gated", "local": "local"}[self.access])
        if not self.licence:
            reasons.append("no licence stated")
        return "; ".join(reasons)

    @property
    def restricted(self) -> bool:
        return bool(self.restriction)


class Base(Record):
    """A model to start from. `context` counts tokens, `parameters` weights; `cased` None: not known."""

    name: str
    hub: str | None = None
    path: str | None = None
    revision: str | None = None
    family: str
    context: int = Field(gt=0)
    tokenizer: str
    parameters: int | None = Field(default=None, gt=0)
    cased: bool | None = None
    licence: str = ""
    access: Access = "open"
    verified: bool = False
    note: str = ""


class TaskSpec(Record):
    """A labelled task. Without `path` it is only known by name: its files are brought by the user.

    `splits` maps train, dev and test to a file or folder under `path` (or several; "ref.zip/train" leads into an
    archive), or is "hash": 70/10/20 by a hash of
    the document (of the `group` column where one is named); "ranked": of so many groups, in the order of their
    hashes, as "hash" divides sets of fewer than 100. `options` go to the reader by name.
    `label_prefix` keeps that many characters of each code. `long`: documents that pass 512 tokens.
    """

    name: _Name
    kind: Kind
    path: _Below | None = None
    hub: str | None = None
    download: str | None = None  # the address of its file or archive
    address: str | None = None
    reader: Reader | None = None
    splits: Literal["hash", "ranked"] | dict[Literal["train", "dev", "test"], _Below | tuple[_Below, ...]] = "hash"
    options: dict[str, str | int | bool | tuple[str, ...]] = {}
    file: _Below | None = None  # of a hashed task: which file in `path`, where there are several
    requires: tuple[_Below, ...] = ()  # what else in `path` the reader takes, so that it counts as missing without it
    group: str | None = None
    negative: str | None = None  # of relations: the label of a pair without one
    # Another language's task, parallel case by case, whose train and dev are learnt from: "en/casimedicos_en".
    learn_from: str | None = Field(default=None, pattern=r"^[^/]+/[^/]+$")
    folds: int | None = Field(default=None, ge=3)  # instead of a division: each part is tested once, the next is dev
    positive: str | None = None  # of pairs whose test items are changed on purpose: the label whose F1 counts
    scale: tuple[float, float] | None = None  # of similarity: the lowest and the highest value
    terminology: _Below | None = None  # of normalization: a table in `path`, with columns code and term
    # Of codes: also scored by so many first characters, as the categories of ICD-10 by [3].
    levels: tuple[Annotated[int, Field(gt=0)], ...] = ()
    label_prefix: int | None = Field(default=None, gt=0)
    licence: str = ""
    licence_source: str = ""
    access: Access = "open"
    non_commercial: bool = False
    long: bool = False
    verified: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _readable(self) -> "TaskSpec":
        if self.path is not None and self.reader is None:
            raise ValueError(f"a task with a path needs a reader: {', '.join(get_args(Reader))}")
        if isinstance(self.splits, dict) and not {"train", "test"} <= set(self.splits):
            raise ValueError("splits needs train and test (dev is taken from train where it is not named)")
        if self.folds and (isinstance(self.splits, dict) or self.learn_from or self.kind in _NO_FOLDS):
            raise ValueError(
                "folds are for sets without a division of their own, of kind classification, multilabel, ner, pairs, "
                "relations, similarity or tagging; take 'folds' out, or 'splits'"
            )
        if self.path is not None and self.kind == "tagging" and self.reader not in _TAGGED:
            raise ValueError(f"tagging needs a reader that gives every token its tag: {', '.join(_TAGGED)}")
        if self.reader in _BIO and self.kind != "tagging":
            raise ValueError(
                f"reader {self.reader} is for kind tagging; entities in BIO tags have the reader {_BIO[self.reader]}"
            )
        if self.levels and self.kind not in ("multilabel", "normalization"):
            raise ValueError("levels are for codes: kind multilabel or normalization; take it out")
        if self.terminology is not None and self.kind != "normalization":
            raise ValueError("terminology is for kind normalization; take it out")
        if self.kind == "similarity" and (self.scale is None or self.scale[0] >= self.scale[1]):
            raise ValueError("similarity needs scale, its lowest and its highest value: [0, 5]")
        return self


class Terms(Record):
    """Word lists of the language."""

    name: _Name
    path: _Below
    licence: str = ""
    note: str = ""


class Sentences(Record):
    """What text made from a terminology says of a {name}: {code}, {synonyms}, {parents}, {children}, {definition}.

    Written so that no gender or number has to agree.
    """

    code: str
    synonyms: str
    parents: str
    children: str
    definition: str


class Overlap(Record):
    """Corpora and tasks that hold the same documents: text of one is in another one's test part. Names of another
    language's stand behind its code: "es/cantemist"."""

    names: tuple[str, ...] = Field(min_length=2)
    reason: str

    def holds(self, first: str, second: str) -> bool:
        return first != second and {first, second} <= set(self.names)


class Pack(Record):
    """Everything a language brings. `spacy`: code of a blank pipeline; `folder`: where cases.toml lies;
    `capital_nouns`: every noun has a capital, so that a capital does not tell a name;
    `compound_links`: what stands between the parts of a compound, for a language that writes them as one word;
    `false_friends`: words that are spelt as English ones of another meaning;
    `distinctions`: a word, and the other one that a reader takes it for where its accent or capital is lost;
    `record_number`: a sentence with {} where a patient's record number stands, for `adapt canaries`;
    `default_bases`: the base by strategy, by its name here or in the English pack;
    `broken_tasks`: what is wrong with entries of tasks that cannot be used, by name."""

    code: str
    name: str
    spacy: str
    capital_nouns: bool = False
    compound_links: tuple[str, ...] = ()
    false_friends: tuple[str, ...] = ()
    distinctions: tuple[tuple[str, str], ...] = ()
    record_number: str | None = Field(default=None, pattern=r"^[^{}]*\{\}[^{}]*$")
    corpora: tuple[Corpus, ...] = ()
    bases: tuple[Base, ...] = ()
    default_bases: dict[Literal["convert", "continue"], str] = {}
    tasks: tuple[TaskSpec, ...] = ()
    terms: tuple[Terms, ...] = ()
    sentences: Sentences | None = None
    overlaps: tuple[Overlap, ...] = ()
    broken_tasks: dict[str, str] = {}
    folder: Path

    @model_validator(mode="after")
    def _unique(self) -> "Pack":
        for kind in ("corpora", "bases", "tasks", "terms"):
            names = [entry.name for entry in getattr(self, kind)]
            if double := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{kind} has two entries with the name {', '.join(sorted(double))}")
        return self


_ENTRIES: dict[str, type[Record]] = {
    "corpora": Corpus,
    "bases": Base,
    "tasks": TaskSpec,
    "terms": Terms,
    "overlaps": Overlap,
}


def known_languages() -> tuple[str, ...]:
    """The codes of the packs that come with the package."""
    return tuple(sorted(file.parent.name for file in _ROOM.glob("*/pack.toml")))


def load_pack(name_or_path: str | Path) -> Pack:
    """The pack of a known language ("fr"), or the one of a pack.toml from anywhere (or its folder).

    Raises InputError for an unknown language, a missing file, broken TOML and every key or value that does
    not fit, with the entry's name and the nearest known key. A task with a name that does not fit is left to those
    who ask for it: the others can be used.
    """
    name = str(name_or_path)
    check_name(name)
    if name.lower() in known_languages() and not Path(name).exists():
        name = name.lower()
    if name in known_languages():
        file = _ROOM / name / "pack.toml"
    elif Path(name).is_dir():
        file = Path(name) / "pack.toml"
    elif name.endswith(".toml"):
        file = Path(name)
    else:
        raise InputError(
            f"unknown language '{name}'; {nearest(name, known_languages())}; "
            f"or give the path of a pack.toml of your own"
        )
    if not file.is_file():
        raise InputError(f"{file}: no such pack; give the path of a pack.toml")
    data = read_toml(file)
    for key, meaning in (("folder", "is where the file lies"), ("broken_tasks", "is found out")):
        if key in data:
            raise InputError(f"{file}: '{key}' {meaning} and cannot be set; take the key out")
    tasks, broken = _usable_tasks(data, file)
    try:
        return Pack.model_validate(data | tasks | {"broken_tasks": broken, "folder": file.resolve().parent})
    except ValidationError as error:
        raise InputError(f"{file}: " + "; ".join(_explain(data, item) for item in error.errors())) from error


def _usable_tasks(data: dict[str, Any], file: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """The entries of tasks without those that do not fit, and what is wrong with these, by name."""
    listed = data.get("tasks")
    if not isinstance(listed, list):
        return {}, {}
    usable, broken = [], {}
    for number, entry in enumerate(listed):
        try:
            TaskSpec.model_validate(entry)
            usable.append(entry)
        except ValidationError as error:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                usable.append(entry)  # which the pack refuses: nobody could ask for it
                continue
            problems = ({**item, "loc": ("tasks", number, *item["loc"])} for item in error.errors())
            broken[entry["name"]] = f"{file}: " + "; ".join(_explain(data, item) for item in problems)
    return {"tasks": usable}, broken


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file as a dictionary; InputError with the line where it is not TOML."""
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except RecursionError as error:
        raise InputError(f"{file}: TOML nested too deeply; correct it") from error
    except ValueError as error:  # of TOML, of UTF-8, and of a number of thousands of digits
        raise InputError(f"{file}: not valid TOML: {error}; correct that line") from error


def _explain(data: dict[str, Any], error: Any) -> str:
    """One pydantic error in words: which entry, which key, what is known."""
    place = list(error["loc"])
    model: type[Record] = Pack
    words = "top level"
    if len(place) > 1 and place[0] in _ENTRIES and isinstance(place[1], int):
        model = _ENTRIES[place[0]]
        entry = data[place[0]][place[1]]
        name = entry.get("name", "without a name") if isinstance(entry, dict) else entry
        words = f"{place[0]}, entry {place[1] + 1} ({name})"
        place = place[2:]
    key = ".".join(str(part) for part in place)
    if error["type"] == "extra_forbidden":
        return f"{words}: unknown key '{key}'; {nearest(key, set(model.model_fields) - {'folder', 'broken_tasks'})}"
    if error["type"] == "missing":
        return f"{words}: key '{key}' is missing; add it"
    return f"{words}: {key + ': ' if key else ''}{mismatch(error)}"
