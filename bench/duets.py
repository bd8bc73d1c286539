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
from pathlib import Path
from typing import Literal

from bench import gate, store
from bench.duet import Duet, SideName
from bench.errors import InputError
from bench.gate import Rule, Sample, why_invalid
from bench.record import Case, Count, Machine, Proof, Seconds, Source, Value, compact_json, read_value
from bench.stats import Estimate, Verdict, estimate, verdict_of
from bench.task import Task


class DuetRecord(Value):
    """One duet of two entries: what results/raw keeps of it.

    In the duet "base" and "control" are processes of the reference, "head" is one of the subject. subject_proof,
    reference_proof: of the certificates, which lie beside it. subject_call_seconds, reference_call_seconds: what a call
    takes beside its steps, once in each window, as was found before the first duet.
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
    duet: Duet
    cores: list[int]
    machine: Machine
    source: Source


Played = tuple[Path, DuetRecord]  # with the file that it was read from


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
    first = found[0][1]
    return Contest(
        subject=first.subject,
        reference=first.reference,
        played=played,
        failed=failed,
        ratio=estimate([one.difference for one in samples]),
        control=estimate([one.control for one in samples]),
        rates=_rates([record.duet for _, record in played]),
        unfit=why_invalid(samples, Rule(), comparisons=1) if samples else "no duet ended well",
    )


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


def unfinished(results: Path, reference: Case, subjects: Sequence[Case], pairs: int) -> tuple[Path, list[Played]]:
    """The newest run of the duets of these cases, and of none else, that lacks some of so many pairs; what it holds.

    A duet that ended badly is not lacking. Raises InputError where there is no such run.
    """
    runs: dict[Path, list[Played]] = defaultdict(list)
    for path, record in read(results):
        runs[path.parent].append((path, record))
    for folder, found in sorted(runs.items(), key=lambda run: run[1][0][1].duet.started_utc, reverse=True):
        held = {(record.reference, record.subject) for _, record in found}
        if held == {(reference, subject) for subject in subjects} and any(
            not (folder / store.duet_file(subject, reference, block)).exists()
            for subject in subjects
            for block in range(pairs)
        ):
            return folder, found
    raise InputError(
        f"--resume: {results} holds no run of these duets that lacks some of {pairs} pairs; "
        "ask for more by --pairs, or leave --resume out to start one"
    )


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
