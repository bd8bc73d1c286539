"""What rank 0 does -> what the other ranks of a trial do with it. Imports no framework and holds no clock.

A trial of several processes is measured by the code of one: it runs on rank 0 and alone reads a clock, decides, and
checks. The other ranks follow: they repeat each call in which all processes take part (`load`, `build`, `train`,
`train_local`), in rank 0's order, so that no decision by the clock can part them. What is local to a process (logits,
parameters, where tensors lie) is asked of rank 0 alone, for parameters are the same on all ranks.

Calls that are timed are told ahead, with all their arrays, before the clock starts; inside it goes one short word.
"""

import contextlib
import gc
import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bench.contract import Data, EntryModule, Params, Settings, Trainer
from bench.inputs import load_data
from bench.probes import memory
from bench.record import Figure
from bench.task import Task

Call = tuple[str, tuple[Any, ...]]

_OWN_DATA = "the task's own training set"  # goes in place of 180 MB that each rank can read itself
_STOP_SECONDS = 5.0


class Followers:
    """Rank 0's lines to the other ranks, in their order; without any, all of this does nothing."""

    def __init__(self, lines: Sequence[Connection] = ()) -> None:
        self._lines = lines
        self._unanswered = 0  # of each line: calls that are told and not yet said to be done
        self._ahead: deque[Call] = deque()
        self._begun = False
        self._own: Data | None = None

    def lead(self, entry: EntryModule) -> EntryModule:
        """The entry with its collective calls repeated by every follower; itself where there is none."""
        return cast(EntryModule, _LeadingModule(entry, self)) if self._lines else entry

    def load(self, name: str, module_name: str, settings: Settings) -> None:
        """Let all import and configure the entry, while rank 0 does so."""
        self.call("load", name, module_name, settings)

    def read_data(self, task: Task) -> None:
        """Let all read the task's training set from the disk, while rank 0 does so."""
        self.call("read_data", task)

    def hold(self, data: Data) -> None:
        """What followers were told to read is this; waits until they have read it."""
        if self._lines:
            self._own = data
            self.settle()

    def ahead(self, verb: str, *calls: tuple[Any, ...], of: Trainer | None = None) -> None:
        """Tell the very next calls of rank 0, with the very same arguments; they begin with the first of them.

        Waits until all that was told before is done. of: the trainer, where the calls are methods.
        """
        if not self._lines:
            return
        self.settle()
        whose = () if of is None else (cast(_LeadingTrainer, of).number,)
        self._ahead, self._begun = deque((verb, (*whose, *arguments)) for arguments in calls), False
        self._send(("ahead", list(self._ahead)))
        for line in self._lines:
            line.recv()  # it has them all, and has collected its garbage

    def call(self, verb: str, *arguments: Any) -> None:
        """Let all make a call that rank 0 is about to make."""
        if not self._lines:
            return
        if not self._ahead:
            self._send(("call", [(verb, arguments)]))
            self._unanswered += 1
            return
        told, expected = self._ahead.popleft()
        if told != verb or not _same(expected, arguments):
            raise RuntimeError(f"rank 0 calls {verb}, and told the other ranks {told}: a defect of bench")
        if not self._begun:
            self._begun = True
            self._send(("go", []))
            self._unanswered += 1

    def forget_data(self) -> None:
        """Hold no longer what `hold` was given: rank 0's copy of the training set is in nobody's way then."""
        self._own = None

    def settle(self) -> None:
        """Wait until every follower has done all that it was told."""
        for _ in range(self._unanswered):
            for line in self._lines:
                line.recv()
        self._unanswered = 0

    def reset_peaks(self) -> None:
        """Let the peak of each follower's memory start anew."""
        self.settle()
        self._ask("reset_peak")

    def peaks(self) -> list[Figure]:
        """The peak of each follower's resident memory in bytes since then, in order of the ranks."""
        self.settle()
        return [Figure.model_validate(said) for said in self._ask("peak")]

    def stop(self) -> None:
        """Let every follower end, and wait until it has."""
        for line in self._lines:
            with contextlib.suppress(OSError, EOFError):
                line.send(("stop", []))
                while line.poll(_STOP_SECONDS):
                    line.recv()

    def _ask(self, verb: str) -> list[Any]:
        self._send(("ask", [(verb, ())]))
        return [line.recv() for line in self._lines]

    def _send(self, message: tuple[str, list[Call]]) -> None:
        kind, calls = message
        calls = [(verb, tuple(_OWN_DATA if a is self._own else a for a in arguments)) for verb, arguments in calls]
        for line in self._lines:
            line.send((kind, calls))


ALONE = Followers()


