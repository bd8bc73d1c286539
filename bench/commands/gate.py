"""`bench gate`: a change against its base, case by case in duets -> a verdict, a record, and an exit code for CI."""

import contextlib
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bench import duet, plan, runner, store
from bench.commands.common import ROOT, JsonOption, ResultsOption, note, out
from bench.contract import Entry
from bench.duet import Duet, Score, Side
from bench.errors import InputError
from bench.gate import Decision, Evidence, Rule, decide, sample_of, to_confirm
from bench.inputs import check_data
from bench.interpreters import read_interpreters
from bench.plugins import entries as known_entries
from bench.plugins import find_entry
from bench.probes.available import availability
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.publish import gate as published
from bench.record import Case, Machine, compact_json
from bench.task import Task, load_task

# One entry of each framework, as its guide writes it; they share most of their framework's code with the others.
SENTINELS = ("mlp:torch-eager", "mlp:tensorflow-function")
PAIRS = 5  # with the 10 of a second stage they take about three minutes a case (docs/method.md)
_LEAST_DUETS = 3  # below that an interval is wider than any slowdown that matters
_MOST_FAILURES = 2  # of a case's duets; then the case is given up
_FILES_OF_ENVIRONMENT = ("constraints.txt", "pyproject.toml")


@dataclass(frozen=True, kw_only=True)
class Code:
    """What a side runs: an interpreter, and a folder with the suite's code (None: the runner's own).

    packages: what the interpreter has installed, None where it is the runner's.
    """

    title: str
    python: str = sys.executable
    folder: Path | None = None
    commit: str | None = None
    packages: dict[str, str] | None = None

    def side(self, name: duet.SideName) -> Side:
        """A side of a duet that runs this."""
        return Side(name=name, python=self.python, folder=self.folder)


@dataclass(kw_only=True)
class Subject:
    """A case of the gate, and what has been seen of it."""

    name: str
    case: Case
    task: Task
    entry: Entry
    score: Score | None = None
    first: list[Duet] = field(default_factory=list)
    second: list[Duet] = field(default_factory=list)
    failed: list[Duet] = field(default_factory=list)
    refused: str | None = None  # the head's certificate
    broken: str | None = None  # why it cannot be asked

    @property
    def given_up(self) -> bool:
        return self.refused is not None or self.broken is not None or len(self.failed) >= _MOST_FAILURES

    @property
    def duet_seconds(self) -> float:
        seen = self.first + self.second
        return math.fsum(one.wall_seconds for one in seen) / len(seen) if seen else 0.0

    def evidence(self) -> Evidence:
        """What the decision is made of."""
        failures = [(one.failed or "base", one.reason or one.status) for one in self.failed]
        if self.broken is not None:
            failures = [("base", self.broken)]
        return Evidence(
            first=tuple(map(sample_of, self.first)),
            second=tuple(map(sample_of, self.second)),
            failures=tuple(failures),
            refused=self.refused,
        )


