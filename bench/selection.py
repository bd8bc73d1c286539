"""Two sides of a comparison, such as `results@run=215231-full-97ee,entry=numpy` -> pairs of cases that may be compared.

A side is a results folder or the folder of a run, with conditions after the last @: KEY=VALUE, separated by commas;
all must hold. Keys: block, commit (its first digits), device, entry, environment, framework, machine (name or
fingerprint), mode, precision, processes, profile, run, task (name or fingerprint), threads, tier, batch.

Cases are matched by task, machine, entry, device, threads, processes, precision and environment. Where A holds one
entry and B others, each of B's is compared with A's. A difference that is to be the subject is named (`across`), and no
longer matched; every other one is refused.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bench import store
from bench.errors import InputError
from bench.record import Trial
from bench.stats import counts

Across = Literal["versions", "machines", "threads", "processes", "precision", "harness", "environments"]
ACROSS: tuple[Across, ...] = get_args(Across)

_KEYS: dict[str, Callable[[Trial, str], bool]] = {
    "batch": lambda trial, value: str(trial.case.batch_size) == value,
    "block": lambda trial, value: str(trial.placement.block) == value,
    "commit": lambda trial, value: bool(value) and (trial.source.git_commit or "").startswith(value),
    "device": lambda trial, value: trial.case.device == value,
    "entry": lambda trial, value: trial.case.entry == value,
    "environment": lambda trial, value: trial.case.environment == value,
    "framework": lambda trial, value: trial.case.framework == value,
    "machine": lambda trial, value: value in (trial.machine.name, trial.machine.fingerprint),
    "mode": lambda trial, value: trial.case.mode == value,
    "precision": lambda trial, value: trial.case.precision == value,
    "processes": lambda trial, value: str(trial.case.processes) == value,
    "profile": lambda trial, value: trial.placement.profile == value,
    "run": lambda trial, value: trial.placement.run == value,
    "task": lambda trial, value: value in (trial.case.task, trial.case.fingerprint),
    "threads": lambda trial, value: str(trial.case.threads) == value,
    "tier": lambda trial, value: trial.case.tier == value,
}

# What two cases must share: how a refusal calls it, the subject that lifts it (None: nothing does), and how it reads.
_DIMENSIONS: tuple[tuple[str, Across | None, Callable[[Trial], str]], ...] = (
    ("tasks", None, lambda trial: f"{trial.case.task} ({trial.case.fingerprint})"),
    ("machines", "machines", lambda trial: f"{trial.machine.name} ({trial.machine.fingerprint})"),
    ("devices", None, lambda trial: trial.case.device),
    ("threads", "threads", lambda trial: str(trial.case.threads)),
    ("processes", "processes", lambda trial: str(trial.case.processes)),
    ("precisions", "precision", lambda trial: trial.case.precision),
    ("environments", "environments", lambda trial: trial.case.environment or "the runner's own"),
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Trials of one case on each side, of one run each; paired: they share blocks of that run."""

    a: tuple[Trial, ...]
    b: tuple[Trial, ...]
    paired: bool


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Pairs in the order of their cases, and what was left out, a line each."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def select(text: str) -> list[Trial]:
    """Read the trials of a side. Raises InputError where the text makes no sense or selects nothing."""
    place, conditions = text, ""
    if "@" in text and not Path(text).exists():
        place, _, conditions = text.rpartition("@")
    wanted = _conditions(conditions, text)
    trials = [trial for _, trial in _read(Path(place))]
    found = [trial for trial in trials if all(_KEYS[key](trial, value) for key, value in wanted)]
    if not found:
        empty = [f"{key}={value}" for key, value in wanted if not any(_KEYS[key](trial, value) for trial in trials)]
        why = f"{empty[0]} matches none of {len(trials)} trials" if empty else "no trial meets all conditions"
        raise InputError(f"{text}: {why}; correct the selection")
    return found


def _conditions(conditions: str, text: str) -> list[tuple[str, str]]:
    found = []
    for condition in conditions.split(",") if conditions else ():
        key, equals, value = condition.partition("=")
        if not equals:
            raise InputError(f"{text}: {condition!r} is no condition; write KEY=VALUE, such as entry=torch-eager")
        if key not in _KEYS:
            raise InputError(f"{text}: no key {key!r}; take one of {', '.join(_KEYS)}")
        found.append((key, value))
    return found


def _read(place: Path) -> list[tuple[Path, Trial]]:
    if not place.is_dir():
        raise InputError(f"{place}: is no folder; name a results folder or the folder of a run")
    if not (place / store.PLAN_FILE).exists() and not any(place.glob("block-*.json")):
        return store.read_trials(place)
    found = store.read_run(place)
    if not found:
        raise InputError(f"{place}: holds no record; make some with `bench run`")
    store.check_proofs(found)
    return found


