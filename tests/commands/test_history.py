"""`bench history` as a person runs it: pin, append, renew, report, and the one line of a refusal."""

import json
import shutil
from pathlib import Path

import pytest

from bench import otava
from bench.record import Trial
from tests.bench.test_cli import one_line
from tests.bench.test_history import commit
from tests.bench.test_otava import ENVIRONMENT, needs_otava
from tests.bench.test_selection import keep
from tests.command import bench
from tests.commands.test_compare import prove
from tests.make import make_trial


def keep_run(
    results: Path, run: str, *, sklearn: float = 2.0, environments: tuple[str, ...] = ("",), day: int = 2
) -> Path:
    """A run of numpy in each environment and of sklearn, three blocks, certified, with its plan."""
    trials: list[Trial] = []
    when = f"2026-01-{day:02d}T03:00:00Z"
    for block in range(3):
        for environment in environments:
            version = {"numpy": "2.2.0" if environment == "new" else "2.1.0"}
            trial = make_trial("numpy", block, run=run, environment=environment, packages=version, started_utc=when)
            trials.append(_on_numpy(trial, version["numpy"]))
        of = make_trial("sklearn", block, run=run, seconds=sklearn + 0.01 * block, packages={}, started_utc=when)
        trials.append(_on_numpy(of, "2.2.0" if environments == ("new",) else "2.1.0"))
    folder = keep(trials, results)
    for path in folder.glob("block-*.json"):
        prove(path)
    return folder


def _on_numpy(trial: Trial, version: str) -> Trial:
    assert trial.versions is not None
    return trial.model_copy(update={"versions": trial.versions.model_copy(update={"numpy": version})})


