"""What only a GPU can show. `tests/benchmarks/gpu.py` measures the rest."""

from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import load
from medlingua.adapters.kernels import merge
from medlingua.adapters.kernels.choice import KERNELS, choose
from medlingua.adapters.kernels.contract import Pattern, Request
from medlingua.recipes.evaluation import finetune
from medlingua.recipes.evaluation.reading import token_states
from medlingua.recipes.machine import Precision
from medlingua.recipes.settings import Eval, Train
from medlingua.recipes.training.learner import plain_learner
from medlingua.recipes.training.objectives import LanguageModelLoss
from medlingua.recipes.training.optimizer_step import step
from medlingua.recipes.training.working_copy import working_copy

from tests.adapters.conftest import build  # noqa: F401 -- a fixture
from tests.adapters.kernel_cases import cases, errors
from tests.recipes.evaluation.test_every_kind import KINDS
from tests.recipes.training.test_loop import cut_into

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none")
CUDA = torch.device("cuda")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["fp32", "bf16"])
@pytest.mark.parametrize("kernel", ["flash3", "flash", "varlen", "efficient", "blockwise"])
def test_O8_a_kernel_computes_what_the_plain_one_does(kernel: str, dtype: torch.dtype) -> None:
    measured = {case: errors(kernel, case, CUDA, dtype) for case in cases()}
    if not any(measured.values()):
        pytest.skip(f"{kernel} refuses all cases here: {KERNELS[kernel].refusal(Request(CUDA, dtype))}")
    assert not {case: e for case, e in measured.items() if e is not None and max(e) > TOLERANCE[dtype]}


def test_the_merge_in_triton_is_its_twin() -> None:
    lengths, reach, scale = (300, 1, 700), 16, 0.2
    generator = torch.Generator().manual_seed(0)
    query, key, value, d_out = torch.randn(4, sum(lengths), 4, 32, generator=generator)
    borders, places = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32), torch.tensor([0, 150, 301, 990])
    out, sums = KERNELS["plain-summed"].forward(query, key, value, Pattern(borders, 700, scale, reach))  # type: ignore[attr-defined]
    results = []
    for device in ("cpu", "cuda"):
        q, k, v, o, s, b, p, d = (x.to(device) for x in (query, key, value, out, sums, borders, places, d_out))
        merged, total = merge.merge(q, k, v, o, s, b, p, reach, scale)
        gradients = [torch.ones_like(x) for x in (q, k, v)]
        merge.add_gradients(d, q, k, v, merged, total, *gradients, b, p, reach, scale)
        results.append([x.cpu() for x in (merged, total, *gradients)])
    for ours, twin in zip(*results, strict=True):
        torch.testing.assert_close(ours, twin, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "modernbert", "longformer"])
@pytest.mark.parametrize(("compile", "precision"), [("on", "bf16"), ("off", "bf16"), ("off", "fp16")])
def test_the_device_is_waited_for_once_a_step(family: str, compile: str, precision: Any, build: Any) -> None:  # noqa: F811
    encoder = load(str(build(family)))
    encoder.model.to(CUDA).train()
    learner = plain_learner(encoder, Train(compile=compile), Precision(precision, ""))
    assert (learner.working is None) == (precision == "fp16")
    if learner.working is not None:
        learner.working.prepare(0.0)
    objective, batch = LanguageModelLoss(learner.passing), cut_into(encoder, 2)
    batch = batch._replace(micro=tuple(packed.pinned() for packed in batch.micro))
    for _ in range(2):
        step(learner, objective, batch, 1e-3)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as caught:
            step(learner, objective, batch, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchroniz" in str(w.message) for w in caught) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_fine_tuning_does_not_wait_for_the_device(kind: str, build: Any) -> None:  # noqa: F811
    encoder = load(str(build("bert")))
    encoder.model.to(CUDA)
    working = working_copy(encoder, torch.bfloat16, compiled=False)
    working.prepare(0.1)
    task, make = KINDS[kind]
    model = make(task, encoder)
    model.head.to(CUDA)
    read = model.read("train")
    optimizer = finetune._optimizer(encoder, model, Eval())

    def step() -> None:
        states = token_states(working.encoder, [e.document for e in read])
        with torch.autocast("cuda", torch.bfloat16):
            loss, items = model.loss(states, read)
        finetune._step(optimizer, loss / items, working)

    for _ in range(2):
        step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_fp32_is_not_computed_document_by_document() -> None:
    for global_tokens in (False, True):
        request = Request(CUDA, torch.float32, window=True, global_tokens=global_tokens)
        assert choose(request).kernel.name == "efficient"
