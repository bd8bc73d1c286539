"""Sections -> Markdown: results/README.md, and the table in the project's README. Pure."""

import os.path
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contract import ENTRIES, Entry
from bench.errors import InputError
from bench.material import Withdrawn
from bench.publish import details, escape, sweeps, units
from bench.publish.details import Detail
from bench.publish.sweeps import Sweep
from bench.publish.tables import (
    AGAINST_HEADS,
    HEADS,
    REFERENCE,
    Against,
    Failure,
    Order,
    Row,
    Section,
    against_texts,
    best_of,
    disturbances,
    entry_name,
    like_modes,
    references,
    section_order,
    task_name,
    texts,
)
from bench.record import Machine, Trial, Versions
from bench.stats import counts
from bench.studying import StudyRecord
from bench.task import Task, is_shipped, load_task, shipped_tasks, unwidened

BEGIN = "<!-- table: begin -->"
END = "<!-- table: end -->"
ANSWER_BEGIN = "<!-- answer: begin -->"
ANSWER_END = "<!-- answer: end -->"
TURNS_BEGIN = "<!-- turns: begin -->"
TURNS_END = "<!-- turns: end -->"
ENTRIES_BEGIN = "<!-- entries: begin -->"
ENTRIES_END = "<!-- entries: end -->"

_NOTE_CHARACTERS = 2000  # of our own sentences, in which names from records stand

INTRODUCTION = f"""# Results

Made by `bench report` from the records in [raw/](raw/); do not edit.

Each table is one task on one machine with one number of threads; tables are never pooled. A row is one case: the
median over trials, each in a process of its own, with the range and the number of trials. A trial's value is the
median over its epochs after the first. The ratio compares with {REFERENCE} in the same blocks of the same run, with its
95% interval (t interval of the paired log ratios); a tie lies within ±1%. Time to first step is import + build + first
step. Peak memory is resident memory in training, the second figure with what import took subtracted. The
certificate's figures are the largest relative deviations from the float64 oracle: of a parameter over 100 steps in
float64, and of a loss in the run's own dtype. Trials that failed or were refused are listed under their table and enter
no figure. Which run a case shows: [decision 0004](../docs/decisions/0004-which-runs-a-table-shows.md).

*Like mode against like mode* compares entries that run in the same way: eager, graph, compiled, whole-loop (the
framework itself loops over the batches). *Best against best* takes each framework's fastest entry. Definitions of all
other figures: [method](../docs/method.md).
"""


def results_readme(tables: Sequence[str], below: Sequence[str] = (), above: Sequence[str] = ()) -> str:
    """The whole of results/README.md. above, below: sections before and after the tables, which are texts as well."""
    return "\n".join([INTRODUCTION, *above, *tables, *below])


def section_text(section: Section, results: Path) -> str:
    """A section with all its details; links are relative to the results folder."""
    return _section(section, results, [line for detail in details.details(section) for line in _detail(detail)])


def withdrawn_section(withdrawn: Iterable[Withdrawn], folder: Path) -> str:
    """What was withdrawn, since when and why; its records stay, and the links lead there."""
    lines = ["## Withdrawn", ""]
    for one in withdrawn:
        link = _link(one.paths, folder)
        lines.append(
            f"- {one.entry.date}: {escape.markdown(one.entry.records)} ({link}): {escape.markdown(one.entry.reason)}"
        )
    return "\n".join(lines) + "\n"


PROJECT_TASK = "mlp"


Rank = tuple[int, int, int, str]  # like the task as it ships, rows, blocks, when


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A section for the project's README, as text. That of the greatest rank is shown, the first among equals."""

    rank: Rank
    order: Order
    text: str


def candidate(shown: Iterable[Section], folder: Path) -> Candidate | None:
    """The section of PROJECT_TASK with the most rows, then blocks, then the newest; links are relative to the folder.

    Few entries often measured answer less than all of them. Of the task as it ships, where there is one: a sweep's
    sizes and shorter trainings have its name and are others.
    """
    own = load_task(PROJECT_TASK).batch_size

    def rank(section: Section) -> Rank:
        alike = 2 if is_shipped(section.task) else int(section.task.batch_size == own)
        blocks = max(row.blocks for row in section.rows)
        return alike, len(section.rows), blocks, section.trials[-1].started_utc

    of_task = [section for section in shown if section.task.name == PROJECT_TASK and section.rows]
    if not of_task:
        return None
    best = max(of_task, key=rank)
    return Candidate(rank=rank(best), order=section_order(best), text=_section(best, folder).strip())


