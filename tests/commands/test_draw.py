"""bench/commands/draw.py: a machine at a time, in as many processes as are asked for, and the same for any number."""

import cProfile
import ctypes
import gc
import mmap
import os
import pstats
import signal
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import material, store
from bench.claims import read_claims
from bench.commands import draw
from bench.errors import InputError
from bench.publish.parts import Asked
from tests.bench.test_material import machine, results_of, withdraw
from tests.command import bench, start
from tests.make import make_duet, make_study, prove_duet
from tests.perf import synthetic


def many(folder: Path, *names: str) -> Path:
    """A results folder with a run of each of several machines, the first of which ran once more."""
    for number, name in enumerate(names):
        results_of(folder, f"run-{number}", on=machine(name, cpu_model=f"CPU {number}"))
    return results_of(folder, "run-more", on=machine(names[0], cpu_model="CPU 0"))


def asked(results: Path) -> Asked:
    """Everything that a report holds."""
    return Asked(results=results, project=Path(), claims=tuple(read_claims()), page=True, printed=True)


def asked_of_tables(results: Path) -> Asked:
    """What is drawn in a moment, where what is drawn is no matter: no page, whose charts take each process seconds."""
    return Asked(results=results, project=Path())


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    """Neither what is drawn of a machine nor the order; a withdrawn record is out in each process."""
    results = many(tmp_path, "box-a", "box-b", "box-c")
    withdraw(results, "2026-01-02/box-b/run-1/block-000_*.json")

    one, three = (draw.draw(results, [], asked(results), jobs=jobs) for jobs in (1, 3))

    assert [1, 2, 4] == sorted(part.records for part in one.parts)
    assert one == three


@pytest.mark.parametrize(("jobs", "times"), [(1, 0), (2, 1)])
def test_the_first_idle_core_is_used_once_and_one_that_reads_is_not(tmp_path: Path, jobs: int, times: int) -> None:
    """One process alone has no time to spare; of several one is idle before the last has read its folder."""
    results, called = many(tmp_path, "box-a", "box-b", "box-c"), []

    parts = draw.draw(results, [], asked_of_tables(results), jobs=jobs, meanwhile=called.append).parts

    assert 3 == len(parts)
    assert times == len(called)
    assert all(one == [part for part in parts if part in one] for one in called)  # parts that there will be, in order
    assert all(len(one) >= 2 for one in called)


def test_nothing_is_prepared_for_a_report_that_there_will_not_be(tmp_path: Path) -> None:
    """The error comes at once."""
    results, called = many(tmp_path, "box-a", "box-b"), []
    for certificate in store.raw_folder(results).rglob("certificate_*.json"):
        certificate.unlink()

    with pytest.raises(InputError, match="cannot be read"):
        draw.draw(results, [], asked_of_tables(results), jobs=2, meanwhile=called.append)

    assert [] == called


@pytest.mark.slow
def test_a_report_has_the_same_bytes_for_any_number_of_processes(tmp_path: Path) -> None:
    """Every file, and what is printed."""
    results, others = many(tmp_path / "a", "box-a", "box-b"), many(tmp_path / "b", "box-a", "box-b")
    readme = tmp_path / "none.md"
    made = [bench("report", "--results", of, "--readme", readme, "--jobs", n) for of, n in ((results, 1), (others, 2))]

    def files(folder: Path) -> dict[Path, bytes]:
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert [0, 0] == [one.returncode for one in made]
    assert made[0].stdout == made[1].stdout
    assert Path("index.html") in files(results)
    generated = {name for name in files(results) if name.parts[0] != "raw"}
    assert {n: files(results)[n] for n in generated} == {n: files(others)[n] for n in generated}


