"""What a GPU would be waited for, counted on a CPU."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

_READ = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "repeat_interleave", "aten.equal")


class Waits(TorchDispatchMode):
    """While open, `places` gets what reads values of tensors, or needs them to know a shape."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.places: list[str] = []
        original = torch.Tensor.tolist

        def tolist(tensor: torch.Tensor) -> Any:
            self.places.append("tolist")
            return original(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", tolist)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        # The optimizer's counts of steps, which lie on the host, are no questions to a device.
        if any(part in name for part in _READ) or (name.startswith("aten.index.") and _is_mask(args[1])):
            self.places.append(name)
        return func(*args, **(kwargs or {}))


def _is_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)
