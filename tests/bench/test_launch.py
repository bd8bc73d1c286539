"""Trials of several processes: who answers for them, what becomes of a rank that fails, and that none is left."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.launch import RankFile, answer, cores_of_rank, free_ports, how_it_ended, where_ranks_are
from bench.plugins import find_entry
from bench.runner import Bounds, Where, ask_worker, cores_shared, worker_cores
from bench.task import load_task
from tests.bench.test_faults import TINY, gone, records, wait_for
from tests.command import bench, start
from tests.make import make_machine, make_trial

OK = {"status": "ok", "reason": None}
GONE = {"status": "failed", "reason": "RuntimeError: Connection closed by peer"}
RAISED = {"status": "failed", "reason": "ValueError: wrong shape"}


@pytest.mark.parametrize(
    ("said", "ended", "status", "reason"),
    [
        ({0: (5.0, OK)}, {}, "ok", None),
        ({0: (5.0, OK), 1: (6.0, GONE)}, {1: 1}, "ok", None),
        ({0: (5.0, {"status": "refused", "reason": "no SGD"}), 1: (4.9, RAISED)}, {}, "refused", "no SGD"),
        ({0: (5.0, GONE), 1: (4.0, RAISED)}, {1: 1}, "failed", "rank 1: ValueError: wrong shape"),
        ({0: (5.0, RAISED), 1: (6.0, GONE)}, {}, "failed", "rank 0: ValueError: wrong shape"),
        ({0: (5.0, GONE)}, {1: -9}, "crashed", "rank 1: killed by SIGKILL"),
        ({0: (5.0, GONE), 2: (5.1, GONE)}, {1: -11, 0: -15}, "crashed", "rank 1: killed by SIGSEGV"),
        ({1: (4.0, RAISED)}, {0: -15, 1: 1}, "failed", "rank 1: ValueError: wrong shape"),
        ({}, {0: 7}, "crashed", "rank 0: ended with code 7"),
    ],
)
def test_a_trial_is_answered_for_by_the_rank_where_it_began_to_go_wrong(
    said: dict, ended: dict, status: str, reason: str | None
) -> None:
    """What the others say is that it has gone; whoever torchrun ended was well."""
    found = answer(said, ended)

    assert found is not None
    assert (status, True) == (found["status"], (found["reason"] or "").startswith(reason or "")), found
    assert (found["reason"] is None) == (reason is None)


def test_where_no_rank_began_the_launchers_own_words_are_left() -> None:
    """Such as that there is no torchrun: no reply is made up, and the runner reads what was printed."""
    assert answer({}, {}) is None


def test_a_kill_is_named_with_its_usual_cause() -> None:
    """As for a worker of one process."""
    assert ("killed by SIGKILL (the kernel does this when memory runs out)", "ended with code 3") == (
        how_it_ended(-signal.SIGKILL),
        how_it_ended(3),
    )


@pytest.mark.parametrize(
    ("cores", "threads", "expected"),
    [([0, 1], 1, [[0], [1]]), ([4, 5, 6, 7], 2, [[4, 5], [6, 7]]), ([1], 1, [[1], [1]]), ([0, 1], 2, [[0, 1], [0, 1]])],
)
def test_ranks_have_cores_of_their_own_where_there_are_enough(cores: list, threads: int, expected: list) -> None:
    """Else they share them, evenly."""
    assert expected == [cores_of_rank(cores, threads, rank) for rank in (0, 1)]


def test_three_ranks_share_two_cores_in_turn() -> None:
    """None is left idle."""
    assert [[0], [1], [0]] == [cores_of_rank([0, 1], 1, rank) for rank in range(3)]


def test_free_ports_are_free_and_different() -> None:
    """And a taken one is not among them."""
    found = free_ports(3)
    held = []
    for port in found:
        held.append(socket.create_server(("127.0.0.1", port)))
    again = free_ports(3)
    for one in held:
        one.close()

    assert 3 == len(set(found))
    assert set() == set(found) & set(again)


def test_a_reply_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    """With the moment at which it was given."""
    file = RankFile(tmp_path, 1)

    assert file.said() is None
    file.leave(12.5, json.dumps(RAISED))
    assert (12.5, RAISED) == file.said()


SLEEPER = """
import faulthandler, signal, sys, time
faulthandler.register(signal.SIGUSR1, open(sys.argv[1], "w"), all_threads=True)
def wait_for_the_others():
    print("ready", flush=True)
    time.sleep(60)