def test_a_machine_under_two_names_is_one_machine(tmp_path: Path) -> None:
    """Folders are called by people too; what tells machines apart is the fingerprint."""
    results = results_of(tmp_path, "run-a", on=machine("testbox"))
    results_of(tmp_path, "run-b", on=machine("testbox"))
    raw = store.raw_folder(results) / "2026-01-02"
    (raw / "renamed").mkdir()
    (raw / "testbox" / "run-b").rename(raw / "renamed" / "run-b")
    results_of(tmp_path, "run-c", on=machine("other", cpu_model="Another"))

    parts = [draw.draw(results, [], asked(results), jobs=jobs).parts for jobs in (1, 2)]

    assert [2, 4] == sorted(part.records for part in parts[0])
    assert parts[0] == parts[1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_broken_record_is_the_same_line_from_any_process(tmp_path: Path, jobs: int) -> None:
    """File, place and cause, and exit 2."""
    results = many(tmp_path, "box-a", "box-b")
    broken = next((store.raw_folder(results) / "2026-01-02" / "box-b").rglob("block-001*.json"))
    broken.write_text(broken.read_text().replace('"worker_seconds": ', '"worker_seconds": -'))

    done = bench("report", "--results", results, "--readme", tmp_path / "none.md", "--jobs", jobs)

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert f"bench: {broken}: worker_seconds: input should be greater than or equal to 0" in done.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_lost_certificate_is_found_in_any_process(tmp_path: Path, jobs: int) -> None:
    """A trial without its proof is in no table."""
    results = many(tmp_path, "box-a", "box-b")
    next((store.raw_folder(results) / "2026-01-02" / "box-b").rglob("certificate_*.json")).unlink()

    with pytest.raises(InputError, match=r"certificate_.*: cannot be read"):
        draw.draw(results, [], asked_of_tables(results), jobs=jobs)


def test_without_a_record_it_is_one_line(tmp_path: Path) -> None:
    """As ever: what makes some."""
    with pytest.raises(InputError, match="no folder raw/"):
        draw.draw(tmp_path, [], asked(tmp_path))
    (tmp_path / "raw" / "2026-01-02" / "box" / "run").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no record"):
        draw.draw(tmp_path, [], asked(tmp_path))


def test_duets_alone_are_a_report(tmp_path: Path) -> None:
    """With a place on the page for their machine, and what was measured with."""
    folder = store.raw_folder(tmp_path) / "2026-01-02" / "testbox" / "run-d"
    for block in range(3):
        prove_duet(folder, make_duet(block))

    [part] = draw.draw(tmp_path, [], asked(tmp_path)).parts

    assert part.facts is not None
    assert ("testbox", "2026-01-02") == (part.facts.machine.name, part.facts.days)
    assert "torch 2.13.0, keras 3.15.1" == part.facts.main_versions
    assert [3] == [len(contest.played) for contest in part.contests]


def test_studies_alone_are_a_report(tmp_path: Path) -> None:
    """With the verdicts that they give."""
    for name in ("torch-eager", "tensorflow-function"):
        path, record = make_study("code-size", name, 0, nodes=200, names=20)
        kept = store.raw_folder(tmp_path) / "2026-01-02" / "testbox" / record.run / path.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(record.model_dump_json())

    [part] = draw.draw(tmp_path, [], asked(tmp_path)).parts

    assert part.facts is not None
    assert "easy-size" in {one.claim for one in part.verdicts}


@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_no_process_is_refused(tmp_path: Path, jobs: str) -> None:
    """One line."""
    done = bench("report", "--results", tmp_path, "--readme", tmp_path / "none.md", "--jobs", jobs)

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))


