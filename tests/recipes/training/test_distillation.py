"""A small model that learns what a large one answers, and the shallow copy that it begins as."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import load, save
from medlingua.adapters.packed import hidden_states, pack
from medlingua.adapters.shallow import evenly_spaced, shallower
from medlingua.languages.errors import InputError
from medlingua.recipes.settings import Train
from medlingua.recipes.training.objectives import DistilledAnswers
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.optimizers import build_optimizer
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM

from tests.adapters.conftest import build  # noqa: F401 -- a fixture
from tests.adapters.test_packed import documents
from tests.recipes.conftest import call, write_base

from .test_loop import cut_into, learner


def test_layers_are_evenly_spaced_with_the_first_and_the_last() -> None:
    assert evenly_spaced(12, 6) == [0, 2, 4, 7, 9, 11]
    assert evenly_spaced(12, 2) == [0, 11]
    assert evenly_spaced(22, 3) == [0, 10, 21]
    assert evenly_spaced(3, 1) == [0]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert", "eurobert", "longformer"])
def test_a_shallow_copy_computes_the_layers_that_it_has(family: str, build: Any, tmp_path: Path) -> None:  # noqa: F811
    """With a last layer that changes nothing, the two are the same; what is saved opens as it was."""
    deep = load(str(build(family)))
    first = deep.architecture.layers(deep.model.base_model)[0]
    student = shallower(deep, 1)
    assert student.model.config.num_hidden_layers == 1
    row = pack(documents(deep, (40, 12)), deep.first_position)
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        handle = first.register_forward_hook(lambda m, i, out: seen.append(out[0] if isinstance(out, tuple) else out))
        hidden_states(deep, row)
        handle.remove()
        states = hidden_states(student, row)
        norm = getattr(deep.model.base_model, "final_norm", None) or getattr(deep.model.base_model, "norm", None)
        expected = seen[0].reshape(52, -1)
        torch.testing.assert_close(states, norm(expected) if norm is not None else expected, atol=1e-5, rtol=1e-5)
        save(student, tmp_path / "student")
        again = load(str(tmp_path / "student"))
        torch.testing.assert_close(hidden_states(again, row), states)
    assert AutoModelForMaskedLM.from_pretrained(tmp_path / "student").config.num_hidden_layers == 1


def test_more_layers_than_there_are_are_refused(build: Any) -> None:  # noqa: F811
    with pytest.raises(InputError, match="the base has 2"):
        shallower(load(str(build("bert"))), 2)


def test_the_loss_is_the_divergence_from_the_teacher_and_cross_entropy(base: Path, tmp_path: Path) -> None:
    student = load(str(base))
    teacher = load(str(write_base(tmp_path / "teacher", hidden_size=64, num_attention_heads=4)))
    batch = cut_into(student, 1)
    packed = batch.micro[0]
    loss = DistilledAnswers(student, teacher)(packed)
    loss.backward()
    logits = []
    for encoder in (student, teacher):
        transform, decoder = encoder.architecture.head(encoder.model)
        with torch.no_grad():
            logits.append(decoder(transform(hidden_states(encoder, packed)))[packed.label_positions])
    soft, goal = (x.div(2).softmax(dim=-1) for x in logits)
    apart = 4 * (goal * (goal.log() - soft.log())).sum()
    plain = (5 * apart + 2 * cross_entropy(logits[0], packed.labels, reduction="sum")) / 7
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert all(p.grad is None for p in teacher.model.parameters())
    assert all(p.grad is not None for n, p in student.model.named_parameters() if "token_type" not in n)


def test_a_student_comes_nearer_to_its_teacher(base: Path, tmp_path: Path) -> None:
    student = load(str(base))
    teacher = load(str(write_base(tmp_path / "teacher", hidden_size=64, num_attention_heads=4)))
    optimizer = build_optimizer(student.model, Train())
    objective, batch = DistilledAnswers(student, teacher), cut_into(student, 2)
    losses = [step(learner(student, optimizer), objective, batch, 3e-3)[0] for _ in range(30)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def distilled(base: Path, corpus: Path, out: Path, *settings: str) -> list[str]:
    line = ["--strategy", "scratch", "--lang", "fr", "--base", str(base), "--corpus", str(corpus), "--out", str(out)]
    given = [
        "objective.kind=distil",
        "train.tokens=4_000",
        "train.batch_tokens=256",
        "train.lr=1e-3",
        "data.held_out=0.2",
    ]
    given += ["eval.tasks=none", "train.precision='fp32'", *settings]
    return line + [part for setting in given for part in ("--set", setting)]


def test_a_run_distils_its_base_into_half_its_layers(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert call(monkeypatch, distilled(base, corpus, out, "adapt.layers=1")) == 0
    model = AutoModelForMaskedLM.from_pretrained(out / "model")
    assert model.config.num_hidden_layers == 1
    assert model.config.hidden_size == load(str(base)).model.config.hidden_size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("adapt.vocabulary=extend", "adapt.new_pieces=20", "adapt.piece_documents=2", "adapt.architecture=bert"),
         "its teacher (--base) "),
        (("adapt.layers=7",), "adapt.layers 7: the base has 2"),
        (("adapt.layers=1", "adapt.vocabulary=extend", "adapt.new_pieces=20"), "leave adapt.carry and"),
    ],
)  # fmt: skip
def test_what_cannot_be_distilled_is_one_clear_error(
    settings: tuple[str, ...], message: str, base: Path, corpus: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert call(monkeypatch, distilled(base, corpus, tmp_path / "run", "adapt.size=tiny", *settings)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
