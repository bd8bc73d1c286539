"""`bench duet` as a person runs it, with real processes."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from bench import duets
from tests.bench.test_cli import one_line
from tests.bench.test_selection import keep
from tests.command import bench, start
from tests.make import make_duet, make_trial, prove_duet

SHORT = ("--task", "mlp-tiny", "--pairs", "2", "--window", "5", "--seconds", "0.5")
GOOD = ("tests.plugins.chatty", "--against", "tests.plugins.good", "--width", "8")
AGAIN = ("--task", "mlp-tiny", "--resume")


@dataclass(frozen=True, kw_only=True)
class Session:
    """A run that Ctrl-C ended after its first duets, and that --resume went on with.

    interrupted: exit code and standard error. begun: the files of its end, with what is in them.
    """

    interrupted: tuple[int, str]
    begun: dict[Path, bytes]
    first: int
    resumed: CompletedProcess[str]
    results: Path
    temporary: Path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Some duets of forty, interrupted, and one more."""
    results, temporary = tmp_path_factory.mktemp("session"), tmp_path_factory.mktemp("temporary")
    with start("duet", *GOOD, *SHORT, "--pairs", "40", "--results", results, TMPDIR=str(temporary)) as running:
        try:
            assert running.stderr is not None
            said = next((line for line in running.stderr if line.startswith("duet 1 of 40")), "")
            running.send_signal(signal.SIGINT)
            stderr = running.stderr.read()
            code = running.wait(60)
        finally:
            running.kill()
    assert said, stderr
    begun = {path: path.read_bytes() for path in results.glob("raw/*/*/*/*.json")}
    first = sum(path.name.startswith("duet-") for path in begun)
    more = ("--pairs", first + 1, "--json", "--results", results)
    resumed = bench("duet", *GOOD, *AGAIN, *more, TMPDIR=str(temporary))
    return Session(
        interrupted=(code, stderr), begun=begun, first=first, resumed=resumed, results=results, temporary=temporary
    )


def test_ctrl_c_keeps_the_duets_that_were_played(session: Session) -> None:
    """Exit 130 and one line that says how to go on; no part of a file is left."""
    code, stderr = session.interrupted

    assert 130 == code
    assert f"{session.first} of 40 duets are kept; go on with --resume" in stderr
    assert "Traceback" not in stderr
    assert [] == list(session.results.rglob("*.tmp"))


def test_resume_plays_what_is_lacking_and_no_more(session: Session) -> None:
    """In the same windows and under the same certificates; what was there is not touched."""
    assert 0 == session.resumed.returncode, session.resumed.stderr
    kept = [record for _, record in duets.read(session.results)]

    assert session.begun.items() <= {path: path.read_bytes() for path in session.begun}.items()
    assert [*range(session.first + 1)] == [record.block for record in kept]
    assert 1 == len(
        {(one.run, one.duet.steps, len(one.duet.order), one.duet.lead_in, one.subject_proof.sha256) for one in kept}
    )
    assert 1 == session.resumed.stderr.count(f" of {session.first + 1}: ")


def test_two_entries_take_turns_and_each_duet_is_kept(session: Session) -> None:
    """Fresh processes, with the proofs of both; a width names the task as that of `bench run` does."""
    [said] = json.loads(session.resumed.stdout)
    kept = [record for _, record in duets.read(session.results)]

    assert {"tests.plugins.chatty"} == {record.subject.entry for record in kept}
    assert {("mlp-tiny-w8", 64)} == {(record.task.name, record.task.batch_size) for record in kept}
    assert {"base", "control", "head"} == set(kept[0].duet.windows)
    assert kept[0].subject_proof.status == kept[0].reference_proof.status == "ok"
    assert said["rate"]["duets"] == session.first + 1
    assert [40] * session.first + [session.first + 1] == [record.pairs for record in kept]
    assert ("in parts", 0.97) == (said["number"], said["confidence"])
    assert said["control"]["ratio"] > 0


