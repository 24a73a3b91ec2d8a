"""Term embeddings: names of one thing brought together."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.packed import pack
from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import hierarchy_of
from medlingua.languages.pack import load_pack
from medlingua.languages.terms import Term
from medlingua.recipes.evaluation.terms import hierarchy_scores, retrieval
from medlingua.recipes.settings import Run
from medlingua.recipes.training.batches import Place, batches
from medlingua.recipes.training.term_lists import term_lists
from medlingua.recipes.training.term_stream import TermStream, concepts_of, encoded, relations_of
from medlingua.recipes.training.terms import Terms, distances, embedded, multi_similarity

PLACES = ["foie", "rein", "coeur", "poumon", "thorax", "jambe"]
SIGNS = {"pain": "douleur", "fever": "fièvre", "cough": "toux", "bleeding": "saignement"}


def terms() -> list[Term]:
    return [
        Term(f"{french} du {place} {i}", f"{english} of {place} {i}", "none", "")
        for english, french in SIGNS.items()
        for place in PLACES
        for i in range(3)
    ]


def test_things_are_held_out_whole_and_by_their_name_alone() -> None:
    more = [Term("hépatite", "hepatitis", "", ""), Term("foie malade", "hepatitis", "", "")]
    learn, held = concepts_of([*terms(), *more])
    again, _ = concepts_of(terms()[::-1])
    assert {c.english for c in learn} - {"hepatitis"} == {c.english for c in again}
    assert not {c.english for c in learn} & {c.english for c in held}
    (hepatitis,) = [c for c in (*learn, *held) if c.english == "hepatitis"]
    assert hepatitis.names == ("hepatitis", "hépatite", "foie malade")
    with pytest.raises(InputError, match="too few"):
        concepts_of(terms()[:1])


def test_O16_a_stream_goes_on_from_any_place(encoder: Encoder) -> None:
    learn, _ = concepts_of(terms())
    stream = TermStream(learn, encoder.tokenizer, 64, 0, seed=3)
    whole = list(islice(stream.chunks(Place()), 3 * len(learn)))
    assert {len(learn)} == {len({int(c.labels[0]) for c in whole[: 2 * len(learn)]})}  # each thing once a pass
    for left, right in zip(whole[::2], whole[1::2], strict=False):
        assert left.labels == right.labels
        assert left.ids.tolist() != right.ids.tolist()
    for start in (1, 2, 7, 2 * len(learn) - 1, 2 * len(learn)):
        rest = list(islice(stream.chunks(whole[start - 1].after), 6))
        assert [c.ids.tolist() for c in rest] == [c.ids.tolist() for c in whole[start : start + 6]]


def plain(vectors: torch.Tensor, labels: list[int]) -> float:
    """The loss of Wang et al., one anchor and one pair at a time."""
    losses = []
    for i, label in enumerate(labels):
        like = (vectors @ vectors[i]).tolist()
        positives = [like[j] for j, other in enumerate(labels) if other == label and j != i]
        negatives = [like[j] for j, other in enumerate(labels) if other != label]
        pulled = [s for s in positives if negatives and s - 0.2 < max(negatives)]
        pushed = [s for s in negatives if positives and s + 0.2 > min(positives)]
        pull = np.log(1 + sum(np.exp(-(s - 0.5)) for s in pulled))
        losses.append(pull + np.log(1 + sum(np.exp(60 * (s - 0.5)) for s in pushed)) / 60)
    return float(np.mean(losses))


def same(labels: list[int]) -> torch.Tensor:
    return torch.tensor([[a == b for b in labels] for a in labels])


def test_the_loss_is_the_plain_one() -> None:
    torch.manual_seed(0)
    labels = [0, 0, 1, 1, 1, 2, 3, 3]
    vectors = torch.nn.functional.normalize(torch.randn(8, 5), dim=-1)
    assert float(multi_similarity(vectors, same(labels))) == pytest.approx(plain(vectors, labels), rel=1e-5)
    assert float(multi_similarity(torch.eye(4)[[0, 0, 1, 1]], same([0, 0, 1, 1]))) == 0  # all pairs are easy


def test_a_name_has_the_same_vector_in_any_batch(encoder: Encoder) -> None:
    ids = encoded(encoder.tokenizer, ["douleur du foie", "toux", "fièvre du rein 2"], 64)
    with torch.no_grad():
        together = embedded(encoder, pack(ids, encoder.first_position))
        for vector, alone in zip(together, ids, strict=True):
            torch.testing.assert_close(vector, embedded(encoder, pack([alone], encoder.first_position))[0])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    with pytest.raises(InputError, match="'douleur du foie' has"):
        encoded(encoder.tokenizer, ["douleur du foie"], 3)


def test_training_brings_names_together_across_languages(encoder: Encoder) -> None:
    learn, held = concepts_of(terms())
    before = retrieval(encoder, learn, held, "base")
    objective = Terms(encoder)
    optimizer = torch.optim.AdamW(encoder.model.base_model.parameters(), lr=1e-3)
    stream = TermStream(learn, encoder.tokenizer, 64, 0, seed=0)
    for batch in islice(batches(stream, Place(), 800, 800, encoder.first_position), 60):
        loss = objective(batch.micro[0]) / batch.targets
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = retrieval(encoder, learn, held, "trained")
    assert after["MRR"] > before["MRR"] + 0.2
    assert after["accuracy@1"] <= after["accuracy@5"]


def test_a_model_that_gives_every_name_one_vector_finds_nothing(encoder: Encoder) -> None:
    learn, held = concepts_of(terms())
    with torch.no_grad():
        for parameter in encoder.model.base_model.parameters():
            parameter.zero_()
    assert retrieval(encoder, learn, held, "zero")["accuracy@5"] == 0


TREE = hierarchy_of(
    [(f"{sign} of {place} {i}", f"{sign} of {place}") for sign in SIGNS for place in PLACES for i in range(3)]
    + [(f"{sign} of {place}", sign) for sign in SIGNS for place in PLACES]
    + [(sign, "") for sign in SIGNS],
    "toy",
)


def general_terms() -> list[Term]:
    return [*terms(), *[Term(f"{SIGNS[s]} du {p}", f"{s} of {p}", "", "") for s in SIGNS for p in PLACES]]


def test_relations_are_the_concepts_nearby() -> None:
    learn, _ = concepts_of(general_terms())
    relations = relations_of(learn, TREE, 2)
    names = [concept.english for concept in learn]
    for number, related in enumerate(relations):
        expected = {n: d for n, d in TREE.within(names[number], 2).items() if n in names and n != names[number]}
        assert {names[other]: distance for other, distance in related.items()} == expected
    with pytest.raises(InputError, match="no two of the terms are related"):
        relations_of(learn, hierarchy_of([("a", "b")], "toy"), 2)


def test_distances_of_names_are_those_of_their_concepts() -> None:
    apart = distances(torch.tensor([0, 0, 1, 2]), [{1: 1}, {0: 1, 2: 2}, {1: 2}])
    assert apart.tolist() == [[0, 0, 1, 99], [0, 0, 1, 99], [1, 1, 0, 2], [99, 99, 2, 0]]
    assert distances(torch.tensor([3, 4]), ()).tolist() == [[0, 99], [99, 0]]


def test_a_graded_loss_is_the_mean_of_its_levels(encoder: Encoder) -> None:
    learn, _ = concepts_of(general_terms())
    relations = relations_of(learn, TREE, 2)
    stream = TermStream(learn, encoder.tokenizer, 64, 0, seed=0, relations=relations)
    (batch,) = islice(batches(stream, Place(), 400, 400, encoder.first_position), 1)
    packed = batch.micro[0]
    with torch.no_grad():
        graded = Terms(encoder, relations, 2)(packed) / len(packed.labels)
        vectors, apart = embedded(encoder, packed), distances(packed.labels, relations)
        levels = [float(multi_similarity(vectors, apart <= n, 0.5 - 0.1 * n)) for n in range(3)]
        assert float(Terms(encoder)(packed)) == pytest.approx(levels[0] * len(packed.labels))
    assert float(graded) == pytest.approx(sum(levels) / 3)


def test_O16_a_stream_with_relations_resumes_from_any_place(encoder: Encoder) -> None:
    learn, _ = concepts_of(general_terms())
    relations = relations_of(learn, TREE, 1)
    stream = TermStream(learn, encoder.tokenizer, 64, 0, seed=3, relations=relations)
    whole = list(islice(stream.chunks(Place()), 40))
    for start in (1, 2, 3, 4, 17):
        rest = list(islice(stream.chunks(whole[start - 1].after), 6))
        assert [c.ids.tolist() for c in rest] == [c.ids.tolist() for c in whole[start : start + 6]]
    thirds = [
        (int(a.labels[0]), int(c.labels[0])) for a, c in zip(whole, whole[2:], strict=False) if c.after.chunk == 0
    ]
    assert any(other in relations[own] for own, other in thirds)


def test_the_hierarchy_is_scored_by_what_names_are_near(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that are the hierarchy find every parent; vectors of noise do not."""
    learn, held = concepts_of(general_terms())

    def of_tree(_: Encoder, names: list[str], what: str) -> torch.Tensor:
        branches = [{*n.lower().split()} for n in names]
        words = sorted(set().union(*branches))
        rows = torch.tensor([[float(w in b) / (3.0 if w.isdigit() else 1.0) for w in words] for b in branches])
        return torch.nn.functional.normalize(rows, dim=-1)

    def noise(_: Encoder, names: list[str], what: str) -> torch.Tensor:
        return torch.nn.functional.normalize(
            torch.randn(len(names), 16, generator=torch.Generator().manual_seed(0)), dim=-1
        )

    scores = {}
    for name, vectors in (("tree", of_tree), ("noise", noise)):
        monkeypatch.setattr("medlingua.recipes.evaluation.terms.term_vectors", vectors)
        scores[name], things = hierarchy_scores(encoder, learn, held, TREE, name)
        assert 0 < things <= len(held)
    assert scores["tree"]["parent MRR"] == 1
    assert scores["noise"]["parent MRR"] < 0.5
    assert scores["tree"]["relatedness Spearman"] > 0.7 > 0.3 > abs(scores["noise"]["relatedness Spearman"])


def test_a_terminology_gives_synonyms_and_its_hierarchy(make_run: Callable[..., Run], tmp_path: Path) -> None:
    rows = ["code,description,parent,synonyms", "R,Signe,,"]
    rows += [f"R{i},Douleur {i},R,mal {i}|algie {i}" for i in range(40)]
    (tmp_path / "codes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    where = f"objective.terminology={tmp_path / 'codes.csv'}"
    lists = term_lists(make_run("objective.kind=terms", "objective.hierarchy_steps=2", where), load_pack("fr"))
    assert {len(concept.names) for concept in (*lists.train, *lists.held_out)} == {3}
    assert len(lists.train) + len(lists.held_out) == 40
    assert lists.hierarchy is not None
    assert lists.hierarchy.parents["douleur 3"] == {"signe"}
    assert all(set(near.values()) == {2} for near in lists.relations)  # sisters below one sign
    with pytest.raises(InputError, match=r"--data ROOT, or name a release in objective.terminology"):
        term_lists(make_run("objective.kind=terms"), load_pack("fr"))