def readers(pid: int) -> list[int]:
    """The processes of a pool."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in map(int, text) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def stuck(results: Path) -> Path:
    """Put a record in the way that is never read to its end: a pipe that nobody writes to."""
    for place in (store.raw_folder(results) / "2026-01-02").glob("*/run-0"):
        os.mkfifo(place / "block-999_pipe.json")
    return results


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def reading(tmp_path: Path) -> subprocess.Popen[str]:
    """A report with two processes, one of which hangs in the middle of its records."""
    results = stuck(many(tmp_path, "box-a", "box-b"))
    process = start("report", "--results", results, "--readme", tmp_path / "none.md", "--jobs", 2)
    until(lambda: len(readers(process.pid)) == 2)
    return process


def test_a_killed_reader_is_one_line(reading: subprocess.Popen[str]) -> None:
    """As the kernel does it where memory is out."""
    os.kill(readers(reading.pid)[0], signal.SIGKILL)
    _, told = reading.communicate(timeout=60)

    assert (2, 1) == (reading.returncode, len(told.splitlines())), told
    assert "was killed, for want of memory perhaps; take --jobs 1" in told


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_reader_outlives_the_report(reading: subprocess.Popen[str], sent: signal.Signals) -> None:
    """Ctrl-C is answered at once and in one line; kill -9 leaves nobody behind."""
    left = readers(reading.pid)
    if sent is signal.SIGINT:
        os.killpg(reading.pid, sent)  # as a terminal sends it: to all of them
    else:
        reading.send_signal(sent)
    _, told = reading.communicate(timeout=60)

    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
    if sent is signal.SIGINT:
        assert "bench: interrupted\n" == told


def cost(results: Path) -> tuple[int, int]:
    """Bytes that the records of a folder take, and Python calls that reading and drawing them takes."""
    names = store.machine_folders(results)
    gc.collect()
    tracemalloc.start()
    kept = material.read_machines(results, names, ())
    taken = tracemalloc.get_traced_memory()[0] if kept else 0
    tracemalloc.stop()
    del kept
    profile = cProfile.Profile()
    profile.runcall(draw.draw, results, [], asked(results), jobs=1)
    return taken, sum(calls for _, calls, *_ in pstats.Stats(profile).stats.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("grows", ["blocks", "nights", "machines"])
def test_memory_and_work_grow_as_the_number_of_records(tmp_path: Path, grows: str) -> None:
    """From 2 n to 4 n records as much is added, each, as from n to 2 n: of a square it would be twice as much.

    Python's calls are counted in place of time, which nothing else on the machine then disturbs.
    """
    seen = []
    for factor in (1, 1, 2, 4):  # the first also fills what is kept from one report to the next
        size = {"blocks": 4, "nights": 2, "machines": 1}
        size[grows] *= factor
        results, machines = tmp_path / f"{len(seen)}", size.pop("machines")
        synthetic.write(results, 4 * size["blocks"] * size["nights"] * machines, cases=4, **size)
        seen.append(cost(results))
    _, *costs = seen

    for n, twice, four_times in zip(*costs, strict=True):
        assert four_times - twice < 1.3 * 2 * (twice - n)


def test_cycles_are_looked_for_again_afterwards() -> None:
    """Also where the inside fails, and by the outermost alone."""

    @draw.uncollected()
    def fail() -> None:
        with draw.uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise InputError("inside")

    with pytest.raises(InputError, match="inside"):
        fail()
    assert gc.isenabled()


def cached(path: Path) -> bool:
    """Whether the system holds a file's first page. To read it without waiting would have the page fetched."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as pages:
        held = ctypes.c_ubyte()
        first = ctypes.c_char.from_buffer(pages)
        failed = ctypes.CDLL(None).mincore(ctypes.byref(first), ctypes.c_size_t(1), ctypes.byref(held))
        del first  # else the mapping cannot be closed
    assert not failed
    return bool(held.value & 1)


def forget(paths: list[Path]) -> None:
    """Have the system drop what it holds of these files."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_records_are_asked_for_before_they_are_read(tmp_path: Path) -> None:
    """Those of the machines that are named, until it is enough; a folder that is none is passed over."""
    results = many(tmp_path, "one", "two")
    of_one, of_two = (list((tmp_path / "raw").glob(f"*/{name}/*/*")) for name in ("one", "two"))
    (of_one[0].parent.parent / "stray.json").touch()
    forget([*of_one, *of_two])
    if any(map(cached, [*of_one, *of_two])):
        pytest.skip("a file system that forgets nothing, as one in memory")
    ended, going = threading.Event(), threading.Event()
    ended.set()

    draw.read_ahead(results, [("one",)], ended)
    assert not any(map(cached, of_one))

    draw.read_ahead(results, [("one",), ("no-such",)], going)
    until(lambda: all(map(cached, of_one)))
    assert not any(map(cached, of_two))
