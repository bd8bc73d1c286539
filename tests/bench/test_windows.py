"""The worker's dialogue: ready, then a line for each window, until the commands end."""

import functools
import io
import json
import os
import statistics

import numpy as np
import pytest

from bench import windows
from bench.contract import Settings
from bench.inputs import epoch_batches, initial_params, load_data
from bench.record import WorkerRequest
from bench.windows import rows_of, serve
from tests.make import make_task
from tests.plugins import good

LOADED = functools.cache(load_data)


@pytest.fixture(autouse=True)
def _decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dialogue is a worker of its own, which would decode the whole data set anew."""
    monkeypatch.setattr(windows, "load_data", LOADED)


def dialogue(entry: str, *commands: object, slowdown: float = 0.0) -> list[dict]:
    """What a worker answers, line by line."""
    request = WorkerRequest(
        what="windows",
        task=make_task(layers=(784, 8, 10)),
        training_seed=0,
        entry=entry,
        entry_module=entry,
        device="cpu",
        threads=1,
        slowdown=slowdown,
        memory_limit_bytes=None,
        parent_pid=os.getpid(),
    )
    lines = [command if isinstance(command, str) else json.dumps(command) for command in commands]
    replies = io.StringIO()
    serve(request, Settings(device="cpu", threads=1), io.StringIO("".join(f"{line}\n" for line in lines)), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_a_worker_says_that_it_is_ready_and_answers_each_command_with_a_window() -> None:
    """Ready names what computes; a window has just the steps that were asked for, and a time above 0.

    Nothing was asked to be slower: of several windows most lose next to nothing to that; between two looks at the
    clock of one, another process may come.
    """
    ready, *found = dialogue("tests.plugins.good", *({"steps": steps} for steps in (3, 5, 5, 5, 5)))

    assert (True, True) == (ready["ready"], "numpy" in ready["packages"])
    assert [3, 5, 5, 5, 5] == [one["steps"] for one in found]
    assert all(one["seconds"] > 0 for one in found)
    assert statistics.median(one["extra_seconds"] / one["seconds"] for one in found) < 1 / 1000


def test_a_slowed_window_is_longer_by_the_share() -> None:
    """Half as long again; a product takes a microsecond or two, so it is near, unless another test has the core."""
    _, *found = dialogue("tests.plugins.good", *[{"steps": 100}] * 9, slowdown=0.5)
    shares = [one["extra_seconds"] / (one["seconds"] - one["extra_seconds"]) for one in found]

    assert all(share >= 0.5 for share in shares)
    assert statistics.median(shares) < 0.55


def test_a_slowdown_is_work_and_no_sleep() -> None:
    """It takes as much of the processor again, whoever else has a share of it; a sleep would take none.

    Window by window in turns, for a shared machine is half as fast a moment later.
    """
    task = make_task(layers=(784, 8, 10))
    trainer, rows = good.build(task, initial_params(task, 0), LOADED(task).train), rows_of(task, 0)

    def processor_seconds(slowdown: float) -> float:
        return windows._window(trainer, rows, 100, slowdown).cpu_seconds

    ratios = [processor_seconds(1.0) / processor_seconds(0.0) for _ in range(21)]

    assert 1.6 < statistics.median(ratios)


def test_windows_take_the_rows_of_the_task_one_epoch_after_the_other() -> None:
    """The same bytes as a trial's."""
    task = make_task()
    rows = rows_of(task, 7)
    first = [next(rows) for _ in range(task.steps_per_epoch + 1)]

    assert np.array_equal(epoch_batches(task, 7, 0), np.stack(first[:-1]))
    assert np.array_equal(epoch_batches(task, 7, 1)[0], first[-1])


@pytest.mark.parametrize(
    ("entry", "command", "status", "reason"),
    [
        ("tests.plugins.refuses", {"steps": 1}, "refused", "has no SGD"),
        ("tests.plugins.raises", {"steps": 1}, "failed", "RuntimeError: the shapes"),
        ("tests.plugins.absent", {"steps": 1}, "failed", "No module named"),
        ("tests.plugins.diverges", {"steps": 1}, "failed", "not finite"),
        ("tests.plugins.good", "hello", "failed", "not a command: 'hello'"),
        ("tests.plugins.good", {"steps": 0}, "failed", "not a command"),
    ],
)
def test_what_goes_wrong_is_the_last_line(entry: str, command: object, status: str, reason: str) -> None:
    """One line with status and reason, whatever an entry does; the dialogue is over."""
    last = dialogue(entry, command, {"steps": 1})[-1]

    assert (status, True) == (last["status"], reason in last["reason"]), last
