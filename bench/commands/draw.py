"""Results folders -> what a report says of each machine, read and drawn in as many processes as pay.

A process takes one machine's folders at a time, so that no process ever holds the records of more than one.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from bench import material, store
from bench.errors import InputError
from bench.material import Withdrawn
from bench.parent import die_with_parent
from bench.publish import parts
from bench.publish.parts import Asked, Part
from bench.record import Suite

FEW = 2000  # records up to which a second process costs more than it saves: it takes a second to start

Folders = tuple[str, ...]  # names of machines' folders that are read together


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The parts of all machines, in order of their fingerprints, and what is of no machine."""

    parts: list[Part]
    suites: list[tuple[Path, Suite]]
    withdrawn: tuple[Withdrawn, ...]


def draw(
    results: Path,
    added: Sequence[Path],
    asked: Asked,
    *,
    jobs: int | None = None,
    meanwhile: Callable[[list[Part]], None] = lambda _: None,
) -> Drawn:
    """What is drawn of a results folder, and of contributed ones beside it. jobs: processes, as many as pay by default.

    The same for any number of jobs. meanwhile: what a caller can do already, of the parts that there are, on the core
    of the first process that finds no folder left; not called where there is no such process. Raises InputError as
    `bench.material.read`.
    """
    if added:  # to be held against each other, record by record
        whole = material.read(results, added)
        asked = replace(asked, records=len(whole.trials) + len(whole.studies) + len(whole.duets))
        return Drawn(
            parts=parts.of_material(whole, asked),
            suites=whole.suites,
            withdrawn=whole.withdrawn,
        )
    names = store.machine_folders(results)
    withdrawn = material.read_withdrawn(results)
    gone = material.taken_out(withdrawn)
    counts = {name: store.count(results, name) for name in names}
    if not any(counts.values()):
        raise store.no_record(results)
    # The largest first, so that no process is left with one at the end. The sort keeps the rest in order.
    folders = [(name,) for name in sorted(names, key=lambda name: -counts[name])]
    asked = replace(asked, records=sum(counts.values()))
    processes = _processes(jobs, len(folders), asked.records)
    found = _drawn(results, folders, gone, asked, processes, meanwhile)
    if twice := _of_one_machine(found):
        rest = [one for one in folders if not any(set(one) <= set(many) for many in twice)]
        found = {one: found[one] for one in rest} | _drawn(results, twice, gone, asked, processes)
    suites = material.left(store.read_suites(results), gone)
    return Drawn(parts=_in_order(found.values()), suites=suites, withdrawn=withdrawn)


def _in_order(found: Iterable[Sequence[Part]]) -> list[Part]:
    return sorted((part for of in found for part in of), key=lambda part: part.machine)


def _processes(jobs: int | None, folders: int, records: int) -> int:
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if records > FEW else 1
    return min(jobs, folders)


def _of_one_machine(found: dict[Folders, list[Part]]) -> list[Folders]:
    """Folders of several names that hold records of one machine, to be read together: each group of them."""
    holders: dict[str, set[str]] = defaultdict(set)
    for folders, of in found.items():
        for part in of:
            holders[part.machine].update(folders)
    groups: list[set[str]] = []
    for names in holders.values():
        touching = [group for group in groups if group & names]
        groups = [group for group in groups if not group & names] + [names.union(*touching)]
    return [tuple(sorted(group)) for group in groups if len(group) > 1]


def _drawn(
    results: Path,
    folders: Sequence[Folders],
    gone: Collection[Path],
    asked: Asked,
    processes: int,
    meanwhile: Callable[[list[Part]], None] = lambda _: None,
) -> dict[Folders, list[Part]]:
    if processes <= 1:
        return {names: _of_folders(results, names, gone, asked) for names in folders}
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of NumPy's BLAS, but not their locks
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(os.getpid(),))
    enough = threading.Event()
    threading.Thread(target=read_ahead, args=(results, folders, enough), daemon=True).start()
    try:
        waiting = {names: pool.submit(_of_folders, results, names, gone, asked) for names in folders}
        until_one_idles = islice(as_completed(waiting.values()), len(waiting) - processes + 1)
        if all(future.exception() is None for future in until_one_idles):  # else the error is all there will be
            meanwhile(_in_order(future.result() for future in waiting.values() if future.done()))
        found = {names: future.result() for names, future in waiting.items()}
        pool.shutdown()
        return found
    except BrokenProcessPool:
        raise InputError(
            f"{results}: a process that read it was killed, for want of memory perhaps; take --jobs 1"
        ) from None
    except BaseException:  # an error of one, or Ctrl-C: nobody waits for the others
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        enough.set()


def read_ahead(results: Path, folders: Iterable[Folders], enough: threading.Event) -> None:
    """Ask the system for the files of these machines in the order in which they will be read, until it is enough.

    For a process that validates and one that waits for a disk are the same one: for records that were not in the page
    cache it waited half as long as it worked. Nothing is read here, and the system may decline.
    """
    for path in (path for names in folders for path in store.all_files(results, names)):
        if enough.is_set():
            return
        with contextlib.suppress(OSError):  # whoever reads it says what is wrong
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)


def _begin(parent_pid: int) -> None:
    """A process of the pool: Ctrl-C is the parent's to answer, and it never outlives its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent_pid)


def _of_folders(results: Path, names: Folders, gone: Collection[Path], asked: Asked) -> list[Part]:
    with uncollected():
        return [parts.of_machine(one, asked) for one in material.read_machines(results, names, gone)]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No cycles are looked for meanwhile: no record, nor what is drawn of one, is part of any, and there are many."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
