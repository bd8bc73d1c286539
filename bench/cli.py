"""The command `bench`: arguments, progress and exit codes. Wiring only.

Exit codes: 0 yes; 1 the answer is no; 2 the request or a file is wrong; 3 the run ended, but some trials failed;
70 a defect of bench itself; 130 interrupted.
"""

import json
import math
import secrets
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from bench import __version__, cluster, plan, planning, publish, record, runner, store
from bench.certificate import LIMITS
from bench.commands.claims import claims_
from bench.commands.cluster import read_executor
from bench.commands.common import (
    ROOT,
    JsonOption,
    ResultsOption,
    bytes_of,
    check_at_least,
    check_begun_here,
    check_time_limit,
    note,
    out,
    share_of,
    stdout,
)
from bench.commands.compare import compare
from bench.commands.duet import duet_
from bench.commands.export import export
from bench.commands.gate import gate
from bench.commands.history import history_
from bench.commands.merge import merge
from bench.commands.query import query
from bench.commands.report import report
from bench.commands.selftest import selftest_
from bench.commands.study import study_
from bench.doctor import examine, examine_cuda, unfit
from bench.duets import DuetRecord
from bench.errors import InputError, Interrupted
from bench.estimate import Estimator
from bench.inputs import check_data
from bench.interpreters import read_interpreters
from bench.mutations import MUTATED
from bench.plugins import entries as known_entries
from bench.plugins import find_entry
from bench.precision import LOOKS, Width, widths
from bench.probes.available import availability
from bench.probes.gpu import choose, list_gpus
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.record import Case, Certificate, Plan, Trial
from bench.studying import StudyRecord
from bench.task import load_task, shipped_tasks

_NODES = 8  # for an example of what a plan takes on several, where nothing says how many there are

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # Typer carries its own click and exports only leaves

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train identical MLPs in several frameworks, prove that it was the same work, and compare.",
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Evenhand."""
    if version:
        out(f"evenhand {__version__}")
        raise typer.Exit


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Tasks and entries: what can run here, and why not where it can't."""
    tasks = [load_task(name) for name in shipped_tasks()]
    rows = [
        {
            "entry": entry.name,
            "framework": entry.framework,
            "mode": entry.mode,
            "tier": entry.tier,
            "devices": {device: availability(entry, device) or "can run here" for device in ("cpu", "cuda")},
        }
        for entry in known_entries()
    ]
    if as_json:
        described = [{"task": t.name, "title": t.title, "fingerprint": t.fingerprint} for t in tasks]
        out(json.dumps({"tasks": described, "entries": rows}, indent=1))
        return
    console = stdout()
    table = Table("task", "what", "batch", "epochs", "fingerprint", title="Tasks", title_justify="left")
    for task in tasks:
        table.add_row(task.name, task.title, str(task.batch_size), str(task.epochs), task.fingerprint)
    console.print(table)
    table = Table("entry", "framework", "mode", "tier", "cpu", "cuda", title="Entries", title_justify="left")
    for row in rows:
        devices: Any = row["devices"]
        table.add_row(*(str(row[key]) for key in ("entry", "framework", "mode", "tier")), *devices.values())
    console.print(table)


