"""What this machine is, and what a run decides from it: precision, memory, energy."""

import ctypes
import gc
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
import torch

_FP16_UNITS = (7, 0)  # compute capability: V100, T4, RTX 20
_MALLOPT_TRIM_THRESHOLD, _MALLOPT_TOP_PAD, _MALLOPT_MMAP_MAX = -1, -2, -4


class Precision(NamedTuple):
    name: Literal["fp32", "bf16", "fp16"]
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """Of matrix products."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]


def precision_of(setting: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
    """bf16 where the machine has units for it, else fp16 with a scaled loss where a GPU has those, fp32 elsewhere.

    Master weights are fp32 in all of them. fp16 is for pretraining: tasks are fine-tuned in fp32 there.

    It follows the hardware, never a timing: a run that resumes on a loaded machine must not change it (O16).
    """
    if setting != "auto":
        return Precision(setting, "train.precision says so")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bf16", f"{torch.cuda.get_device_name(device)} has bf16 matrix units")
        if torch.cuda.get_device_capability(device) >= _FP16_UNITS:
            name = torch.cuda.get_device_name(device)
            return Precision("fp16", f"{name} has fp16 matrix units and none for bf16; the loss is scaled")
        return Precision("fp32", f"{torch.cuda.get_device_name(device)} has no bf16 or fp16 matrix units")
    if device.type != "cpu":
        return Precision("fp32", f"bf16 is not tried on {device.type}")
    units = cpu_bf16_units()
    if units is None:
        return Precision("fp32", "the CPU has no bf16 units (AMX or AVX512-BF16)")
    return Precision("bf16", f"the CPU has bf16 units ({units})")


def cpu_bf16_units() -> str | None:
    # torch has no public question for this; the private ones are missing on some builds.
    for units, question in (("AMX", "_is_amx_tile_supported"), ("AVX512-BF16", "_is_avx512_bf16_supported")):
        supports = getattr(torch.cpu, question, None)
        if supports is not None and supports():
            return units
    return None


def keep_pages() -> bool:
    """Ask glibc to keep freed memory: a training step's large tensors otherwise fault in again at every step.

    Measured in reports/notes: 250,000 page faults a step become 1,000. False where there is no glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(
        libc.mallopt(_MALLOPT_MMAP_MAX, 0)
        and libc.mallopt(_MALLOPT_TRIM_THRESHOLD, -1)
        and libc.mallopt(_MALLOPT_TOP_PAD, 256 * 2**20)
    )


@contextmanager
def collector_at_rest(device: torch.device) -> Iterator[None]:
    """Without the garbage collector on a GPU, whose queue runs dry while it works; collect_if_at_rest calls it."""
    if device.type != "cuda" or not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def collect_if_at_rest() -> None:
    """The collection that a collector at rest leaves to do. Over all of torch it takes a quarter of a second."""
    if not gc.isenabled():
        gc.collect()


def device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def describe() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    memory = psutil.virtual_memory().total / 2**30
    text = f"{name}, {os.cpu_count()} processors, {memory:.0f} GiB"
    if torch.cuda.is_available():
        text += f", {torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return text


def peak_memory_bytes() -> int:
    """Of this process since its start; the GPU's where there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_bytes() -> int:
    """Of the GPU, or of this machine, less where a container limits it."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    total = int(psutil.virtual_memory().total)
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            total = min(total, int(file.read_text()))
        except (OSError, ValueError):  # no such limit: "max"
            continue
    return total


def energy_joules() -> float | None:
    """The CPU packages' energy counter, where the machine shows one (Linux powercap); None elsewhere."""
    counters = sorted(Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj"))
    try:
        return sum(int(c.read_text()) for c in counters) / 1e6 if counters else None
    except OSError:
        return None
