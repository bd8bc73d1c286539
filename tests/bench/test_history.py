"""bench/history.py: what becomes a line, what is the pinned reference, and files that lose nothing."""

import fcntl
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import InputError
from bench.history import Line, Pin, append, file_of, lines_of, pin_of, read, read_file, read_pins, write_pins
from bench.record import Trial
from tests.command import ROOT
from tests.make import make_machine, make_task, make_trial

FEW = settings(max_examples=25, deadline=None)
SECONDS = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=2, max_size=5)


@dataclass(frozen=True)
class Run:
    """Trials of one run with what `lines_of` wants of them."""

    trials: list[Trial]

    def lines(self, *pins: Pin) -> list[Line]:
        files = {id(trial): f"block-{trial.placement.block:03d}_{trial.case.entry}.json" for trial in self.trials}
        return lines_of(
            self.trials, pins, folder="raw/d/m/run-0", files=files, committed_utc="2026-01-01T00:00:00+00:00"
        )

    def pin(self, entry: str = "numpy", *names: str) -> Pin:
        of = next(trial for trial in self.trials if trial.case.entry == entry)
        return pin_of(of, names=names, pinned_utc="2026-01-01T00:00:00+00:00")


def make_run(pairs: Sequence[tuple[float, float]] = ((1.0, 2.0), (1.0, 2.1), (1.0, 1.9)), **changes: object) -> Run:
    """numpy, and sklearn with other seconds, in the same blocks."""
    trials = [
        make_trial(entry, block, seconds=seconds, **changes)  # type: ignore[arg-type]
        for block, both in enumerate(pairs)
        for entry, seconds in zip(("numpy", "sklearn"), both, strict=True)
    ]
    return Run(trials)


def commit(number: int) -> str:
    """A commit whose first digits tell it apart."""
    return f"{number:012x}".ljust(40, "0")


def make_line(number: int = 0, *, log_ratio: float = 0.1, run: str | None = None, **changes: object) -> Line:
    """A line of sklearn against numpy-1 in a run of its own."""
    run_ = make_run()
    line = next(line for line in run_.lines(run_.pin()) if line.quantity == "samples_per_second")
    values: dict[str, object] = {
        "run": run or f"run-{number:03d}",
        "commit": commit(number),
        "committed_utc": f"2026-01-{1 + number // 24:02d}T{number % 24:02d}:00:00+00:00",
        "log_ratio": log_ratio,
        "standard_error": 0.002,
        "n": 10,
    }
    return line.model_copy(update=values | changes)


def only(lines: Sequence[Line], quantity: str = "samples_per_second") -> Line:
    [line] = [line for line in lines if line.quantity == quantity]
    return line


def test_a_line_is_the_log_ratio_to_the_reference_with_its_standard_error() -> None:
    """Twice the seconds are half the samples; the error is that of the mean over blocks."""
    run = make_run()
    logs = [-math.log(2.0), -math.log(2.1), -math.log(1.9)]
    mean = sum(logs) / 3
    sd = math.sqrt(sum((log - mean) ** 2 for log in logs) / 2)

    line = only(run.lines(run.pin()))

    assert pytest.approx((mean, sd / math.sqrt(3))) == (line.log_ratio, line.standard_error)
    assert (3, "numpy-1", "sklearn", None) == (line.n, line.reference, line.case.entry, line.case_is)
    assert ("machine-0", "0123456789abcdef0123456789abcdef01234567") == (line.machine, line.commit)
    assert ["block-000_sklearn.json", "block-000_numpy.json"] == line.files[:2]


def test_every_quantity_has_a_line_and_the_reference_has_none() -> None:
    """Its ratio to itself is 1 and no news."""
    run = make_run()

    lines = run.lines(run.pin())

    assert [("sklearn", "samples_per_second"), ("sklearn", "time_to_first_step_seconds")] == [
        (line.case.entry, line.quantity) for line in lines
    ]


@FEW
@given(pairs=SECONDS)
def test_ratio_of_the_inverse_is_the_inverse(pairs: list[tuple[float, float]]) -> None:
    """Pinned the other way round, the log ratio changes its sign and the error stays."""
    run = make_run(pairs)

    there, back = only(run.lines(run.pin("numpy"))), only(run.lines(run.pin("sklearn")))

    assert (-there.log_ratio, there.standard_error) == pytest.approx((back.log_ratio, back.standard_error))


@FEW
@given(pairs=SECONDS, random=st.randoms(use_true_random=False))
def test_order_of_trials_is_irrelevant(pairs: list[tuple[float, float]], random: object) -> None:
    """The same trials in any order give the same line."""
    run = make_run(pairs)
    mixed = Run(run.trials.copy())
    random.shuffle(mixed.trials)  # type: ignore[attr-defined]

    assert run.lines(run.pin()) == mixed.lines(run.pin())


