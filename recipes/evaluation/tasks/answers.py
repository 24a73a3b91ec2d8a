"""Extractive question answering: the answer is a stretch of the document, or the document has none.

Protocol answers/1: first and last token are scored over the whole document, read in windows that all begin with
the question; the best of the stretches of at most 40 tokens wins, or "no answer". SQuAD's rules (Rajpurkar et al.
2016, 2018): exact match and token F1 after small letters, without punctuation and articles, the best over the gold
answers. BioASQ's: strict accuracy (the first answer), lenient accuracy (one of five), mean reciprocal rank of five.
"""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import on_device
from medlingua.languages.annotations import Example, Span
from medlingua.languages.task import Task
from medlingua.languages.words import sentences
from medlingua.recipes.evaluation.finetune import Prediction
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document, mean_of
from medlingua.reports.bootstrap import Tally
from torch import Tensor, nn

_LONGEST = 40  # tokens of an answer
_RANKED = 5  # answers
_CANDIDATES = 20  # first and last tokens that are tried
LABEL = "ANSWER"

# What SQuAD's script takes away in English, for our languages.
ARTICLES = {
    "en": {"a", "an", "the"},
    "fr": {"le", "la", "les", "l", "un", "une", "des", "du", "de", "d"},
    "es": {"el", "la", "los", "las", "un", "una", "unos", "unas"},
    "de": {"der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "eines"},
}


@dataclass(frozen=True, slots=True)
class EncodedQuestion:
    """bounds: (gold answers, 2) first and last token of each among the N of the reading; empty for no answer."""

    document: EncodedDocument
    bounds: np.ndarray


class Answers:
    """A task of questions to documents on one encoder."""

    protocol = "answers/1"
    main_metric = "F1"
    tally: Tally = "mean"

    def __init__(self, task: Task, encoder: Encoder, spacy: str) -> None:
        self.task, self._encoder, self._spacy = task, encoder, spacy
        width = encoder.model.config.hidden_size
        # Rows: first token, last token; and, of the question's mean, that there is no answer.
        self.head = nn.Linear(width, 3)
        self._parts: dict[str, list[EncodedQuestion]] = {}

    def read(self, part: str) -> list[EncodedQuestion]:
        if part not in self._parts:
            self._parts[part] = [self.encode(example) for example in getattr(self.task, part)]
        return self._parts[part]

    def encode(self, example: Example) -> EncodedQuestion:
        document = encode_document(self._encoder, example.document.text, example.question)
        starts, ends = document.offsets[document.question_tokens :].T
        bounds = []
        for span in spans_of(example):
            touched = np.flatnonzero((starts < span.end) & (ends > span.start))
            if len(touched):  # a tokenizer may drop what the answer is made of
                bounds.append((document.question_tokens + touched[0], document.question_tokens + touched[-1]))
        return EncodedQuestion(document, np.array(bounds, dtype=np.int64).reshape(-1, 2))

    def _scores(self, states: Tensor, examples: Sequence[EncodedQuestion]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each example: first (n,), last (n,) of its document's tokens, and no answer ()."""
        scores, begin = [], 0
        for example in examples:
            question_tokens, tokens = example.document.question_tokens, example.document.tokens
            of = states[begin : begin + tokens]
            begin += tokens
            first, last, _ = self.head(of[question_tokens:]).float().T
            question = mean_of(of[:question_tokens], np.zeros(question_tokens, dtype=np.int64), 1).to(of.dtype)
            scores.append((first, last, self.head(question)[0, 2].float()))
        return scores

    def loss(self, states: Tensor, examples: Sequence[EncodedQuestion]) -> tuple[Tensor, int]:
        losses = []
        of_documents = np.concatenate([e.bounds - e.document.question_tokens for e in examples])
        bounds_of = torch.split(
            on_device(torch.from_numpy(of_documents), states.device), [len(e.bounds) for e in examples]
        )
        for (first, last, none), bounds in zip(self._scores(states, examples), bounds_of, strict=True):
            # Where a text gives the answer several times, all of them are right.
            for scores, right in ((first, bounds[:, 0]), (last, bounds[:, 1])):
                every = torch.cat([scores, none[None]])
                wanted = every[right] if len(right) else none[None]
                losses.append(every.logsumexp(dim=0) - wanted.logsumexp(dim=0))
        return torch.stack(losses).sum(), len(losses)

    def predict(self, states: Tensor, examples: Sequence[EncodedQuestion]) -> list[list[tuple[float, int, int]]]:
        """Ranked (score over "no answer", first and last character) of each example; no answer is (0, 0, 0)."""
        predictions = []
        for (first, last, none), example in zip(self._scores(states, examples), examples, strict=True):
            offsets = example.document.offsets[example.document.question_tokens :]
            a, b, unanswered = first.cpu().numpy(), last.cpu().numpy(), 2 * none.item()
            ranked = [(0.0, 0, 0)]
            for i in np.argsort(-a)[:_CANDIDATES]:
                for j in np.argsort(-b)[:_CANDIDATES]:
                    if i <= j < i + _LONGEST:
                        ranked.append((float(a[i] + b[j] - unanswered), int(offsets[i, 0]), int(offsets[j, 1])))
            predictions.append(sorted(set(ranked), reverse=True)[: _RANKED + 1])
        return predictions

    def choose(self, predicted: Sequence[Any]) -> dict[str, float]:
        """How much better than "no answer" an answer must be, for the best F1 on dev; none where every question of
        dev has an answer, so that every question gets one."""
        if all(spans_of(example) for example in self.task.dev):
            return {}
        margins = sorted({0.0, *(ranked[0][0] for ranked in predicted)})
        candidates = margins[:: max(1, len(margins) // 50)]
        best = np.array([next((score for score, start, end in p if start < end), -np.inf) for p in predicted])
        answered, silent = (
            self.tallies("dev", decided)[:, 0]
            for decided in ([self.decide(p, {}) for p in predicted], [()] * len(predicted))
        )
        values = [np.where(best >= margin, answered, silent).mean() for margin in candidates]
        return {"margin": float(candidates[int(np.argmax(values))])}

    def decide(self, predicted: list[tuple[float, int, int]], chosen: dict[str, float]) -> list[Span]:
        """The ranked answers; none where "no answer" comes first."""
        spans = [entry for entry in predicted if entry[1] < entry[2]]
        if not spans or spans[0][0] < chosen.get("margin", -np.inf):
            return []
        return [Span.of(start, end, LABEL) for _, start, end in spans[:_RANKED]]

    def evidence(self, states: Tensor, examples: Sequence[EncodedQuestion]) -> None:
        return None

    def confident(
        self, states: Tensor, examples: Sequence[EncodedQuestion], chosen: dict[str, float], temperature: float
    ) -> list[Prediction]:
        """Probabilities among the ranked answers and "no answer"."""
        predictions = []
        for ranked in self.predict(states, examples):
            scores = torch.tensor([score for score, _, _ in ranked])
            of = dict(
                zip([entry[1:] for entry in ranked], (scores / temperature).softmax(dim=0).tolist(), strict=True)
            )
            spans = self.decide(ranked, chosen)
            predictions.append(Prediction(spans, tuple((s, of[s.start, s.end]) for s in spans)))
        return predictions

    def silent(self, part: str) -> dict[str, float]:
        """All metrics of "no answer" to every question."""
        return self.score(part, [[] for _ in getattr(self.task, part)])

    def by_overlap(self, part: str) -> dict[str, float]:
        """All metrics of the sentence that shares most words with the question, the first of equals."""
        examples: tuple[Example, ...] = getattr(self.task, part)
        return self.score(part, [[self._likest(example)] for example in examples])

    def _likest(self, example: Example) -> Span:
        text, language = example.document.text, self.task.language
        wanted = {*normalised(example.question, language)}
        borders = [(a, b) for a, b in sentences(text, self._spacy) if text[a:b].strip()] or [(0, len(text))]
        shared = [len(wanted & {*normalised(text[a:b], language)}) for a, b in borders]
        return Span.of(*borders[shared.index(max(shared))], LABEL)

    def score(self, part: str, decided: Sequence[Sequence[Span]]) -> dict[str, float]:
        means = self._rows(part, decided).mean(axis=0).tolist()
        return dict(zip(("exact match", "F1", "lenient accuracy", "MRR"), means, strict=True))

    def tallies(self, part: str, decided: Sequence[Sequence[Span]]) -> np.ndarray:
        return self._rows(part, decided)[:, 1:2]

    def _rows(self, part: str, decided: Sequence[Sequence[Span]]) -> np.ndarray:
        """(documents, 4): exact match, F1, one of the ranked right, and over the place of the first right one."""
        examples: tuple[Example, ...] = getattr(self.task, part)
        language = self.task.language
        rows = []
        for example, ranked in zip(examples, decided, strict=True):
            text = example.document.text
            gold = [span.surface(text) for span in spans_of(example)] or [""]
            answers = [span.surface(text).strip() for span in ranked] or [""]
            right = [max(exact(g, s, language) for g in gold) for s in answers]
            place = right.index(True) if True in right else None
            rows.append(
                (right[0], max(overlap(g, answers[0], language) for g in gold), place is not None,
                 0.0 if place is None else 1 / (place + 1))
            )  # fmt: skip
        return np.array(rows, dtype=np.float64)


def spans_of(example: Example) -> tuple[Span, ...]:
    assert isinstance(example.gold, tuple)
    return example.gold


def normalised(text: str, language: str) -> list[str]:
    """Words as SQuAD compares them: small, without punctuation and articles.

    English as SQuAD's own script; elsewhere an apostrophe divides (l'aspirine), and typographic signs go too.
    """
    small = text.lower()
    if language != "en":
        small = small.translate({ord(sign): " " for sign in "'’"} | dict.fromkeys(map(ord, "«»“”„…¿¡")))
    plain = "".join(c for c in small if c not in string.punctuation)
    return [word for word in plain.split() if word not in ARTICLES.get(language, ())]


def exact(gold: str, answer: str, language: str) -> bool:
    return normalised(gold, language) == normalised(answer, language)


def overlap(gold: str, answer: str, language: str) -> float:
    """Token F1; where one of them is empty, 1 if both are."""
    true, predicted = normalised(gold, language), normalised(answer, language)
    if not true or not predicted:
        return float(true == predicted)
    shared = sum((Counter(true) & Counter(predicted)).values())
    return 2 * shared / (len(true) + len(predicted))
