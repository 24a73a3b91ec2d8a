"""What a tokenizer does to a language, as data frames: words and terms in pieces, what is lost, what changes.

Tokenizers are read as their own pipeline (tokenizer.json), by `tokenizers` alone: what the file says is what is
measured.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import pandas as pd
from medlingua.languages.annotations import Example
from medlingua.languages.errors import InputError
from medlingua.languages.expressions import check_expressions
from medlingua.languages.pack import Pack, known_languages, load_pack
from medlingua.languages.terms import Term
from medlingua.languages.words import nfc, words
from tokenizers import Tokenizer

LENGTHS = (512, 4096, 8192)  # pieces whose reach in words is reported
_SPECIAL = 2  # pieces that frame a text

_SIGNS = [
    ("10⁹/L", "109/L"), ("m²", "m2"), ("5 µg", "5 mg"), ("≤ 5", "≥ 5"), ("Na⁺", "Na"), ("37,5", "375"),
    ("0,5 mg", "05 mg"), ("½", "1⁄2"), ("TA", "ta"), ("SIDA", "sida"),
]  # fmt: skip

_LOOKALIKES = {
    "e-mail": re.compile(r"\w@\w|@\w+\.\w"),
    "date": re.compile(r"(?<!\d)(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}-\d{2}-\d{2})(?!\d)"),
    "telephone": re.compile(r"(?<!\d)(?:\+\d{2}|0\d)(?:[ ./-]?\d{2,4}){3,}(?!\d)"),
    "letters and digits": re.compile(r"[^\W\d_]{3,}\d{2,}"),
}


def read_tokenizer(path: str | Path, allow: Collection[str] = ()) -> Tokenizer:
    """The tokenizer of a model folder, or a tokenizer.json. InputError where there is none, and for expressions that
    may never end unless "regex" is allowed."""
    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        why = "no tokenizer.json here" if Path(path).is_dir() else "no such file or folder"
        raise InputError(f"{path}: {why}; give a model's folder or its tokenizer.json")
    try:
        read = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise InputError(f"{file}: not a tokenizer: {str(error)[:200]}") from error
    if "regex" not in allow:
        check_expressions(read, str(file))
    read.no_truncation()  # a file keeps the cutting and filling of its last call: neither is the language's
    read.no_padding()
    return read


def pieces_per_word(
    tokenizers: Mapping[str, Tokenizer], corpora: Mapping[str, Sequence[str]], spacy: str
) -> pd.DataFrame:
    """One row a tokenizer and corpus: words, pieces, pieces_per_word, in_one_piece (share of words), unknown
    (share of pieces), words_in_512 and so on: what fits into that many pieces, the two special ones included."""
    rows = []
    for corpus, texts in corpora.items():
        counted = [[text[a:b] for a, b in words(text, spacy)] for text in texts]
        tally = Counter(word for of_text in counted for word in of_text)
        total = sum(tally.values())
        if not total:
            raise InputError(f"corpus {corpus}: no words in it")
        for name, tokenizer in tokenizers.items():
            ids = _ids(tokenizer, texts)
            pieces = sum(map(len, ids))
            unknown = _unknown(tokenizer)
            one = sum(
                tally[w]
                for w, cut in zip(tally, _ids(tokenizer, [f" {w}" for w in tally]), strict=True)
                if len(cut) == 1
            )
            rows.append(
                {
                    "tokenizer": name,
                    "corpus": corpus,
                    "words": total,
                    "pieces": pieces,
                    "pieces_per_word": pieces / total,
                    "in_one_piece": one / total,
                    "unknown": sum(id == unknown for cut in ids for id in cut) / pieces,
                    **{f"words_in_{n}": int((n - _SPECIAL) * total / pieces) for n in LENGTHS},
                }
            )
    return pd.DataFrame(rows)


def effective_lengths(counted: pd.DataFrame, against: str) -> pd.DataFrame:
    """Of `pieces_per_word`, its corpora taken together, one row a tokenizer and length of LENGTHS: tokenizer, pieces
    (int), words (int, what fits into them), gain (float, how many more than with `against`: 0.25 is a quarter more).

    InputError where `against` was not counted.
    """
    sums = counted.groupby("tokenizer", sort=False)[["words", "pieces"]].sum()
    if against not in sums.index:
        raise InputError(f"{against}: not among the tokenizers that were counted: {', '.join(sums.index)}")
    rates = sums["pieces"] / sums["words"]
    return pd.DataFrame(
        [
            (name, n, int((n - _SPECIAL) / rate), float(rates[against] / rate - 1))
            for name, rate in rates.items()
            for n in LENGTHS
        ],
        columns=["tokenizer", "pieces", "words", "gain"],
    )


def medical_words(
    tokenizers: Mapping[str, Tokenizer], terms: Iterable[Term], spacy: str, by: Literal["group", "icd10"] = "group"
) -> pd.DataFrame:
    """Distinct words of terms, one row a tokenizer and word: tokenizer, word, group, pieces (int), cut.

    Words of four letters and more; a word of several groups has a row for each. by: what `group` holds, the
    branch or the chapter of the ICD-10 code; terms without a code are then left out.
    """
    pairs = dict.fromkeys(
        (term.text[a:b].lower(), group)
        for term in terms
        if (group := term.group if by == "group" else term.icd10)
        for a, b in words(term.text, spacy)
        if b - a >= 4 and term.text[a:b].isalpha()
    )
    listed = sorted(pairs)
    rows = []
    for name, tokenizer in tokenizers.items():
        encodings = tokenizer.encode_batch([f" {word}" for word, _ in listed], add_special_tokens=False)
        for (word, group), encoding in zip(listed, encodings, strict=True):
            rows.append((name, word, group, len(encoding.ids), shown(tokenizer, encoding.ids)))
    return pd.DataFrame(rows, columns=["tokenizer", "word", "group", "pieces", "cut"]).astype({"pieces": int})


def one_piece_share(of_words: pd.DataFrame, by_group: bool = False) -> pd.DataFrame:
    """Of `medical_words`: words, in_one_piece (share), pieces_per_word; by tokenizer, and by group if asked."""
    keys = ["tokenizer", "group"] if by_group else ["tokenizer"]
    rows = of_words if by_group else of_words.drop_duplicates(["tokenizer", "word"])
    grouped = rows.groupby(keys, sort=False)["pieces"]
    return pd.DataFrame(
        {
            "words": grouped.size(),
            "in_one_piece": grouped.agg(lambda pieces: float((pieces == 1).mean())),
            "pieces_per_word": grouped.mean(),
        }
    ).reset_index()


def longest_broken(of_words: pd.DataFrame, tokenizer: str, count: int = 20) -> pd.DataFrame:
    """The words of `medical_words` that a tokenizer breaks into most pieces."""
    rows = of_words[of_words["tokenizer"] == tokenizer].drop_duplicates("word")
    return rows.nlargest(count, "pieces")[["word", "pieces", "cut"]].reset_index(drop=True)


def overlap(tokenizers: Mapping[str, Tokenizer]) -> pd.DataFrame:
    """Share of each row's pieces that the column's tokenizer has too, by the letters that they stand for.

    Index and columns: the tokenizers' names. Whether a piece begins a word is left aside: only some kinds mark it.
    """
    pieces = {
        name: {_plain(tokenizer, piece).strip() for piece in tokenizer.get_vocab()}
        for name, tokenizer in tokenizers.items()
    }
    return pd.DataFrame({b: {a: len(pieces[a] & pieces[b]) / len(pieces[a]) for a in pieces} for b in pieces})


def changes(old: Tokenizer, new: Tokenizer, texts: Iterable[str], spacy: str) -> pd.DataFrame:
    """Distinct words of the texts whose cut differs: word, count, old, new, fewer (pieces saved, negative where
    the word got longer). `attrs["words"]`: all words counted; the share changed is count.sum() / that."""
    tally = Counter(text[a:b] for text in texts for a, b in words(text, spacy))
    listed = list(tally)
    cut_old, cut_new = (t.encode_batch([f" {w}" for w in listed], add_special_tokens=False) for t in (old, new))
    rows = [
        (word, tally[word], shown(old, a.ids), shown(new, b.ids), len(a.ids) - len(b.ids))
        for word, a, b in zip(listed, cut_old, cut_new, strict=True)
        if a.tokens != b.tokens
    ]
    frame = pd.DataFrame(rows, columns=["word", "count", "old", "new", "fewer"])
    frame = frame.sort_values(["count", "word"], ascending=[False, True], ignore_index=True)
    frame.attrs["words"] = sum(tally.values())
    return frame


def shares_changed(changed: pd.DataFrame) -> tuple[float, float]:
    """Of `changes`: the share of all words that are cut otherwise, and of those that got longer."""
    total = changed.attrs["words"]
    longer = changed.loc[changed["fewer"] < 0, "count"].sum()
    return float(changed["count"].sum() / total), float(longer / total)


def entity_splits(tokenizers: Mapping[str, Tokenizer], examples: Iterable[Example]) -> pd.DataFrame:
    """How gold entities are cut, one row a tokenizer and label: entities, in_one_piece (share), pieces (mean).

    Joined with NER scores this is the analysis of the Spanish models of BSC (TRAPS and RECIPES name it): does a
    tokenizer that breaks fewer entities find more of them?
    """
    surfaces = [
        (span.label, span.surface(example.document.text))
        for example in examples
        if isinstance(example.gold, tuple)
        for span in example.gold
    ]
    rows = []
    for name, tokenizer in tokenizers.items():
        lengths = [len(ids) for ids in _ids(tokenizer, [f" {text}" for _, text in surfaces])]
        for label in sorted({label for label, _ in surfaces}):
            of_label = [n for n, (other, _) in zip(lengths, surfaces, strict=True) if other == label]
            rows.append(
                (
                    name,
                    label,
                    len(of_label),
                    sum(n == 1 for n in of_label) / len(of_label),
                    sum(of_label) / len(of_label),
                )
            )
    return pd.DataFrame(rows, columns=["tokenizer", "label", "entities", "in_one_piece", "pieces"])


def audit(tokenizers: Mapping[str, Tokenizer], *packs: Pack) -> pd.DataFrame:
    """The safety audit: what a tokenizer merges, loses or cannot write. One row a finding: tokenizer, finding
    ("merged", "unknown", "changed", "NFD differs"), written, read (what is left of it), meaning.

    Words are those of the packs' `distinctions`, or of all known languages where the packs have none, as English.
    """
    marks = [pair for pack in packs for pair in pack.distinctions]
    marks = marks or [pair for code in known_languages() for pair in load_pack(code).distinctions]
    rows = []
    for name, tokenizer in tokenizers.items():
        unknown = _unknown(tokenizer)
        for written, other in [*marks, *_SIGNS]:
            ids = tokenizer.encode(f" {written}", add_special_tokens=False).ids
            read = tokenizer.decode(ids).strip()
            if unknown in ids:
                rows.append((name, "unknown", written, read, f"{written} cannot be written"))
            elif ids == tokenizer.encode(f" {other}", add_special_tokens=False).ids:
                rows.append((name, "merged", written, other, f"{written} is read as {other}"))
            elif read.replace(" ", "") != nfc(written).replace(" ", ""):
                rows.append((name, "changed", written, read, f"{written} comes back as {read}"))
            decomposed = unicodedata.normalize("NFD", written)
            if decomposed != written and tokenizer.encode(f" {decomposed}", add_special_tokens=False).ids != ids:
                rows.append(
                    (name, "NFD differs", written, decomposed, "the same word, stored decomposed, reads otherwise")
                )
    return pd.DataFrame(rows, columns=["tokenizer", "finding", "written", "read", "meaning"])


def identifiers(tokenizer: Tokenizer) -> list[str]:
    """Pieces that may be somebody's number: four digits or more, years of 19xx and 20xx left out (TRAPS T18)."""
    pieces = []
    for piece in tokenizer.get_vocab():
        text = _plain(tokenizer, piece).strip()
        digits = sum(c.isdigit() for c in text)
        year = len(text) == 4 and text[:2] in ("19", "20")
        if digits >= 4 and not year and not (text.startswith("<") and text.endswith(">")):
            pieces.append(text)
    return sorted(pieces)


