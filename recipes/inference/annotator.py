"""A fine-tuned model on new text: notes of any length, read in packed batches."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.languages.annotations import Example, Span
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError, kind_of
from medlingua.languages.words import words
from medlingua.recipes import machine
from medlingua.recipes.evaluation.cache import digest_of_model
from medlingua.recipes.evaluation.candidate import autocast_of
from medlingua.recipes.evaluation.finetune import Prediction, in_batches
from medlingua.recipes.evaluation.reading import EncodedDocument, fitting_question, token_states
from medlingua.recipes.evaluation.saved_task import load_task_model
from torch import Tensor

OF_TWO = ("pairs", "answers", "similarity")  # kinds about a text and a question, or another text
_AT_ONCE = 256  # texts that are put in order of their length
_CHARACTERS = 2_000_000  # of these


@dataclass(frozen=True, slots=True)
class Entity:
    """start, end: characters of the text, from the first fragment to the last. fragments: more than one where it is
    discontinuous. probability: calibrated on the task's dev part."""

    start: int
    end: int
    label: str
    text: str
    probability: float | None
    fragments: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a model predicts for a text. entities: of ner, the ranked answers of a question, and the words of tagging
    with their tags. labels: of whole texts, and the right options; a text without words has none. probabilities: of
    every label. value: of a graded pair."""

    text: str
    entities: tuple[Entity, ...] = ()
    labels: tuple[str, ...] = ()
    probabilities: tuple[tuple[str, float], ...] = ()
    value: float | None = None


class Annotator:
    """A model that `adapt finetune` saved, ready to annotate texts.

    model: its folder. batch_tokens: tokens of one pass. device: "cpu", "cuda", ...; None for the best there is.

    >>> from medlingua import finetune
    >>> few = {"seeds": 1, "epochs": 1, "min_steps": 0}
    >>> annotate = Annotator(finetune("clinical-bert", "fr", "synthetic_outcome", folder="outcome", **few))
    >>> annotate.labels
    ('died', 'improved', 'recovered', 'worsened')
    >>> [len(annotation.probabilities) for annotation in annotate(["Toux sèche.", "Fièvre."])]
    [4, 4]
    """

    def __init__(
        self,
        model: str | Path,
        *,
        batch_tokens: int = 16_384,
        device: str | None = None,
        allow: tuple[Permission, ...] = (),
    ) -> None:
        encoder, self._model, self.record = load_task_model(Path(model), allow)
        encoder.model.to(torch.device(device) if device else machine.device())
        encoder.model.eval()
        self._model.head.to(encoder.device)
        self._encoder, self._batch_tokens = encoder, batch_tokens
        self._autocast = autocast_of(encoder, machine.precision_of("auto", encoder.device))

    @property
    def encoder(self) -> Encoder:
        return self._encoder

    @property
    def digest(self) -> str:
        """Changes with the encoder, the head and the record of the task."""
        digest = hashlib.blake2b(digest_of_model(self._encoder, encoder_alone=True).encode(), digest_size=16)
        for name, tensor in sorted(self._model.head.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        digest.update(self.record.model_dump_json().encode())
        return digest.hexdigest()

    @property
    def labels(self) -> tuple[str, ...]:
        """What it can predict."""
        return self.record.labels

    def __call__(self, texts: Iterable[str | tuple[str, str] | Example]) -> Iterator[Annotation]:
        """An annotation a text, in order. A pair is (question, text): for tasks of pairs and of answers. A choice is
        an Example with its options. Texts are read as they come, some hundred at a time."""
        if isinstance(texts, str):
            raise InputError("a list of texts is needed, and this is one text: give [text]")
        kind = self.record.task.kind
        for examples in batches(_example(text, kind) for text in texts):
            for example, prediction in zip(examples, self.predict(examples), strict=True):
                yield annotation_of(example.document.text, prediction, kind)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """The predictions for examples, whose gold is not read."""
        encoded = [self._model.encode(self._readable(example)) for example in examples]
        settings = self.record.settings.model_copy(
            update={"batch_tokens": self._batch_tokens, "batch_documents": _AT_ONCE}
        )

        def predict(group: list[Any]) -> list[Prediction]:
            states = self._states([e.document for e in group])
            return self._model.confident(states, group, self.record.chosen, self.record.temperature)

        with self._autocast():
            return in_batches(encoded, settings, predict)

    def _readable(self, example: Example) -> Example:
        """Without gold; with a question that the model can hold where the task's were cut."""
        kind = self.record.task.kind
        gold: Any = {"ner": (), "answers": (), "similarity": 0.0, "pairs": ""}.get(kind, frozenset())
        if kind == "tagging":
            places = words(example.document.text, self.record.spacy)
            gold = tuple(Span.of(start, end, "") for start, end in places)
        example = replace(example, gold=gold)
        if self.record.settings.long_questions == "cut" and example.question:
            return replace(example, question=fitting_question(self._encoder, example.question))
        return example

    def _states(self, documents: Sequence[EncodedDocument]) -> Tensor:
        """`token_states`, in several passes where the windows of one document are more than a batch."""
        if len(documents) > 1 or documents[0].size <= self._batch_tokens:
            return token_states(self._encoder, documents)
        (document,) = documents
        ends = np.cumsum([len(window) for window in document.windows])
        passes = (ends - 1) // self._batch_tokens  # of each window
        states = None
        for number in np.unique(passes):
            chosen = np.flatnonzero(passes == number)
            here = np.isin(document.window, chosen)
            part = EncodedDocument(
                tuple(document.windows[i] for i in chosen),
                document.window[here] - chosen[0],
                document.place[here],
                document.offsets[here],
            )
            of_part = token_states(self._encoder, [part])
            if states is None:
                states = of_part.new_empty((document.tokens, of_part.shape[1]))
            states[torch.from_numpy(np.flatnonzero(here)).to(of_part.device)] = of_part
        assert states is not None
        return states


def batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Examples as they come, some hundred at a time, fewer where they are long."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += len(example.document.text)
        if len(batch) == _AT_ONCE or characters >= _CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _example(text: str | tuple[str, str] | Example, kind: str) -> Example:
    """InputError for a text alone where the task is about two, and for a choice without options."""
    if isinstance(text, Example):
        return text
    pair = not isinstance(text, str)
    if kind == "choice" or (pair and (not isinstance(text, tuple) or [*map(type, text)] != [str, str])):
        wanted = "an Example with its options" if kind == "choice" else "a text, or (question, text)"
        raise InputError(f"{kind_of(text)} in the place of {wanted}")
    if pair != (kind in OF_TWO):
        wanted = "(question, text), or (first text, second text)" if kind in OF_TWO else "a text alone"
        raise InputError(f"a task of kind {kind} is about {wanted}; this is {'a pair' if pair else 'a text alone'}")
    question, document = text if isinstance(text, tuple) else ("", text)
    return Example("", Document("", document, ""), (), question=question)


def annotation_of(text: str, prediction: Prediction, kind: str) -> Annotation:
    if kind in ("ner", "answers", "tagging"):
        entities = tuple(
            Entity(s.start, s.end, s.label, s.surface(text), share, s.fragments)
            for s, share in prediction.items
            if isinstance(s, Span)
        )
        return Annotation(text, entities)
    if kind == "similarity":
        return Annotation(text, value=prediction.decided[0])
    if kind != "choice" and not text.strip():
        return Annotation(text)
    shares = tuple((str(label), float(share or 0.0)) for label, share in prediction.items)
    labels = tuple(label for label, _ in shares if label in prediction.decided)
    return Annotation(text, labels=labels, probabilities=shares)