def _same(told: Sequence[Any], found: Sequence[Any]) -> bool:
    """Whether the arguments of a call are the very ones that were told ahead."""
    return len(told) == len(found) and all(
        a == b if isinstance(a, int | str) else a is b for a, b in zip(told, found, strict=True)
    )


class _LeadingModule:
    """An entry on rank 0."""

    def __init__(self, module: EntryModule, followers: Followers) -> None:
        self._module, self._followers = module, followers
        self._numbers = itertools.count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def build(self, task: Task, params: Params, data: Data) -> "_LeadingTrainer":
        self._followers.call("build", task, params, data)
        self._followers.forget_data()
        return _LeadingTrainer(self._module.build(task, params, data), next(self._numbers), self._followers)


class _LeadingTrainer:
    """A trainer on rank 0. number: of the builds, by which followers know theirs."""

    def __init__(self, trainer: Trainer, number: int, followers: Followers) -> None:
        self._trainer, self.number, self._followers = trainer, number, followers

    def __getattr__(self, name: str) -> Any:
        if name == "train_local" and hasattr(self._trainer, name):
            return self._train_local
        return getattr(self._trainer, name)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        self._followers.call("train", self.number, batches)
        return self._trainer.train(batches)

    def _train_local(self, batches: NDArray[np.int64]) -> None:
        self._followers.call("train_local", self.number, batches)
        self._trainer.train_local(batches)  # type: ignore[attr-defined]


# --- on the other ranks -------------------------------------------------------------------------------------------


def follow(line: Connection, rank: int, load: Callable[[str, str, Settings], EntryModule]) -> None:
    """Do what rank 0 tells, until it says stop. Raises what any of it raises; ends this process when rank 0 has gone.

    load: imports and configures an entry.
    """
    told: queue.SimpleQueue[tuple[str, list[Call]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(line, told), daemon=True).start()
    follower = _Follower(rank, load)
    ahead: list[Call] = []
    while True:
        kind, calls = told.get()
        if kind == "stop":
            return
        if kind == "ahead":
            ahead = calls
            gc.collect()  # as on rank 0: only our own garbage, before the clock
            line.send("ready")
        elif kind == "ask":
            line.send(follower.do(*calls[0]))
        else:
            for verb, arguments in ahead if kind == "go" else calls:
                follower.do(verb, arguments)
            ahead = []
            line.send("done")


def _listen(line: Connection, told: "queue.SimpleQueue[tuple[str, list[Call]]]") -> None:
    """Hand on what rank 0 tells. A thread of its own, for only so is it seen that rank 0 has died in a shared call."""
    try:
        while True:
            told.put(line.recv())
    except (EOFError, OSError):
        os._exit(1)


class _Follower:
    """What a rank keeps between the calls that it is told."""

    def __init__(self, rank: int, load: Callable[[str, str, Settings], EntryModule]) -> None:
        self._rank, self._load = rank, load
        self._entry: EntryModule | None = None
        self._data: Data | None = None
        self._trainer: Trainer | None = None
        self._builds = 0
        self._no_peak: str | None = None

    def do(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        """Make one call; what it says."""
        return getattr(self, verb)(*arguments)

    def load(self, name: str, module_name: str, settings: Settings) -> None:
        self._entry = self._load(name, module_name, replace(settings, rank=self._rank))

    def read_data(self, task: Task) -> None:
        self._data = load_data(task).train

    def build(self, task: Task, params: Params, data: Data | str) -> None:
        assert self._entry is not None
        if isinstance(data, str):
            assert data == _OWN_DATA
            assert self._data is not None
            data, self._data = self._data, None  # the entry has its own copy then, as on rank 0
        self._trainer = None  # rank 0 has one at a time
        self._trainer = self._entry.build(task, params, data)
        self._builds += 1

    def train(self, number: int, batches: NDArray[np.int64]) -> None:
        self._of(number).train(batches)

    def train_local(self, number: int, batches: NDArray[np.int64]) -> None:
        self._of(number).train_local(batches)  # type: ignore[attr-defined]

    def _of(self, number: int) -> Trainer:
        if self._trainer is None or number != self._builds - 1:
            raise RuntimeError(f"rank 0 trains what it built as number {number}, and {self._builds - 1} came after it")
        return self._trainer

    def reset_peak(self) -> None:
        self._no_peak = None
        try:
            memory.reset_peak()
        except memory.Unreadable as error:
            self._no_peak = str(error)

    def peak(self) -> dict[str, Any]:
        if self._no_peak is not None:
            return {"value": None, "reason": self._no_peak}
        try:
            return {"value": memory.peak_bytes()}
        except memory.Unreadable as error:
            return {"value": None, "reason": str(error)}
