"""The decision on a change: its rules, its error rates on simulated duets, and the command on real commits."""

import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cli import _run
from bench.commands.gate import _subjects
from bench.duet import LEAST_ROUNDS
from bench.gate import Decision, Evidence, Rule, Sample, decide, is_flagged, one_sided_p, to_confirm, why_invalid
from bench.plan import PROFILES
from bench.publish.gate import MARKER, to_markdown, to_text
from tests.bench.test_faults import wait_for
from tests.command import ROOT, bench

OTHER_NUMPY = "2.4.5"  # another version than constraints.txt pins, which the packages allow as well
SD = 0.01  # of the log seconds of one process around its program's


def samples(
    n: int, chance: random.Random, *, slowdown: float = 0.0, foreign: float | None = 0.0, sd: float = SD
) -> tuple[Sample, ...]:
    """Duets of three processes with independent normal log seconds, the head's longer by a slowdown."""
    found = []
    for _ in range(n):
        base, control, head = (chance.gauss(0, sd) for _ in range(3))
        found.append(
            Sample(
                difference=head + math.log1p(slowdown) - (base + control) / 2,
                control=control - base,
                foreign_share=foreign,
                seconds=10.0,
            )
        )
    return tuple(found)


def change(slowdowns: Sequence[float], chance: random.Random, *, pairs: int = 6) -> Decision:
    """A whole change of a case each, through both stages."""
    first = {str(i): Evidence(first=samples(pairs, chance, slowdown=s)) for i, s in enumerate(slowdowns)}
    flagged = to_confirm(first, Rule())
    second = {
        name: replace(one, second=samples(2 * pairs, chance, slowdown=slowdowns[int(name)])) if name in flagged else one
        for name, one in first.items()
    }
    return decide(second)


def verdict_of(evidence: Evidence) -> tuple[str, str]:
    """Verdict and reason of a change of one case."""
    found = decide({"case": evidence}).findings["case"]
    return found.verdict, found.reason


@pytest.mark.slow
def test_a_change_of_24_cases_without_a_slowdown_is_red_in_at_most_1_in_100() -> None:
    """Simulated: 1,000 changes; with a true rate of 1% more than 20 red ones have a chance of 0.2%."""
    chance = random.Random(1)
    verdicts = [change([0.0] * 24, chance).verdict for _ in range(1000)]

    assert verdicts.count("regressed") <= 20
    assert verdicts.count("invalid") <= 5


@pytest.mark.slow
def test_a_slowdown_of_3_percent_in_one_of_24_cases_is_found_in_95_of_100() -> None:
    """Simulated with processes that vary by 1%: 300 changes; and the red case is that one."""
    chance = random.Random(2)
    decisions = [change([0.03] + [0.0] * 23, chance) for _ in range(300)]

    assert sum(one.findings["0"].verdict == "regressed" for one in decisions) >= 285


def test_without_the_second_stage_the_first_would_flag_too_often() -> None:
    """The test above can fail: the first stage alone is no gate."""
    chance = random.Random(3)
    rule = Rule(flag_point=0.0)
    flagged = sum(any(is_flagged(samples(6, chance), rule) for _ in range(24)) for _ in range(200))

    assert flagged > 100


@settings(deadline=None)  # the first call imports statsmodels
@given(st.lists(st.floats(-0.2, 0.0), min_size=2, max_size=12))
def test_a_gain_never_fails(differences: list[float]) -> None:
    """However large it is."""
    duets = tuple(Sample(difference=d, control=0.0) for d in differences)

    assert "regressed" != verdict_of(Evidence(first=duets, second=duets))[0]


@settings(deadline=None)  # the first call imports statsmodels
@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_the_duets_is_irrelevant(differences: list[float], chance: random.Random) -> None:
    """Shuffled duets give the same decision, to the bit."""
    duets = [Sample(difference=d, control=d / 2, seconds=1.0) for d in differences]
    shuffled = chance.sample(duets, len(duets))

    assert decide({"case": Evidence(first=tuple(duets))}) == decide({"case": Evidence(first=tuple(shuffled))})


