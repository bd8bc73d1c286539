"""Trials, studies and duets -> Points: the value of a measure for a subject under its conditions, once. Pure.

A claim speaks of points alone, so that what a trial, a study or a duet measured decides in one way.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.attribution import seconds_per_step
from bench.duet import SideName
from bench.duets import Contest, rates_of
from bench.errors import InputError
from bench.record import FAILURES, Case, Machine, Trial
from bench.stats import (
    CONFIDENCE,
    confidence_of,
    counts,
    final_accuracy,
    joules_per_sample,
    samples_per_second,
    time_to_first_step_seconds,
)
from bench.studying import StudyRecord
from bench.task import Task

ACCURACY_ASKED = 0.85
DUET = "duet"  # before the / of a measure of entries that train in turns, where that of a study is the study's name


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Under what a point was taken; two points compare only where all of this is the same.

    fingerprint: of the task, so that a variant of the same name (fewer epochs) is another condition. width: of the
    widest hidden layer. study: empty for a training trial, DUET for a duet. cores_shared: processes took turns on too
    few cores.
    """

    machine: str  # fingerprint
    task: str
    fingerprint: str
    batch_size: int
    width: int
    epochs: int
    optimizer: str
    threads: int
    device: str
    precision: str
    study: str = ""
    processes: int = 1
    cores_shared: bool = False


class Point(NamedTuple):
    """One process, or the two of a duet's reference. value: None where it has no such figure; why: the reason.

    seed: of the training. unit: empty where the process has no such figure and so does not tell. A tuple, as each of
    100,000 records makes nine: it is made in a third of a frozen dataclass's time. All but the last three fields are
    the same for every measure of a record. confidence: of an interval that it enters, above 95% where its run was
    stopped by what it said.
    """

    subject: str
    framework: str
    mode: str
    tier: str
    environment: str
    conditions: Conditions
    run: str
    block: int
    seed: int
    path: Path
    started_utc: str
    versions: Mapping[str, str]
    of_machine: Machine
    confidence: float
    value: float | None
    unit: str
    why: str | None


# The fields of a Point that its measure has no say in.
_Common = tuple[str, str, str, str, str, Conditions, str, int, int, Path, str, Mapping[str, str], Machine, float]


def seconds_to_accuracy(trial: Trial, asked: float = ACCURACY_ASKED) -> float | None:
    """Training seconds, evaluations not counted, until the end of the first epoch with the asked test accuracy."""
    if trial.measurements is None:
        return None
    seconds = 0.0
    for epoch in trial.measurements.epochs:
        seconds += epoch.window_seconds + epoch.first_batch_seconds
        if epoch.test_accuracy >= asked:
            return seconds
    return None


def latency_tail(trial: Trial) -> float | None:
    """p99 / p50 of the trial's single steps, linear between order statistics."""
    latencies = sorted(trial.measurements.step_latency_nanoseconds) if trial.measurements else []
    if not latencies:
        return None
    p50, p99 = _quantile(latencies, 0.5), _quantile(latencies, 0.99)
    return p99 / p50 if p50 > 0 else None


def _quantile(ordered: Sequence[float], share: float) -> float:
    """`numpy.quantile` of sorted values, to the bit: of 200 of them, numpy takes ten times as long."""
    place = (len(ordered) - 1) * share
    index = int(place)
    low, high, beyond = ordered[index], ordered[min(index + 1, len(ordered) - 1)], place - index
    step = high - low
    return high - step * (1 - beyond) if beyond >= 0.5 else low + step * beyond


def _measured(of: Callable[[Trial], float | int | None]) -> Callable[[Trial], float | None]:
    return lambda trial: None if trial.measurements is None else of(trial)


@dataclass(frozen=True, kw_only=True)
class TrialMeasure:
    """A figure of a training trial. title: as tables call it; none: what it means that a trial has no value."""

    title: str
    unit: str
    of: Callable[[Trial], float | None]
    none: str = "the trial has no such figure"


