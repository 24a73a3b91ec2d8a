"""What the notebooks of reports/notebooks call: texts of a language, tokenizers, and what their changes bring."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from medlingua.adapters.extension import extend
from medlingua.adapters.tokenizer import check_fit, empty_tokenizer, learn_tokenizer
from medlingua.languages import vocabulary
from medlingua.languages.annotations import Example
from medlingua.languages.cases import synthetic_tasks
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.terms import Term, read_terms
from medlingua.recipes.experiments.vocabulary import by_name, corpora, entities
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

Kind = Literal["WordPiece", "BPE", "Unigram"]
Opened = dict[str, PreTrainedTokenizerFast]  # tokenizers by the name that figures and tables show
KINDS: tuple[Kind, ...] = ("WordPiece", "BPE", "Unigram")

_CASES = 120
_HELD = 5  # one document in so many is held out
_OTHER = 150  # English documents, half as many where they are synthetic


@dataclass(frozen=True, slots=True)
class Material:
    """The texts of a language: real ones of a data root, or synthetic ones.

    learn, held: texts by corpus. Every fifth document is held out, and none whose text is in `learn` as well.
    other: English texts by the one name that tells what they are. terms: none without a data root or its lists.
    entities: examples by task, train parts alone. notes: lines that say what was read and what is missing.
    """

    pack: Pack
    synthetic: bool
    learn: dict[str, list[str]]
    held: dict[str, list[str]]
    other: dict[str, list[str]]
    terms: list[Term]
    entities: dict[str, tuple[Example, ...]]
    notes: tuple[str, ...]

    @property
    def learn_texts(self) -> list[str]:
        return [text for texts in self.learn.values() for text in texts]

    @property
    def held_texts(self) -> list[str]:
        return [text for texts in self.held.values() for text in texts]


def label(*materials: Material) -> str:
    """What stands in every title: "fr, real text", or "fr, SYNTHETIC text"."""
    codes = ", ".join(material.pack.code for material in materials)
    return f"{codes}, {'SYNTHETIC' if any(material.synthetic for material in materials) else 'real'} text"


def gather(lang: str, data: str | Path | None) -> Material:
    """What a data root has of a language; without one ("" or None), synthetic cases and their entities.

    A root without term lists, tasks or English text is no error: `notes` says so. InputError for a root that is
    no folder, has no corpus of the language or too little text to hold some out.
    """
    pack, root = load_pack(lang), Path(data) if data else None
    if root is not None and not root.is_dir():
        raise InputError(f"{root}: no such folder; give a data root, or none for synthetic cases")
    learn, held = _parted(corpora(pack, root, None if root else _CASES))
    if not held:
        raise InputError(f"{data}: no document could be held out; bring more text of language {pack.code}")
    notes = [
        f"{name}: {len(learn[name]):,} documents to learn on, {len(held.get(name, [])):,} held out" for name in learn
    ]
    if root is None:
        ner = next(task for task in synthetic_tasks(pack, 0, (60, 1, 1)) if task.spec.kind == "ner")
        entities_of: dict[str, tuple[Example, ...]] = {ner.spec.name: ner.train}
        terms: list[Term] = []
        notes.append("no data root: all text is SYNTHETIC, and there are no terms")
    else:
        entities_of = dict(entities(pack, root))
        there = any((root / listed.path).exists() for listed in pack.terms)
        terms = read_terms(pack, root) if there else []
        notes.append(f"{len(terms):,} terms" if there else "no terms in this data root: what needs them is left out")
        notes += [f"{task}: entities of {len(examples):,} examples" for task, examples in entities_of.items()]
        if not entities_of:
            notes.append("no task with entities in this data root: they are left out")
    other = _english(root)
    notes += [f"another language: {len(texts):,} documents of {name}" for name, texts in other.items()]
    return Material(pack, root is None, learn, held, other, terms, entities_of, tuple(notes))


def tokenizers_of(folders: Iterable[str], materials: Sequence[Material], size: int) -> Opened:
    """The tokenizers of model folders by the folders' names. Where none is named: a new WordPiece, BPE and
    Unigram of `size` pieces each, learnt on the materials.

    InputError for a folder without a tokenizer, and for text too small for the size.
    """
    named = by_name([folder for folder in folders if folder])
    if named:
        from medlingua.adapters.encoder import read_tokenizer  # with it come all models: two seconds

        return {name: read_tokenizer(folder, None, ()) for name, folder in named.items()}
    return {name: tokenizer for kind in KINDS for name, tokenizer in learnt(kind, materials, size).items()}


def learnt(kind: Kind, materials: Sequence[Material], size: int) -> Opened:
    """One new tokenizer, by a name that says what it is: "new fr WordPiece, 8,000"."""
    texts = [text for material in materials for text in material.learn_texts]
    codes = "+".join(material.pack.code for material in materials)
    return {f"new {codes} {kind}, {size:,}": learn_tokenizer(lambda: texts, size, empty_tokenizer(kind))}


def pipelines(tokenizers: Opened) -> dict[str, Tokenizer]:
    """What `languages.vocabulary` measures."""
    return {name: tokenizer.backend_tokenizer for name, tokenizer in tokenizers.items()}


@dataclass(frozen=True, slots=True)
class Extensions:
    """What `new_pieces` more change. after: the extended tokenizers, by the names of those that they come from.

    counted: the columns of `pieces_per_word` on held-out text and `state`, "before" or "after".
    recut: tokenizer, text ("held out", or what the English text is), changed, longer (shares of words, float).
    examples: tokenizer, word, count, old, new: held-out words that are cut otherwise, the most frequent first.
    notes: a line a tokenizer, also for those that lose what the language needs and are not extended.
    All are empty where no tokenizer fits.
    """

    new_pieces: int
    after: Opened
    counted: pd.DataFrame
    recut: pd.DataFrame
    examples: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def named(self) -> Opened:
        """The extended tokenizers by names of their own: "multilingual-mini + 4,000"."""
        return {f"{name} + {self.new_pieces:,}": tokenizer for name, tokenizer in self.after.items()}


def extensions(tokenizers: Opened, material: Material, new_pieces: int, min_documents: int) -> Extensions:
    """Each tokenizer that fits the language with `new_pieces` more, learnt on `learn` and measured on `held`.

    A piece stands in `min_documents` documents. InputError where the text yields fewer pieces.
    """
    pack, notes = material.pack, []
    before: Opened = {}
    for name, tokenizer in tokenizers.items():
        try:
            check_fit(tokenizer, pack.code, name)
            before[name] = tokenizer
        except InputError as error:  # no new piece gives back what the normaliser takes away
            notes.append(f"not extended: {str(error).split('. Give')[0]}")
    after = {
        name: extend(
            tokenizer,
            material.learn_texts,
            new_pieces,
            min_documents=min_documents,
            capitals_are_names=not pack.capital_nouns,
        ).tokenizer
        for name, tokenizer in before.items()
    }
    old, new = pipelines(before), pipelines(after)
    columns = ["tokenizer", "word", "count", "old", "new"]
    counted, recut, examples = [], [], [pd.DataFrame(columns=columns)]
    for state, some in (("before", old), ("after", new)):
        counted.append(vocabulary.pieces_per_word(some, material.held, pack.spacy).assign(state=state))
    for name in before:
        changed = vocabulary.changes(old[name], new[name], material.held_texts, pack.spacy)
        examples.append(changed.assign(tokenizer=name)[columns])
        recut.append((name, "held out", *vocabulary.shares_changed(changed)))
        for what, texts in material.other.items():
            elsewhere = vocabulary.changes(old[name], new[name], texts, load_pack("en").spacy)
            recut.append((name, what, *vocabulary.shares_changed(elsewhere)))
        rates = [overall(frame[frame["tokenizer"] == name]) for frame in counted]
        notes.append(
            f"{name} + {new_pieces:,} pieces: {rates[0]:.2f} pieces a word before, {rates[1]:.2f} after "
            f"(held out, {label(material)})"
        )
    return Extensions(
        new_pieces,
        after,
        pd.concat(counted, ignore_index=True),
        pd.DataFrame(recut, columns=["tokenizer", "text", "changed", "longer"]),
        pd.concat(examples, ignore_index=True),
        tuple(notes),
    )


def side_by_side(tokenizers: Opened, extended: Opened, new: Opened, material: Material) -> pd.DataFrame:
    """A language's row for each tokenizer as it is, extended (by the same name) and new: language, tokenizer,
    variant ("as it is", "extended", "new"), pieces_per_word, words_in_512 (int), medical_in_one_piece (NaN without
    terms), findings (int, of the audit). Counted on held-out text.
    """
    rows = []
    for variant, some in (("as it is", tokenizers), ("extended", extended), ("new", new)):
        measured = pipelines(some)
        if not measured:
            continue
        counted = vocabulary.pieces_per_word(measured, material.held, material.pack.spacy)
        medical = medical_shares(measured, material).set_index("tokenizer")["in_one_piece"]
        findings = vocabulary.audit(measured, material.pack)["tokenizer"].value_counts()
        lengths = vocabulary.effective_lengths(counted, next(iter(measured)))
        in_512 = lengths[lengths["pieces"] == 512].set_index("tokenizer")["words"]
        for name in measured:
            rows.append(
                {
                    "language": material.pack.code,
                    "tokenizer": name,
                    "variant": variant,
                    "pieces_per_word": overall(counted[counted["tokenizer"] == name]),
                    "words_in_512": int(in_512[name]),
                    "medical_in_one_piece": float(medical.get(name, float("nan"))),
                    "findings": int(findings.get(name, 0)),
                }
            )
    return pd.DataFrame(rows)


def overall(counted: pd.DataFrame) -> float:
    """Of `pieces_per_word`, for one tokenizer: pieces a word over all corpora."""
    return float(counted["pieces"].sum() / counted["words"].sum())


def medical_shares(tokenizers: Mapping[str, Tokenizer], material: Material) -> pd.DataFrame:
    """`one_piece_share` over the distinct medical words; no rows without terms."""
    return vocabulary.one_piece_share(vocabulary.medical_words(tokenizers, material.terms, material.pack.spacy))


def _parted(texts: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Corpora in what is learnt on and what is held out: the first of every five documents."""
    learn, held = {}, {}
    for name, documents in texts.items():
        full = [text for text in documents if text.strip()]
        learn[name] = [text for number, text in enumerate(full) if number % _HELD]
        held[name] = full[::_HELD]
    known = {text for some in learn.values() for text in some}
    held = {name: [text for text in some if text not in known] for name, some in held.items()}
    return learn, {name: some for name, some in held.items() if some}


def _english(root: Path | None) -> dict[str, list[str]]:
    """English text that an extension is not meant for: real where the root has some, else synthetic."""
    pack = load_pack("en")
    real = [c for c in pack.corpora if root is not None and c.path is not None and (root / c.path).exists()]
    first = pack.model_copy(update={"corpora": tuple(real[:1])})
    texts = corpora(first, root, _OTHER) if real else corpora(pack, None, _OTHER // 2)
    return {f"English, {name}": some for name, some in texts.items()}
