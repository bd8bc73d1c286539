"""Material of one machine -> Part: all that a report says of that machine, without the records it was drawn from. Pure.

Machines are never pooled, so that each can be read, judged and drawn by itself, in a process of its own where there are
many records; only what is drawn comes together again. The order in which parts come, and so the number of processes,
is no matter: whoever joins them sorts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench import duets
from bench import material as materials
from bench.claims import Claim, Judged, OnMachine, Seen, judge_seen, verdicts
from bench.duets import Contest, Played, contests
from bench.material import Material
from bench.publish import glance, listings, markdown, plots, sweeps, tables, terminal, units
from bench.publish.glance import Choice
from bench.publish.listings import Line, Runs
from bench.publish.markdown import Candidate
from bench.publish.plots import Charts
from bench.publish.sweeps import Key
from bench.publish.tables import Order
from bench.publish.terminal import Look
from bench.record import Certificate, Machine, Trial
from bench.studying import StudyRecord

T = TypeVar("T")
_MAIN = ("torch", "tensorflow", "keras", "python")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a report is to hold. results, project: the folders that links are relative to, of results/ and of README.md.

    page: with what index.html shows. records: of all machines together; of many, the page links to their folders alone.
    printed: with the tables for a terminal. look: of that; None for plain text.
    """

    results: Path
    project: Path
    claims: tuple[Claim, ...] = ()
    page: bool = False
    records: int = 0
    printed: bool = False
    look: Look | None = None

    @property
    def one_by_one(self) -> bool:
        """Whether the page links to each record."""
        return self.records <= listings.MOST_LINKED


@dataclass(frozen=True, kw_only=True)
class OnPage:
    """The rows that a section has in the page's tables, its charts, and what makes its records anew.

    charts and command: None where a sweep's table stands for the section, or where it has no row.
    """

    cases: tuple[Line, ...]
    like: tuple[Line, ...]
    best: tuple[Line, ...]
    charts: Charts | None
    command: str | None


@dataclass(frozen=True, kw_only=True)
class OfSection:
    """A section, drawn. text: of results/README.md; that and printed are empty where a sweep's table stands for it."""

    order: Order
    text: str
    printed: str
    lines: tuple[dict[str, Any], ...]  # of cases.csv
    page: OnPage | None


@dataclass(frozen=True, kw_only=True)
class OfSweep:
    """A sweep, drawn. order: its key, and its number among those of one key."""

    order: tuple[Key, int]
    text: str
    printed: str
    charts: Charts | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page says of a machine, but for the verdicts."""

    machine: Machine
    cores: str
    days: str
    versions: str
    main_versions: str  # of the frameworks that the question is about, and Python
    choices: tuple[Choice, ...]


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The machine's rows of the page's other tables and lists. one_by_one: whether runs has a link to each record."""

    studies: tuple[tuple[str, list[Line]], ...]
    failures: tuple[Line, ...]
    disturbed: tuple[tuple[str, Line], ...]
    runs: Runs
    one_by_one: bool
    study_runs: dict[tuple[str, int], set[str]]  # run and seed -> studies


@dataclass(frozen=True, kw_only=True)
class Part:
    """All that a report says of one machine. certificates: each with its place among those of all machines."""

    machine: str
    records: int
    sections: tuple[OfSection, ...]
    sweeps: tuple[OfSweep, ...]
    verdicts: tuple[OnMachine, ...]
    contests: tuple[Contest, ...]
    candidate: Candidate | None
    certificates: tuple[tuple[materials.Place, Path, Certificate], ...]
    facts: Facts | None
    lists: Lists | None


def of_material(material: Material, asked: Asked) -> list[Part]:
    """A part for each machine of the material."""
    return [of_machine(one, asked) for one in materials.of_machines(material)]


def of_machine(material: Material, asked: Asked) -> Part:
    """The part of a material of one machine. Raises InputError where a run holds a trial twice, or on a bad claim."""
    trials, studies = _by_path(material.trials), _by_path(material.studies)
    shown, found = tables.sections(trials), sweeps.keyed(trials)
    played = contests(_by_path(material.duets))
    seen = Seen(trials, studies, played)
    records: list[tuple[Path, Trial | StudyRecord]] = [*trials, *studies]
    certificates = [
        (material.certified.get(path, (0, "", f"{number:09}")), path, certificate)
        for number, (path, certificate) in enumerate(material.certificates)
    ]
    return Part(
        machine=next(
            one.machine.fingerprint for of in (records, material.certificates, material.duets) for _, one in of[:1]
        ),
        records=len(records),
        sections=tuple(_section(section, [sweep for _, sweep in found], asked) for section in shown),
        sweeps=tuple(_sweep((key, number), sweep, asked) for number, (key, sweep) in enumerate(found)),
        verdicts=tuple(judge_seen(asked.claims, seen)),
        contests=tuple(played),
        candidate=markdown.candidate(shown, asked.project),
        certificates=tuple(certificates),
        facts=_facts(records, material.duets, seen) if asked.page and (records or material.duets) else None,
        lists=_lists(material, trials, studies, asked) if asked.page else None,
    )