@FEW
@given(pairs=SECONDS, scale=st.floats(0.001, 1000))
def test_a_line_is_unit_free(pairs: list[tuple[float, float]], scale: float) -> None:
    """Seconds or milliseconds: the same ratio and error."""
    run, scaled = make_run(pairs), make_run([(a * scale, b * scale) for a, b in pairs])

    one, other = only(run.lines(run.pin())), only(scaled.lines(run.pin()))

    assert (one.log_ratio, one.standard_error) == pytest.approx((other.log_ratio, other.standard_error), abs=1e-9)


def test_tasks_devices_threads_and_precisions_have_references_of_their_own() -> None:
    """A case without a reference beside it has no line."""
    run = make_run()
    alone = [make_trial("sklearn", block, task=make_task(batch_size=32)) for block in range(3)]
    alone += [make_trial("sklearn", block, threads=1) for block in range(3)]

    assert run.lines(run.pin()) == Run([*run.trials, *alone]).lines(run.pin())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packages": {"torch": "2.14.0"}}, r"torch is 2\.14\.0, pinned 2\.13\.0"),
        ({"status": "failed", "reason": "no"}, "no trial counts"),
        ({"git_commit": None}, "is of no single known commit"),
    ],
)
def test_a_run_that_cannot_be_compared_with_the_pin_is_refused(changes: dict[str, object], message: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(InputError, match=message):
        make_run(**changes).lines(make_run().pin())


def test_other_code_of_the_reference_is_another_reference() -> None:
    """And the line says how to renew it."""
    run = make_run()
    other = Run([trial.model_copy(update={"implementation_sha256": "c" * 64}) for trial in run.trials])

    with pytest.raises(InputError, match=r"its code is cccccccccccc, pinned bbbbbbbbbbbb; .* --renew numpy"):
        other.lines(run.pin())


def test_a_run_without_the_reference_is_refused() -> None:
    """Also where it has a single block of it, which has no error."""
    run = make_run()
    without = Run([trial for trial in run.trials if trial.case.entry != "numpy"])
    single = Run([trial for trial in run.trials if trial.placement.block == 0])

    with pytest.raises(InputError, match="does not hold the reference numpy"):
        without.lines(run.pin())
    with pytest.raises(InputError, match="shares fewer than 2 blocks"):
        single.lines(run.pin())


def test_local_changes_have_no_place_in_a_history() -> None:
    """No commit holds them."""
    run = make_run()
    dirty = [t.model_copy(update={"source": t.source.model_copy(update={"git_dirty": True})}) for t in run.trials]

    with pytest.raises(InputError, match="local changes"):
        Run(dirty).lines(run.pin())


def test_pins_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Whatever characters a version holds; and each gets a name of its own."""
    run = make_run(packages={"torch": '2.13.0+"cpu"\\', "a b\x7f": "é"})
    pins = [run.pin(), run.pin("numpy", "numpy-1"), run.pin("sklearn", "numpy-1", "numpy-2")]
    write_pins(tmp_path, pins)

    assert pins == read_pins(tmp_path)
    assert ["numpy-1", "numpy-2", "sklearn-1"] == [pin.name for pin in pins]
    assert [] == read_pins(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference = 1", "reference.toml"),
        ("[[reference]]\nname = 'x'", "entry: is missing"),
        ("[[reference", "is not TOML"),
        ("other = 1", "alone; restore"),
    ],
)
def test_a_broken_pin_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Never a history without a reference in silence."""
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "reference.toml").write_text(text)

    with pytest.raises(InputError, match=message):
        read_pins(tmp_path)


def test_lines_are_read_as_they_were_appended(tmp_path: Path) -> None:
    """In the order of their commits, whenever they were measured; each once, though it were appended twice."""
    late, early = make_line(5), make_line(1, measured_utc="2026-03-01T00:00:00Z")

    added = append(tmp_path, [late, early]), append(tmp_path, [late, make_line(7)])

    assert [2, 1] == [len(one) for one in added]
    assert [early, late, make_line(7)] == read(tmp_path)


