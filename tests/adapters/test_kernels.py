"""Each attention kernel against the plain one, on a CPU (tests/cuda has the others), and which one is chosen."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from medlingua.adapters.attention import attend, attend_plain
from medlingua.adapters.kernels.choice import choose
from medlingua.adapters.kernels.contract import Request

from tests.adapters.kernel_cases import Case, cases, errors

CPU = torch.device("cpu")
# Of the largest value. bf16 keeps 8 bits: a few roundings on the way.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["fp32", "bf16"])
@pytest.mark.parametrize("kernel", ["efficient", "blockwise", "plain-summed"])
def test_O8_a_kernel_computes_what_the_plain_one_does(kernel: str, dtype: torch.dtype) -> None:
    """Outputs and gradients, in every case that the kernel does not refuse."""
    measured = {case: errors(kernel, case, CPU, dtype) for case in cases()}
    wrong = {case: e for case, e in measured.items() if e is not None and max(e) > TOLERANCE[dtype]}
    assert not wrong


# A program of its own, because triton asks for its interpreter once, when it is imported.
INTERPRETED = """
import json, sys, torch
from medlingua.adapters.kernels import merge_triton, summed
from tests.adapters.kernel_cases import cases, errors

summed.merge, summed.add_gradients = merge_triton.merge, merge_triton.add_gradients
merged = [case for case in cases() if case.global_tokens and case.reach is not None]
dtype = getattr(torch, sys.argv[1])
print(json.dumps({str(case): errors("plain-summed", case, torch.device("cpu"), dtype) for case in merged}))
"""


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["fp32", "bf16"])
def test_the_merge_in_triton_computes_what_the_plain_kernel_does(dtype: torch.dtype) -> None:
    """By Triton's interpreter, on a CPU; tests/cuda compiles it."""
    if find_spec("triton") is None:
        pytest.skip("triton is not installed; torch's CUDA builds bring it along")
    command = [sys.executable, "-c", INTERPRETED, str(dtype).removeprefix("torch.")]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, check=True, capture_output=True, text=True
    )
    measured = {case: e for case, e in json.loads(done.stdout).items() if e is not None}
    assert measured
    assert not {case: e for case, e in measured.items() if max(e) > TOLERANCE[dtype]}


@pytest.mark.parametrize("kernel", ["plain-summed", "efficient"])
def test_a_global_token_in_every_place_is_counted_once(kernel: str) -> None:
    """Inside a window the windowed kernel counts it, outside the merge does; here tokens meet each on both sides."""
    case = Case((2, 2), 8, 5)
    generator = torch.Generator().manual_seed(1)
    query, key, value = torch.randn(3, 60, 2, 8, generator=generator, dtype=torch.float64)
    borders = torch.tensor([0, 23, 24, 60], dtype=torch.int32)
    for places in ([0], [22], [23], [24, 30, 59], list(range(60))):
        given = {"reach": case.reach, "global_tokens": torch.tensor(places)}
        ours = attend(query.float(), key.float(), value.float(), borders, **given, backend=kernel)
        torch.testing.assert_close(
            ours.double(), attend_plain(query, key, value, borders, **given), atol=1e-5, rtol=1e-5
        )


def test_the_operator_is_described_truly_to_a_compiler() -> None:
    """Shapes, strides and gradients of the operator as torch.compile will rely on them."""
    query, key, value = torch.randn(3, 40, 2, 8, requires_grad=True).unbind()
    borders, places = torch.tensor([0, 17, 40], dtype=torch.int32), torch.tensor([0, 17])
    for global_tokens in (None, places):
        given: Any = (query, key, value, borders, None, global_tokens, 32, 0.3, 4, False, "efficient")
        torch.library.opcheck(torch.ops.medlingua.attend.default, given)


def test_a_cpu_goes_document_by_document_and_says_so() -> None:
    choice = choose(Request(CPU, torch.float32))
    assert choice.kernel.name == "blockwise"
    assert "cpu" in choice.reason


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_gpu_of_any_age_gets_a_batched_kernel(
    capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never one that goes document by document in Python, with a window or global tokens or without."""
    monkeypatch.setattr("medlingua.adapters.kernels.flash.capability", lambda device: capability)
    cuda = torch.device("cuda")
    for window in (False, True):
        for global_tokens in (False, True):
            choice = choose(Request(cuda, dtype, 64, False, window, False, global_tokens))
            assert choice.kernel.name != "blockwise"
            flash = choice.kernel.name in ("varlen", "flash", "flash3")
            assert flash == (capability >= (8, 0) and dtype != torch.float32)
            if capability < (8, 0) and dtype != torch.float32:
                assert "8.0 (A100, RTX 30)" in choice.reason


def test_heads_too_wide_for_flash_attention_are_left_to_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medlingua.adapters.kernels.flash.capability", lambda device: (9, 0))
    wide = choose(Request(torch.device("cuda"), torch.bfloat16, head_width=320))
    assert wide.kernel.name == "efficient"
    assert "up to 256" in wide.reason
