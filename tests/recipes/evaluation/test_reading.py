"""Documents are read whole: windows, the last token, global tokens."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.fresh import random_encoder
from medlingua.languages.words import words
from medlingua.recipes.evaluation.baselines import DICTIONARY, UPPER_BOUND
from medlingua.recipes.evaluation.candidate import Evaluation
from medlingua.recipes.evaluation.evaluate import score_models
from medlingua.recipes.evaluation.reading import encode_document, token_states
from medlingua.recipes.evaluation.tasks.labels import Labels
from medlingua.recipes.evaluation.tasks.ner import (
    Ner,
)
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval
from medlingua.reports.read import read_scores
from transformers import LongformerModel

from ..conftest import cases, new_tokenizer
from .toy_tasks import example, find, label_task, ner_task


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 700))
def test_V5_every_token_is_owned_once(shared_encoder: Encoder, count: int) -> None:
    text = " ".join(["Le", "patient", "va", "bien", "."][i % 5] for i in range(count))
    read = encode_document(shared_encoder, text)
    ids = shared_encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(read.offsets) == len(read.window) == len(read.place) == len(ids)
    owned = [int(read.windows[w][p]) for w, p in zip(read.window, read.place, strict=True)]
    assert owned == ids
    assert all(len(w) <= shared_encoder.length for w in read.windows)
    if len(ids) <= shared_encoder.length - 2:
        assert len(read.windows) == 1
        return
    sizes = [len(w) - 2 for w in read.windows]
    room = shared_encoder.length - 2
    assert len(set(sizes)) == 1, "no window is longer than the others"
    shared = (sum(sizes) - len(ids)) / (len(sizes) - 1)
    assert room // 4 <= shared + 1
    fewer = len(sizes) - 1
    assert fewer * room - (fewer - 1) * (room // 4) < len(ids), "fewer windows would not hold the text"


@pytest.fixture(scope="session")
def shared_encoder(base: Path) -> Encoder:
    """For tests that change nothing."""
    return encoders.load(str(base))


def test_V5_a_text_that_fits_is_read_as_in_one_pass(encoder: Encoder) -> None:
    text = "Le patient va bien. Pas de fièvre."
    ours = token_states(encoder, [encode_document(encoder, text)])
    encoder.model.eval()
    ids = torch.tensor([encoder.tokenizer(text)["input_ids"]])
    plain = encoder.model.base_model(input_ids=ids).last_hidden_state[0, 1:-1]
    assert torch.allclose(ours, plain, atol=1e-5)


def test_V1_gold_far_beyond_the_model_is_tagged_and_counted(encoder: Encoder, tmp_path: Path) -> None:
    far = "Le patient va bien. " * 120 + "Il souffre de migraine."
    task = ner_task(2)
    task = replace(task, test=(*task.test, example("far", far, find(far, ("migraine", "DISO")))))
    tagged = Ner(task, encoder, "fr").read("test")[-1]
    assert len(tagged.document.windows) > 1
    assert len(tagged.tagged) == len(words(far, "fr"))
    folder = str(tmp_path / "model")
    encoders.save(encoder, Path(folder))
    once = Eval(seeds=1, epochs=1, min_steps=0)
    score_models({"tiny": folder}, [task], Evaluation(once, "fr", tmp_path, Precision("fp32", "")))
    rows = read_scores(tmp_path / "results.jsonl")
    assert {row.gold for row in rows} == {sum(len(e.gold) for e in task.test)}
    assert {row.examples for row in rows} == {3}
    assert {row.model for row in rows} == {"tiny", UPPER_BOUND, DICTIONARY}
    before = (tmp_path / "results.jsonl").read_text()
    score_models({"tiny": folder}, [task], Evaluation(once, "fr", tmp_path, Precision("fp32", "")))
    assert (tmp_path / "results.jsonl").read_text() == before


def test_V11_the_last_token_reaches_the_answer(encoder: Encoder) -> None:
    text = "Le patient va bien. " * 60
    task = replace(label_task(), train=(example("long", text, frozenset({"foie"})),))
    model = Labels(task, encoder)
    (read,) = model.read("train")
    assert len(read.document.windows) > 1
    states = token_states(encoder, [read.document]).detach().requires_grad_()
    loss, _ = model.loss(states, [read])
    torch.autograd.backward(loss)
    assert states.grad is not None
    assert (states.grad.abs().sum(dim=1) > 0).all()
    with torch.no_grad():
        (predicted,) = model.predict(token_states(encoder, [read.document]), [read])
    other = replace(read, document=encode_document(encoder, text.strip()[:-5] + "mal."))
    with torch.no_grad():
        (changed,) = model.predict(token_states(encoder, [other.document]), [other])
    assert not np.array_equal(predicted, changed)


def test_C7_a_longformer_is_read_with_the_global_tokens_it_was_trained_with(tmp_path: Path) -> None:
    texts = cases(20, seed=60)
    encoder = random_encoder("longformer", "tiny", 256, 8, new_tokenizer(texts, 400), seed=0)
    for parameter in encoder.model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.15)
    encoder.model.config.global_token_ids = [encoder.tokenizer.cls_token_id]
    encoders.save(encoder, tmp_path)
    reopened = encoders.load(str(tmp_path))
    assert reopened.global_ids == (encoder.tokenizer.cls_token_id,)
    reading = encode_document(reopened, " ".join(texts)[:600])
    (window,) = reading.windows
    assert len(window) > 60
    ids = torch.from_numpy(window)[None]
    stock = LongformerModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        ours = token_states(reopened, [reading])
        first = (ids == encoder.tokenizer.cls_token_id).long()
        with_global, never = (
            stock(ids, global_attention_mask=m).last_hidden_state[0, 1:-1] for m in (first, first * 0)
        )
    torch.testing.assert_close(ours, with_global, atol=1e-4, rtol=1e-4)
    assert (with_global - never).abs().max() > 0.1
