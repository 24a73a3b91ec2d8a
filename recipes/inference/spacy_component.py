"""Components of spaCy pipelines: `nlp.add_pipe("medlingua_ner", config={"model": "path/to/model"})`.

spaCy finds them by the entry points of the installed package.
"""

from collections.abc import Iterable, Iterator
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

    def __init__(self, annotator: Annotator, spans_key: str) -> None:
        self._annotator, self._spans_key = annotator, spans_key

    @property
    def labels(self) -> tuple[str, ...]:
        return self._annotator.labels

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
            if annotation.probabilities:
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
    annotator = Annotator(model, batch_tokens=batch_tokens)
    kind = annotator.record.task.kind
    if kind not in kinds:
        fitting = {"ner": "medlingua_ner", **dict.fromkeys(_OF_TEXTS, "medlingua_textcat")}
        raise InputError(
            f"component {name}: {model} is a model of kind {kind}, not {' or '.join(kinds)}: use "
            f"{fitting.get(kind, 'medlingua.Annotator')}"
        )
    return Component(annotator, spans_key)
