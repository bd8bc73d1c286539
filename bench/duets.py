"""Duets of two entries -> the ratio of their rates, as exact as few minutes allow on a machine that others share. Pure.

Blocks of trials (bench/stats.py) let hours pass between one case and the next block's; where a machine's speed wanders
by a tenth within seconds, a ratio of theirs is known to a tenth. Here both entries are alive at once and take turns,
and the reference takes part twice: what two processes of the same entry differ by shows what the ratio is worth.

A duet has no epochs: neither evaluation nor the drawing of an epoch's order is in its windows, nor in a trial's. What
is left of a call beside its steps is at most 1% of a window (bench.duet.OF_TWO_ENTRIES).
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bench import gate, store
from bench.duet import Duet, SideName
from bench.errors import InputError
from bench.gate import Rule, Sample, why_invalid
from bench.precision import Width, looks, width_of
from bench.record import Case, Count, Machine, Proof, Seconds, Source, Value, compact_json, read_value
from bench.stats import ADAPTIVE_CONFIDENCE, CONFIDENCE, Estimate, Verdict, estimate, verdict_of
from bench.task import Task


class DuetRecord(Value):
    """One duet of two entries: what results/raw keeps of it.

    In the duet "base" and "control" are processes of the reference, "head" is one of the subject. subject_proof,
    reference_proof: of the certificates, which lie beside it. subject_call_seconds, reference_call_seconds: what a call
    takes beside its steps, once in each window, as was found before the first duet. pairs: how many duets of the two
    were asked for when this one was played, or the cap where there is a target; null: that was not kept yet.
    """

    schema_version: Literal[2] = 2
    run: str
    block: Count
    subject: Case
    reference: Case
    subject_proof: Proof
    reference_proof: Proof
    subject_call_seconds: Seconds
    reference_call_seconds: Seconds
    task: Task
    pairs: Count | None = None
    target: Annotated[float, Field(gt=0)] | None = None  # stop where the ratio is known to this, 0.01 for +-1%
    duet: Duet
    cores: list[int]
    machine: Machine
    source: Source


Played = tuple[Path, DuetRecord]  # with the file that it was read from
# How the number of duets came about. Named: before the first. By width: at a planned look (bench/precision.py). In
# parts: the run was gone on with for more, or holds fewer than were asked for; what it said may have had a say in that.
Number = Literal["named", "by width", "in parts"]

# Between two duets of records without `pairs`. Those of one command follow each other within a minute; the runs that
# were gone on with had paused for most of an hour.
_PAUSE_SECONDS = 1800


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What the duets of two entries say. ratio: the logarithm of the subject's rate over the reference's.

    control: the same of the reference's two processes, whose true value is 0. rates: samples/s of subject and
    reference, the median over the duets. unfit: why the duets cannot be believed. failed: duets that ended badly.
    """

    subject: Case
    reference: Case
    played: tuple[Played, ...]
    failed: tuple[Played, ...]
    ratio: Estimate
    control: Estimate
    rates: tuple[float, float] | None
    unfit: str | None
    number: Number

    @property
    def confidence(self) -> float:
        """Of the interval that is printed as 95%: what was stopped when it was narrow covers less than it says."""
        return confidence_of(self.number)

    @property
    def verdict(self) -> Verdict:
        """On the subject; undecided where the duets cannot be believed."""
        return "undecided" if self.unfit else verdict_of(self.ratio.interval, more_is_faster=True)

    @property
    def first(self) -> DuetRecord:
        """Of all, for what they have in common."""
        return (self.played or self.failed)[0][1]

    @property
    def lead_in(self) -> int:
        """Windows at the start of each turn that do not count."""
        return self.first.duet.lead_in


def sample_of(duet: Duet) -> Sample:
    """The gate's sample, which is of seconds, as one of rates: the subject's log rate less the reference's."""
    seen = gate.sample_of(duet)
    return replace(seen, difference=-seen.difference, control=-seen.control)


def rate_of(duet: Duet, side: SideName) -> float:
    """Samples/s of a side: by the geometric mean of its windows."""
    return duet.steps * duet.case.batch_size / math.exp(duet.log_seconds(side))


def contest(found: Sequence[Played]) -> Contest:
    """What the duets of two entries in one run say. Raises ValueError where there is none."""
    if not found:
        raise ValueError("no duet")
    played = tuple(one for one in found if one[1].duet.status == "ok")
    failed = tuple(one for one in found if one[1].duet.status != "ok")
    samples = [sample_of(record.duet) for _, record in played]
    first, number = found[0][1], number_of([record for _, record in found])
    return Contest(
        subject=first.subject,
        reference=first.reference,
        played=played,
        failed=failed,
        ratio=estimate([one.difference for one in samples], confidence=confidence_of(number)),
        control=estimate([one.control for one in samples]),
        rates=_rates([record.duet for _, record in played]),
        unfit=why_invalid(samples, Rule(), comparisons=1) if samples else "no duet ended well",
        number=number,
    )


def confidence_of(number: Number) -> float:
    """95%, and 97% where the duets may have been stopped by what they said."""
    return CONFIDENCE if number == "named" else ADAPTIVE_CONFIDENCE