wait_for_the_others()
"""


def test_a_rank_says_where_it_is(tmp_path: Path) -> None:
    """Function, file and line of its main thread; nothing where no rank was started, and not of one that has gone."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    file = RankFile(tmp_path, 1)
    with subprocess.Popen([sys.executable, tmp_path / "sleeper.py", file.stack], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        file.pid.write_text(str(process.pid))
        RankFile(tmp_path, 0).pid.write_text(str(2**22 + 1))  # no process has so high a number
        seen = where_ranks_are(tmp_path)
        process.kill()

    assert ["rank 0: does not say where it is", "rank 1: in wait_for_the_others, sleeper.py"] == [
        one.removesuffix(":5").removesuffix(":6")
        for one in seen  # it may be printing still
    ]
    assert [] == where_ranks_are(tmp_path / "raw")


# --- whole trials, real processes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What came of a trial of two processes, and every process id that it left in the test's folder."""

    status: str
    reason: str
    seconds: float
    pids: list[int]


def ask(
    folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str, *, fault: str, limit: float = 120, processes: int = 2
) -> Asked:
    """A trial of an entry of tests/plugins without its certificate, as the runner asks for it."""
    pids = folder / "pids"
    pids.mkdir()
    monkeypatch.setenv("RANKS_PIDS", str(pids))
    monkeypatch.setenv("RANKS_FAULT", fault)
    found = find_entry(f"tests.plugins.{entry}")
    status, reason, _, finished = ask_worker(
        "trial",
        entry=found,
        module=found.module,
        task=load_task("mlp-tiny").changed(epochs=1),
        seed=0,
        device="cpu",
        threads=1,
        processes=processes,
        bounds=Bounds(time_limit_seconds=limit),
        where=Where(machine=make_machine(), source=make_trial().source),
    )
    left = [int(path.read_text()) for path in pids.iterdir()]
    return Asked(status, reason or "", finished.seconds, left)


LAUNCHED = pytest.mark.parametrize(
    "entry", ["ranks", pytest.param("ranks_torchrun", marks=pytest.mark.slow)], ids=["tf-config", "torchrun"]
)


@LAUNCHED
def test_two_processes_make_one_record(tmp_path: Path, entry: str) -> None:
    """Its case has two processes, each rank tells its memory, and no process is left, nor a child of one."""
    pids = tmp_path / "pids"
    pids.mkdir()
    arguments = ("--entry", f"tests.plugins.{entry}", "--processes", "2", "--results", tmp_path / "results")
    done = bench(*TINY, *arguments, RANKS_PIDS=str(pids))
    [record] = records(tmp_path / "results").values()
    measured = record["measurements"]
    [name] = [path.name for path in tmp_path.glob("results/raw/*/*/*/block-*.json")]

    assert ("ok", 0) == (record["status"], done.returncode), (record["reason"], done.stderr)
    assert 2 == record["case"]["processes"]
    assert "_t1_b64_p2" in name
    assert [True, True] == [f["value"] > 0 for f in measured["memory"]["peak_training_bytes_of_ranks"]]
    assert [100, 5, 5] == [v if isinstance(v, int) else len(v) for v in measured["communication"].values()]
    assert {"rank-0", "rank-1", "child-0", "child-1"} == {path.name for path in pids.iterdir()}
    assert all(gone(int(path.read_text())) for path in pids.iterdir())


@LAUNCHED
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("killed", "crashed", "rank 1: killed by SIGKILL"),
        pytest.param(
            *("raises", "failed", "rank 1: RuntimeError: the shapes [784, 128] and [3] do not match"),
            marks=pytest.mark.slow,
        ),
        pytest.param("exits", "crashed", "rank 1: ended with code 7", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_dies_ends_the_trial_with_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, fault: str, status: str, reason: str
) -> None:
    """Before the limit, and nothing of it is left."""
    seen = ask(tmp_path, monkeypatch, entry, fault=fault)

    assert (status, True) == (seen.status, reason in seen.reason), seen.reason
    assert 4 == len(seen.pids)
    assert all(map(gone, seen.pids))


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["ranks", "ranks_torchrun"], ids=["tf-config", "torchrun"])
def test_a_rank_that_hangs_is_named_and_ended_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    """With the line in which it hangs; its child in another session is ended too."""
    seen = ask(tmp_path, monkeypatch, entry, fault="hangs", limit=25)

    assert "timed-out" == seen.status, seen.reason
    assert "was still running after its limit of 25 s; rank 0: in " in seen.reason
    assert "; rank 1: in fault, ranks.py:" in seen.reason
    assert 25 <= seen.seconds < 60
    assert all(map(gone, seen.pids))


