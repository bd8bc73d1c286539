"""So many synthetic records -> what writing, reporting, exporting and asking them takes, and how it grows.

python -m tests.perf.report_scale --records 1000 --records 10000 --records 100000 --json docs/scale.json
python -m tests.perf.report_scale --records 10000 --only report        # quickly: is it still linear?

The records (tests/perf/synthetic.py) are written to a temporary folder and published nowhere. Each command is a process
of its own, with the files in the page cache, as they were just written. --rows asks a Parquet file of more rows than
there are records, which repeats the export of the most records under other names.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import history, store
from bench.history import Line, Pin
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.record import Trial, compact_json, read_value
from tests.command import ROOT
from tests.perf import synthetic

Found = dict[str, Any]

SAMPLE_SECONDS = 0.1  # between two looks at the memory of a command's processes
POINTS = 50  # runs of each series of a history
JOBS = 2  # of a report
SQL = (
    "SELECT entry, batch_size, count(*) AS n, median(samples_per_second) AS rate "
    "FROM trials WHERE shown GROUP BY ALL ORDER BY ALL"
)


def run(*command: object) -> Found:
    """Seconds of a command, those of all its processors, and the most that its processes were seen to hold together.

    Pages that several processes share are counted in each, so the figure is an upper bound; what lies between two looks
    may be missed, so the kernel's own peak of the largest process stands beside it.
    """
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        peak = max(peak, sum(map(resident_bytes, tree(process.pid))))
        time.sleep(SAMPLE_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: ended with status {process.returncode}")
    return {
        "seconds": round(time.monotonic() - started, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),  # of its processes, once they have ended, as well
        "peak_bytes_of_all": peak,
        "peak_bytes_of_the_largest": usage.ru_maxrss * 1024,
    }


def tree(pid: int) -> list[int]:
    """A process and all that descend from it, as far as they live."""
    found = [pid]
    for one in found:
        for thread in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found += map(int, thread.read_text().split())
    return found


def resident_bytes(pid: int) -> int:
    """0 of a process that has ended: then it holds nothing."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def bench(*arguments: object) -> Found:
    """`run` of the command line."""
    return run(sys.executable, "-m", "bench", *arguments)


# --- what is measured ---------------------------------------------------------------------------------------------


def written(folder: Path, count: int) -> Found:
    """Write the records: files, bytes as they are and as the disk keeps them."""
    started = time.monotonic()
    files = synthetic.write(folder, count)
    seconds = time.monotonic() - started
    stats = [path.stat() for path in store.raw_folder(folder).rglob("*") if path.is_file()]
    return {
        "files": files,
        "bytes": sum(stat.st_size for stat in stats),
        "bytes_on_disk": sum(stat.st_blocks for stat in stats) * 512,
        "seconds_of_making_them_up": round(seconds, 2),
    }


def kept_by_git(folder: Path, count: int) -> Found:
    """The raw records committed to a repository of their own and packed, and what looking for changes takes then."""
    del count
    git = (
        "git",
        "-C",
        store.raw_folder(folder),
        "-c",
        "gc.auto=0",
        "-c",
        "user.name=none",
        "-c",
        "user.email=none@localhost",
    )
    subprocess.run([*map(str, git), "init", "--quiet"], check=True)
    seen = {"add": run(*git, "add", "--all")["seconds"], "commit": run(*git, "commit", "-qm", "records")["seconds"]}
    seen |= {"gc": run(*git, "gc", "--quiet")["seconds"], "status": run(*git, "status", "--short")["seconds"]}
    place = store.raw_folder(folder) / ".git"
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    shutil.rmtree(place)
    return {"seconds_of": seen, "bytes": size}


def reported(folder: Path, count: int) -> Found:
    """Every file of a report, and the tables for a terminal."""
    del count
    seen = bench("report", "--results", folder, "--readme", folder / "PROJECT.md", "--jobs", JOBS)
    made = {path.name: path.stat().st_size for path in folder.glob("*.*") if path.suffix in (".md", ".html")}
    return seen | {"bytes_of": made}


def exported(folder: Path, count: int) -> Found:
    """Parquet, a row a trial."""
    del count
    file = folder / "trials.parquet"
    return bench("export", "--format", "parquet", "--results", folder, "--output", file) | {
        "bytes": file.stat().st_size
    }


def asked(folder: Path, count: int) -> Found:
    """A query over the records themselves."""
    del count
    return bench("query", SQL, "--results", folder, "--csv")


def asked_of_parquet(folder: Path, count: int) -> Found:
    """The same over their export."""
    del count
    return bench("query", SQL, "--parquet", folder / "trials.parquet", "--csv")


