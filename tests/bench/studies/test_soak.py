"""bench.studies.soak and .repeat: growth and other bits are seen, and neither is seen where there is none."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.conformance import ContractBroken
from bench.contract import Settings
from bench.record import Reading, WorkerRequest
from bench.studies import repeat, soak
from bench.task import load_task
from tests.make import MIB

SETTINGS = Settings(device="cpu", threads=1)


class Trainer:
    """Losses without a network; it may keep something of every call, or differ from run to run."""

    def __init__(self, *, kept_bytes: int = 0, loss: float = 1.0, noise: float = 0.0) -> None:
        self.kept_bytes, self.loss, self.noise = kept_bytes, loss, noise
        self.kept: list[bytearray] = []

    def train(self, batches: np.ndarray) -> np.ndarray:
        if self.kept_bytes:
            self.kept.append(bytearray(b"x" * self.kept_bytes))  # written to, so that it is resident
        return np.full(len(batches), self.loss, dtype=np.float32)

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 10), dtype=np.float32)

    def params(self) -> list[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng()
        return [(np.ones((2, 2)) + self.noise * rng.random((2, 2)), np.zeros(2))]


def module(**trainer: Any) -> ModuleType:
    """An entry that builds such a trainer."""
    made = ModuleType("made_up")
    made.configure = lambda settings: None  # type: ignore[attr-defined]
    made.build = lambda task, params, data: Trainer(**trainer)  # type: ignore[attr-defined]
    return made


def request() -> WorkerRequest:
    """Of mlp-tiny."""
    return WorkerRequest(
        what="study",
        task=load_task("mlp-tiny"),
        training_seed=0,
        entry="made-up",
        entry_module="made_up",
        device="cpu",
        threads=1,
        memory_limit_bytes=None,
        parent_pid=1,
    )


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "STEPS", 400)
    monkeypatch.setattr(soak, "EVERY", 100)
    monkeypatch.setattr(soak, "CALL", 50)


def growth(found: list[Reading]) -> float:
    """The reading that the claim is about."""
    value = next(reading.value for reading in found if reading.name == "rss_growth_bytes")
    assert value is not None
    return value


def test_a_trainer_that_keeps_nothing_does_not_grow() -> None:
    """By less than an allocator moves."""
    found = soak.measure(module(), request(), SETTINGS)

    assert abs(growth(found)) < 2 * MIB
    assert [r.name for r in found if r.unit == "bytes"][:4] == [f"rss_bytes.{n}" for n in (100, 200, 300, 400)]


def test_a_leak_is_seen() -> None:
    """4 MiB a call, six calls after the first mark."""
    assert growth(soak.measure(module(kept_bytes=4 * MIB), request(), SETTINGS)) > 20 * MIB


def test_a_loss_that_is_not_finite_ends_the_soak() -> None:
    """The steps after it would be of another training."""
    with pytest.raises(ContractBroken, match="not finite"):
        soak.measure(module(loss=float("nan")), request(), SETTINGS)


def test_memory_that_cannot_be_read_is_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never 0."""

    def unreadable() -> None:
        raise soak.memory.Unreadable("no /proc here")

    monkeypatch.setattr(soak.memory, "sample", unreadable)
    found = {reading.name: reading for reading in soak.measure(module(), request(), SETTINGS)}

    assert found["rss_growth_bytes"].value is None
    assert found["rss_bytes.100"].reason == "no /proc here"


def test_the_same_training_has_the_same_bits_and_another_has_others() -> None:
    """Of losses and of parameters."""

    def bits(**trainer: Any) -> float | None:
        return repeat.measure(module(**trainer), request(), SETTINGS)[0].value

    assert bits() == bits()
    assert bits() != bits(loss=np.nextafter(np.float32(1), np.float32(2)))
    assert bits(noise=1e-12) != bits(noise=1e-12)
