"""What a run decides from the machine it is on."""

import gc

import pytest
import torch
from medlingua.recipes import machine

CPU = torch.device("cpu")


@pytest.mark.parametrize(("units", "name"), [("AMX", "bf16"), ("AVX512-BF16", "bf16"), (None, "fp32")])
def test_O16_precision_follows_the_processor_and_no_timing(
    units: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run on a loaded machine would otherwise go on in another precision, to other weights."""
    monkeypatch.setattr(machine, "cpu_bf16_units", lambda: units)
    precision = machine.precision_of("auto", CPU)
    assert precision.name == name
    assert (units or "no bf16 units") in precision.reason


def test_a_requested_precision_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_bf16_units", lambda: None)
    assert machine.precision_of("bf16", CPU).name == "bf16"


def test_the_collector_rests_on_a_gpu_and_works_again_after_an_error() -> None:
    resting = []

    def train() -> None:
        with machine.collector_at_rest(torch.device("cuda")):
            resting.append(not gc.isenabled())
            raise RuntimeError("training stopped")

    with pytest.raises(RuntimeError, match="training stopped"):
        train()
    assert resting == [True]
    assert gc.isenabled()
    with machine.collector_at_rest(CPU):
        assert gc.isenabled()


def test_a_collector_at_rest_collects_where_it_is_called_and_one_at_work_is_not_called() -> None:
    collected: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            collected.append(1)

    gc.callbacks.append(note)
    try:
        machine.collect_if_at_rest()
        assert collected == []
        with machine.collector_at_rest(torch.device("cuda")):
            collected.clear()
            machine.collect_if_at_rest()
            assert collected == [1]
    finally:
        gc.callbacks.remove(note)