def remembered(folder: Path, count: int) -> Found:
    """A history of as many lines, in series of 50 runs: read and drawn."""
    place = folder / "history-of-its-own"
    pin = Pin(
        name="numpy-1",
        entry="numpy",
        implementation_sha256="0" * 64,
        python="3.11",
        numpy="2",
        packages={},
        pinned_utc="2026-01-01T00:00:00+00:00",
    )
    history.write_pins(place, [pin])
    like = history_line()
    lines = [numbered(like, number) for number in range(count)]
    by_file: dict[Path, list[str]] = defaultdict(list)
    for line in lines:
        by_file[history.file_of(place, line)].append(line.model_dump_json())
    for path, texts in by_file.items():
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    seen = bench("history", "--show", "--results", place)
    return seen | {"series": len({line.series for line in lines}), "bytes": sum(p.stat().st_size for p in by_file)}


def history_line() -> Line:
    """A line as `bench history` writes it of ten blocks."""
    case = read_value(Trial, synthetic.newest_trial()).case
    return Line(
        run="000000-full-0000",
        commit="0" * 40,
        committed_utc="2026-01-01T00:00:00+00:00",
        measured_utc="2026-01-01T00:00:00+00:00",
        machine="0" * 12,
        machine_name="synthetic",
        case=case,
        case_is=None,
        quantity="samples_per_second",
        reference="numpy-1",
        log_ratio=0.1,
        standard_error=0.01,
        n=10,
        packages={"python": "3.11.7", "numpy": "2.4.0", "torch": "2.13.0"},
        folder="raw/2026-01-01/synthetic/000000-full-0000",
        files=[store.trial_file(case, block) for block in range(20)],
    )


def numbered(like: Line, number: int) -> Line:
    """The line of a run of a series: so many runs a series, a case each."""
    series, point = divmod(number, POINTS)
    when = f"2026-{1 + point // 28:02d}-{1 + point % 28:02d}T00:00:00+00:00"
    return like.model_copy(
        update={
            "run": f"{point:06d}-full-0000",
            "commit": f"{point:040x}",
            "committed_utc": when,
            "measured_utc": when,
            "case": like.case.model_copy(update={"fingerprint": f"{series:016x}"}),
            "log_ratio": 0.1 + (number * 7919 % 1000) / 1e5,
        }
    )


MEASURES: dict[str, Callable[[Path, int], Found]] = {
    "write": written,
    "git": kept_by_git,
    "report": reported,
    "export": exported,
    "query": asked,
    "query-parquet": asked_of_parquet,
    "history": remembered,
}


def measure(count: int, only: Sequence[str]) -> Found:
    """Every measure of so many records."""
    with tempfile.TemporaryDirectory() as scratch:
        found: Found = {"records": count}
        for name, of in MEASURES.items():
            if name == "write" or not only or name in only:
                found[name] = of(Path(scratch), count) | {"by": stamp()}
                print(f"{count:,} {name}: {found[name]}", file=sys.stderr, flush=True)
        if (Path(scratch) / "trials.parquet").exists():
            shutil.copy(Path(scratch) / "trials.parquet", KEPT)
        return found