@app.command()
def doctor(
    device: Annotated[str, typer.Option(help="cuda: the checks for a machine with a GPU as well.")] = "cpu",
    python: Annotated[
        list[str] | None, typer.Option(help="FRAMEWORK=PATH: the Python of its entries; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A file with [python]; evenhand.toml where there is one.")] = None,
    gpu: Annotated[str | None, typer.Option(help="UUID or number of the card.")] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Is this machine fit to measure on? Findings with remedies; exit 1 where one of them is an error."""
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device!r}: no such device; take cpu or cuda")
    findings = examine(results)
    if device == "cuda":
        given = read_interpreters(python or [], config)
        named = {f"{one.framework}:{one.label}" if one.label else one.framework: one.python for one in given}
        findings += examine_cuda(card=gpu, pythons=named)
    if as_json:
        out(json.dumps([finding.model_dump() for finding in findings], indent=1))
    else:
        table = Table("check", "", "finding", "remedy")
        styles = {"ok": "green", "note": "", "warning": "yellow", "error": "bold red"}
        for finding in findings:
            table.add_row(
                finding.name, finding.severity, finding.message, finding.remedy or "", style=styles[finding.severity]
            )
        stdout().print(table)
    if unfit(findings):
        raise typer.Exit(1)


def _new_plan(
    profile: str,
    tasks: list[str] | None,
    entries: list[str] | None,
    devices: list[str] | None,
    threads: list[int] | None,
    batch_sizes: list[int] | None,
    processes: list[int] | None,
    *,
    blocks: int | None,
    epochs: int | None,
    seed: int | None,
    time_limit: float | None,
    memory_limit: str | None,
    widths: list[int] | None,
    precisions: list[str] | None,
    pythons: list[str] | None,
    config: Path | None,
    gpu: str | None,
    sensors: bool,
    target: str | None,
    against: str | None,
    nodes: bool,
) -> Plan:
    """Flags -> Plan. nodes: of a cluster run it, not this machine. Raises InputError for values that make no sense."""
    if profile not in plan.PROFILES:
        raise InputError(f"--profile {profile!r}: no such profile; take one of {', '.join(plan.PROFILES)}")
    chosen = plan.PROFILES[profile]
    epochs = chosen.epochs if epochs is None else epochs
    loaded = [load_task(name) for name in tasks or chosen.tasks]
    loaded = [task if epochs is None else task.changed(epochs=epochs) for task in loaded]
    if widths:
        loaded = [task.widened(width) for task in loaded for width in widths]
    if batch_sizes:
        loaded = [task.changed(batch_size=size) for task in loaded for size in batch_sizes]
    plan.check_unique(loaded)
    for count in processes or ():
        check_at_least("--processes", count, 1)
        if not nodes:
            runner.worker_cores(1, count)
    names = list(dict.fromkeys(entries or plan.default_entries(chosen, processes)))
    plan.check_processes(names, processes or [1])
    called = [find_entry(name).name for name in names]
    for name in called:
        if called.count(name) > 1:
            raise InputError(f"--entry: {name} is there twice; name it once")
    for device in devices or ():
        if device not in ("cpu", "cuda"):
            raise InputError(f"--device {device!r}: no such device; take cpu or cuda")
    for count in threads or ():
        check_at_least("--threads", count, 1)
        if not nodes:
            runner.worker_cores(count)
    if nodes and gpu is not None:
        raise InputError("--gpu: names a card of this machine; on a cluster ask for one by --gres, such as gpu:1")
    for precision in precisions or ():
        if precision not in ("ieee", "tf32"):
            raise InputError(f"--matmul {precision!r}: no such precision; take ieee or tf32")
    check_at_least("--blocks", blocks, 1)
    check_at_least("--seed", seed, 0)
    check_time_limit(time_limit)
    width = share_of(target)
    if width is None and against is not None:
        raise InputError("--against: names the entry that --precision takes ratios to; give --precision as well")
    reference = find_entry(against).name if against is not None else publish.tables.REFERENCE
    if width is not None and (len(called) < 2 or (against is not None and reference not in called)):
        raise InputError("--precision: needs two entries or more, --against's among them; name them by --entry")
    now = datetime.now(UTC)
    return Plan.model_validate(
        {
            "run": store.run_name(now, profile),
            "profile": profile,
            "seed": secrets.randbelow(2**31) if seed is None else seed,
            "blocks": blocks or (LOOKS[-1] if width is not None else chosen.blocks),
            "tasks": loaded,
            "entries": names,
            "devices": list(dict.fromkeys(devices or ["cpu"])),
            "threads": list(dict.fromkeys(threads or [1])),
            "processes": list(dict.fromkeys(processes or [1])),
            "precisions": list(dict.fromkeys(precisions or ["ieee"])),
            "interpreters": read_interpreters(pythons or [], config),
            "gpu": None if nodes else _card(gpu, wanted="cuda" in (devices or [])),
            "sensors": sensors,
            "target": width,
            "against": reference,
            "time_limit_seconds": time_limit or chosen.time_limit_seconds,
            "memory_limit_bytes": bytes_of(memory_limit),
            "created_utc": now.isoformat(timespec="seconds"),
            "machine_fingerprint": read_machine().fingerprint,
            "source": read_source(ROOT),
        }
    )


def _card(named: str | None, *, wanted: bool) -> str | None:
    """The UUID of the card that workers on CUDA see. Where there is none, each of their trials says why."""
    if named is None and (not wanted or not list_gpus()[0]):
        return None
    return choose(named).uuid


_WHAT = (
    "tasks",
    "entries",
    "devices",
    "threads",
    "processes",
    "precisions",
    "interpreters",
    "gpu",
    "sensors",
    "target",
    "against",
    "blocks",
    "profile",
    "time_limit_seconds",
    "memory_limit_bytes",
)


def _resumed(
    results: Path, wanted: Plan | None, seed: int | None, asked: cluster.Executor | None
) -> tuple[Path, Plan, cluster.Executor | None]:
    """The newest run with trials missing that does what is wanted (None: whatever it does), and who started its jobs.

    asked: of an executor's runs alone. Raises InputError.
    """
    machine, source = read_machine().fingerprint, read_source(ROOT).sha256
    for folder, found in reversed(store.runs(results)):
        if cluster.is_part(folder):
            continue
        begun = cluster.executor_of(folder)
        same = wanted is None or all(getattr(found, name) == getattr(wanted, name) for name in _WHAT)
        if asked is not None and (begun is None or begun.name != asked.name):
            same = False
        if not same or (seed is not None and found.seed != seed):
            continue
        if not (cluster.todo(found, folder) if begun else runner.remaining(found, folder)):
            continue
        on_nodes = begun is not None and begun.name == "slurm"  # it may be gone on with from any machine
        here = found.machine_fingerprint if on_nodes else machine
        check_begun_here(folder, found.machine_fingerprint, found.source, machine=here, source=source)
        return folder, found, begun
    raise InputError(f"--resume: {results} holds no unfinished run of this plan; leave --resume out to start one")


@app.command()
def run(
    profile: Annotated[str | None, typer.Option(help="smoke, quick or full; quick where none is named.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="A shipped task or FILE.toml; may be repeated.")] = None,
    entry: Annotated[list[str] | None, typer.Option(help="An entry or package.module; may be repeated.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="cpu or cuda; may be repeated.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Threads and cores of a worker; may be repeated.")] = None,
    processes: Annotated[
        list[int] | None, typer.Option(help="Processes that share each batch, with --threads each; may be repeated.")
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="In place of the task's own; may be repeated.")] = None,
    blocks: Annotated[int | None, typer.Option(help="How often each case runs.")] = None,
    epochs: Annotated[int | None, typer.Option(help="In place of the task's own; makes it another task.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random order of the trials.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds that a trial may take.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Address space of a worker, such as 8GiB.")] = None,
    width: Annotated[list[int] | None, typer.Option(help="Of every hidden layer; may be repeated.")] = None,
    matmul: Annotated[list[str] | None, typer.Option(help="ieee or tf32, on CUDA; may be repeated.")] = None,
    python: Annotated[
        list[str] | None, typer.Option(help="FRAMEWORK=PATH: the Python of its entries; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A file with [python]; evenhand.toml where there is one.")] = None,
    gpu: Annotated[str | None, typer.Option(help="UUID or number of the card; the first where none is named.")] = None,
    sensors: Annotated[bool, typer.Option(help="Read the system's counters around windows.")] = True,
    precision: Annotated[
        str | None, typer.Option(help="Run blocks until each ratio is known so well, such as 1%; --blocks is the cap.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="The entry that --precision takes ratios to.")] = None,
    executor: Annotated[
        str | None, typer.Option(help="slurm: a job a block on a cluster's nodes; local: the same on this machine.")
    ] = None,
    executor_config: Annotated[Path | None, typer.Option(help="A TOML file of what Slurm is told of a job.")] = None,
    partition: Annotated[str | None, typer.Option(help="Of Slurm, as sbatch takes it.")] = None,
    constraint: Annotated[str | None, typer.Option(help="Features of the nodes, as sbatch takes them.")] = None,
    exclusive: Annotated[
        bool | None, typer.Option("--exclusive/--no-exclusive", help="A node to a job alone; exclusive by default.")
    ] = None,
    gres: Annotated[str | None, typer.Option(help="Such as gpu:1, as sbatch takes it.")] = None,
    results: ResultsOption = Path("results"),
    resume: Annotated[bool, typer.Option("--resume", help="Run what is missing of the newest unfinished run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, its time, and a precision's cost.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Plan, run and record trials, then compare them."""
    team = read_executor(
        executor, executor_config, partition=partition, constraint=constraint, exclusive=exclusive, gres=gres
    )
    flags = (
        *(profile, task, entry, device, threads, processes, batch_size, blocks, epochs, time_limit, memory_limit),
        *(width, matmul, python, config, gpu, None if sensors else False, precision, against),
    )
    wanted = None
    if not resume or any(flag is not None for flag in flags):
        wanted = _new_plan(
            profile or "quick",
            task,
            entry,
            device,
            threads,
            batch_size,
            processes,
            blocks=blocks,
            epochs=epochs,
            seed=seed,
            time_limit=time_limit,
            memory_limit=memory_limit,
            widths=width,
            precisions=matmul,
            pythons=python,
            config=config,
            gpu=gpu,
            sensors=sensors,
            target=precision,
            against=against,
            nodes=executor == "slurm",
        )
    folder: Path | None = None
    if resume:
        folder, chosen, begun = _resumed(results, wanted, seed, team)
        team = team or begun
    else:
        assert wanted is not None
        chosen = wanted
    estimator = Estimator(results, read_machine().fingerprint, nodes=team is not None and team.name == "slurm")
    if dry_run:
        _print_plan(chosen, folder, team, estimator, as_json=as_json)
        return
    check_data()
    if team is not None:
        _run_on_cluster(chosen, folder, team, results, as_json=as_json)
        return
    with store.locked(results):
        machine = read_machine()
        store.refuse_stub(results, machine.gpu_driver)
        folder = folder or store.create_run(results, chosen, machine.name)
        started = time.monotonic()
        findings = examine(results, sample_seconds=0.2)  # short: a run is not to wait for its doctor
        store.write_findings(folder, [finding.model_dump(mode="json") for finding in findings])
        for finding in findings:
            if finding.severity in ("warning", "error"):
                note(f"{finding.name}: {finding.message}" + (f"; {finding.remedy}" if finding.remedy else ""))
        certified = len(list(folder.glob("certificate_*.json")))
        trials = _run_with_progress(chosen, folder, estimator, machine)
        seconds = time.monotonic() - started
    everything = [trial for _, trial in store.read_run(folder)]
    _show(chosen, everything, as_json=as_json)
    note(f"records: {folder}")
    if trials and not certified:  # a resumed run has certificates of another day's time
        inside = sum(trial.worker_seconds for trial in trials)
        inside += sum(made.worker_seconds for made in store.read_certificates_of(folder))
        if inside > 0:  # else no worker was started
            note(f"{seconds:.0f} s, of which outside the workers: {1 - inside / seconds:.1%}")
    _leave_if_spoilt(trials, everything)


def _show(chosen: Plan, everything: list[Trial], *, as_json: bool) -> None:
    """The trials of a run, and whether its target was reached."""
    if as_json:
        out(json.dumps([trial.model_dump(mode="json") for trial in everything]))
    else:
        publish.terminal.print_run(everything, Console(file=sys.stdout))
    if chosen.target is not None and everything:
        blocks = 1 + max(trial.placement.block for trial in everything)
        seen = widths(everything, blocks=blocks, against=chosen.against)
        met = bool(seen) and all(one.reached(chosen.target) for one in seen)
        note(f"target {'reached' if met else 'not reached'} after {_width_text(chosen, everything, blocks)}")


def _leave_if_spoilt(trials: list[Trial], everything: list[Trial]) -> None:
    """Exit 3 where one of the trials failed or was lost, or none of all is of use."""
    bad = {*record.FAILURES, "lost"}
    if any(runner.disproved(trial) or trial.status in bad for trial in trials):
        raise typer.Exit(3)
    if not any(trial.status == "ok" for trial in everything):
        raise typer.Exit(3)


def _run_on_cluster(chosen: Plan, folder: Path | None, team: cluster.Executor, results: Path, *, as_json: bool) -> None:
    """Run what is missing by jobs, a line a trial as its record comes in. The lock is held on this side."""
    cluster.check_available(team)
    done: list[Trial] = []
    with store.locked(results):
        begun = folder is not None
        if folder is None:
            machine = read_machine().name
            cluster.keep(store.run_folder(results, chosen.created_utc, machine, chosen.run), team)
            folder = store.create_run(results, chosen, machine)
        total = sum(cluster.missing(chosen, folder).values())

        def after(trial: Trial) -> None:
            done.append(trial)
            note(f"[{len(done)}/{total}] {trial.machine.name}  {_describe(trial)}")

        try:
            cluster.run(chosen, folder, team, after=after, say=note)
        except InputError:
            if not begun and not done:
                cluster.discard(folder)
            raise
        except KeyboardInterrupt:
            kept = sum(trial.status != "lost" for trial in done)
            raise Interrupted(f"{kept} of {total} trials are kept; go on with `bench run --resume`") from None
    everything = cluster.trials_of(folder)
    _show(chosen, everything, as_json=as_json)
    for one in cluster.folders(folder):
        note(f"records: {one}")
    if lacking := cluster.todo(chosen, folder):
        note(f"{len(lacking)} blocks are not whole; `bench run --resume` submits what they lack")
        raise typer.Exit(3)
    _leave_if_spoilt(done, everything)


def _print_plan(
    chosen: Plan, folder: Path | None, team: cluster.Executor | None, estimator: Estimator, *, as_json: bool
) -> None:
    """What a run would do, how long it would take, and what a precision would."""
    if folder is None:
        todo = [(b, i, c) for b in range(chosen.blocks) for i, c in enumerate(plan.block_order(chosen, b))]
    elif team is None:
        todo = runner.remaining(chosen, folder)
    else:
        todo = cluster.remaining(chosen, folder)
    seconds = _estimate(chosen, folder, estimator, todo)
    cases = plan.cases(chosen)
    needed = planning.need(
        estimator.trials, cases, machine=estimator.machine, against=chosen.against, target=chosen.target
    )
    most = team.slurm.at_once if team and team.slurm.at_once else _NODES

    of_block = sum(estimator.seconds(case, plan.task_of(chosen, case)) for case in cases)
    certified = sum(map(estimator.certificate_seconds, cases))

    def costs(blocks: int) -> list[planning.Cost]:
        return [
            planning.cost(blocks, block_seconds=of_block, certificate_seconds=certified, nodes=nodes)
            for nodes in dict.fromkeys((1, most))
        ]

    of_plan = costs(len({block for block, _, _ in todo}))
    of_precision = [] if needed.blocks is None else costs(needed.blocks)
    if as_json:
        listed = [{"block": b, "position": p, "case": c.model_dump(mode="json")} for b, p, c in todo]
        document = {
            "trials": listed,
            "estimated_seconds": round(seconds),
            "basis": estimator.basis,
            "costs": [asdict(one) for one in of_plan],
            "precision": asdict(needed) | {"costs": [asdict(one) for one in of_precision]},
        }
        out(json.dumps(document, indent=1))
        return
    table = Table(
        "block", "task", "entry", "device", "threads", "batch", title=f"{len(todo)} trials, seed {chosen.seed}"
    )
    several = any(case.processes > 1 for _, _, case in todo)
    if several:
        table.add_column("processes")
    for block, _, case in todo:
        row = [str(block), case.task, case.entry, case.device, str(case.threads), str(case.batch_size)]
        table.add_row(*row, *([str(case.processes)] if several else []))
    stdout().print(table)
    out(f"about {seconds / 60:.1f} min ({estimator.basis})")
    out(publish.terminal.costs_text(of_plan))
    out(publish.terminal.need_text(needed, of_precision))


def _estimate(chosen: Plan, folder: Path | None, estimator: Estimator, todo: list[tuple[int, int, Case]]) -> float:
    """Seconds for the trials, and for the certificates that are not there yet."""
    wanted = Counter(case for _, _, case in todo)  # asked after every trial: of a case once, however many are left
    trials = sum(n * estimator.seconds(case, plan.task_of(chosen, case)) for case, n in wanted.items())
    bare = [case for case in wanted if folder is None or not (folder / store.certificate_file(case)).exists()]
    return trials + sum(map(estimator.certificate_seconds, bare))


def _describe(trial: Trial) -> str:
    c = trial.case
    entry = c.entry + (f" [{c.environment}]" if c.environment else "")
    what = f"block {trial.placement.block}  {c.task}  {entry}  batch {c.batch_size}  {c.device}"
    what += f"  {publish.units.workers(c.threads, c.processes)}"
    what += "" if c.precision == "ieee" else f"  {c.precision}"
    return f"{what}: {trial.status}" + (f": {trial.reason}" if trial.reason else f" in {trial.worker_seconds:.1f} s")


def _run_with_progress(chosen: Plan, folder: Path, estimator: Estimator, machine: record.Machine) -> list[Trial]:
    """Run what is missing; a bar with the present case and the time left on a terminal, plain lines elsewhere."""
    todo = runner.remaining(chosen, folder)
    console = Console(file=sys.stderr)
    done: list[Trial] = []
    # Twice a second: the bar must not take the cores that are measured.
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("about {task.fields[left]} left", markup=False),
        console=console,
        refresh_per_second=2,
        transient=True,
        disable=not console.is_terminal,
    )
    left = _estimate(chosen, folder, estimator, todo)
    say = bar.console.print if console.is_terminal else note
    seen = [trial for _, trial in store.read_run(folder)] if chosen.target is not None else []
    size = len(plan.cases(chosen))

    def before(block: int, case: Case) -> None:
        bar.update(line, description=f"block {block + 1}/{chosen.blocks} {case.task} {case.entry}", left=_minutes(left))

    def after(trial: Trial) -> None:
        nonlocal left
        done.append(trial)
        estimator.learn(trial)
        left = _estimate(chosen, folder, estimator, todo[len(done) :])
        if console.is_terminal:
            if trial.status != "ok":
                bar.console.print(_describe(trial), markup=False, highlight=False)
        else:
            note(f"[{len(done)}/{len(todo)}, about {_minutes(left)} left] {_describe(trial)}")
        bar.update(line, advance=1, left=_minutes(left))
        if chosen.target is not None:
            seen.append(trial)
            if sum(one.placement.block == trial.placement.block for one in seen) == size:
                say(_width_text(chosen, seen, trial.placement.block + 1))

    try:
        with bar:
            line = bar.add_task("starting", total=len(todo), left=_minutes(left))
            where = runner.Where(machine=machine, source=read_source(ROOT))
            runner.run_plan(chosen, folder, where, before=before, after=after)
    except KeyboardInterrupt:
        raise Interrupted(f"{len(done)} of {len(todo)} trials are kept; go on with `bench run --resume`") from None
    return done