@settings(deadline=None)  # the first call imports statsmodels
@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=10))
def test_the_p_values_of_both_directions_add_up_to_1(differences: list[float]) -> None:
    """Student's t-test, one-sided, of the mean and of its negative.

    Not of differences that are all alike, or so near that the square of what they differ by is 0 in doubles.
    """
    up, down = one_sided_p(differences), one_sided_p([-d for d in differences])

    assert 1 == pytest.approx(up + down) or max(differences) - min(differences) < 1e-161


def test_the_p_value_is_that_of_scipy() -> None:
    """A second source of the formula."""
    from scipy import stats

    differences = [0.01, 0.03, -0.02, 0.015, 0.04]

    assert stats.ttest_1samp(differences, 0, alternative="greater").pvalue == pytest.approx(one_sided_p(differences))


def test_a_quiet_case_passes() -> None:
    """Its interval ends below the margin."""
    assert ("pass", "not slower by more than the margin") == verdict_of(
        Evidence(first=samples(10, random.Random(0), sd=0.002))
    )


def test_a_flagged_case_that_fresh_duets_do_not_confirm_passes() -> None:
    """The first stage's data have no say in the second."""
    chance = random.Random(0)
    evidence = Evidence(
        first=samples(6, chance, slowdown=0.05, sd=0.002), second=samples(12, chance, slowdown=0.0, sd=0.002)
    )

    assert ("pass", "flagged, not confirmed by fresh duets") == verdict_of(evidence)


def test_a_confirmed_slowdown_regresses() -> None:
    """And the ratio that is told is the fresh duets'."""
    chance = random.Random(0)
    evidence = Evidence(first=samples(6, chance, slowdown=0.2), second=samples(12, chance, slowdown=0.05, sd=0.002))
    found = decide({"case": evidence}).findings["case"]

    assert ("regressed", "confirmed by 12 fresh duets", 12) == (found.verdict, found.reason, found.duets)
    assert 1.05 == pytest.approx(found.ratio, abs=0.003)


def test_a_flag_without_time_to_confirm_is_inconclusive() -> None:
    """Neutral, never red."""
    assert "inconclusive" == verdict_of(Evidence(first=samples(6, random.Random(0), slowdown=0.2)))[0]


def test_a_wide_interval_is_inconclusive_and_tells_how_long_it_would_take() -> None:
    """Four noisy duets say nothing; the minutes are those of the duets that are missing."""
    found = decide({"case": Evidence(first=samples(4, random.Random(5), sd=0.05))}).findings["case"]

    assert "inconclusive" == found.verdict
    assert found.more_minutes is not None
    assert found.more_minutes > 1


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, "pass"), (0.09, "pass"), (0.11, "invalid"), (0.5, "invalid"), (None, "pass")]
)
def test_a_shared_core_is_invalid_above_its_limit(share: float | None, verdict: str) -> None:
    """Above 10% of the cores' time; where the system does not tell, the control alone must do."""
    assert verdict == verdict_of(Evidence(first=samples(10, random.Random(0), sd=0.002, foreign=share)))[0]


def test_a_stolen_core_is_invalid_above_its_limit() -> None:
    """Other guests took 13% of it."""
    duets = tuple(replace(one, steal_share=0.13) for one in samples(10, random.Random(0), sd=0.002))

    assert ("invalid", "the hypervisor gave 13% of the cores' time to other guests (limit 10%)") == verdict_of(
        Evidence(first=duets)
    )


def test_a_control_that_differs_is_invalid_even_where_the_head_is_slower() -> None:
    """Two sides of the same code that differ by 4% mean that nothing here can be believed."""
    chance = random.Random(0)
    first, second = (
        tuple(replace(one, control=one.control + 0.04) for one in samples(n, chance, slowdown=0.1, sd=0.003))
        for n in (10, 20)
    )

    assert "invalid" == verdict_of(Evidence(first=first, second=second))[0]


def test_the_control_calls_a_fit_machine_unfit_in_under_1_in_1000_changes() -> None:
    """Simulated looks of 24 cases: 0.1% a change of two looks each, so 0.05% here; 20,000 looks, at most 5."""
    chance, rule = random.Random(4), Rule(confirm_point=0.0)
    unfit = sum(why_invalid(samples(6, chance), rule, comparisons=24) is not None for _ in range(20_000))

    assert unfit <= 5


