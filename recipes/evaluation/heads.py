"""Which head a kind of task takes, and the protocol that its scores are under."""

from typing import TypeGuard

from medlingua.adapters.encoder import Encoder
from medlingua.languages.task import Task
from medlingua.recipes.evaluation.finetune import TaskModel
from medlingua.recipes.evaluation.questions import CUT
from medlingua.recipes.evaluation.tasks.answers import Answers
from medlingua.recipes.evaluation.tasks.choice import Choice
from medlingua.recipes.evaluation.tasks.labels import Labels, protocol_of_labels
from medlingua.recipes.evaluation.tasks.ner import Ner
from medlingua.recipes.evaluation.tasks.normalization import Normalization
from medlingua.recipes.evaluation.tasks.pairs import Pairs
from medlingua.recipes.evaluation.tasks.perturbed import Perturbed
from medlingua.recipes.evaluation.tasks.similarity import Similarity
from medlingua.recipes.evaluation.tasks.spans import SpanNer
from medlingua.recipes.evaluation.tasks.tagging import Tagging
from medlingua.recipes.settings import Eval

# Kinds whose labels are read from a text as a whole.
POOLED = ("classification", "multilabel", "relations", "pairs", "choice")


def task_model(task: Task, encoder: Encoder, spacy: str, settings: Eval) -> TaskModel:
    match task.spec.kind:
        case "ner":
            return SpanNer(task, encoder, spacy) if settings.ner_head == "spans" else Ner(task, encoder, spacy)
        case "tagging":
            return Tagging(task, encoder)
        case "pairs":
            pairs = Pairs if task.spec.positive is None else Perturbed
            return pairs(task, encoder, settings.pooling)
        case "similarity":
            return Similarity(task, encoder)
        case "answers":
            return Answers(task, encoder, spacy)
        case "choice":
            return Choice(task, encoder, settings.pooling)
        case _:
            return Labels(task, encoder, settings.pooling)


def protocol_under(task: Task, settings: Eval, warm_start: Task | None = None) -> str:
    """The protocol id of a task under these settings; `reports.protocols` tells what it stands for."""
    spec = task.spec
    match spec.kind:
        case "ner":
            words = [SpanNer.protocol if settings.ner_head == "spans" else Ner.protocol]
        case "normalization":
            return Normalization.protocol  # whatever the settings: nothing is trained
        case "tagging":
            words = [Tagging.protocol]
        case "pairs":
            words = [Pairs.protocol if spec.positive is None else Perturbed.protocol]
        case "similarity":
            words = [Similarity.protocol]
        case "answers":
            words = [Answers.protocol]
        case "choice":
            words = [Choice.protocol]
        case _:
            words = [protocol_of_labels(spec)]
    if task.folds:
        words.append(f"{len(task.folds)} folds")
    if precedes(warm_start, task):
        words.append(f"after {warm_start.spec.name}")
    if task.train_language:
        words.append(f"learnt on {task.train_language}")
    if settings.pooling == "first" and spec.kind in POOLED:
        words.append("first token")
    if settings.body == "frozen":
        words.append("frozen body/2")
    if settings.lora is not None:
        words.append(f"LoRA of rank {settings.lora}")
    if settings.long_questions == "cut" and spec.kind in ("pairs", "similarity", "answers", "choice"):
        words.append(CUT)
    if settings.trials:
        words.append(f"tuned in {settings.trials} trials")
    return ", ".join(words)


def precedes(warm_start: Task | None, task: Task) -> TypeGuard[Task]:
    """Whether a task is fine-tuned after another one."""
    return warm_start is not None and warm_start.spec.name != task.spec.name
