"""The processes of one run: which one this is, and what they exchange.

torchrun or accelerate starts them; only their environment variables are read. The main process (rank 0) prepares,
writes and evaluates; all processes compute gradients. Gradients are summed in one all-reduce of everything, not by
DistributedDataParallel: a process may have no micro-batch of a step; parameters may have no gradient in any process
(TRAPS O14) and must then keep none, or the optimizer would decay them; and gradients of some embeddings may be
masked. The price is one copy of the gradients, and computing does not overlap with sending.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

# The main process prepares and evaluates alone while the others wait. A dead process is not detected by this limit,
# but by its closed connections (gloo) and by the launcher, which ends the others.
_PATIENCE = timedelta(days=7)


class ProcessLost(Exception):
    """Another process of the run is gone. What was saved is whole."""


class Processes:
    """This process among those of a run; by default the only one."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size = rank, size
        self._device = device
        self._waiting = size > 1  # the others wait until the main process has prepared everything

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, prints lines and evaluates."""
        return self.rank == 0

    def announce(self, prepared: bool = True) -> bool:
        """The main process: everything is prepared, or will not be. The others wait here, and return which."""
        self._waiting = False
        return self.any(prepared and self.is_main)

    @contextmanager
    def as_main(self) -> Iterator[None]:
        """Around the work of the main process: however it ends, the others stop waiting."""
        try:
            yield
        finally:
            if self._waiting:
                with suppress(ProcessLost):  # the error that ended the work matters more
                    self.announce(False)

    def any(self, condition: bool) -> bool:
        """Whether the condition holds in any process; all wait for the answer and get the same."""
        if self.size == 1:
            return condition
        return bool(self._sum(torch.tensor([float(condition)], device=self._device)) > 0)

    def all_equal(self, number: int) -> bool:
        """Whether all processes have this number."""
        if self.size == 1:
            return True
        both = self._sum(torch.tensor([number, number * number], dtype=torch.float64, device=self._device)).tolist()
        return both == [self.size * number, self.size * number * number]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter], loss: Tensor) -> Tensor:
        """Give every process the sum of all gradients; returns the sum of the losses. What has no gradient anywhere
        keeps none. Of a split model (FSDP2) the gradients are summed already."""
        if self.size == 1:
            return loss
        learnt = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
        has = torch.tensor([p.grad is not None for p in learnt], dtype=torch.float32, device=loss.device)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learnt]
        flat = self._sum(torch.cat([loss.detach().reshape(1), has, *parts]))
        at = 1 + len(learnt)
        for p, has_gradient in zip(learnt, flat[1:at].tolist(), strict=True):
            p.grad = flat[at : at + p.numel()].view_as(p) if has_gradient else None
            at += p.numel()
        return flat[0]

    def disconnect(self) -> None:
        """Nothing is exchanged after this."""
        if self.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()

    def _sum(self, numbers: Tensor) -> Tensor:
        try:
            distributed.all_reduce(numbers)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ProcessLost(
                f"process {self.rank} of {self.size} lost another one, which died or cannot be reached ({reason})"
            ) from error
        return numbers


SINGLE = Processes()


def join() -> Processes:
    """This process among those that the launcher started."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return SINGLE
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    return Processes(distributed.get_rank(), size, device)
