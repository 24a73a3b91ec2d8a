"""Ours against the stock Longformer layers: same weights, same outputs, same gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from medlingua.adapters.encoder import load
from medlingua.adapters.longformer_attention import _Folded, accelerate_longformer
from medlingua.adapters.packed import hidden_states, pack
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LongformerForMaskedLM, LongformerForSequenceClassification

LENGTH = 61


def models(folder: Any, kind: Any = LongformerForMaskedLM) -> tuple[Any, Any]:
    """The stock model and ours, without dropout."""
    torch.manual_seed(0)
    stock = kind.from_pretrained(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ours = kind.from_pretrained(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ours.load_state_dict(stock.state_dict())
    accelerate_longformer(ours)
    return stock, ours


def batch(padding: str, chosen: tuple[tuple[int, ...], ...]) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 300, (3, LENGTH), generator=torch.Generator().manual_seed(0))
    mask, every = torch.ones_like(ids), torch.zeros_like(ids)
    if padding == "right":
        mask[0, 20:], mask[2, 50:] = 0, 0
    elif padding == "left":
        mask[0, :40], mask[2, :11] = 0, 0
    elif padding == "inside":
        mask[0, 20:30], mask[1, 5] = 0, 0
    for row, places in enumerate(chosen):
        every[row, list(places)] = 1
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask, "global_attention_mask": every}


GLOBAL = {
    "none": ((), (), ()),
    "first": ((0,), (0,), (0,)),
    "anywhere": ((41, 45), (7, 8, 30, 60), ()),
    "uneven": ((), (33,), tuple(range(10, 40))),
    "all": (tuple(range(LENGTH)),) * 3,
}


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("chosen", GLOBAL)
@pytest.mark.parametrize("padding", ["none", "right", "left", "inside"])
def test_an_accelerated_longformer_gives_the_stock_outputs_and_gradients(
    padding: str, chosen: str, training: bool, build: Any
) -> None:
    inputs = batch(padding, GLOBAL[chosen])
    real = inputs["attention_mask"].bool()
    results = []
    for model in models(build("longformer")):
        model.train(training)
        logits = model(**inputs).logits[real]
        (logits * torch.linspace(-1, 1, logits.shape[-1])).mean().mul(10).backward()
        results.append((logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (stock, theirs), (ours, mine) = results
    assert stock.abs().max() > 0.1
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=1e-5)
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        scale = max(1.0, float(gradient.abs().max()))
        assert (mine[name] - gradient).abs().max() < 1e-5 * scale, name


@pytest.mark.parametrize("chosen", ["none", "first", "all"])
def test_autocast_casts_a_layers_states_once_for_all_projections(chosen: str, build: Any) -> None:
    """Each projection's own cast would stay in memory until its gradient is computed."""
    _, ours = models(build("longformer"))
    layer = ours.base_model.encoder.layer[0].attention.self
    states = torch.randn(3, LENGTH, layer.embed_dim)
    masked = torch.zeros(3, LENGTH, dtype=torch.bool)
    is_global = batch("none", GLOBAL[chosen])["global_attention_mask"].bool()
    exact = layer(states, None, masked, is_global, True)[0]
    casts = []

    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.ops.aten._to_copy.default and args[0].shape[-2:].numel() >= states[0].numel():
                casts.append(tuple(args[0].shape))
            return function(*args, **(kwargs or {}))

    with Casts(), torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = layer(states, None, masked, is_global, True)[0]
    assert len(casts) == 1, casts
    assert float((narrow - exact).detach().norm() / exact.detach().norm()) < 0.02