def match(a: Sequence[Trial], b: Sequence[Trial], across: Iterable[str] = ()) -> Matched:
    """Match the cases of two sides.

    Raises InputError where nothing matches, where a side leaves open which case is meant, where the two sides are the
    same trials, or where code or versions differ and are not the subject.
    """
    subjects = set(across)
    for subject in subjects - set(ACROSS):
        raise InputError(f"--across {subject!r}: no such subject; take one of {', '.join(ACROSS)}")
    by_entry = _matches_entries(a, b)
    free = {name for name, subject, _ in _DIMENSIONS if subject in subjects}
    if not by_entry:
        free.add("environments")  # each framework has interpreters of its own, labelled for itself
    groups_a, groups_b = _grouped(a, by_entry=by_entry, free=free), _grouped(b, by_entry=by_entry, free=free)
    shared = groups_a.keys() & groups_b.keys()
    if not shared:
        _refuse(a, b, by_entry=by_entry, free=free)
    pairs, notes = [], []
    for key in sorted(shared):
        for of_a, of_b in _cases(groups_a[key], groups_b[key], by_entry=by_entry, free=free):
            pair, left = _one_run(of_a, of_b)
            _refuse_other_code(pair, subjects, same_entry=by_entry)
            pairs.append(pair)
            notes += left
    for side, groups in (("A", groups_a), ("B", groups_b)):
        for key in sorted(groups.keys() - shared):
            notes.append(f"only in {side}: {_describe(groups[key][0])}")
    if not pairs:
        raise InputError("bench compare: A and B are the same trials; select two runs, entries or environments")
    return Matched(pairs=tuple(pairs), notes=tuple(dict.fromkeys(notes)))


def _matches_entries(a: Sequence[Trial], b: Sequence[Trial]) -> bool:
    """Whether cases of the same entry meet; else every entry of B meets the one of A."""
    entries_a, entries_b = ({trial.case.entry for trial in side} for side in (a, b))
    if len(entries_a) == 1 and entries_a != entries_b:
        return False
    if not entries_a & entries_b:
        raise InputError(
            f"bench compare: A holds the entries {', '.join(sorted(entries_a))}, B {', '.join(sorted(entries_b))}: "
            "none is in both; select one of A with entry=NAME, and each of B is compared with it"
        )
    return True


def _grouped(trials: Iterable[Trial], *, by_entry: bool, free: set[str]) -> dict[tuple[str, ...], list[Trial]]:
    groups: dict[tuple[str, ...], list[Trial]] = defaultdict(list)
    for trial in trials:
        key = [read(trial) for name, _, read in _DIMENSIONS if name not in free]
        groups[(*key, trial.case.entry if by_entry else "")].append(trial)
    return groups


def _refuse(a: Sequence[Trial], b: Sequence[Trial], *, by_entry: bool, free: set[str]) -> None:
    """Name the first thing that keeps every case of A from every case of B."""
    for name, subject, read in _DIMENSIONS:
        of_a, of_b = {read(trial) for trial in a}, {read(trial) for trial in b}
        if name not in free and not of_a & of_b:
            remedy = "compare within one" if subject is None else f"name the subject with --across {subject}"
            raise InputError(
                f"bench compare: A is of {', '.join(sorted(of_a))}, B of {', '.join(sorted(of_b))}: comparisons across "
                f"{name} are refused; {remedy}"
            )
    what = f"{_describe(a[0])} of A" if by_entry else "a case of A"
    raise InputError(f"bench compare: no case is in both A and B, such as {what}; select what is alike")


def _cases(
    a: Sequence[Trial], b: Sequence[Trial], *, by_entry: bool, free: set[str]
) -> Iterable[tuple[list[Trial], list[Trial]]]:
    """The cases of B in a group, each with A's one case; where entries are compared, no entry with itself."""
    [of_a] = [_single(trials, "A", free) for trials in _by_entry(a).values()]
    for of_b in _by_entry(b).values():
        found = _single(of_b, "B", free)
        if _same(of_a, found) if by_entry else of_a[0].case.entry == found[0].case.entry:
            continue
        yield of_a, found


def _by_entry(trials: Iterable[Trial]) -> Mapping[str, list[Trial]]:
    found: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        found[trial.case.entry].append(trial)
    return dict(sorted(found.items()))


def _single(trials: list[Trial], side: str, free: set[str]) -> list[Trial]:
    """The trials, if they are of one case. Raises InputError where the subject takes two values on one side."""
    for name, _, read in _DIMENSIONS:
        values = sorted({read(trial) for trial in trials})
        if name in free and len(values) > 1:
            key = {"machines": "machine", "precisions": "precision", "environments": "environment"}.get(name, name)
            raise InputError(
                f"bench compare: {side} holds {trials[0].case.entry} with several {name} ({', '.join(values)}); "
                f"select one with {key}=VALUE"
            )
    return trials


