"""What a run starts training from: the base, and what the strategy makes of it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.embeddings import set_bias_to_frequencies
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.longformer import global_ids
from medlingua.languages.errors import ArgumentError, InputError
from medlingua.recipes.console import say
from medlingua.recipes.folder import write
from medlingua.recipes.settings import Run
from medlingua.recipes.strategies import convert, scratch, vocabulary
from medlingua.recipes.text.corpus import training_documents, training_texts
from medlingua.recipes.text.inputs import Inputs

# The arguments that an ArgumentError of the functions of a strategy may name.
_SETTINGS = {
    "length": "adapt.length",
    "window": "adapt.window",
    "layers": "adapt.layers",
    "theta": "adapt.theta",
    "global_tokens": "train.global_tokens",
    "new_pieces": "adapt.new_pieces",
    "size": "adapt.new_pieces",
    "min_documents": "adapt.piece_documents",
    "priority": "adapt.priority",
}


def with_own_head(run: Run, base: str) -> Run:
    """The run, without a fresh masked-LM head where the base has one of its own."""
    if not base or run.adapt.head == "keep":
        return run
    loaded = encoders.load(base, head="fresh", revision=run.revision, allow=run.allow)
    if loaded.dropped:
        say(f"the base has the head of a task, which is left out: {', '.join(loaded.dropped)}")
    if loaded.fresh_head:
        return run
    say("the base has a masked-LM head, which is kept: adapt.head = 'fresh' is for models without one")
    return run.model_copy(update={"adapt": run.adapt.model_copy(update={"head": "keep", "head_tokens": 0})})


def starting_encoder(inputs: Inputs, base: str, folder: Path) -> Encoder:
    """The encoder that training starts from, saved in start/ where it is not the base itself.

    A conversion of a model whose vocabulary changed saves the changed model too, in vocabulary/: what the
    conversion preserved is measured against that.
    """
    run, pack = inputs.run, inputs.pack
    saved = folder / "start"
    if saved.exists():
        return encoders.load(str(saved), allow=run.allow)
    head: Literal["keep", "fresh"] = "keep" if run.adapt.head_tokens else run.adapt.head
    encoder = None
    if base:
        encoder = encoders.load(base, head=head, revision=run.revision, allow=run.allow, seed=run.train.seed)

    def texts() -> Iterator[str]:
        return training_texts(inputs)

    def documents() -> Iterator[str]:
        return training_documents(inputs)

    row = None
    with _settings_named():
        if run.strategy == "scratch" or encoder is None:
            start, row = scratch.start(run, encoder, pack, texts, documents)
        else:
            start, row = vocabulary.change(run, encoder, pack, texts, documents)
        if run.strategy == "convert":
            converted = convert.start(run, start)
            if row is not None:
                _save(start, folder / "vocabulary")
            start = converted
        _set_global_tokens(run, start)
        _check_objective(run, start)
        if run.strategy == "scratch" and encoder is not None and run.learns_from_source:
            _check_student(start, encoder)
    if row is not None:
        write(folder / "vocabulary.json", row)
    if head == "fresh" or (run.strategy == "scratch" and run.adapt.carry != "weights"):
        _set_bias(start, texts())
    if head == "fresh" or row is not None or run.strategy != "continue":
        _save(start, saved)
    return start


@contextmanager
def _settings_named() -> Iterator[None]:
    """While open, an error about an argument of a function names the setting that it comes from."""
    try:
        yield
    except ArgumentError as error:
        message = str(error)
        for argument in error.arguments:
            message = re.sub(rf"\b{argument}\b", _SETTINGS[argument], message)
        raise InputError(message) from error


def _check_objective(run: Run, start: Encoder) -> None:
    family = start.architecture.family
    if any(phase.kind == "clm" for phase in run.phases):
        _check_causal(start)
    if any(phase.theta is not None for phase in run.phases):
        if start.architecture.positions != "rotary":
            raise InputError(f"phases: theta is about rotary positions, and a {family} model has none: leave it out")
        if run.new_rotations and run.adapt.start == "gradual":
            raise InputError(
                "phases: theta cannot be set while a conversion changes positions gradually: adapt.start = 'once'"
            )
    if family != "electra" and any(phase.kind == "rtd" for phase in run.phases):
        raise InputError(f"objective.kind rtd trains an ELECTRA, not a {family}: adapt.architecture = 'electra'")


def _check_student(student: Encoder, teacher: Encoder) -> None:
    """InputError where the pieces of the two do not have the same ids."""
    if student.tokenizer.get_vocab() != teacher.tokenizer.get_vocab():
        raise InputError(
            f"objective.kind distil: the new model has {len(student.tokenizer):,} pieces and its teacher "
            f"(--base) {len(teacher.tokenizer):,}, not the same ones, so that their answers cannot be compared. Set "
            "adapt.vocabulary = 'keep', or adapt the teacher to the vocabulary first"
        )


def _check_causal(start: Encoder) -> None:
    """InputError for a model whose attention cannot be causal."""
    architecture = start.architecture
    if not (architecture.interface or architecture.family == "longformer"):
        causal = sorted(a.family for a in ARCHITECTURES.values() if a.interface)
        raise InputError(
            f"objective.kind clm: the attention of a {architecture.family} model cannot be causal. Take a model of "
            f"one of these families: {', '.join(causal)}"
        )
    if start.global_ids:
        raise InputError(
            "objective.kind clm: a token with global attention sees the whole document, later tokens too. Set "
            "train.global_tokens = 'none', and give them in the run after"
        )


def _set_global_tokens(run: Run, start: Encoder) -> None:
    if run.train.global_tokens is None:
        return
    ids = global_ids(start.tokenizer, run.train.global_tokens)
    family = start.architecture.family
    if ids and family != "longformer":
        raise InputError(f"train.global_tokens: a {family} model has no global attention, only Longformer has")
    start.model.config.global_token_ids = list(ids)


def _set_bias(start: Encoder, texts: Iterator[str]) -> None:
    """The output bias at the frequencies of the pieces, which a fresh head would otherwise learn first."""
    counts = torch.zeros(start.model.config.vocab_size)
    for text in texts:
        ids = start.tokenizer(text, add_special_tokens=False)["input_ids"]
        counts += torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=len(counts))
    set_bias_to_frequencies(start, counts)


def unchanged(run: Run, base: str) -> Encoder:
    """A model as it came, beside what the strategy made of it."""
    return encoders.load(base, revision=run.revision, allow=run.allow)


def _save(encoder: Encoder, folder: Path) -> None:
    """Save whole or not at all; what a stopped run left there is written again."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    encoders.save(encoder, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
