"""Components of spaCy pipelines: `nlp.add_pipe("medlingua_ner", config={"model": "path/to/model"})`.

spaCy finds them by the entry points of the installed package.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from medlingua.languages.errors import InputError
from medlingua.recipes.inference.annotator import Annotation, Annotator
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import filter_spans

_CONFIG = {"model": "", "spans_key": "medlingua", "batch_tokens": 16_384}
_OF_TEXTS = ("classification", "multilabel", "relations")


class Component:
    """Sets `doc.ents` and, with probabilities in its `attrs`, `doc.spans[spans_key]`; of labels of texts `doc.cats`.

    Where entities lie inside each other, `doc.ents` has the longest ones. Spans that begin or end inside a word of
    the pipeline are widened to the word.
    """

    def __init__(self, name: str, folder: Path, spans_key: str, kinds: tuple[str, ...], batch_tokens: int) -> None:
        self._name, self._spans_key, self._kinds, self._batch_tokens = name, spans_key, kinds, batch_tokens
        self._folder = folder
        self._loaded: Annotator | None = None
        if folder.exists():  # a pipeline that was moved brings its model with it: from_disk comes next
            self._load(folder)

    def _load(self, folder: Path) -> Annotator:
        annotator = Annotator(folder, batch_tokens=self._batch_tokens)
        kind = annotator.record.task.kind
        if kind not in self._kinds:
            fitting = {"ner": "medlingua_ner", **dict.fromkeys(_OF_TEXTS, "medlingua_textcat")}
            raise InputError(
                f"component {self._name}: {folder} is a model of kind {kind}, not {' or '.join(self._kinds)}: use "
                f"{fitting.get(kind, 'medlingua.Annotator')}"
            )
        self._folder, self._loaded = folder, annotator
        return annotator

    @property
    def _annotator(self) -> Annotator:
        return self._loaded or self._load(self._folder)

    @property
    def labels(self) -> tuple[str, ...]:
        """None while the model is not loaded: spaCy asks before it reads a pipeline's folder."""
        return self._loaded.labels if self._loaded else ()

    def to_disk(self, path: Path, *, exclude: Iterable[str] = ()) -> None:
        """The model's folder goes with the pipeline."""
        shutil.copytree(self._folder, path, dirs_exist_ok=True)

    def from_disk(self, path: Path, *, exclude: Iterable[str] = ()) -> "Component":
        self._load(Path(path))
        return self

    def __call__(self, doc: Doc) -> Doc:
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        docs: list[Doc] = []
        for doc in stream:
            docs.append(doc)
            if len(docs) >= batch_size:
                yield from self._annotated(docs)
                docs = []
        yield from self._annotated(docs)

    def _annotated(self, docs: list[Doc]) -> Iterator[Doc]:
        for doc, annotation in zip(docs, self._annotator([doc.text for doc in docs]), strict=True):
            if set(self._kinds) <= set(_OF_TEXTS):
                doc.cats.update(annotation.probabilities)
            else:
                self._set_entities(doc, annotation)
            yield doc

    def _set_entities(self, doc: Doc, annotation: Annotation) -> None:
        spans = [
            doc.char_span(entity.start, entity.end, label=entity.label, alignment_mode="expand")
            for entity in annotation.entities
        ]
        doc.spans[self._spans_key] = spans
        doc.spans[self._spans_key].attrs["probabilities"] = [entity.probability for entity in annotation.entities]
        doc.set_ents(filter_spans(spans))


@Language.factory("medlingua_ner", assigns=["doc.ents", "doc.spans"], default_config=_CONFIG)  # type: ignore[untyped-decorator]
def create_ner(nlp: Language, name: str, model: str, spans_key: str, batch_tokens: int) -> Component:
    """A component of a NER model."""
    return _component(name, model, spans_key, batch_tokens, ("ner",))


@Language.factory("medlingua_textcat", assigns=["doc.cats"], default_config=_CONFIG)  # type: ignore[untyped-decorator]
def create_textcat(nlp: Language, name: str, model: str, spans_key: str, batch_tokens: int) -> Component:
    """A component of a model that labels texts."""
    return _component(name, model, spans_key, batch_tokens, _OF_TEXTS)


def _component(name: str, model: Any, spans_key: str, batch_tokens: int, kinds: tuple[str, ...]) -> Component:
    if not model:
        raise InputError(f'component {name}: give config={{"model": "folder of adapt finetune"}}')
    return Component(name, Path(model), spans_key, kinds, batch_tokens)