def _same(a: Sequence[Trial], b: Sequence[Trial]) -> bool:
    """Whether two sides are the same records, read twice."""
    return sorted(map(_identity, a)) == sorted(map(_identity, b))


def _identity(trial: Trial) -> tuple[str, int, str, str, str]:
    case = trial.case
    return trial.placement.run, trial.placement.block, trial.started_utc, case.entry, f"{case!r}{trial.machine!r}"


def _one_run(a: Sequence[Trial], b: Sequence[Trial]) -> tuple[Pair, list[str]]:
    """One run a side (decision 0004: most blocks, then the newest); where both sides share one, that for both."""
    runs_a, runs_b = _by_run(a), _by_run(b)
    common = {
        run: _blocks(runs_a[run]) & _blocks(runs_b[run])
        for run in runs_a.keys() & runs_b.keys()
        if not _same(runs_a[run], runs_b[run])
    }
    best = max(
        (run for run in common if common[run]), key=lambda run: (len(common[run]), _newest(runs_a[run])), default=None
    )
    if best is not None:
        chosen_a, chosen_b = runs_a[best], runs_b[best]
    else:
        chosen_a, chosen_b = (
            max(runs.values(), key=lambda trials: (len(_blocks(trials)), _newest(trials))) for runs in (runs_a, runs_b)
        )
        if _same(chosen_a, chosen_b):  # A is all of a folder, B a part of it: the best run is on both sides
            raise InputError(
                f"bench compare: run {chosen_a[0].placement.run} is on both sides for {_describe(a[0])}; "
                "select another on one with run=NAME"
            )
    notes = [
        f"{side}: {len(runs)} runs hold {_describe(chosen[0])}; shown is {chosen[0].placement.run} (select with run=)"
        for side, runs, chosen in (("A", runs_a, chosen_a), ("B", runs_b, chosen_b))
        if len(runs) > 1
    ]
    return Pair(a=tuple(chosen_a), b=tuple(chosen_b), paired=best is not None), notes


def _by_run(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        found[trial.placement.run].append(trial)
    return found


def _blocks(trials: Iterable[Trial]) -> set[int]:
    return {trial.placement.block for trial in trials if counts(trial)}


def _newest(trials: Iterable[Trial]) -> str:
    return max(trial.started_utc for trial in trials)


def _refuse_other_code(pair: Pair, subjects: set[str], *, same_entry: bool) -> None:
    """Raise InputError where harness or versions differ and are not the subject."""
    a, b = pair.a[0], pair.b[0]
    if pair.paired and not same_entry:
        return  # one run is one code, and each framework may have an interpreter of its own
    if "harness" not in subjects:
        for what, in_a, in_b in (
            ("evenhand", a.versions and a.versions.evenhand, b.versions and b.versions.evenhand),
            ("the code's SHA-256", a.source.sha256[:12], b.source.sha256[:12]),
        ):
            if in_a != in_b:
                raise InputError(
                    f"bench compare: {_describe(a)}: {what} is {in_a} in A, {in_b} in B: comparisons across harness "
                    "versions are refused; name the subject with --across harness"
                )
    if subjects & {"versions", "environments"}:
        return
    of_a, of_b = versions_of(a, same_entry=same_entry), versions_of(b, same_entry=same_entry)
    names = sorted(of_a.keys() | of_b.keys() if same_entry else of_a.keys() & of_b.keys())
    different = [f"{name} {of_a.get(name)} and {of_b.get(name)}" for name in names if of_a.get(name) != of_b.get(name)]
    if different:
        raise InputError(
            f"bench compare: {_describe(a)}: {', '.join(different)}: comparisons across versions are refused; name the "
            "subject with --across versions"
        )


def versions_of(trial: Trial, *, same_entry: bool = True) -> dict[str, str]:
    """What computed, by name; the BLAS builds only where both sides are one entry, as each framework brings its own."""
    if trial.versions is None:
        return {}
    found = {"python": trial.versions.python, "numpy": trial.versions.numpy} | trial.versions.packages
    return found | {"BLAS": "; ".join(trial.versions.blas)} if same_entry else found


def _describe(trial: Trial) -> str:
    case = trial.case
    threads = "1 thread" if case.threads == 1 else f"{case.threads} threads"
    threads += "" if case.processes == 1 else f", {case.processes} processes"
    label = f" [{case.environment}]" if case.environment else ""
    return f"{case.task} {case.entry}{label} ({case.device}, {threads}, {trial.machine.name})"
