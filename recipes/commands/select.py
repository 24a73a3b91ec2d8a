"""Which text to train on: scores of documents, written as columns that a mixture filters and repeats by.

    adapt select --lang fr --data ROOT --out scored
    adapt select --lang fr --data ROOT --paragraphs --prompts prompts.jsonl      # for a language model
    adapt select --lang fr --data ROOT --paragraphs --answers answers.jsonl --base MODEL --out scored
    adapt ... --corpus scored/e3c_pamj_fr_scored.parquet --config mixture.toml

    [[data.mixture]]
    corpus = "e3c_pamj_fr_scored"
    filter = "term_density >= 0.1 and duplicate_of == ''"

The tool for what Biomed-Enriched (arXiv 2506.20331) did: labels of a language model are learnt by an encoder that is
fine-tuned on them and labels the rest. A lab's own labels (--seed-set) are spread by a linear classifier on frozen
states, with its calibrated confidence.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.languages.documents import Document, read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.terms import read_terms
from medlingua.languages.words import nfc, sentences, words
from medlingua.recipes import machine
from medlingua.recipes.commands.annotate import spread, value_of, write_prompts
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.tasks import dictionary
from medlingua.recipes.inference.embed import vectors_of
from medlingua.recipes.resolve import resolve
from medlingua.recipes.settings import Eval
from medlingua.recipes.text.annotation import Schema, read_answers
from medlingua.recipes.text.near_duplicates import NearDuplicates
from medlingua.recipes.text.sources import Source, read, select, write_scored
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

_BLANK = re.compile(r"\n[ \t\r]*\n\s*")
_FOLDS = 5
_BATCH = 256  # texts that are put in order of their length


class Scored(NamedTuple):
    """One document or paragraph with its columns, ready to be written."""

    document: Document
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Classifier:
    """Labels from a seed set. predict: states (N, width) -> probabilities (N, labels). accuracy, log_loss: on parts
    of the seed set that were not learnt from; chance: log loss of its label shares."""

    labels: tuple[str, ...]
    predict: Callable[[np.ndarray], np.ndarray]
    examples: int
    accuracy: float
    log_loss: float
    chance: float


@dataclass(frozen=True, slots=True)
class Text:
    """Which text: the corpora of a language, or files, whole or by paragraphs."""

    lang: str
    data: str | None
    corpus: tuple[str, ...]
    text_field: str | None
    paragraphs: bool
    allow: tuple[Permission, ...]

    def read(self) -> dict[Source, Callable[[], Iterator[Document]]]:
        """The corpora, each with its texts. InputError where there is none."""
        pack = load_pack(self.lang)
        where: dict[str, Any] = {"paths": list(self.corpus), **({"root": self.data} if self.data else {})}
        if self.text_field is not None:
            where["text_field"] = self.text_field
        run = resolve({"strategy": "scratch", "lang": self.lang, "data": where, "allow": list(self.allow)})
        selection = select(run, pack)
        for line in selection.left_out:
            say(line)
        return {
            source: lambda source=source: _units(read(source, pack, run), self.paragraphs)  # type: ignore[misc]
            for source in selection.sources
        }


@dataclass(frozen=True, slots=True)
class Labelling:
    """Labels to spread: of a seed set by a linear classifier on the base's states, and of a language model's answers
    by the base, fine-tuned with these settings."""

    base: str | None
    seed_set: Path | None
    answers: Path | None
    schema: Schema
    settings: Eval


def write_questions(text: Text, schema: Schema, count: int, file: Path) -> str:
    """Write what a language model is asked about a sample of the text; returns a line on what was written."""
    documents = (document for units in text.read().values() for document in units())
    return write_prompts(documents, schema, count, file)


def select_text(text: Text, near: float, labelling: Labelling, out: Path) -> str:
    """Score the corpora of a language and write `out`/<corpus>_scored.parquet. Returns a table of what was found."""
    existing = next(place for place in (out, *out.parents) if place.exists())
    if not existing.is_dir():
        raise InputError(f"{existing} is a file: give another --out")
    pack = load_pack(text.lang)
    base, seed_set, allow = labelling.base, labelling.seed_set, text.allow
    unit = "paragraph" if text.paragraphs else "document"
    sources = text.read()
    root = Path(text.data) if text.data else None
    listed = root is not None and any((root / terms.path).exists() for terms in pack.terms)
    terms = dictionary.of([term.text for term in read_terms(pack, root)] if listed and root else [], pack.spacy)
    if not terms.labels:
        say("no term list is at hand: term_density is left out")
    encoder, classifier = None, None
    if seed_set is not None:
        if base is None:
            raise InputError("--seed-set needs a model whose states tell the labels apart: give --base")
        encoder = encoders.load(base, allow=allow)
        encoder.model.to(machine.device())
        classifier = learn(encoder, seed_set)
        say(
            f"{seed_set}: {classifier.examples:,} examples of {', '.join(classifier.labels)}; on parts not learnt "
            f"from accuracy {classifier.accuracy:.3f}, log loss {classifier.log_loss:.3f} (label shares alone: "
            f"{classifier.chance:.3f})"
        )
    answers = None
    if labelling.answers is not None:
        if base is None:
            raise InputError("--answers needs a model to fine-tune on them: give --base")
        answers = read_answers(labelling.answers, labelling.schema)
    duplicates = NearDuplicates(near)
    scored_rows: dict[Source, list[Scored]] = {}
    for source, units in sources.items():
        rows = scored_rows[source] = []
        with progress(f"scoring {source.name}", None) as bar:
            for document in units():
                rows.append(scored(document, pack.spacy, terms, duplicates))
                bar.update(len(rows), f"{len(rows):,} {unit}s")
        if encoder is not None and classifier is not None:
            _label(rows, encoder, classifier, f"labels of {source.name}")
    every = [row for rows in scored_rows.values() for row in rows]
    if answers is not None and base is not None:
        documents = [row.document for row in every]
        columns = spread(documents, answers, labelling.schema, base, text.lang, pack.spacy, labelling.settings, allow)
        for column, labels, probabilities in columns:
            for row in every:
                row.columns[column.name] = value_of(column, labels[row.document.id])
                row.columns[f"{column.name}_confidence"] = probabilities[row.document.id]
    out.mkdir(parents=True, exist_ok=True)
    tables = {}
    for source, rows in scored_rows.items():
        licence = {"licence": source.licence, "source": source.name}
        table = pd.DataFrame(
            [{"id": s.document.id, "text": s.document.text, **s.document.meta, **licence, **s.columns} for s in rows]
        )
        write_scored(table, source, out / f"{source.name}_scored.parquet")  # the pack's own corpus keeps its name
        tables[source.name] = table
    return _summary(tables, unit)


def scored(document: Document, spacy: str, terms: dictionary.Dictionary, duplicates: NearDuplicates) -> Scored:
    """words, sentence_words (mean length of a sentence), letters (share of characters that are not white space),
    term_density (share of words inside a term of the pack), duplicate_of (id of an earlier text, or "")."""
    text = document.text
    places = words(text, spacy)
    visible = sum(not c.isspace() for c in text)
    columns: dict[str, Any] = {
        "words": len(places),
        "sentence_words": len(places) / max(1, len(sentences(text, spacy))),
        "letters": sum(c.isalpha() for c in text) / max(1, visible),
    }
    if terms.labels:
        spans = dictionary.find(terms, text, spacy)
        starts = np.array([start for start, _ in places], dtype=np.int64)
        inside = sum(int(np.searchsorted(starts, s.end) - np.searchsorted(starts, s.start)) for s in spans)
        columns["term_density"] = inside / max(1, len(places))
    columns["duplicate_of"] = duplicates.of(document.id, [text[a:b].lower() for a, b in places])
    return Scored(document, columns)


def learn(encoder: Encoder, seed_set: Path) -> Classifier:
    """A linear classifier on frozen states, calibrated (sigmoid, on folds not learnt from).

    seed_set: a table or JSONL with columns text and label. InputError for one label, or for fewer than four examples
    of one.
    """
    texts, labels = [], []
    for document in read_documents(seed_set, source="seed set"):
        label = document.meta.get("label")
        if label in (None, ""):
            raise InputError(f"{seed_set}: '{document.id}' has no label; every line needs text and label")
        texts.append(document.text)
        labels.append(str(label))
    counts = Counter(labels)
    if len(counts) < 2:
        raise InputError(f"{seed_set}: all {len(labels):,} examples are '{labels[0]}'; a second label is needed")
    rare = min(counts, key=lambda label: (counts[label], label))
    if counts[rare] < 4:
        raise InputError(f"{seed_set}: label '{rare}' has {counts[rare]} examples; four are needed to calibrate")
    vectors = embedded(encoder, texts, "vectors of the seed set")
    folds = StratifiedKFold(min(_FOLDS, counts[rare] // 2), shuffle=True, random_state=0)
    model = CalibratedClassifierCV(LogisticRegression(max_iter=1_000), cv=folds)
    probabilities = cross_val_predict(model, vectors, labels, cv=folds, method="predict_proba")
    known = tuple(sorted(counts))
    shares = np.array([counts[label] / len(labels) for label in known])
    model.fit(vectors, labels)
    return Classifier(
        known,
        model.predict_proba,
        len(labels),
        float(accuracy_score(labels, np.array(known)[probabilities.argmax(axis=1)])),
        float(log_loss(labels, probabilities, labels=known)),
        float(log_loss(labels, np.tile(shares, (len(labels), 1)), labels=known)),
    )


def embedded(encoder: Encoder, texts: Sequence[str], what: str) -> np.ndarray:
    """(texts, width) float32, as `adapt embed` gives them."""
    vectors: list[np.ndarray] = []
    with progress(what, len(texts)) as bar:
        for start in range(0, len(texts), _BATCH):
            vectors += vectors_of(encoder, texts[start : start + _BATCH], "mean")
            bar.update(len(vectors))
    return np.stack(vectors)


def _label(rows: list[Scored], encoder: Encoder, classifier: Classifier, what: str) -> None:
    probabilities_of = classifier.predict(embedded(encoder, [row.document.text for row in rows], what))
    for row, probabilities in zip(rows, probabilities_of, strict=True):
        best = int(probabilities.argmax())
        row.columns["label"], row.columns["confidence"] = classifier.labels[best], float(probabilities[best])


def _units(documents: Iterator[Document], paragraphs: bool) -> Iterator[Document]:
    """Documents in canonical form, or their paragraphs under ids of their own; empty ones are left out."""
    for document in documents:
        text = nfc(document.text)
        parts = _BLANK.split(text) if paragraphs else [text]
        for number, part in enumerate(parts):
            if part.strip():
                id = f"{document.id}#{number}" if paragraphs else document.id
                yield Document(id, part.strip(), document.source, document.meta)


def _summary(tables: dict[str, pd.DataFrame], unit: str) -> str:
    rows = []
    for name, table in tables.items():
        repeated = table["duplicate_of"] != ""
        row: dict[str, Any] = {
            "corpus": name,
            f"{unit}s": len(table),
            "words": int(table["words"].sum()),
            "near duplicates": f"{repeated.mean():.1%}",
            "of the words": f"{table.loc[repeated, 'words'].sum() / max(1, table['words'].sum()):.1%}",
        }
        if "term_density" in table:
            low, middle, high = table["term_density"].quantile([0.1, 0.5, 0.9])
            row["term density 10, 50, 90 %"] = f"{low:.3f} {middle:.3f} {high:.3f}"
        if "label" in table:
            row["labels"] = json.dumps(table["label"].value_counts().to_dict(), ensure_ascii=False)
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False)