def project_table(candidates: Iterable[Candidate]) -> str:
    """The table for the project's README: the best of the machines' candidates."""
    found = sorted(candidates, key=lambda one: one.order)
    if not found:
        return f"No results of the task {PROJECT_TASK} yet; make some with `make bench`."
    return max(found, key=lambda one: one.rank).text


def fill_readme(text: str, table: str, *, place: str, answer: str = "", turns: str = "") -> str:
    """The project's README with its marked tables made anew. Raises InputError where the markers are not there once.

    table: `project_table`. answer, turns: what stands between markers of their own. These and the table of entries are
    made where their markers are.
    """
    filled = replace_between_markers(text, table, place=place)
    if ANSWER_BEGIN in filled:
        filled = replace_between_markers(filled, answer, place=place, begin=ANSWER_BEGIN, end=ANSWER_END)
    if TURNS_BEGIN in filled:
        filled = replace_between_markers(filled, turns, place=place, begin=TURNS_BEGIN, end=TURNS_END)
    if ENTRIES_BEGIN not in filled:
        return filled
    return replace_between_markers(filled, entries_table(ENTRIES), place=place, begin=ENTRIES_BEGIN, end=ENTRIES_END)


def entries_table(shown: Iterable[Entry]) -> str:
    """The entries with what each is, by framework and mode."""
    heads = ["Entry", "Framework", "Mode", "Tier", "Source"]
    rows = [
        [entry.name, entry.framework, entry.mode, entry.tier, f"[{path}]({path})"]
        for entry in shown
        for path in [entry.module.replace(".", "/") + ".py"]
    ]
    return "\n".join(table(heads, rows))