def _by_path(found: Iterable[tuple[Path, T]]) -> list[tuple[Path, T]]:
    return sorted(found, key=lambda one: str(one[0]))


def _section(section: tables.Section, found: Sequence[sweeps.Sweep], asked: Asked) -> OfSection:
    folded, results = sweeps.folded(section, found), asked.results
    page = None
    if asked.page:
        alone = bool(section.rows) and not folded
        page = OnPage(
            cases=tuple(listings.case_lines(section, results, one_by_one=asked.one_by_one)),
            like=tuple(listings.like_lines(section, results)),
            best=tuple(listings.best_lines(section, results)),
            charts=plots.of_section(section) if alone else None,
            command=markdown.reproduce(section) if alone else None,
        )
    return OfSection(
        order=tables.section_order(section),
        text="" if folded else markdown.section_text(section, results),
        printed=terminal.section_text(section, asked.look) if asked.printed and not folded else "",
        lines=tuple(tables.lines(section)),
        page=page,
    )


def _sweep(order: tuple[Key, int], sweep: sweeps.Sweep, asked: Asked) -> OfSweep:
    return OfSweep(
        order=order,
        text=markdown.sweep_text(sweep, asked.results),
        printed=terminal.sweep_text(sweep, asked.look) if asked.printed else "",
        charts=plots.of_sweep(sweep) if asked.page else None,
    )


def _facts(measured: Sequence[tuple[Path, Trial | StudyRecord]], played: Sequence[Played], seen: Seen) -> Facts:
    records = sorted((record for _, record in measured), key=lambda record: record.started_utc)
    duets_ = sorted((record for _, record in played), key=lambda record: record.duet.started_utc)
    machine = (records or duets_)[-1].machine
    packages = [of for record in duets_ for of in record.duet.packages.values()]
    return Facts(
        machine=machine,
        cores=units.count(machine.cores, "core"),
        days=units.days([one.started_utc for one in records] + [one.duet.started_utc for one in duets_]),
        versions=markdown.versions_facts(records, packages=packages),
        main_versions=markdown.versions_facts(records, only=_MAIN, packages=packages),
        choices=tuple(glance.of_seen(seen).get(machine.fingerprint, ())),
    )


def _lists(
    material: Material,
    trials: Sequence[tuple[Path, Trial]],
    studies: Sequence[tuple[Path, StudyRecord]],
    asked: Asked,
) -> Lists:
    results = asked.results
    study_runs: dict[tuple[str, int], set[str]] = {}
    for _, record in studies:
        study_runs.setdefault((record.run, record.plan_seed), set()).add(record.study)
    return Lists(
        studies=tuple(listings.study_lines(studies, results)),
        failures=tuple(listings.failure_lines(trials, studies, material.certificates, results)),
        disturbed=tuple(listings.disturbed_lines(trials, results)),
        runs=listings.by_run(trials, studies, results, one_by_one=asked.one_by_one),
        one_by_one=asked.one_by_one,
        study_runs=study_runs,
    )


# --- joined -------------------------------------------------------------------------------------------------------


def sections_of(parts: Iterable[Part]) -> list[OfSection]:
    """The sections of all machines in their order."""
    return sorted((section for part in parts for section in part.sections), key=lambda one: one.order)


def sweeps_of(parts: Iterable[Part]) -> list[OfSweep]:
    """The sweeps of all machines in their order."""
    return sorted((sweep for part in parts for sweep in part.sweeps), key=lambda one: one.order)


def certificates_of(parts: Iterable[Part]) -> list[tuple[Path, Certificate]]:
    """The certificates of all machines in their order."""
    found = sorted((one for part in parts for one in part.certificates), key=lambda one: one[0])
    return [(path, certificate) for _, path, certificate in found]


def judged_of(claims: Sequence[Claim], parts: Iterable[Part]) -> list[Judged]:
    """The verdict of every claim on every machine that measured anything of it."""
    return verdicts(claims, [part.verdicts for part in parts])


def contests_of(parts: Iterable[Part]) -> list[Contest]:
    """The contests of all machines in their order."""
    return sorted((one for part in parts for one in part.contests), key=duets.order)


def printed(parts: Sequence[Part]) -> str:
    """The tables as a terminal shows them."""
    texts = [*(one.printed for one in sections_of(parts)), *(one.printed for one in sweeps_of(parts))]
    return "".join(texts)
