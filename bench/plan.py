"""Profiles and flags -> Plan -> the cases of each block in random order. Pure, but for the clock of `created_utc`."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contract import Device, Entry, Precision
from bench.errors import InputError
from bench.plugins import entries, find_entry
from bench.record import Case, Interpreter, Plan
from bench.task import Task


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much is run where no flag says otherwise. epochs: None for the task's own; entries: None for all.

    All: but those that can do several processes (see `default_entries`).
    """

    tasks: tuple[str, ...]
    entries: tuple[str, ...] | None = None
    blocks: int
    epochs: int | None
    time_limit_seconds: float


# smoke: does everything work (under a minute); quick: an answer within six minutes on two cores; full: for publication.
PROFILES = {
    "smoke": Profile(
        tasks=("mlp-tiny",),
        entries=("numpy", "torch-eager", "tensorflow-function"),
        blocks=1,
        epochs=1,
        time_limit_seconds=120,
    ),
    # Like against like, and the best that each framework has on a CPU that need not be compiled for long.
    "quick": Profile(
        tasks=("mlp",),
        entries=("torch-eager", "tensorflow-function", "tensorflow-loop"),
        blocks=4,
        epochs=None,
        time_limit_seconds=300,
    ),
    "full": Profile(tasks=("mlp", "mlp-tiny", "mlp-deep", "mlp-wide"), blocks=10, epochs=None, time_limit_seconds=3600),
}


def default_entries(profile: Profile, processes: Sequence[int] | None) -> list[str]:
    """The entries of a run that names none: the profile's, and with several processes those that can do them.

    An entry for several processes is planned only where these are asked for, or where it is named: with one process it
    is another entry's training with more around it.
    """
    plain = profile.entries or [entry.name for entry in entries() if entry.launcher is None]
    able = [entry.name for entry in entries() if entry.launcher is not None]
    if processes is None:
        return list(plain)
    return [*(plain if 1 in processes else ()), *(able if any(count > 1 for count in processes) else ())]


def check_processes(names: Sequence[str], processes: Sequence[int]) -> None:
    """Raise InputError where an entry that was named trains in one process, and none of these numbers is one."""
    if 1 in processes:
        return
    able = [entry.name for entry in entries() if entry.launcher is not None]
    for entry in map(find_entry, names):
        if entry.launcher is None:
            raise InputError(
                f"--processes {processes[0]}: {entry.name} trains in one process; take {', '.join(able)}, "
                "or add --processes 1"
            )


def cases(plan: Plan) -> list[Case]:
    """Every case of the plan, in the order of the plan's lists; of several processes, for entries that can do them."""
    found = []
    for task in plan.tasks:
        for name in plan.entries:
            entry = find_entry(name)
            labels = [one.label for one in plan.interpreters if one.framework == entry.framework] or [""]
            found += [
                case_of(task, entry, device, threads, precision=precision, environment=label, processes=processes)
                for device in plan.devices
                for threads in plan.threads
                for processes in plan.processes
                if processes == 1 or entry.launcher is not None
                for precision in plan.precisions
                for label in labels
            ]
    return found


def case_of(
    task: Task,
    entry: Entry,
    device: Device,
    threads: int,
    *,
    precision: Precision = "ieee",
    environment: str = "",
    processes: int = 1,
) -> Case:
    """The case of a task and an entry on a device with so many threads in each of so many processes."""
    return Case(
        task=task.name,
        fingerprint=task.fingerprint,
        entry=entry.name,
        framework=entry.framework,
        mode=entry.mode,
        tier=entry.tier,
        device=device,
        threads=threads,
        batch_size=task.batch_size,
        precision=precision,
        environment=environment,
        processes=processes,
    )


def block_order(plan: Plan, block: int) -> list[Case]:
    """The cases of a block in the order they run in: shuffled anew for each block from the plan's recorded seed.

    Order decides more than the choice of the test (docs/method.md); so cases are interleaved, never run one after
    the other in full.
    """
    found = cases(plan)
    random.Random(f"{plan.seed}/{block}").shuffle(found)
    return found


def task_of(plan: Plan, case: Case) -> Task:
    """The plan's task that a case trains."""
    return next(task for task in plan.tasks if task.fingerprint == case.fingerprint and task.name == case.task)


def interpreter_of(plan: Plan, case: Case) -> Interpreter | None:
    """The Python that runs a case: of its framework and label; None for the runner's own."""
    found = (i for i in plan.interpreters if i.framework == case.framework and i.label == case.environment)
    return next(found, None)


def entry_of(plan: Plan, case: Case) -> Entry:
    """The entry of a case: the plan names it as it was asked for, by name or import path."""
    return next(entry for entry in map(find_entry, plan.entries) if entry.name == case.entry)


def check_unique(tasks: Sequence[Task]) -> None:
    """Raise InputError where two tasks would write the same file: same name and batch size, or the same arithmetic."""
    seen: set[tuple[str, int]] = set()
    for task in tasks:
        if (task.name, task.batch_size) in seen:
            raise InputError(f"task {task.name!r} is there twice with batch size {task.batch_size}; name each once")
        seen.add((task.name, task.batch_size))
