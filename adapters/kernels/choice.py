"""Which kernel computes what is asked for: the first of a list that does not refuse."""

from typing import NamedTuple

from medlingua.adapters.document_attention import DENSE_TOKENS
from medlingua.adapters.kernels import summed
from medlingua.adapters.kernels.blockwise import Blockwise
from medlingua.adapters.kernels.contract import Kernel, Request
from medlingua.adapters.kernels.efficient import Efficient
from medlingua.adapters.kernels.flash import PackageFlash, TorchFlash, TorchFlash3
from medlingua.adapters.kernels.flex import Flex
from medlingua.adapters.kernels.plain import Plain, PlainSummed

_CUDA: tuple[Kernel, ...] = (TorchFlash3(), PackageFlash(), TorchFlash(), Efficient(), Flex(), Blockwise())
KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (*_CUDA, Plain(), PlainSummed())}
summed.KERNELS.update({name: k for name, k in KERNELS.items() if isinstance(k, summed.SummedKernel)})


class Choice(NamedTuple):
    kernel: Kernel
    reason: str


def choose(request: Request) -> Choice:
    """The fastest kernel that does what is asked, with the reason."""
    kind = request.device.type
    if kind != "cuda" and request.traced and KERNELS["efficient"].refusal(request) is None:
        return Choice(KERNELS["efficient"], f"blocks of tokens on the {kind}, one operator of a compiled layer")
    if kind != "cuda":
        way = (
            f"in training whole weights up to {DENSE_TOKENS} tokens"
            if kind == "cpu"
            else "scaled_dot_product_attention"
        )
        return Choice(KERNELS["blockwise"], f"document by document on the {kind}, {way}")
    passed: list[str] = []
    for kernel in _CUDA:
        if (refusal := kernel.refusal(request)) is None:
            return Choice(kernel, "; ".join([kernel.summary, *passed]))
        passed.append(f"{kernel.name}: {refusal}")
    raise AssertionError("blockwise refuses nothing")