def test_autocast_leaves_double_weights_and_shapes_alone_as_for_the_stock_layer(build: Any) -> None:
    stock, ours = models(build("longformer"))
    inputs = batch("right", GLOBAL["first"])
    real = inputs["attention_mask"].bool()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = [model.double()(**inputs).logits[real] for model in (stock, ours)]
    assert outputs[1].dtype == torch.float64
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("together", [False, True], ids=["one document", "two documents"])
def test_folded_global_queries_are_attention_over_the_projections(together: bool) -> None:
    """Beside the formula with the projections computed, in values and in all gradients, in double precision."""
    draw = torch.Generator().manual_seed(0)
    query, states, w_k, b_k, w_v, b_v = (
        torch.randn(*shape, generator=draw, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 12), (7, 12), (12, 12), (12,), (12, 12), (12,))
    )
    masked = torch.tensor([[0, 0, 1, 1, 1, 1, 1]] * 2 + [[1, 1, 0, 0, 0, 0, 0]]).bool() if together else None
    inputs = (query, states, w_k, b_k, w_v, b_v)

    def by_projections(query: Any, states: Any, w_k: Any, b_k: Any, w_v: Any, b_v: Any) -> torch.Tensor:
        heads = (query, states @ w_k.T + b_k, states @ w_v.T + b_v)
        q, k, v = (x.unflatten(1, (4, 3)).transpose(0, 1) for x in heads)
        scores = q @ k.transpose(1, 2) / 3**0.5
        weights = (scores if masked is None else scores.masked_fill(masked, -torch.inf)).softmax(dim=-1)
        return (weights @ v).transpose(0, 1).flatten(1)

    toward = torch.randn(3, 12, generator=draw, dtype=torch.float64)
    results = []
    for out in (_Folded.apply(*inputs, masked, 4), by_projections(*inputs)):
        results.append((out, *torch.autograd.grad((out * toward).sum(), inputs)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)


def test_the_stock_classification_head_keeps_its_global_first_token(build: Any) -> None:
    stock, ours = (m.eval() for m in models(build("longformer"), LongformerForSequenceClassification))
    inputs = batch("right", GLOBAL["none"])
    del inputs["global_attention_mask"]
    with torch.no_grad():
        torch.testing.assert_close(ours(**inputs).logits, stock(**inputs).logits, atol=1e-5, rtol=1e-5)


def test_requested_attentions_are_the_stock_ones(build: Any) -> None:
    stock, ours = (m.eval() for m in models(build("longformer")))
    inputs = batch("right", GLOBAL["first"])
    with torch.no_grad():
        theirs, mine = (m(**inputs, output_attentions=True).attentions for m in (stock, ours))
    for a, b in zip(theirs, mine, strict=True):
        torch.testing.assert_close(a, b)


def test_dropout_on_attention_weights_is_set_to_zero_with_a_warning_and_in_what_is_saved(
    build: Any, tmp_path: Any
) -> None:
    model = LongformerForMaskedLM.from_pretrained(build("longformer"), attention_probs_dropout_prob=0.1)
    with pytest.warns(UserWarning, match=r"attention_probs_dropout_prob is set from 0.1 to 0"):
        accelerate_longformer(model)
    assert model.config.hidden_dropout_prob > 0
    model.train()(**batch("none", GLOBAL["none"]))
    model.save_pretrained(tmp_path / "again")
    assert LongformerForMaskedLM.from_pretrained(tmp_path / "again").config.attention_probs_dropout_prob == 0


def test_dropout_that_is_set_again_is_refused_not_dropped(build: Any) -> None:
    _, model = models(build("longformer"))
    for layer in model.longformer.encoder.layer:
        layer.attention.self.dropout = 0.1
    with pytest.raises(ValueError, match="no dropout on attention weights"):
        model.train()(**batch("none", GLOBAL["none"]))


def test_what_an_accelerated_model_saves_is_a_stock_checkpoint(build: Any, tmp_path: Any) -> None:
    stock, ours = (m.eval() for m in models(build("longformer")))
    ours.save_pretrained(tmp_path / "again")
    again = LongformerForMaskedLM.from_pretrained(tmp_path / "again").eval()
    with torch.no_grad():
        inputs = batch("right", GLOBAL["first"])
        torch.testing.assert_close(again(**inputs).logits, stock(**inputs).logits)


def test_a_model_without_longformer_layers_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="no Longformer layer"):
        accelerate_longformer(load(str(build("bert"))).model)


def test_packed_documents_with_a_global_first_token_give_the_stock_logits(build: Any) -> None:
    folder = build("longformer")
    encoder = load(str(folder))
    draw = np.random.default_rng(0)
    ids = [np.array([0, *draw.integers(5, 300, n - 2), 2]) for n in (40, 3, 57)]
    with torch.no_grad():
        row = pack(ids, encoder.first_position, global_ids=[0])
        together = torch.split(hidden_states(encoder, row), [len(i) for i in ids])
        stock = LongformerForMaskedLM.from_pretrained(folder).eval()
        for states, one in zip(together, ids, strict=True):
            given = torch.tensor(one)[None]
            first = torch.zeros_like(given).index_fill(1, torch.tensor([0]), 1)
            expected = stock.longformer(input_ids=given, global_attention_mask=first).last_hidden_state[0]
            torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


def test_chosen_pieces_are_global_wherever_they_stand(build: Any) -> None:
    folder = build("longformer")
    encoder = load(str(folder))
    ids = np.random.default_rng(0).integers(5, 300, 60)
    ids[[7, 30]] = 9
    stock = LongformerForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        states = hidden_states(encoder, pack([ids], encoder.first_position, global_ids=[9, 301]))
        given = torch.from_numpy(ids)[None]
        expected = stock.longformer(input_ids=given, global_attention_mask=(given == 9).long()).last_hidden_state[0]
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


def test_C7_masked_lm_trains_the_global_projections_only_with_global_tokens(build: Any) -> None:
    encoder = load(str(build("longformer")))
    ids = [np.array([0, *range(10, 50), 2])]
    for first in (False, True):
        encoder.model.zero_grad()
        hidden_states(encoder, pack(ids, encoder.first_position, global_ids=[0] if first else [])).sum().backward()
        grown = {n for n, p in encoder.model.named_parameters() if "_global" in n and p.grad is not None}
        assert len(grown) == (12 if first else 0)


def test_O14_without_global_tokens_their_projections_alone_have_no_gradient(build: Any) -> None:
    """What distributed training would wait for is known by name."""
    encoder = load(str(build("longformer")))
    row = pack([np.array([0, *range(10, 50), 2])], encoder.first_position)
    transform, decoder = encoder.architecture.head(encoder.model)
    decoder(transform(hidden_states(encoder, row))).logsumexp(-1).sum().backward()
    without = {name for name, p in encoder.model.named_parameters() if p.grad is None}
    assert without == {name for name, _ in encoder.model.named_parameters() if "_global." in name}


def test_global_tokens_are_refused_by_other_families(build: Any) -> None:
    encoder = load(str(build("bert")))
    with pytest.raises(ValueError, match="bert has none"):
        hidden_states(encoder, pack([np.array([2, 9, 3])], 0, global_ids=[2]))


def test_an_encoder_in_the_place_of_its_model_is_answered_with_what_to_give(build: Any) -> None:
    with pytest.raises(TypeError, match=r"transformers model, not \w+; of an Encoder, encoder\.model"):
        accelerate_longformer(load(str(build("longformer"))))  # type: ignore[arg-type]