TRIAL_MEASURES: dict[str, TrialMeasure] = {
    "samples_per_second": TrialMeasure(title="throughput", unit="samples/s", of=samples_per_second),
    "seconds_per_step": TrialMeasure(title="time per step", unit="s", of=seconds_per_step),
    "time_to_first_step_seconds": TrialMeasure(
        title="import + build + first step", unit="s", of=time_to_first_step_seconds
    ),
    "seconds_to_85_percent": TrialMeasure(
        title=f"training time to {ACCURACY_ASKED:.0%} test accuracy",
        unit="s",
        of=seconds_to_accuracy,
        none=f"never reached {ACCURACY_ASKED:.0%} test accuracy",
    ),
    "peak_training_bytes": TrialMeasure(
        title="peak resident memory in training",
        unit="bytes",
        of=_measured(lambda t: t.measurements.memory.peak_training_bytes),  # type: ignore[union-attr]
    ),
    "peak_above_import_bytes": TrialMeasure(
        title="peak memory above what the import takes",
        unit="bytes",
        of=_measured(lambda t: t.measurements.memory.peak_above_import_bytes),  # type: ignore[union-attr]
    ),
    "joules_per_sample": TrialMeasure(
        title="energy per sample",
        unit="J",
        of=joules_per_sample,
        none="the machine does not tell its energy",
    ),
    "latency_tail": TrialMeasure(title="p99 / p50 of single steps", unit="1", of=latency_tail),
    "final_accuracy": TrialMeasure(title="final test accuracy", unit="1", of=final_accuracy),
    "failed": TrialMeasure(title="failed trials", unit="1", of=lambda t: float(t.status in FAILURES)),
}


class Points:
    """Points of trials, studies and duets, measure by measure; what a trial's points have in common is made once."""

    def __init__(
        self,
        trials: Iterable[tuple[Path, Trial]],
        studies: Iterable[tuple[Path, StudyRecord]],
        contests: Iterable[Contest] = (),
    ) -> None:
        self._studies, self._contests = list(studies), list(contests)
        self._known: _Known = {}
        self._tried = [
            (trial, counts(trial), self._of_trial(path, trial))
            for path, trial in trials
            if trial.status not in ("refused", "lost")
        ]

    def of(self, measure: str) -> list[Point]:
        """Every point of a measure: a name of TRIAL_MEASURES, study/reading, or duet/samples_per_second.

        Trials that do not count give none, but to "failed", which is about all that were tried, not refused, and not
        lost. Raises InputError on any other name.
        """
        if "/" in measure:
            study, _, reading = measure.partition("/")
            if study == DUET:
                if reading != "samples_per_second":
                    raise InputError(f"measure {measure!r}: duets measure {DUET}/samples_per_second alone")
                return [point for contest in self._contests for point in _of_contest(contest, self._known)]
            return [self._of_study(path, record, reading) for path, record in self._studies if record.study == study]
        if measure not in TRIAL_MEASURES:
            raise InputError(
                f"measure {measure!r}: no such measure; take STUDY/READING, {DUET}/samples_per_second or one of "
                f"{', '.join(TRIAL_MEASURES)}"
            )
        wanted, all_tried = TRIAL_MEASURES[measure], measure == "failed"
        found = []
        for trial, counted, common in self._tried:
            if counted or all_tried:
                value = wanted.of(trial)
                found.append(Point(*common, value, wanted.unit, wanted.none if value is None else None))
        return found

    def _of_trial(self, path: Path, trial: Trial) -> _Common:
        place, shared = trial.placement, trial.conditions.cores_shared
        return self._of_record(
            path,
            trial,
            run=place.run,
            block=place.block,
            study="",
            shared=shared,
            confidence=confidence_of([trial]),
        )

    def _of_study(self, path: Path, record: StudyRecord, name: str) -> Point:
        found = next((reading for reading in record.readings if reading.name == name), None)
        value = found.value if found is not None and record.status == "ok" else None
        why = found.reason if found is not None else f"the study has no reading {name}"
        why = f"{record.status}: {record.reason}" if record.status != "ok" else why
        common = self._of_record(
            path, record, run=record.run, block=record.block, study=record.study, shared=False, confidence=CONFIDENCE
        )
        return Point(*common, value=value, unit=found.unit if found is not None else "", why=why)

    def _of_record(
        self,
        path: Path,
        record: Trial | StudyRecord,
        *,
        run: str,
        block: int,
        study: str,
        shared: bool,
        confidence: float,
    ) -> _Common:
        return _common(
            record.case,
            _conditions(record.case, record.task, record.machine, self._known, study=study, shared=shared),
            run=run,
            block=block,
            seed=record.training_seed,
            path=path,
            started_utc=record.started_utc,
            versions=record.versions.packages if record.versions else {},
            of_machine=record.machine,
            confidence=confidence,
        )