def stamp() -> Found:
    """Where, when and of which code a measure is: those of one file need not be of one day."""
    return {
        "machine": read_machine().name,
        "cores": len(os.sched_getaffinity(0)),
        "git_commit": read_source(ROOT).git_commit,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def merged(kept: Found, new: Found) -> Found:
    """A document with what a newer one measured in place of its own; what that did not measure stays."""
    measured = {one["records"]: one for one in kept["measured"]}
    for one in new["measured"]:
        measured[one["records"]] = measured.get(one["records"], {}) | one
    return kept | {
        "measured": [measured[count] for count in sorted(measured)],
        "repeated": new["repeated"] or kept["repeated"],
    }


KEPT = Path(tempfile.gettempdir()) / f"report-scale-{os.getpid()}.parquet"  # the last export, for --rows


def repeated(rows: int) -> Found:
    """A query over a Parquet file of so many rows: the last export again and again, each time of other runs."""
    import pyarrow
    from pyarrow import parquet

    once = parquet.read_table(KEPT)
    file = KEPT.with_name(f"{KEPT.stem}-repeated.parquet")
    started = time.monotonic()
    with parquet.ParquetWriter(file, once.schema) as writer:
        for number in range(0, rows, once.num_rows):
            of = once.slice(0, min(once.num_rows, rows - number))
            runs = pyarrow.array([f"{number}-{run}" for run in of["run"].to_pylist()], type=of.schema.field("run").type)
            writer.write_table(of.set_column(of.schema.get_field_index("run"), of.schema.field("run"), runs))
    seconds = time.monotonic() - started
    try:
        return {
            "rows": rows,
            "repeats_an_export_of": once.num_rows,
            "bytes": file.stat().st_size,
            "seconds_of_writing": round(seconds, 2),
            "query": bench("query", SQL, "--parquet", file, "--csv"),
        }
    finally:
        file.unlink()


def tables(document: Found) -> str:
    """What was measured, as the Markdown that docs/scale.md shows."""
    seen = document["measured"]
    columns: list[tuple[str, Callable[[Found], str]]] = [
        ("Files", lambda one: f"{one['write']['files']:,}"),
        ("Raw records", lambda one: _mib(one["write"]["bytes"])),
        ("A record and its share of a certificate", lambda one: _each(one, one["write"]["bytes"])),
        ("`bench report`", lambda one: _run(one["report"], one["records"])),
        ("its memory, all processes", lambda one: _mib(one["report"]["peak_bytes_of_all"])),
        ("measured on, by commit", lambda one: _by(one["report"])),
        ("index.html", lambda one: _mib(one["report"]["bytes_of"]["index.html"])),
        ("`bench query` over the records", lambda one: _run(one["query"], one["records"])),
        ("`bench export --format parquet`", lambda one: _run(one["export"], one["records"])),
        ("its file", lambda one: _mib(one["export"]["bytes"])),
        ("a row of it", lambda one: _each(one, one["export"]["bytes"])),
        ("`bench query --parquet`", lambda one: _seconds(one["query-parquet"])),
        (
            "git: add and commit",
            lambda one: f"{one['git']['seconds_of']['add'] + one['git']['seconds_of']['commit']:.1f} s",
        ),
        ("git: packed", lambda one: _mib(one["git"]["bytes"])),
        ("git: status", lambda one: f"{one['git']['seconds_of']['status']:.2f} s"),
        ("`bench history --show` of as many lines", lambda one: _seconds(one["history"])),
        ("those lines", lambda one: _mib(one["history"]["bytes"])),
    ]
    heads = [f"{one['records']:,} records" for one in seen]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(seen)}"]
    lines += [f"| {name} | {' | '.join(_or_not(of, one) for one in seen)} |" for name, of in columns]
    if document["repeated"]:
        lines += [
            "",
            "| Rows of a Parquet file | its bytes | `bench query --parquet` | its memory |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {one['rows']:,} | {_mib(one['bytes'])} | {_seconds(one['query'])} "
            f"| {_mib(one['query']['peak_bytes_of_all'])} |"
            for one in document["repeated"]
        ]
    return "\n".join(lines)


def _by(of: Found) -> str:
    by = of.get("by")
    if by is None:
        return "as the file says"
    cores = "1 core" if by["cores"] == 1 else f"{by['cores']} cores"
    return f"{by['created_utc'][:10]}, {by['machine']}, {cores}, {by['git_commit'][:12]}"


def _or_not(of: Callable[[Found], str], one: Found) -> str:
    try:
        return of(one)
    except KeyError:
        return "not measured"


def _mib(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _each(one: Found, size: int) -> str:
    return f"{size / one['records']:,.0f} bytes"


def _run(of: Found, records: int) -> str:
    return f"{_seconds(of)}, {1000 * of['cpu_seconds'] / records:.2f} ms a record"


def _seconds(of: Found) -> str:
    """On the wall, where that was measured, and of processors."""
    wall = "" if of["seconds"] is None else f"{of['seconds']:.1f} s, "
    return f"{wall}of processors {of['cpu_seconds']:.1f} s"


def main() -> None:
    """Print Markdown tables, and keep everything in a JSON file where one is named."""
    parser = argparse.ArgumentParser(description="What grows how with the number of records.")
    parser.add_argument("--records", type=int, action="append")
    parser.add_argument("--only", choices=[name for name in MEASURES if name != "write"], action="append", default=[])
    parser.add_argument("--rows", type=int, action="append", default=[], help="Of a Parquet file that is asked.")
    parser.add_argument("--json", type=Path, help="Keep what was measured, in place of what it holds of that.")
    parser.add_argument("--read", type=Path, help="Print the tables of such a file in place of measuring.")
    given = parser.parse_args()
    if given.read is not None:
        print(tables(json.loads(given.read.read_text(encoding="utf-8"))))
        return
    started = datetime.now(UTC)
    try:
        found = [measure(count, given.only) for count in given.records or [1_000, 10_000]]
        rows = [repeated(count) for count in given.rows]
    finally:
        KEPT.unlink(missing_ok=True)
    document = {
        "what": "synthetic records: written, reported, exported, asked",
        "measured": found,
        "repeated": rows,
        "machine": read_machine().model_dump(mode="json"),
        "source": read_source(ROOT).model_dump(mode="json"),
        "created_utc": started.isoformat(timespec="seconds"),
        "load_average": [round(load, 1) for load in os.getloadavg()],  # of the last 1, 5, 15 minutes, at the end
        "cores": sorted(os.sched_getaffinity(0)),
    }
    print(tables(document))
    if given.json is not None:
        if given.json.exists():
            document = merged(json.loads(given.json.read_text(encoding="utf-8")), document)
        given.json.write_text(compact_json(document), encoding="utf-8")


if __name__ == "__main__":
    main()