def test_a_launcher_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch is broken there is no torchrun: its last words are the reason."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    seen = ask(tmp_path, monkeypatch, "ranks_torchrun", fault="")

    assert "crashed" == seen.status
    assert "ended with code 1; last message:" in seen.reason
    assert "libtorch.so: no such file" in seen.reason
    assert [] == seen.pids


@pytest.mark.parametrize("entry", ["ranks", "ranks_torchrun"])
def test_kill_9_of_the_runner_leaves_no_rank(tmp_path: Path, entry: str) -> None:
    """Neither session nor launcher keeps a rank alive whose trial nobody waits for."""
    pids = tmp_path / "pids"
    pids.mkdir()
    arguments = ("--entry", f"tests.plugins.{entry}", "--processes", "2", "--results", tmp_path / "results")
    runner = start(*TINY, *arguments, RANKS_PIDS=str(pids), RANKS_FAULT="hangs")
    ranks = [int(wait_for(pids / f"rank-{rank}", 120)) for rank in (0, 1)]
    os.kill(runner.pid, signal.SIGKILL)
    runner.communicate()
    left = [rank for rank in ranks if not gone(rank)]
    for child in pids.glob("child-*"):  # of a rank that was killed itself: whoever plants it takes it away
        os.kill(int(child.read_text()), signal.SIGKILL)

    assert [] == left


def test_the_check_for_what_is_left_can_fail(tmp_path: Path) -> None:
    """A process that lives on is seen."""
    with subprocess.Popen(["sleep", "60"]) as process:
        seen = gone(process.pid, seconds=0.2)
        process.kill()

    assert not seen
    assert gone(process.pid)


def test_a_batch_that_processes_cannot_share_evenly_is_refused(tmp_path: Path) -> None:
    """With the reason, before a process is started."""
    flags = ("--entry", "tests.plugins.ranks", "--processes", "3", "--results", tmp_path)
    done = bench(*TINY, *flags)
    [record] = records(tmp_path).values()

    assert "refused" == record["status"]
    assert "a batch of 64 rows cannot be shared evenly by 3 processes; take a batch size" in record["reason"]
    assert 0.0 == record["worker_seconds"]
    assert 3 == done.returncode  # nothing counted


def test_a_rank_that_never_starts_does_not_hold_the_others(tmp_path: Path) -> None:
    """An entry that cannot be imported fails at once, and in its own words."""
    (tmp_path / "gone_on_rank_1.py").write_text(
        'LAUNCHER = "tf-config"\nimport os\nassert os.environ["RANK"] == "0", "no such file on rank 1"\n'
        "from tests.plugins.ranks import build, configure, versions\n"
    )
    flags = ("--entry", "folder.gone_on_rank_1", "--processes", "2", "--results", tmp_path / "results")
    (tmp_path / "folder").mkdir()
    (tmp_path / "gone_on_rank_1.py").rename(tmp_path / "folder" / "gone_on_rank_1.py")
    began = time.monotonic()
    bench(*TINY, *flags, PYTHONPATH=str(tmp_path))
    [record] = records(tmp_path / "results").values()

    assert ("failed", "rank 1: AssertionError: no such file on rank 1") == (record["status"], record["reason"])
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("threads", "processes", "expected", "shared"),
    [(1, 1, [3], False), (1, 2, [2, 3], False), (2, 2, [0, 1, 2, 3], False), (1, 6, [0, 1, 2, 3], True)],
)
def test_a_trial_has_as_many_cores_as_it_can_use(
    monkeypatch: pytest.MonkeyPatch, threads: int, processes: int, expected: list[int], shared: bool
) -> None:
    """The last ones of four; where they are too few, processes share them and it is known."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})

    assert (expected, shared) == (worker_cores(threads, processes), cores_shared(threads, processes))


def test_more_processes_than_a_machine_can_take_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four a core, and no more."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    assert [0, 1] == worker_cores(1, 8)
    with pytest.raises(InputError, match="--processes 9: this machine gives 2 cores; take at most 2, or 8 that share"):
        worker_cores(1, 9)