def lookalikes(tokenizer: Tokenizer) -> pd.DataFrame:
    """Pieces that look like somebody's identifiers, one row each: kind, piece. A person has to judge them: a pressure
    may look like a number, a gene like a name with digits."""
    number = set(identifiers(tokenizer))
    rows = []
    for piece in tokenizer.get_vocab():
        text = _plain(tokenizer, piece).strip()
        if text[:1] + text[-1:] in ("<>", "[]"):
            continue
        kind = next((kind for kind, form in _LOOKALIKES.items() if form.search(text)), None)
        if kind is None and text in number:
            kind = "number"
        if kind is not None:
            rows.append((kind, text))
    return pd.DataFrame(sorted(rows), columns=["kind", "piece"])


def shown(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """A cut as a person reads it: hyper|tension."""
    return "|".join(_plain(tokenizer, str(tokenizer.id_to_token(id))).strip() or "␣" for id in ids)


def _plain(tokenizer: Tokenizer, piece: str) -> str:
    if piece.startswith("##"):
        return piece[2:]
    kind = type(tokenizer.decoder).__name__ if tokenizer.decoder is not None else ""
    return tokenizer.decoder.decode([piece]) if kind == "ByteLevel" else piece.replace("▁", " ")


def _unknown(tokenizer: Tokenizer) -> int | None:
    model = tokenizer.model
    token = getattr(model, "unk_token", None)
    if token is not None:
        return tokenizer.token_to_id(token)
    return getattr(model, "unk_id", None)


def _ids(tokenizer: Tokenizer, texts: Sequence[str], slab: int = 1_000) -> list[list[int]]:
    remaining = iter(texts)
    ids: list[list[int]] = []
    while some := list(islice(remaining, slab)):
        ids += [encoding.ids for encoding in tokenizer.encode_batch_fast(some, add_special_tokens=False)]
    return ids