def test_a_refused_certificate_of_the_head_regresses_without_a_duet() -> None:
    """Other work is no speed."""
    verdict, reason = verdict_of(Evidence(refused="refused: gradient of weight 0"))

    assert ("regressed", True) == (verdict, "gradient of weight 0" in reason)


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [
        ((("head", "head: crashed"), ("head", "head: crashed")), "regressed"),
        ((("head", "head: crashed"),), "pass"),
        ((("base", "base: crashed"), ("head", "head: crashed")), "pass"),
    ],
)
def test_only_a_head_that_fails_again_and_again_regresses(failures: tuple[tuple[str, str], ...], verdict: str) -> None:
    """One failure may be the machine's."""
    duets = samples(10, random.Random(0), sd=0.002)

    assert verdict == verdict_of(Evidence(first=duets, failures=failures))[0]


def test_a_base_that_fails_is_invalid() -> None:
    """There is nothing to compare with."""
    assert ("invalid", "no duet ended well: base: crashed") == verdict_of(
        Evidence(failures=(("base", "base: crashed"), ("base", "base: crashed")))
    )


def test_a_change_is_as_bad_as_its_worst_case() -> None:
    """Regressed before invalid before inconclusive before pass."""
    chance = random.Random(0)
    good = Evidence(first=samples(10, chance, sd=0.002))
    unfit = Evidence(first=samples(10, chance, sd=0.002, foreign=0.5))
    bad = Evidence(refused="refused: other work")

    assert ["pass", "invalid", "regressed"] == [
        decide(dict(enumerate_names(cases))).verdict for cases in ([good], [good, unfit], [good, unfit, bad])
    ]


def enumerate_names(cases: list[Evidence]) -> list[tuple[str, Evidence]]:
    """Evidence by names."""
    return [(f"case {number}", one) for number, one in enumerate(cases)]