def _width_text(chosen: Plan, trials: list[Trial], blocks: int) -> str:
    """How well the ratios of a run with a target are known by now: the widest of them."""
    assert chosen.target is not None
    seen = widths(trials, blocks=blocks, against=chosen.against)
    if not seen:
        return f"{blocks} blocks: no ratio yet"
    widest: Width = max(seen, key=lambda one: math.inf if one.half_width is None else one.half_width)
    return f"{blocks} blocks: {publish.terminal.width_text(widest, chosen.target)}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@app.command()
def certify(
    entry: Annotated[
        list[str] | None, typer.Argument(help="Entries, or importable modules package.module.", show_default=False)
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="A shipped task or FILE.toml; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    processes: Annotated[int, typer.Option(help="Processes that share each batch.")] = 1,
    mutations: Annotated[
        bool, typer.Option("--mutations", help="Certify deliberate faults instead: all must be refused.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the certificates in --results.")] = False,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Does an entry do the task's arithmetic? Every entry, where none is named. Exit 1 where one does other work.

    --mutations: the frameworks torch and tensorflow, or those that are named; the kill table is kept in --results.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device!r}: no such device; take cpu or cuda")
    check_at_least("--processes", processes, 1)
    runner.worker_cores(1, processes)
    plan.check_processes(entry or [], [processes])
    check_data()
    if mutations:
        _certify_mutations(entry or list(MUTATED), results, as_json=as_json)
        return
    where = runner.Where(machine=read_machine(), source=read_source(ROOT))
    now = datetime.now(UTC)
    folder = store.run_folder(results, now.isoformat(), where.machine.name, store.run_name(now, "certify"))
    bounds = runner.Bounds(time_limit_seconds=plan.PROFILES["full"].time_limit_seconds)
    made: list[record.Certificate] = []
    able = [known.name for known in known_entries() if processes == 1 or known.launcher is not None]
    for found in map(find_entry, entry or able):
        for spec in [load_task(name) for name in task or ["mlp"]]:
            case = plan.case_of(spec, found, "cuda" if device == "cuda" else "cpu", 1, processes=processes)
            made.append(runner.make_certificate(case, spec, entry=found, bounds=bounds, where=where))
            if keep:
                store.write_certificate(folder, made[-1])
            if not as_json:
                out(publish.certificates.text(made[-1]))
    if as_json:
        out(json.dumps([certificate.model_dump(mode="json") for certificate in made], indent=1))
    if keep:
        note(f"certificates: {folder}")
    # What an entry says it cannot do is an answer where all were asked, but no where it was asked for by name.
    if any(made_one.status != "ok" if entry else made_one.parts and made_one.status != "ok" for made_one in made):
        raise typer.Exit(1)


def _certify_mutations(frameworks: list[str], results: Path, *, as_json: bool) -> None:
    """Run the mutation suite of each framework, keep and print its kill table; exit 1 where a fault survived."""
    for framework in frameworks:
        if framework not in MUTATED:
            raise InputError(f"bench certify --mutations: no mutants of {framework!r}; take {', '.join(MUTATED)}")
    suites = []
    where = runner.Where(machine=read_machine(), source=read_source(ROOT))
    for framework in frameworks:
        entry = find_entry(MUTATED[framework])
        status, reason, reply, finished = runner.ask_worker(
            "mutations",
            entry=entry,
            module=f"impls.{framework}.mutants",
            task=load_task("mlp"),
            seed=0,
            device="cpu",
            threads=1,
            bounds=runner.Bounds(time_limit_seconds=plan.PROFILES["full"].time_limit_seconds),
            where=where,
        )
        if status != "ok" or reply is None or reply.versions is None:
            raise InputError(f"bench certify --mutations: the worker of {framework} is {status}: {reason}")
        suites.append(
            record.Suite(
                framework=framework,
                entry=entry.name,
                kills=reply.kills,
                versions=reply.versions,
                machine=where.machine,
                source=where.source,
                limits=LIMITS,
                created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
                worker_seconds=finished.seconds,
            )
        )
    for suite in suites:
        store.write_suite(results, suite)
    if as_json:
        out(json.dumps([suite.model_dump(mode="json") for suite in suites], indent=1))
    else:
        publish.certificates.print_kill_table(suites, stdout())
    if not all(kill.caught for suite in suites for kill in suite.kills):
        raise typer.Exit(1)


DOCUMENTS: dict[str, type[record.Value]] = {
    "trial": Trial,
    "certificate": Certificate,
    "study": StudyRecord,
    "duet": DuetRecord,
}


@app.command()
def schema(
    document: Annotated[str, typer.Argument(help=f"{', '.join(DOCUMENTS)}.")] = "trial",
) -> None:
    """Print the JSON Schema of a record."""
    if document not in DOCUMENTS:
        raise InputError(f"bench schema {document!r}: no such record; take {' or '.join(DOCUMENTS)}")
    out(json.dumps(record.schema_of(document, DOCUMENTS[document]), indent=1, sort_keys=True))


app.command("claims")(claims_)
app.command()(compare)
app.command("duet")(duet_)
app.command()(export)
app.command()(gate)
app.command("history")(history_)
app.command()(merge)
app.command()(query)
app.command()(report)
app.command("selftest")(selftest_)
app.command("study")(study_)


def main() -> None:
    """Entry point: run the command and turn what it raises into one line and an exit code."""
    sys.path.insert(0, "")  # an entry package.module may lie in the working folder, where workers look too
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end from outside is an interrupt too
    sys.exit(_run())


def _run() -> int:
    try:
        code = typer.main.get_command(app)(standalone_mode=False, prog_name="bench")
        if code == 130:  # Typer makes an exit code of Ctrl-C and says nothing
            note("bench: interrupted")
        return code if isinstance(code, int) else 0
    except InputError as error:
        note(f"bench: {error}")
        return 2
    except _UsageError as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        note(f"bench: {' '.join(message.split())} (see `bench --help`)")
        return 2
    except Interrupted as interrupted:
        note(f"bench: interrupted: {interrupted}")
        return 130
    except (KeyboardInterrupt, typer.Abort):
        note("bench: interrupted")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left: nothing is wrong, and nobody listens
        return 0
    except Exception:
        traceback.print_exc()
        note("bench: this is a defect of bench itself; please report it with the lines above")
        return 70


if __name__ == "__main__":
    main()