# Conditions by the case, task and machine that they are of: of thousands of trials, few are different (bench/brief.py).
_Known = dict[tuple[int, int, int, str, bool], Conditions]


def _of_contest(contest: Contest, known: _Known) -> Iterable[Point]:
    """Of each duet that ended well the rate of the subject, and of the reference by its two processes together.

    Their logarithms differ by the duet's own sample. A run's reference has as many rates as opponents, so the contest
    stands for the run: only what took turns is compared. Where the duets cannot be believed there is no value.
    """
    run = f"{contest.first.run}: {contest.subject.entry} against {contest.reference.entry}"
    for path, record in contest.played:
        conditions = _conditions(record.subject, record.task, record.machine, known, study=DUET)
        subject, reference = rates_of(record.duet)
        sides: tuple[tuple[Case, SideName, float], ...]
        sides = (record.subject, "head", subject), (record.reference, "base", reference)
        for case, side, value in sides:
            common = _common(
                case,
                conditions,
                run=run,
                block=record.block,
                seed=record.duet.seed,
                path=path,
                started_utc=record.duet.started_utc,
                versions=record.duet.packages.get(side, {}),
                of_machine=record.machine,
                confidence=contest.confidence,
            )
            yield Point(*common, value=None if contest.unfit else value, unit="samples/s", why=contest.unfit)


def _common(
    case: Case,
    conditions: Conditions,
    *,
    run: str,
    block: int,
    seed: int,
    path: Path,
    started_utc: str,
    versions: Mapping[str, str],
    of_machine: Machine,
    confidence: float,
) -> _Common:
    """The fields of a Point in their order, as far as they are those of a case or a record."""
    of_case = case.entry, case.framework, case.mode, case.tier, case.environment
    return *of_case, conditions, run, block, seed, path, started_utc, versions, of_machine, confidence


def _conditions(
    case: Case, task: Task, machine: Machine, known: _Known, *, study: str, shared: bool = False
) -> Conditions:
    """The same object for the same case, task and machine. known: of records that live as long as it does."""
    key = id(case), id(task), id(machine), study, shared
    if key not in known:
        known[key] = Conditions(
            machine=machine.fingerprint,
            task=case.task,
            fingerprint=case.fingerprint,
            batch_size=case.batch_size,
            width=max(task.layers[1:-1], default=0),
            epochs=task.epochs,
            optimizer=task.optimizer.name,
            threads=case.threads,
            device=case.device,
            precision=case.precision,
            study=study,
            processes=case.processes,
            cores_shared=shared,
        )
    return known[key]


def chosen_run(points_: Iterable[Point]) -> list[Point]:
    """Of the points of one subject under one set of conditions, those of one run: most blocks, then the newest."""
    runs: dict[str, list[Point]] = {}
    for point in points_:
        runs.setdefault(point.run, []).append(point)
    if not runs:
        return []
    best = max(runs, key=lambda run: (len(runs[run]), max(point.started_utc for point in runs[run]), run))
    return sorted(runs[best], key=lambda point: point.block)


def median_of(points_: Iterable[Point]) -> float | None:
    """The median of the values that are there."""
    present = [point.value for point in points_ if point.value is not None]
    return statistics.median(present) if present else None