def replace_between_markers(
    text: str, table: str, *, place: str = "README.md", begin: str = BEGIN, end: str = END
) -> str:
    """The text with `table` between the markers' lines. Raises InputError where they are missing, doubled or turned."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(f"{place}: must hold the lines {begin} and {end} once each, in this order; put them in")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n\n{table.strip()}\n\n{end}{tail}"


def _section(section: Section, folder: Path, below: Sequence[str] = ()) -> str:
    lines = [f"## {_title(section)}", "", *_facts(section), "", *_table(section, folder), ""]
    lines += _against_table("Like mode against like mode", "Mode", like_modes(section))
    lines += _against_table("Best against best", "Framework", best_of(section))
    lines += below
    if told := disturbances(section):
        lines += ["Disturbed, and counted all the same:", "", *(f"- {escape.markdown(line)}" for line in told), ""]
    if section.failures:
        lines += ["Did not count:", "", *(_failure(failure, folder) for failure in section.failures), ""]
    if section.not_shown:
        lines += [f"{section.not_shown} trials of other runs are not shown; their records are in raw/.", ""]
    return "\n".join(lines)


def _detail(detail: Detail) -> list[str]:
    """A small table under its own bold line."""
    lines = [
        f"**{escape.markdown(detail.title)}**",
        "",
        escape.markdown(detail.note, _NOTE_CHARACTERS),
        "",
    ]  # unwrapped: a line that began with + would be a list
    if detail.heads:
        rows = [[*map(escape.markdown, cells)] for cells in detail.rows]
        lines += [*table([*map(escape.markdown, detail.heads)], rows), ""]
    if detail.remarks:
        lines += [*(f"- {escape.markdown(remark, _NOTE_CHARACTERS)}" for remark in detail.remarks), ""]
    return lines


def sweep_text(sweep: Sweep, folder: Path) -> str:
    """A sweep with all its tables; links are relative to the folder."""
    trials = [trial for _, trial in sweep.records]
    paths = [path for path, _ in sweep.records]
    run = escape.markdown(f"{sweep.run} (profile {sweep.profile}, {units.count(sweep.blocks, 'block')})")
    lines = [
        f"## {escape.markdown(sweeps.title(sweep))}, {escape.markdown(units.processor(sweep.machine))}",
        "",
        f"- Task: {escape.markdown(sweep.task.title)}; {units.count(sweep.task.epochs, 'epoch')}, {sweep.task.dtype}",
        f"- Date: {escape.markdown(units.days(trial.started_utc for trial in trials))}",
        f"- Machine: {machine_text(sweep.machine)}",
        f"- Versions: {versions_text(trials)}",
        f"- Run: {run}, {_link(paths, folder)}",
        "",
    ]
    lines += [line for detail in sweeps.details(sweep) for line in _detail(detail)]
    spoilt = sorted(
        f"{entry_name(t.case)}, {t.case.task}, batch {t.case.batch_size}, "
        f"{units.workers(t.case.threads, t.case.processes)}, "
        f"block {t.placement.block}: {'; '.join(t.disturbances)}"
        for t in trials
        if t.disturbances and counts(t)
    )
    if spoilt:
        lines += ["Disturbed, and counted all the same:", "", *(f"- {escape.markdown(line)}" for line in spoilt), ""]
    if sweep.failures:
        lines += ["Did not count:", "", *(_failure(failure, folder, sized=True) for failure in sweep.failures), ""]
    return "\n".join(lines)


def _title(section: Section) -> str:
    threads = units.workers(section.threads, section.processes)
    precision = "" if section.precision == "ieee" else f", products in {section.precision}"
    name = escape.markdown(task_name(section.task))
    return f"{name} on {escape.markdown(units.processor(section.machine))}, {threads}{precision}"


def _facts(section: Section) -> list[str]:
    task, trials = section.task, section.trials
    runs = sorted({(row.run, row.profile, row.blocks) for row in section.rows})
    facts = [
        (
            "Task",
            f"{escape.markdown(task.title)}; batch {task.batch_size}, {units.count(task.epochs, 'epoch')}, "
            f"{task.dtype}, fingerprint {task.fingerprint}",
        ),
        ("Date", escape.markdown(units.days(trial.started_utc for trial in trials))),
        ("Machine", machine_text(section.machine)),
        ("Versions", versions_text(trials)),
        ("Code", "; ".join(sorted({_code(trial) for trial in trials}))),
        ("Runs", "; ".join(escape.markdown(f"{run} (profile {p}, {units.count(n, 'block')})") for run, p, n in runs)),
        ("Ratios", escape.markdown(references(section))),
        ("Reproduce", escape.code(reproduce(section))),
    ]
    return [f"- {name}: {text}" for name, text in facts if text]


def machine_text(machine: Machine) -> str:
    """`machine_facts`, escaped."""
    return escape.markdown(machine_facts(machine))


def machine_facts(machine: Machine) -> str:
    """CPU, cores, memory, kernel, governor: each figure, or why it is not known. Not escaped."""

    def known(name: str, value: object) -> str:
        if value is not None:
            return str(value)
        return f"unknown ({machine.reasons.get(name, 'no reason was recorded')})"

    gib = None if machine.memory_bytes is None else f"{machine.memory_bytes / 1024**3:.1f} GiB"
    parts = [
        known("cpu_model", machine.cpu_model),
        *([] if machine.cpu_type is None else [f"type {machine.cpu_type}"]),
        *([] if machine.vector_extensions is None else [", ".join(machine.vector_extensions) or "no vectors"]),
        f"{machine.cores} cores ({known('physical_cores', machine.physical_cores)} physical)",
        f"memory {known('memory_bytes', gib)}",
        f"kernel {machine.kernel}",
        f"governor {known('governor', machine.governor)}",
    ]
    if machine.hypervisor:
        parts.append(f"virtual ({machine.hypervisor})")
    return "; ".join(parts)


def versions_text(trials: Iterable[Trial]) -> str:
    """`versions_facts`, escaped."""
    return escape.markdown(versions_facts(trials))


def versions_facts(
    records: Iterable[Trial | StudyRecord], only: Sequence[str] = (), packages: Iterable[Mapping[str, str]] = ()
) -> str:
    """Every version that was measured with, or those of some packages; several of one are all named. Not escaped.

    packages: of what has no other versions, such as the sides of duets.
    """
    # Of thousands of records, few have other versions than those before (bench/brief.py).
    known = {id(record.versions): record.versions for record in records if record.versions is not None}
    found: dict[str, set[str]] = {}
    for named in (*map(_named, known.values()), *packages):
        for name, version in named.items():
            found.setdefault(name, set()).add(version)
    return ", ".join(
        f"{name} {' and '.join(sorted(versions))}" for name, versions in found.items() if not only or name in only
    )


def _named(of: Versions) -> dict[str, str]:
    return {"evenhand": of.evenhand, "python": of.python, "numpy": of.numpy} | of.packages


def _code(trial: Trial) -> str:
    source = trial.source
    if source.git_commit is None:
        return escape.markdown(
            f"no git commit ({source.reason or 'no reason was recorded'}), source {source.sha256[:12]}"
        )
    return escape.markdown(f"git {source.git_commit[:12]}") + (" with local changes" if source.git_dirty else "")


def reproduce(section: Section) -> str:
    """The command that runs what the section shows of its newest shown run again, with its seed.

    A task that does not ship is asked for as the file NAME.toml, an interpreter as PATH: records hold neither's place.
    """
    newest = section.trials[-1].placement
    rows = [row for row in section.rows if row.run == newest.run]
    names = sorted({row.case.entry for row in rows})
    default = sorted(entry.name for entry in ENTRIES if entry.launcher is None)
    words = ["bench", "run", "--profile", newest.profile, *_task_flags(section.task)]
    words += [word for name in names if names != default for word in ("--entry", name)]
    words += ["--threads", str(section.threads)]
    words += ["--processes", str(section.processes)] if section.processes != 1 else []
    words += ["--blocks", str(max((row.blocks for row in rows), default=1)), "--seed", str(newest.plan_seed)]
    words += ["--matmul", section.precision] if section.precision != "ieee" else []
    environments = sorted({(row.case.framework, row.case.environment) for row in rows if row.case.environment})
    words += [word for framework, label in environments for word in ("--python", f"{framework}:{label}=PATH")]
    return shlex.join(words)


def _task_flags(task: Task) -> list[str]:
    """What asks `bench run` for a task: a shipped one, one of another width, batch size or number of epochs, a file."""
    base, width = unwidened(task.name)
    if base not in shipped_tasks() or width not in (None, task.layers[1]):
        return ["--task", f"{task.name}.toml"]
    shipped, flags = load_task(base), ["--task", base]
    if width is not None:
        shipped, flags = shipped.widened(width), [*flags, "--width", str(width)]
    sized = ["--batch-size", str(task.batch_size), "--epochs", str(task.epochs)]
    return flags if shipped.fingerprint == task.fingerprint else [*flags, *sized]


def _table(section: Section, folder: Path) -> list[str]:
    links = [_links(row, folder) for row in section.rows]
    rows = [
        [*map(escape.markdown, cells), links[number] if number < len(links) else ""]
        for number, cells in enumerate(texts(section))
    ]
    return table([*map(escape.markdown, HEADS), "Records"], rows)


def _against_table(title: str, group: str, rows: Sequence[Against]) -> list[str]:
    if not rows:
        return []
    cells = [[escape.markdown(cell) for cell in against_texts(row)] for row in rows]
    return [f"**{title}**", "", *table([group, *map(escape.markdown, AGAINST_HEADS)], cells), ""]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; cells are escaped already."""
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows)]


def bullets(sentences: Iterable[str]) -> list[str]:
    """The lines of a Markdown list; sentences are escaped here, and whole."""
    return [f"- {escape.markdown(sentence, len(sentence))}" for sentence in sentences]


def _links(row: Row, folder: Path) -> str:
    links = [_link(row.paths, folder)]
    if row.certificate is not None:
        links.append(f"[certificate]({escape.url(os.path.relpath(row.certificate, folder))})")
    return ", ".join(links)


def _link(paths: Sequence[Path], folder: Path) -> str:
    common = os.path.commonpath([path.parent for path in paths])
    return f"[raw]({escape.url(os.path.relpath(common, folder))}/)"


def _failure(failure: Failure, folder: Path, *, sized: bool = False) -> str:
    case = failure.case
    blocks = ", ".join(map(str, failure.blocks))
    workers = units.workers(case.threads, case.processes)
    size = f", {case.task}, batch {case.batch_size}, {workers}" if sized else ""
    what = escape.markdown(
        f"{entry_name(case)} ({case.device}){size}, {failure.status} in block {blocks}: {failure.reason}"
    )
    return f"- {what} ({_link(failure.paths, folder)})"