def number_of(records: Sequence[DuetRecord]) -> Number:
    """How it came about that there are so many duets of two entries in a run."""
    asked = {record.pairs for record in records}
    if any(record.target is not None for record in records):
        return "by width"
    if asked == {None}:
        return "in parts" if _paused([record.duet for record in records]) else "named"
    return "named" if asked == {len(records)} else "in parts"


def _paused(found: Sequence[Duet]) -> bool:
    """Whether there was a pause between two duets."""
    ordered = sorted((datetime.fromisoformat(duet.started_utc), duet.wall_seconds) for duet in found)
    return any(
        (after - start).total_seconds() - seconds > _PAUSE_SECONDS for (start, seconds), (after, _) in pairwise(ordered)
    )


def width_at(found: Iterable[Played], look: int) -> Width:
    """How well the ratio of two entries is known by the first so many duets. Raises ValueError where there is none."""
    records = [record for _, record in found if record.block < look]
    if not records:
        raise ValueError("no duet")
    differences = [sample_of(record.duet).difference for record in records if record.duet.status == "ok"]
    return width_of(differences, entry=records[0].subject.entry, reference=records[0].reference.entry)


def enough(found: Sequence[Played], *, pairs: int, target: float | None = None) -> bool:
    """Whether the duets of two entries may end: there are so many, or at a planned look the target was reached.

    pairs: the number, or the cap where there is a target. A duet that ended badly is one of them.
    """
    held = {record.block for _, record in found}
    complete = next(block for block in count() if block not in held)
    if complete >= pairs or target is None:
        return complete >= pairs
    return any(width_at(found, look).reached(target) for look in looks(pairs) if look <= complete)


def rates_of(duet: Duet) -> tuple[float, float]:
    """Samples/s of subject and reference; of the latter the geometric mean of its two processes."""
    return rate_of(duet, "head"), math.sqrt(rate_of(duet, "base") * rate_of(duet, "control"))


def _rates(duets: Sequence[Duet]) -> tuple[float, float] | None:
    if not duets:
        return None
    subject, reference = zip(*map(rates_of, duets), strict=True)
    return statistics.median(subject), statistics.median(reference)


def contests(found: Iterable[Played]) -> list[Contest]:
    """Of each machine, subject and reference the run with the most duets that ended well, the newest among equals.

    Runs whose windows have a lead-in go before those without, however many duets these have: without one, the faster
    entry can look slower than it is.
    """
    runs: dict[tuple[str, Case, Case], dict[str, list[Played]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        record = one[1]
        runs[record.machine.fingerprint, record.subject, record.reference][record.run].append(one)
    best = []
    for of_case in runs.values():
        seen = [contest(sorted(group, key=lambda one: one[1].block)) for group in of_case.values()]
        best.append(max(seen, key=lambda one: (one.lead_in > 0, len(one.played), one.first.duet.started_utc)))
    return sorted(best, key=order)


def order(one: Contest) -> tuple[str, str, str, str, str]:
    """By machine and task, then by the entries."""
    return one.first.machine.name, one.reference.task, one.reference.fingerprint, one.reference.entry, one.subject.entry


def unfinished(
    results: Path, reference: Case, subjects: Sequence[Case], *, pairs: int, target: float | None = None
) -> tuple[Path, list[Played]]:
    """The newest run of the duets of these cases, and of none else, that has not enough of them; what it holds.

    Raises InputError where there is no such run.
    """
    runs: dict[Path, list[Played]] = defaultdict(list)
    for path, record in read(results):
        runs[path.parent].append((path, record))
    for folder, found in sorted(runs.items(), key=lambda run: run[1][0][1].duet.started_utc, reverse=True):
        held = {(record.reference, record.subject) for _, record in found}
        if held == {(reference, subject) for subject in subjects} and not all(
            enough(of_subject(found, subject), pairs=pairs, target=target) for subject in subjects
        ):
            return folder, found
    wanted = f"lacks some of {pairs} pairs"
    if target is not None:
        wanted = f"is short of {pairs} pairs and not known to {target:.2%} yet"
    raise InputError(
        f"--resume: {results} holds no run of these duets that {wanted}; "
        "ask for more by --pairs, or leave --resume out to start one"
    )


def of_subject(found: Iterable[Played], subject: Case) -> list[Played]:
    """Those of one subject, in the order of their blocks."""
    return sorted((one for one in found if one[1].subject == subject), key=lambda one: one[1].block)


def write(folder: Path, record: DuetRecord) -> Path:
    """Keep a duet in the folder of its run; returns its file."""
    path = folder / store.duet_file(record.subject, record.reference, record.block)
    store.refuse_stub(path, record.machine.gpu_driver)
    store.write_once(path, compact_json(record.model_dump(mode="json")))
    return path


def read(
    results: Path, machines: Sequence[str] | None = None, known: Mapping[Path, Proof] | None = None
) -> list[Played]:
    """File and record of every duet of two entries, or of those in some machines' folders.

    known: of certificates that were read already. Raises InputError on a broken record, or one without certificates.
    """
    found = [(path, read_value(DuetRecord, path)) for path in store.files(results, store.DUETS, machines)]
    proofs = dict(known or {})
    for path, record in found:
        for proof in (record.subject_proof, record.reference_proof):
            store.check_proof(path, proof, proofs)
    return found