def test_what_compilers_made_is_kept_for_the_run_and_no_longer(session: Session) -> None:
    """Whether it ends by itself or by Ctrl-C, no folder is left; records say how it was."""
    assert all(record.duet.programs_kept for _, record in duets.read(session.results))
    assert [] == list(session.temporary.iterdir())


def test_duets_are_played_until_the_ratio_is_known(session: Session, tmp_path: Path) -> None:
    """Seven that differ by a fifth are there: an eighth reaches 90%, then none is lacking; 0.01% takes all of nine."""
    results = tmp_path / "results"
    shutil.copytree(session.results, results)
    path, first = duets.read(results)[0]
    for held, _ in duets.read(results):
        held.unlink()
    for block in range(7):
        head = [seconds * (1 + 0.2 * (block % 2)) for seconds in first.duet.windows["head"]]
        varied = first.duet.model_copy(update={"windows": first.duet.windows | {"head": head}})
        changes = {"block": block, "pairs": 80, "target": 0.9, "duet": varied}
        duets.write(path.parent, first.model_copy(update=changes))
    more = (*GOOD, *AGAIN, "--results", results)
    eighth = bench("duet", *more, "--precision", "90%")
    none = bench("duet", *more, "--precision", "90%")
    ninth = bench("duet", *more, "--precision", "0.01%", "--pairs", "9")
    kept = [record for _, record in duets.read(results)]

    assert (0, 0) == (eighth.returncode, ninth.returncode), eighth.stderr + ninth.stderr
    assert "duet 8 of at most 80: " in eighth.stderr
    assert "target reached after 8 duets: tests.plugins.chatty / tests.plugins.good ±" in eighth.stderr
    assert "is short of 80 pairs and not known to 90.00% yet" in one_line(none)
    assert "target not reached after 9 duets: " in ninth.stderr
    assert [(80, 0.9)] * 8 + [(9, 0.0001)] == [(record.pairs, record.target) for record in kept]
    assert "by width" == duets.contest(duets.read(results)).number


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("machine", {"fingerprint": "0" * 12}, "was begun on another machine"),
        ("source", {"sha256": "0" * 64}, "was begun with other code"),
        ("duet", {"status": "failed"}, "no duet of tests.plugins.chatty ended well"),
    ],
)
def test_what_cannot_be_gone_on_with_is_one_line(
    session: Session, tmp_path: Path, part: str, changes: dict[str, str], words: str
) -> None:
    """A run is of one machine and of one code, and its windows are known from its duets."""
    results = tmp_path / "results"
    shutil.copytree(session.results, results)
    for path in results.glob("raw/*/*/*/duet-*.json"):
        record = json.loads(path.read_text())
        record[part].update(changes)
        path.write_text(json.dumps(record))
    before = sorted(results.rglob("*"))

    assert words in one_line(bench("duet", *GOOD, *AGAIN, "--pairs", "40", "--results", results))
    assert before == sorted(results.rglob("*"))


def test_resume_asks_for_the_same_duets(session: Session) -> None:
    """Nothing lacking, or other flags: one line."""
    enough = bench("duet", *GOOD, *AGAIN, "--pairs", session.first + 1, "--results", session.results)
    other = bench("duet", *GOOD, *AGAIN, "--pairs", "40", "--batch-size", "32", "--results", session.results)

    assert f"holds no run of these duets that lacks some of {session.first + 1} pairs" in one_line(enough)
    assert "holds no run of these duets" in one_line(other)


def test_other_work_is_not_compared(tmp_path: Path) -> None:
    """No certificate, no duet: exit 3, and the certificate that says why is kept."""
    done = bench("duet", "tests.plugins.faulty", "--against", "tests.plugins.good", *SHORT, "--results", tmp_path)

    assert 3 == done.returncode
    assert "certificate of tests.plugins.faulty: refused" in done.stderr
    assert "nothing could be compared" in done.stdout
    assert [] == duets.read(tmp_path)
    assert 2 == len(list(tmp_path.glob("raw/*/*/*/certificate_*.json")))