def gate(
    base: Annotated[str | None, typer.Option(help="A git ref: what the change is compared with.")] = None,
    head: Annotated[str | None, typer.Option(help="A git ref: the change.")] = None,
    base_python: Annotated[Path | None, typer.Option(help="An interpreter, in place of --base.")] = None,
    head_python: Annotated[Path | None, typer.Option(help="An interpreter, in place of --head.")] = None,
    case: Annotated[
        list[str] | None, typer.Option(help=f"task:entry; may be repeated.  [default: {', '.join(SENTINELS)}]")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every case of the profile full that can run here.")] = False,
    pairs: Annotated[
        int | None, typer.Option(min=_LEAST_DUETS, max=1000, help="Duets of the first stage; the second takes twice.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Minutes that the gate may take, about.")] = None,
    margin: Annotated[float, typer.Option(help="A slowdown in per cent below which a change passes.")] = 3.0,
    summary: Annotated[Path | None, typer.Option(help="A Markdown file for the job's summary.")] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Is the change slower than its base? Exit 1 where it is; pass, inconclusive and invalid exit with 0."""
    started = time.monotonic()
    if budget is not None and not budget > 0:
        raise InputError(f"--budget {budget:g}: must be above 0 minutes")
    if not 0.5 < margin <= 100:
        raise InputError(f"--margin {margin:g}: must be above 0.5 and at most 100 per cent")
    subjects = _subjects(case, all_=all_)
    if summary is not None and not summary.absolute().parent.is_dir():
        raise InputError(f"--summary {summary}: its folder is missing; make it first")
    check_data()
    rule = Rule(margin=margin / 100)
    deadline = None if budget is None else started + budget * 60
    with _codes(base, head, base_python, head_python, subjects) as (of_base, of_head), store.locked(results):
        machine = read_machine()
        _prepare(subjects, of_base, of_head, machine)
        stages = Stages(subjects, of_base, of_head, rule=rule, pairs=pairs, deadline=deadline)
        stages.run()
        decision = decide({one.name: one.evidence() for one in subjects}, rule)
        minutes = (time.monotonic() - started) / 60
        record = _record(decision, subjects, of_base, of_head, rule=rule, machine=machine, minutes=minutes)
    now = datetime.now(UTC)
    path = store.raw_folder(results) / f"{now:%Y-%m-%d}" / machine.name / f"gate-{now:%H%M%S}.json"
    store.write_once(path, compact_json(record))
    if summary is not None:
        text = published.to_markdown(
            decision, base=of_base.title, head=of_head.title, machine=machine.name, minutes=minutes
        )
        _write(summary, text)
    out(json.dumps(record["decision"], indent=1) if as_json else published.to_text(decision))
    note(f"record: {path}")
    if decision.verdict == "regressed":
        raise typer.Exit(1)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--summary {path}: cannot be written ({error.strerror}); check the path") from None


def _subjects(names: Sequence[str] | None, *, all_: bool) -> list[Subject]:
    """The cases that were asked for. Raises InputError for one that makes no sense or cannot run."""
    if names and all_:
        raise InputError("--case and --all: take one of them")
    if all_:
        names = [
            f"{task}:{entry.name}"
            for task in plan.PROFILES["full"].tasks
            for entry in known_entries()
            if availability(entry, "cpu") is None
        ]
    found = {}
    for name in names or SENTINELS:
        task_name, colon, entry_name = name.partition(":")
        if not (task_name and colon and entry_name):
            raise InputError(f"--case {name!r}: must be task:entry, such as {SENTINELS[0]}")
        task, entry = load_task(task_name), find_entry(entry_name)
        found[name] = Subject(name=name, case=plan.case_of(task, entry, "cpu", 1), task=task, entry=entry)
    return list(found.values())


@contextlib.contextmanager
def _codes(
    base: str | None, head: str | None, base_python: Path | None, head_python: Path | None, subjects: Sequence[Subject]
) -> Iterator[tuple[Code, Code]]:
    """The code of both sides; work trees and environments that were made for it are gone afterwards."""
    refs, pythons = (base, head), (base_python, head_python)
    if all(refs) and not any(pythons):
        assert base is not None
        assert head is not None
        with _work_trees(base, head, subjects) as codes:
            yield codes
    elif all(pythons) and not any(refs):
        assert base_python is not None
        assert head_python is not None
        yield _interpreter("base", base_python, subjects), _interpreter("head", head_python, subjects)
    else:
        raise InputError("bench gate: name both sides: --base REF --head REF, or --base-python and --head-python")


def _interpreter(side: str, python: Path, subjects: Sequence[Subject]) -> Code:
    """An interpreter as a side. Raises InputError where it is none, or lacks a framework of the cases."""
    label = f"{subjects[0].entry.framework}:{side}={python}"
    try:
        [found] = read_interpreters([label], None)
    except InputError as error:
        raise InputError(f"--{side}-python: {error}") from None
    for one in subjects:
        reason = availability(one.entry, one.case.device, found.packages)
        if reason is not None:
            raise InputError(f"--{side}-python {python}: {one.entry.name} cannot run: {reason}")
    needed = sorted({package for one in subjects for package in one.entry.packages})
    versions = ", ".join(f"{package} {found.packages[package]}" for package in needed)
    return Code(title=f"{side} ({versions})", python=found.python, packages=dict(found.packages))


def _git(*arguments: str, folder: Path) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError("bench gate: git is not installed; install it, or compare interpreters") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"git {arguments[0]}: {last}")
    return done.stdout.strip()


@contextlib.contextmanager
def _work_trees(base: str, head: str, subjects: Sequence[Subject]) -> Iterator[tuple[Code, Code]]:
    """Both refs checked out side by side, each with an interpreter that has what it pins."""
    top = Path(_git("rev-parse", "--show-toplevel", folder=Path.cwd()))
    with contextlib.ExitStack() as stack:
        scratch = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-gate-", ignore_cleanup_errors=True))
        )
        codes = []
        for side, ref in (("base", base), ("head", head)):
            try:
                commit = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", folder=top)
            except InputError:
                raise InputError(f"--{side} {ref}: no such commit here; fetch it, or correct the ref") from None
            folder = scratch / side
            # First the way back, then the way in: an interrupt between the two leaves nothing.
            stack.callback(_remove_work_tree, top, folder)
            _git("worktree", "add", "--detach", str(folder), commit, folder=top)
            if not (folder / "bench" / "windows.py").is_file():
                raise InputError(
                    f"--{side} {ref}: its worker cannot take turns (no bench/windows.py, it is older than the gate); "
                    "take a later ref"
                )
            codes.append(Code(title=f"{side} {commit[:10]} ({ref})", folder=folder, commit=commit))
        if any(_differ(codes[0], codes[1], name) for name in _FILES_OF_ENVIRONMENT):
            note("bench gate: the sides pin different packages: an environment each is set up")
            codes = [replace(code, python=_environment(code, scratch, subjects)) for code in codes]
        yield codes[0], codes[1]


def _remove_work_tree(top: Path, folder: Path) -> None:
    for arguments in (("worktree", "remove", "--force", str(folder)), ("worktree", "prune")):
        subprocess.run(["git", "-C", str(top), *arguments], capture_output=True)


def _differ(base: Code, head: Code, name: str) -> bool:
    assert base.folder is not None
    assert head.folder is not None
    texts = [path.read_bytes() if path.is_file() else b"" for path in (base.folder / name, head.folder / name)]
    return texts[0] != texts[1]


def _environment(code: Code, scratch: Path, subjects: Sequence[Subject]) -> str:
    """A new environment with what a side pins for the frameworks of the cases; returns its interpreter."""
    assert code.folder is not None
    place = scratch / f"venv-{code.folder.name}"
    frameworks = {one.entry.framework for one in subjects if one.entry.framework not in ("numpy", one.entry.module)}
    pins = code.folder / "constraints.txt"
    wanted = f"{code.folder}[{','.join(sorted(frameworks))}]" if frameworks else str(code.folder)
    python = str(place / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = ["--constraint", str(pins)] if pins.is_file() else []
    for command in ([sys.executable, "-m", "venv", str(place)], [*pip, *pinned, wanted]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{code.title}: its environment cannot be set up: {last}")
    return python


def _prepare(subjects: Sequence[Subject], base: Code, head: Code, machine: Machine) -> None:
    """Certify each case on both sides, and find the number of steps that fill a window."""
    bounds = runner.Bounds(time_limit_seconds=plan.PROFILES["full"].time_limit_seconds)
    source = read_source(ROOT)
    for one in subjects:
        certified: dict[tuple[str | None, str], str | None] = {}
        for code in (base, head):
            key = code.commit, code.python
            if key not in certified:  # the same commit twice is certified once
                where = runner.Where(
                    machine=machine,
                    source=source,
                    python=code.python,
                    packages=code.packages,
                    command=code.side("base").command,
                )
                made = runner.make_certificate(one.case, one.task, entry=one.entry, bounds=bounds, where=where)
                certified[key] = None if made.status == "ok" else f"{made.status}: {made.reason}"
            reason = certified[key]
            note(f"{one.name}: certificate of {code.title}: {reason or 'ok'}")
            if reason is not None and code is base:
                one.broken = f"the base's certificate is {reason}"
            elif reason is not None:
                one.refused = reason
        if one.given_up:
            continue
        score = duet.calibrate(base.side("base"), task=one.task, entry=one.entry, case=one.case)
        if isinstance(score, str):
            one.broken = f"no window could be trained: {score}"
            continue
        one.score = score


class Stages:
    """Plays the duets of both stages, all cases interleaved, within the time there is."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        base: Code,
        head: Code,
        *,
        rule: Rule,
        pairs: int | None,
        deadline: float | None,
        seed: int | None = None,
        tell: Callable[[str], None] = note,
    ) -> None:
        self._subjects, self._rule, self._pairs, self._deadline, self._tell = subjects, rule, pairs, deadline, tell
        self._sides = [base.side("base"), base.side("control"), head.side("head")]
        self._order = random.Random(seed)
        self._seed = 0

    def run(self) -> None:
        """The first stage of all cases, the second of those that it flags."""
        asked = [one for one in self._subjects if not one.given_up]
        self._stage(asked, 1, "first")
        wanted = self._pairs or self._that_fit(asked, default=PAIRS, spare_for_second=True)
        self._stage(asked, wanted - 1, "first")
        evidence = {one.name: one.evidence() for one in self._subjects}
        flagged = [one for one in asked if not one.given_up and one.name in to_confirm(evidence, self._rule)]
        if not flagged:
            return
        self._tell(f"flagged, to be confirmed by fresh duets: {', '.join(one.name for one in flagged)}")
        again = 2 * wanted
        if self._deadline is not None:
            again = min(again, self._that_fit(flagged, default=again, spare_for_second=False))
        if again >= _LEAST_DUETS:
            self._stage(flagged, again, "second")

    def _that_fit(self, subjects: Sequence[Subject], *, default: int, spare_for_second: bool) -> int:
        """How many duets each case can have in the time left; of the first stage, with the second's of one case."""
        if self._deadline is None:
            return default
        left, costs = self._deadline - time.monotonic(), [one.duet_seconds for one in subjects if one.duet_seconds]
        if not costs:
            return default
        fit = int(left / (math.fsum(costs) + (2 * max(costs) if spare_for_second else 0)))
        return max(_LEAST_DUETS, fit) if spare_for_second else max(0, fit)

    def _stage(self, subjects: Sequence[Subject], count: int, which: Literal["first", "second"]) -> None:
        """So many duets of each case that has not failed too often, the cases in random order within each turn."""
        for _ in range(count):
            for one in self._order.sample(list(subjects), len(subjects)):
                played = one.first if which == "first" else one.second
                wanted = len(played) + 1
                while len(played) < wanted and not one.given_up:  # a failed duet is kept, and played anew
                    self._play(one, played)

    def _play(self, one: Subject, played: list[Duet]) -> None:
        assert one.score is not None
        self._seed += 1
        made = duet.play(one.score, self._sides, seed=self._seed, order=self._order)
        (played if made.status == "ok" else one.failed).append(made)
        if made.status == "ok":
            self._tell(f"{one.name}: duet {len(played)}: {100 * math.expm1(sample_of(made).difference):+.2f} %")
        else:
            self._tell(f"{one.name}: a duet failed: {made.reason}")


def _record(
    decision: Decision,
    subjects: Sequence[Subject],
    base: Code,
    head: Code,
    *,
    rule: Rule,
    machine: Machine,
    minutes: float,
) -> dict[str, Any]:
    """The document of results/raw: every duet, and what was made of them."""
    return {
        "what": "gate",
        "decision": {"verdict": decision.verdict, "cases": {k: asdict(v) for k, v in decision.findings.items()}},
        "rule": asdict(rule),
        "base": {"title": base.title, "commit": base.commit},
        "head": {"title": head.title, "commit": head.commit},
        "minutes": minutes,
        "cases": {
            one.name: {
                stage: [played.model_dump(mode="json") for played in duets]
                for stage, duets in (("first", one.first), ("second", one.second), ("failed", one.failed))
            }
            for one in subjects
        },
        "machine": machine.model_dump(mode="json"),
        "source": read_source(ROOT).model_dump(mode="json"),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
