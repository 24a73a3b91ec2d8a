"""Relations of a terminology beside masked words: what is asked, the loss, and a run of it."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import hidden_states
from medlingua.languages.errors import InputError
from medlingua.languages.terminologies.concept import Concept
from medlingua.recipes.settings import Train
from medlingua.recipes.training.batches import Place, batches
from medlingua.recipes.training.objectives import masker
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.optimizers import build_optimizer
from medlingua.recipes.training.relations import KINDS, RelationLoss, RelationStream, relation_head
from torch.nn.functional import cross_entropy

from tests.end_to_end.conftest import same_weights
from tests.recipes.conftest import call

from .test_batches import equal
from .test_loop import learner

SIGNS = ["fièvre", "toux", "douleur", "saignement"]


def terminology() -> list[Concept]:
    """Four families below one root each."""
    roots = [Concept(f"R{n}", f"maladie {sign}") for n, sign in enumerate(SIGNS)]
    below = [
        Concept(f"R{n}.{i}", f"{sign} du type {i}", (f"accès de {sign} {i}",), (f"R{n}",), f"Une {sign} numéro {i}.")
        for n, sign in enumerate(SIGNS)
        for i in range(6)
    ]
    return [*roots, *below]


def stream_of(encoder: Encoder, context: int = 64) -> RelationStream:
    return RelationStream(terminology(), encoder, context, 0, 3, masker(encoder.tokenizer, "piece", 0.3))


def test_a_text_names_two_things_and_its_first_target_says_how_they_are_related(encoder: Encoder) -> None:
    concepts = terminology()
    chunks = list(islice(stream_of(encoder).chunks(Place()), 4 * len(concepts)))
    families = {}
    for chunk in chunks:
        ids = chunk.ids.copy()
        ids[chunk.positions[1:]] = chunk.labels[1:]
        text = encoder.tokenizer.decode(ids)
        left, right = text.removeprefix("[CLS]").removesuffix("[SEP]").split("[SEP]")
        kind = KINDS[int(chunk.labels[0])]
        same = [sign for sign in SIGNS if sign in left and sign in right]
        families.setdefault(kind, []).append(bool(same))
        if kind == "parent":
            assert "maladie" in right
            assert "maladie" not in left
        if kind == "child":
            assert "maladie" in left
    assert set(families) == set(KINDS)
    for kind, same in families.items():
        assert all(same) == (kind != "unrelated"), kind
        assert any(same) == (kind != "unrelated"), kind


def test_neither_the_separator_nor_the_first_token_is_masked_and_long_definitions_are_cut(encoder: Encoder) -> None:
    tokenizer = encoder.tokenizer
    for chunk in islice(stream_of(encoder, context=20).chunks(Place()), 30):
        assert len(chunk.ids) <= 20
        assert chunk.ids[0] == tokenizer.cls_token_id
        assert chunk.positions[0] == 0
        assert not set(chunk.labels[1:].tolist()) & set(tokenizer.all_special_ids)


def test_O16_the_stream_goes_on_from_any_place(encoder: Encoder) -> None:
    whole = list(islice(stream_of(encoder).chunks(Place()), 70))
    for start in (1, 27, 28, 29, 56):
        rest = list(islice(stream_of(encoder).chunks(whole[start - 1].after), 10))
        assert all(equal(a, b) for a, b in zip(rest, whole[start:], strict=False))


def test_the_loss_is_that_of_words_and_as_heavy_that_of_relations(encoder: Encoder) -> None:
    head = relation_head(encoder, 0)
    batch = next(batches(stream_of(encoder), Place(), 400, 400, encoder.first_position))
    (packed,) = batch.micro
    loss = RelationLoss(encoder, head)(packed)
    transform, decoder = encoder.architecture.head(encoder.model)
    with torch.no_grad():
        states = hidden_states(encoder, packed)
    words, relations = [], []
    borders = packed.cu_seqlens.tolist()
    for place, label in zip(packed.label_positions.tolist(), packed.labels, strict=True):
        if place in borders:
            relations.append(cross_entropy(head(states[place]), label))
        else:
            words.append(cross_entropy(decoder(transform(states[place])), label))
    plain = len(words) * (torch.stack(words).mean() + torch.stack(relations).mean())
    assert len(relations) == packed.documents
    assert loss.item() == pytest.approx(plain.item(), rel=1e-4)


def test_relations_are_learnt(encoder: Encoder) -> None:
    head = relation_head(encoder, 0)
    both = torch.nn.ModuleDict({"model": encoder.model, "relations": head})
    at_work = learner(encoder, build_optimizer(both, Train(lr=3e-3)))
    objective = RelationLoss(encoder, head)
    steps = islice(batches(stream_of(encoder), Place(), 1_600, 1_600, encoder.first_position), 60)
    losses = [step(at_work, objective, batch, 3e-3)[0] for batch in steps]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 1


def test_what_has_no_relation_is_refused(encoder: Encoder) -> None:
    hide = masker(encoder.tokenizer, "piece", 0.3)
    with pytest.raises(InputError, match="no relation to learn"):
        RelationStream([Concept("A", "a"), Concept("B", "b")], encoder, 64, 0, 0, hide)
    family = [Concept("A", "a"), Concept("B", "b", (), ("A",)), Concept("C", "c", (), ("A",))]
    with pytest.raises(InputError, match=r"'\w' is related to nearly all others"):
        list(islice(RelationStream(family, encoder, 64, 0, 0, hide).chunks(Place()), 50))


def command(base: Path, corpus: Path, out: Path, *settings: str) -> list[str]:
    line = ["--strategy", "continue", "--lang", "fr", "--base", str(base), "--corpus", str(corpus), "--out", str(out)]
    given = ["objective.kind=relations", "train.tokens=3_000", "train.batch_tokens=256", "train.lr=1e-3"]
    given += ["eval.tasks=none", "train.precision='fp32'", "train.collapse=warn", "data.held_out=0.2", *settings]
    return line + [part for setting in given for part in ("--set", setting)]


def test_a_run_learns_them_and_keeps_the_model_alone(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["code,description,parent"]
    rows += [f"{c.code},{c.name},{''.join(c.parents)}" for c in terminology()]
    (tmp_path / "codes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    where = f"objective.terminology={tmp_path / 'codes.csv'}"
    assert call(monkeypatch, command(base, corpus, tmp_path / "run", where)) == 0
    assert call(monkeypatch, command(base, corpus, tmp_path / "again", where)) == 0
    same_weights(tmp_path / "run", tmp_path / "again")
    flat = tmp_path / "flat.csv"
    flat.write_text("code,description\nA,fièvre\nB,toux\n", encoding="utf-8")
    assert call(monkeypatch, command(base, corpus, tmp_path / "none", f"objective.terminology={flat}")) == 2
    assert f"{flat} says of nothing what it is a kind of" in capsys.readouterr().err
    unread = command(base, corpus, tmp_path / "none", where, "objective.kind=mlm")
    assert call(monkeypatch, unread) == 2
    assert "objective.terminology is read by phases of kind terms and relations alone" in capsys.readouterr().err
    assert call(monkeypatch, command(base, corpus, tmp_path / "none")) == 2
    assert "name its file in objective.terminology" in capsys.readouterr().err