@pytest.mark.slow
def test_a_subject_that_fails_is_kept_with_its_reason(tmp_path: Path) -> None:
    """It does the work of a certificate, and answers a window with a program compiled inside it."""
    done = bench("duet", "tests.plugins.retraces", "--against", "tests.plugins.good", *SHORT, "--results", tmp_path)

    assert 3 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert all(record.duet.status == "failed" for _, record in duets.read(tmp_path))
    assert "traced or compiled inside" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such-entry",), "no-such-entry"),
        (("numpy", "--against", "numpy"), "bench duet numpy: is the entry of --against itself"),
        (("numpy", "--pairs", "1"), "--pairs 1: must be at least 2"),
        (("numpy", "--precision", "none"), "--precision 'none': is no half-width of a ratio; write 1% or 0.01"),
        (("numpy", "--resume"), "holds no run of these duets"),
        (("numpy", "--resume", "--window", "9"), "--window: the windows of a run are settled when it begins"),
        (("numpy", "--resume", "--seconds", "9"), "--seconds: the windows of a run are settled when it begins"),
        (("numpy", "--window", "0"), "--window 0: must be from 1 to 250 milliseconds"),
        (("numpy", "--seconds", "0"), "--seconds 0: must be from 0.1 to 60"),
        (("numpy", "--threads", "0"), "--threads 0"),
        (("numpy", "--batch-size", "0"), "batch_size"),
        (("numpy", "--width", "0"), "layers"),
        (("numpy", "--task", "no-such-task"), "no-such-task"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Before anything is measured or written."""
    results = tmp_path / "results"

    assert words in one_line(bench("duet", *arguments, "--results", results))
    assert not results.exists()


def test_a_report_shows_duets_with_their_records(tmp_path: Path) -> None:
    """In the README of the results, between the project's markers, and on the page."""
    folder = keep([make_trial("torch-eager", block) for block in range(2)], tmp_path)
    for block in range(3):
        prove_duet(folder, make_duet(block, head=0.1 + 0.001 * block))
    readme = tmp_path / "own.md"
    readme.write_text("<!-- table: begin -->\n<!-- table: end -->\n<!-- turns: begin -->\n<!-- turns: end -->\n")
    done = bench("report", "--results", tmp_path, "--readme", readme)
    assert 0 == done.returncode, done.stderr
    of_results = (tmp_path / "README.md").read_text()
    page = (tmp_path / "index.html").read_text()

    assert "## In turns\n" in of_results
    assert "machine by machine" not in of_results + page  # there is one
    assert "| tensorflow-function | torch-eager | 1.980 \\[1.932, 2.030\\]" in of_results
    assert "1.980 \\[1.932, 2.030\\]" in readme.read_text()
    assert "1.980 [1.932, 2.030]" in page
    assert "duet-002_" in page
    assert 0 == bench("report", "--check", "--results", tmp_path, "--readme", readme).returncode


def test_a_withdrawn_duet_enters_nothing(tmp_path: Path) -> None:
    """As a withdrawn trial."""
    folder = keep([make_trial("torch-eager", block) for block in range(2)], tmp_path)
    prove_duet(folder, make_duet(0))
    [path] = folder.glob("duet-*.json")
    (tmp_path / "withdrawn.toml").write_text(
        f'[[withdrawn]]\nrecords = "{path.relative_to(tmp_path / "raw")}"\ndate = "2026-01-03"\nreason = "planted"\n'
    )
    done = bench("report", "--results", tmp_path, "--readme", tmp_path / "own.md")

    assert 0 == done.returncode, done.stderr
    assert "## In turns" not in (tmp_path / "README.md").read_text()