def test_the_summary_begins_with_its_marker_and_no_reason_breaks_its_table() -> None:
    """A job finds its comment by the marker; reasons may come from strangers' code."""
    decision = decide({"mlp:torch-eager": Evidence(refused="a | b\n<script>")})
    text = to_markdown(decision, base="base", head="head | x", machine="box", minutes=3.0)

    assert MARKER == text.splitlines()[0]
    assert 7 == text.splitlines()[-1].count("|") - text.splitlines()[-1].count("\\|")
    assert "<script>" not in text
    assert "regressed" in to_text(decision).splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "name both sides"),
        (("--base", "HEAD"), "name both sides"),
        (("--base", "HEAD", "--head-python", sys.executable), "name both sides"),
        (("--base", "no-such-ref", "--head", "HEAD"), "--base no-such-ref: no such commit here"),
        (("--base", "HEAD", "--head", "HEAD", "--case", "mlp"), "must be task:entry"),
        (("--base", "HEAD", "--head", "HEAD", "--case", "mlp:nothing"), "no entry 'nothing'"),
        (("--base", "HEAD", "--head", "HEAD", "--case", "nothing:numpy"), "nothing"),
        (("--base", "HEAD", "--head", "HEAD", "--case", "mlp:numpy", "--all"), "take one of them"),
        (("--base", "HEAD", "--head", "HEAD", "--budget", "0"), "--budget 0: must be above 0"),
        (("--base", "HEAD", "--head", "HEAD", "--budget", "nan"), "--budget nan: must be above 0"),
        (("--base", "HEAD", "--head", "HEAD", "--margin", "0.1"), "--margin 0.1"),
        (("--base", "HEAD", "--head", "HEAD", "--pairs", "1"), "--pairs"),
        (("--base", "HEAD", "--head", "HEAD", "--summary", "/no/such/folder/x.md"), "its folder is missing"),
        (("--base-python", "/no/python", "--head-python", sys.executable), "--base-python"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line_and_exit_2(
    arguments: tuple[str, ...], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its remedy, and without a traceback."""
    monkeypatch.setattr(sys, "argv", ["bench", "gate", *arguments])
    code, said = _run(), capsys.readouterr().err

    assert (2, 1, True) == (code, len(said.splitlines()), complaint in said), said


def git(folder: Path, *arguments: str) -> str:
    """Git in a folder, as nobody in particular."""
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with the present code as its one commit."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("bench", "impls", "tests/plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "tests/__init__.py", "tests/make.py"):
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "the present code")
    return folder


def commit(folder: Path, message: str) -> str:
    """Commit all that is there; returns the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def gate(clone: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`bench gate` in the clone, with the clone's code, on its fastest case."""
    case = ("--case", "mlp-tiny:numpy", "--pairs", "3", "--results", str(clone.parent / "results"))
    command = [sys.executable, "-m", "bench.cli", "gate", *case, *map(str, arguments)]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=280)


def changed(clone: Path, edit: Callable[[Path], None]) -> str:
    """A commit on top of the first in which a file of an implementation is edited; the branch stays where it was."""
    base = git(clone, "rev-parse", "main")
    edit(clone / "impls" / "numpy" / "mlp.py")
    made = commit(clone, "a change")
    git(clone, "reset", "--quiet", "--hard", base)
    return made


def sleep_in_train(path: Path) -> None:
    """Make each call of train take 5 ms more, as long as a whole window."""
    text = path.read_text()
    head, line, rest = text.partition("    def train(self")
    before_body, quotes, body = rest.partition('"""See bench.contract."""\n')
    if not (line and quotes):
        raise AssertionError("train() is written otherwise now; plant the slowdown elsewhere")
    planted = "        import time\n\n        time.sleep(0.005)\n"
    path.write_text(head + line + before_body + quotes + planted + body)


@pytest.mark.slow
def test_the_gate_on_two_commits_finds_a_planted_slowdown_and_leaves_no_work_tree(clone: Path, tmp_path: Path) -> None:
    """Red with exit 1 where the machine lets itself be measured; on a loaded one invalid, but never a pass."""
    head = changed(clone, sleep_in_train)
    done = gate(clone, "--base", "main", "--head", head, "--json", "--summary", tmp_path / "summary.md")
    [found] = json.loads(done.stdout)["cases"].values()

    assert found["ratio"] > 1.3, done.stderr
    assert (found["verdict"], done.returncode) in [("regressed", 1), ("invalid", 0)], done.stderr
    assert MARKER in (tmp_path / "summary.md").read_text()
    assert 1 == len(git(clone, "worktree", "list").splitlines())


@pytest.mark.slow
def test_the_gate_on_one_commit_is_not_red(clone: Path) -> None:
    """The same code on both sides; and every duet is kept."""
    done = gate(clone, "--base", "main", "--head", "main", "--json")
    path = Path(done.stderr.splitlines()[-1].removeprefix("record: "))
    kept = json.loads((clone / path).read_text())

    assert 0 == done.returncode, done.stderr
    assert "regressed" != json.loads(done.stdout)["verdict"]
    assert 3 == len(kept["cases"]["mlp-tiny:numpy"]["first"])
    assert LEAST_ROUNDS <= len(kept["cases"]["mlp-tiny:numpy"]["first"][0]["order"])


@pytest.mark.slow
def test_sides_that_pin_different_packages_get_an_environment_each(clone: Path) -> None:
    """What a change of the pins costs is measured with both; nothing of the environments is left."""
    base = git(clone, "rev-parse", "main")
    pins = clone / "constraints.txt"
    pins.write_text(re.sub(r"^numpy==.*$", f"numpy=={OTHER_NUMPY}", pins.read_text(), flags=re.MULTILINE))
    head = commit(clone, "another numpy")
    git(clone, "reset", "--quiet", "--hard", base)
    there = set(Path(tempfile.gettempdir()).glob("bench-gate-*"))  # what a killed run of others left behind
    done = gate(clone, "--base", "main", "--head", head, "--json")
    kept = json.loads((clone / done.stderr.splitlines()[-1].removeprefix("record: ")).read_text())
    packages = kept["cases"]["mlp-tiny:numpy"]["first"][0]["packages"]

    assert 0 == done.returncode, done.stderr
    assert "an environment each is set up" in done.stderr
    assert packages["head"]["numpy"] == OTHER_NUMPY != packages["base"]["numpy"] == packages["control"]["numpy"]
    assert set(Path(tempfile.gettempdir()).glob("bench-gate-*")) <= there


def test_all_means_every_case_of_the_full_profile_that_can_run_here() -> None:
    """Each shipped task of the profile with each entry whose packages are here."""
    names = {one.name for one in _subjects(None, all_=True)}

    assert names >= {f"{task}:{entry}" for task in PROFILES["full"].tasks for entry in ("numpy", "torch-eager")}
    assert {name.partition(":")[0] for name in names} == set(PROFILES["full"].tasks)


@pytest.mark.slow
def test_a_budget_bounds_the_duets_and_three_are_played_all_the_same(clone: Path) -> None:
    """Below three an interval says nothing; so a budget that is too short is overrun, and the verdict says so."""
    arguments = ("--case", "mlp-tiny:numpy", "--results", str(clone.parent / "results"), "--budget", "0.05")
    command = [sys.executable, "-m", "bench.cli", "gate", "--base", "main", "--head", "main", *arguments]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=280)
    kept = json.loads((clone / done.stderr.splitlines()[-1].removeprefix("record: ")).read_text())

    assert 0 == done.returncode, done.stderr
    assert 3 == len(kept["cases"]["mlp-tiny:numpy"]["first"])
    assert [] == kept["cases"]["mlp-tiny:numpy"]["second"]


def wrong_rate(path: Path) -> None:
    """Let it train another thing: its certificate must be refused."""
    path.write_text(path.read_text() + "\n\n" + WRONG)


WRONG = """
_right = build


def build(task, params, data):
    optimizer = task.optimizer.model_copy(update={"learning_rate": task.optimizer.learning_rate * 1.01})
    return _right(task.model_copy(update={"optimizer": optimizer}), params, data)
"""


def test_a_head_that_does_other_work_is_red_before_any_duet(clone: Path) -> None:
    """Its certificate is refused, and the reason is told."""
    done = gate(clone, "--base", "main", "--head", changed(clone, wrong_rate))

    assert (1, True) == (done.returncode, "the head's certificate is refused" in done.stdout), done.stderr


def test_a_ref_older_than_the_gate_is_one_line(clone: Path) -> None:
    """Its worker could not take turns."""
    base = git(clone, "rev-parse", "main")
    (clone / "bench" / "windows.py").unlink()
    old = commit(clone, "before the gate")
    git(clone, "reset", "--quiet", "--hard", base)
    done = gate(clone, "--base", old, "--head", "main")

    assert (2, True) == (done.returncode, "older than the gate); take a later ref" in done.stderr), done.stderr
    assert 1 == len(git(clone, "worktree", "list").splitlines())


def test_ctrl_c_ends_the_gate_with_its_work_trees_and_workers(clone: Path, tmp_path: Path) -> None:
    """Exit 130, one line, nothing left."""
    pid_file = tmp_path / "pid"
    command = ("gate", "--base", "main", "--head", "main", "--case", "mlp-tiny:tests.plugins.hangs")
    running = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *command, "--results", str(tmp_path / "results")],
        cwd=clone,
        env={**os.environ, "HANGS_PID_FILE": str(pid_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(pid_file)
        assert 3 == len(git(clone, "worktree", "list").splitlines())
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()

    assert (130, True) == (running.returncode, stderr.endswith("bench: interrupted\n")), stderr
    assert "Traceback" not in stderr
    assert 1 == len(git(clone, "worktree", "list").splitlines())


@pytest.mark.slow
def test_an_interpreter_against_itself_is_not_red(tmp_path: Path) -> None:
    """--base-python and --head-python compare two environments with the runner's code."""
    done = bench(
        "gate", "--base-python", sys.executable, "--head-python", sys.executable, "--case", "mlp-tiny:numpy",
        "--pairs", "3", "--results", tmp_path,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr
    assert "mlp-tiny:numpy: " in done.stdout