def test_a_file_holds_one_machine_and_month(tmp_path: Path) -> None:
    """So that branches of two machines never meet in one."""
    other = make_line(1, machine="../../evil", measured_utc="2026-02-01T00:00:00Z")
    append(tmp_path, [make_line(0), other])

    names = sorted(path.name for path in (tmp_path / "history").glob("*.jsonl"))
    assert ["..-..-evil-2026-02.jsonl", "machine-0-2026-01.jsonl"] == names


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-30], r"\.jsonl:3: is cut off"),
        (lambda content: content.replace(b"\n", b"", 1), r"\.jsonl:1: "),
        (lambda content: content[:100] + b"\n" + content, r"\.jsonl:1: "),
        (lambda content: content.replace(b'"log_ratio":0.1', b'"log_ratio":null', 1), r"\.jsonl:1: log_ratio"),
        (
            lambda content: content.replace(b'"schema_version":1', b'"schema_version":9', 1),
            r"\.jsonl:1: schema_version",
        ),
        (lambda content: b"\xff\xfe" + content, r"\.jsonl:1: "),
    ],
)
def test_a_line_that_is_not_whole_is_refused_by_its_number(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    """By readers, and by who would append behind it; with what to do."""
    append(tmp_path, [make_line(number) for number in range(3)])
    file = file_of(tmp_path, make_line())
    file.write_bytes(spoil(file.read_bytes()))
    before = file.read_bytes()

    for call in (lambda: read(tmp_path), lambda: append(tmp_path, [make_line(9)])):
        with pytest.raises(InputError, match=message) as refused:
            call()
        assert "append its run again with `bench history RUN`" in str(refused.value)
    assert before == file.read_bytes()


WRITER = """
import sys
from pathlib import Path
from bench.history import append
from tests.bench.test_history import make_line
results, name, own = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
line = make_line()
sys.stdin.read(1)
for number in range(own):
    append(results, [line.model_copy(update={"run": f"{of}-{number}"}) for of in (name, "both")])
"""


def test_two_processes_that_append_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each has lines of its own, and each tries the same common ones."""
    own = 60
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, name, str(own)], cwd=ROOT, stdin=subprocess.PIPE, text=True) for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go")
        writer.stdin.close()

    assert [0, 0] == [writer.wait(timeout=240) for writer in writers]
    runs = sorted(line.run for line in read_file(file_of(tmp_path, make_line())))
    assert sorted(f"{name}-{number}" for name in ("a", "b", "both") for number in range(own)) == runs


def test_an_append_waits_for_the_one_before_it_and_sees_what_that_wrote(tmp_path: Path) -> None:
    """The lock spans reading and appending: a line that appears while a process waits is not doubled."""
    append(tmp_path, [make_line(0)])
    path = file_of(tmp_path, make_line())
    with path.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = [sys.executable, "-c", WRITER, str(tmp_path), "a", "1"]
        writer = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True)
        assert writer.stdin is not None
        writer.stdin.write("go")
        writer.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=8)
        held.write((make_line().model_copy(update={"run": "both-0"}).model_dump_json() + "\n").encode())
        held.flush()
    assert 0 == writer.wait(timeout=120)

    assert ["run-000", "both-0", "a-0"] == [line.run for line in read_file(path)]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def merged(folder: Path) -> list[str]:
    """The runs in a history of which two branches appended a run each to the same file."""
    append(folder, [make_line(0)])
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first"), ("checkout", "-qb", "side")):
        git(folder, *arguments)
    append(folder, [make_line(1)])
    git(folder, "commit", "-qam", "side")
    git(folder, "checkout", "-q", "main")
    append(folder, [make_line(2)])
    git(folder, "commit", "-qam", "main")
    git(folder, "merge", "-q", "--no-edit", "side")
    return [line.run for line in read(folder)]


def test_two_branches_merge_without_a_conflict(tmp_path: Path) -> None:
    """Both appended to the same file: a real git keeps the lines of both."""
    assert ["run-000", "run-001", "run-002"] == merged(tmp_path)


def test_without_the_attribute_the_branches_would_conflict(tmp_path: Path) -> None:
    """The test above can fail: it is .gitattributes that makes the difference."""
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / ".gitattributes").write_text("# nothing\n")

    with pytest.raises(AssertionError, match="CONFLICT"):
        merged(tmp_path)


def test_a_line_is_one_line_of_plain_json(tmp_path: Path) -> None:
    """Any tool can read it."""
    append(tmp_path, [make_line(0, machine_name="two\nlines")])

    [text] = file_of(tmp_path, make_line()).read_text().splitlines()
    assert "two\nlines" == json.loads(text)["machine_name"]


def test_machines_do_not_share_a_line() -> None:
    """A machine's fingerprint is part of what a line is of."""
    run, other = make_run(), make_run(machine=make_machine(fingerprint="machine-1"))

    assert only(run.lines(run.pin())).identity != only(other.lines(run.pin())).identity