def history(results: Path, *arguments: object) -> list[str]:
    """Run `bench history`; its lines on standard output."""
    done = bench("history", *arguments, "--results", results)
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A history of one run, numpy pinned."""
    folder = keep_run(tmp_path, "first")
    history(tmp_path, folder, "--pin", "numpy")
    return tmp_path


def test_a_run_is_appended_once(results: Path) -> None:
    """The second time says so and changes nothing; the ratio is told."""
    [file] = (results / "history").glob("*.jsonl")
    before = file.read_bytes()
    done = bench("history", "first", "--results", results)

    assert (0, True) == (done.returncode, "run first is in the history already" in done.stderr)
    assert "mlp, sklearn: samples/s against numpy-1 (cpu, 2 threads, testbox): 0.4975" in done.stdout
    assert before == file.read_bytes()
    assert "*.jsonl merge=union\n" == (results / "history" / ".gitattributes").read_text()


def test_pinning_the_same_entry_again_only_appends(results: Path) -> None:
    """So that a nightly job can say the same every night, the first included."""
    pinned = (results / "history" / "reference.toml").read_bytes()
    folder = keep_run(results, "second", day=3)
    history(results, folder, "--pin", "numpy")

    assert pinned == (results / "history" / "reference.toml").read_bytes()
    assert "2 runs" in history(results, "--show")[0]


def test_a_renewed_reference_is_chained_by_the_run_that_measured_both(results: Path) -> None:
    """Old, both, new: three runs, one series, in terms of the first reference."""
    history(results, keep_run(results, "second", environments=("", "new"), day=3), "--renew", "numpy@new")
    history(results, keep_run(results, "third", environments=("new",), day=4))

    found = json.loads("\n".join(history(results, "--show", "--json")))
    [series] = [one for one in found if one["series"].startswith("mlp, sklearn: samples/s")]

    assert ("numpy-1", ["first", "second", "third"]) == (series["reference"], [p["run"] for p in series["points"]])
    assert [("numpy-1", "numpy-2")] == [(renewal["old"], renewal["new"]) for renewal in series["renewals"]]
    assert [pytest.approx(series["points"][0]["log_ratio"])] * 3 == [p["log_ratio"] for p in series["points"]]
    assert '"numpy-2"' in (results / "history" / "reference.toml").read_text()


@pytest.mark.slow
def test_a_report_holds_the_history_and_is_made_again_from_what_is_kept(results: Path) -> None:
    """Section and plots; --check finds neither out of date, and finds a plot that was touched."""
    history(results, keep_run(results, "second", day=3))
    readme = results / "own.md"
    readme.write_text("<!-- table: begin -->\n<!-- table: end -->\n")
    assert 0 == bench("report", "--results", results, "--readme", readme).returncode

    assert "## History" in (results / "README.md").read_text()
    [plot] = (results / "plots").glob("history_*samples_per_second*.svg")
    assert 0 == bench("report", "--check", "--results", results, "--readme", readme).returncode
    plot.write_text("<svg/>")
    assert 1 == bench("report", "--check", "--results", results, "--readme", readme).returncode


@needs_otava
def test_a_step_in_a_history_is_found_and_named(results: Path) -> None:
    """Fourteen more runs, half of them a tenth slower, through the whole command and the real otava."""
    file = next((results / "history").glob("*.jsonl"))
    template = json.loads(file.read_text().splitlines()[0])
    lines = []
    for number in range(14):
        noise = 0.002 * ((number * 7) % 5 - 2)
        log_ratio = template["log_ratio"] + noise - (0.1 if number >= 7 else 0.0)
        when = f"2026-02-{number + 1:02d}T00:00:00Z"
        lines.append(
            template | {"run": f"r{number}", "commit": commit(number), "measured_utc": when, "log_ratio": log_ratio}
        )
    file.with_name("machine-0-2026-02.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    said = "\n".join(history(results, "--show"))

    assert f"(slower), {6:012x}..{7:012x}" in said
    assert ["r7"] == next(
        s["runs"]
        for s in json.loads((results / "history" / "changes.json").read_text())["series"].values()
        if s["runs"]
    )


def test_without_otava_a_line_says_how_to_get_it(results: Path, tmp_path: Path) -> None:
    """Ratios are kept and drawn all the same."""
    done = bench("history", "--show", "--results", results)
    hint = f"changes were not looked for: {otava.FOLDER} is missing; make it with `bench history --setup`"

    assert 0 == done.returncode
    assert (hint in done.stderr) == (not otava.is_there(ENVIRONMENT))


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (("--pin", "numpy"), "holds no run", "bench run"),
        (("absent", "--pin", "numpy"), "no runs of this name", "name the folder"),
        (("--setup", "--show"), "--setup: makes the environment and no more", "leave the rest out"),
        (("--pin", "numpy", "--renew", "numpy"), "each stand alone", "take one"),
        (("--show",), "holds no ratio yet", "append a run"),
        (("--results", "/proc/nowhere"), "/proc/nowhere: holds no run", "bench run"),
        (("--often",), "No such option: --often", "--help"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(
    tmp_path: Path, arguments: tuple[str, ...], cause: str, remedy: str
) -> None:
    """And nothing is written."""
    more = () if "--results" in arguments else ("--results", tmp_path)
    line = one_line(bench("history", *arguments, *more))

    assert (True, True) == (cause in line, remedy in line), line
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("first", "--pin", "sklearn"), "the reference is numpy-1 already; --renew takes its place"),
        (("first", "--renew", "numpy"), "numpy is the reference numpy-1 as it is pinned"),
        (("first", "--renew", "jax-jit"), "holds no trial of jax-jit that counts"),
        (("other", "--renew", "numpy@new"), "shares fewer than 2 blocks of numpy@new with the old reference numpy-1"),
        (("other",), "numpy is not the reference numpy-1: numpy is 2.2.0, pinned 2.1.0"),
    ],
)
def test_a_reference_that_cannot_follow_is_refused_in_one_line(
    results: Path, arguments: tuple[str, ...], cause: str
) -> None:
    """And the pin and the history stay as they were."""
    if arguments[0] == "other":
        keep_run(results, "other", environments=("new",), day=3)
    before = {path: path.read_bytes() for path in (results / "history").iterdir()}
    line = one_line(bench("history", *arguments, "--results", results))

    assert cause in line, line
    assert before == {path: path.read_bytes() for path in (results / "history").iterdir()}


def test_a_truncated_line_is_one_line_and_exit_2(results: Path) -> None:
    """For `bench history` and for `bench report`; it names file and line."""
    [file] = (results / "history").glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-40])
    readme = results / "own.md"
    readme.write_text("")

    for arguments in (("history", "first"), ("history", "--show"), ("report", "--readme", readme)):
        line = one_line(bench(*arguments, "--results", results))
        assert f"{file}:2: is cut off" in line, line


def test_a_run_outside_the_results_is_refused(results: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its records would not be there for a reader."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "first"
    shutil.copytree(next((results / "raw").glob("*/*/first")), elsewhere)

    assert "lies outside" in one_line(bench("history", elsewhere, "--results", results))
