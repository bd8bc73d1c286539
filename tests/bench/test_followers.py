"""The other ranks repeat what rank 0 does: each call once, in order, told ahead where it is timed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contract import Data, Settings
from bench.followers import ALONE, Followers, follow
from bench.inputs import load_data
from bench.task import load_task
from tests.bench.test_faults import gone
from tests.command import ROOT
from tests.make import small_data

TASK = load_task("mlp-tiny")
BATCHES = np.arange(12).reshape(6, 2)


class Noting:
    """An entry, and its trainer, that write down each call as it begins; `slow` takes a while, `bad` raises."""

    def __init__(self, place: Path, settings: Settings | None = None) -> None:
        self.place, self.settings = place, settings

    def note(self, text: str) -> None:
        with self.place.open("a") as file:
            print(text, file=file)

    def build(self, task: Any, params: Any, data: Data) -> "Noting":
        self.note(f"build {len(data.images)}")
        return self

    def train(self, batches: Any) -> None:
        self.note(f"train {len(batches)} from {batches.flat[0]}")
        if len(batches) == 5:
            raise RuntimeError("five")
        if len(batches) == 6:
            time.sleep(600)

    def train_local(self, batches: Any) -> None:
        self.note(f"train_local {len(batches)}")

    def logits(self, images: Any) -> int:
        return 7


SCRIPT = """
import sys
from multiprocessing.connection import Client
from pathlib import Path
from tests.bench.test_followers import Noting, follow

def load(name, module, settings):
    entry = Noting(Path(sys.argv[2]), settings)
    entry.note(f"load {name} {module} {settings.rank} of {settings.processes}")
    return entry

line = Client(sys.argv[1], "AF_UNIX")
follow(line, 1, load)
"""


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[tuple[Followers, Callable[[], list[str]], subprocess.Popen[str]]]:
    """Rank 0's line to one rank in a process of its own, what that has been doing, and the process."""
    assert follow
    notes = tmp_path / "notes"
    with Listener(str(tmp_path / "line"), "AF_UNIX") as listener:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "line"), str(notes)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        line = listener.accept()
    followers = Followers([line])
    try:
        yield followers, lambda: notes.read_text().splitlines() if notes.exists() else [], process
    finally:
        line.close()
        process.kill()
        process.communicate()


def led(followers: Followers, place: Path) -> Any:
    """The entry on rank 0, loaded on both."""
    followers.load("noting", "folder.noting", Settings(device="cpu", threads=1, processes=2))
    return followers.lead(Noting(place))  # type: ignore[arg-type]


def test_calls_in_which_all_take_part_are_repeated_in_order(follower: Any, tmp_path: Path) -> None:
    """With their arrays; what is local to rank 0 is not."""
    followers, notes, _ = follower
    entry = led(followers, tmp_path / "own")
    trainer = entry.build(TASK, [], small_data(TASK, 32))
    trainer.train(BATCHES[1:3])
    trainer.train_local(BATCHES[:1])
    local = trainer.logits(None)
    followers.settle()

    assert 7 == local
    assert ["load noting folder.noting 1 of 2", "build 32", "train 2 from 2", "train_local 1"] == notes()
    assert ["build 32", "train 2 from 2", "train_local 1"] == (tmp_path / "own").read_text().splitlines()


def test_what_is_told_ahead_begins_with_the_first_call_and_not_before(follower: Any, tmp_path: Path) -> None:
    """The clock starts between the two; then all of a group follow without another word."""
    followers, notes, _ = follower
    trainer = led(followers, tmp_path / "own").build(TASK, [], small_data(TASK, 32))
    rows = [BATCHES[:1], BATCHES[1:2], BATCHES[2:3]]
    followers.ahead("train", *((row,) for row in rows), of=trainer)
    time.sleep(0.3)
    before = notes()[2:]
    trainer.train(rows[0])
    followers.settle()
    after = notes()[2:]
    for row in rows[1:]:
        trainer.train(row)
    trainer.train(BATCHES[3:5])
    followers.settle()

    assert [] == before
    assert ["train 1 from 0", "train 1 from 2", "train 1 from 4"] == after
    assert ["train 2 from 6"] == notes()[5:]


def test_another_call_than_the_one_told_is_a_defect(follower: Any, tmp_path: Path) -> None:
    """Ranks that do different things would hang, or worse."""
    followers, _, _ = follower
    trainer = led(followers, tmp_path / "own").build(TASK, [], small_data(TASK, 32))
    followers.ahead("train", (BATCHES[:1],), of=trainer)

    with pytest.raises(RuntimeError, match="a defect of bench"):
        trainer.train(BATCHES[:1].copy())


def test_the_training_set_is_read_by_each_rank(follower: Any, tmp_path: Path) -> None:
    """180 MB are not sent; and it is not held beyond the build."""
    followers, notes, _ = follower
    entry = led(followers, tmp_path / "own")
    followers.read_data(TASK)
    data = load_data(TASK).train
    followers.hold(data)
    params: list[Any] = []
    followers.ahead("build", (TASK, params, data))
    entry.build(TASK, params, data)
    followers.settle()

    assert ["load noting folder.noting 1 of 2", "build 60000"] == notes()
    assert followers._own is None
    assert [] == list(followers._ahead)


def test_a_rank_tells_the_peak_of_its_own_memory(follower: Any, tmp_path: Path) -> None:
    """In bytes, of its own process."""
    followers, _, _ = follower
    led(followers, tmp_path / "own")
    followers.reset_peaks()
    [peak] = followers.peaks()

    assert peak.value is not None
    assert 10e6 < peak.value < 4e9


def test_what_a_call_raises_ends_the_following(follower: Any, tmp_path: Path) -> None:
    """The caller says it; rank 0 sees that the line is closed."""
    followers, _, process = follower
    trainer = led(followers, tmp_path / "own").build(TASK, [], small_data(TASK, 32))
    with pytest.raises(RuntimeError, match="five"):
        trainer.train(BATCHES[:5])
    with pytest.raises(EOFError):
        followers.settle()
    _, stderr = process.communicate(timeout=20)

    assert "RuntimeError: five" in stderr


def test_a_rank_ends_when_rank_0_has_gone_in_the_middle_of_a_call(follower: Any, tmp_path: Path) -> None:
    """It would wait for ever: in a collective nobody else is left."""
    followers, notes, process = follower
    trainer = led(followers, tmp_path / "own").build(TASK, [], small_data(TASK, 32))
    followers.call("train", trainer.number, BATCHES)
    deadline = time.monotonic() + 20
    while len(notes()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    followers._lines[0].close()

    assert ["train 6 from 0"] == notes()[2:]
    assert gone(process.pid)


def test_stop_ends_the_following(follower: Any, tmp_path: Path) -> None:
    """With success."""
    followers, _, process = follower
    led(followers, tmp_path / "own")
    followers.stop()
    process.communicate(timeout=20)

    assert 0 == process.returncode


def test_without_followers_an_entry_is_led_by_nobody() -> None:
    """A trial of one process has nothing around it."""
    entry = Noting(Path("/dev/null"))
    ALONE.load("a", "b", Settings(device="cpu", threads=1))
    ALONE.ahead("train", (BATCHES,), of=entry)  # type: ignore[arg-type]
    ALONE.hold(small_data(TASK, 8))
    ALONE.settle()

    assert entry is ALONE.lead(entry)  # type: ignore[arg-type, comparison-overlap]
    assert ([], None, 0) == (list(ALONE._ahead), ALONE._own, ALONE._unanswered)
