"""Job ids -> their states, as Slurm tells them."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

# Of man squeue, "job state codes": from these a job that is not requeued never comes back.
_ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
    | {"REVOKED", "TIMEOUT"}
)
_EXPLAINED = frozenset({"BOOT_FAIL", "FAILED", "NODE_FAIL"})  # of others Slurm keeps the reason that they waited for
FORGOTTEN = "unknown to Slurm"
_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class State:
    """What became of a job: Slurm's own word, and why, where Slurm says more; FORGOTTEN where it knows it no longer."""

    name: str
    why: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing of the job runs or will."""
        return self.name in _ENDED or self.name == FORGOTTEN

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def states(jobs: Iterable[str]) -> dict[str, State] | None:
    """State of each job, such as "17" or the element "17_3" of an array; None where Slurm does not answer.

    squeue knows a job for some minutes after its end (MinJobAge) and needs no accounting, which a small cluster has
    not; sacct is asked for what squeue has forgotten.
    """
    jobs = list(jobs)
    known = _ask("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={_arrays(jobs)}")
    if known is None:
        return None
    found = parse(known)
    if rest := [job for job in jobs if job not in found]:
        flags = ("--noheader", "--parsable2", "--allocations", "--array", "--format=JobID,State")
        found |= parse(_ask("sacct", *flags, f"--jobs={_arrays(rest)}") or "")
    return {job: found.get(job, State(name=FORGOTTEN)) for job in jobs}


def _arrays(jobs: Iterable[str]) -> str:
    """The jobs that the elements are of: to ask for each element would make Slurm search for each."""
    return ",".join(sorted({job.partition("_")[0] for job in jobs}, key=int))


def _ask(*command: str) -> str | None:
    """What a command of Slurm's prints; None where it fails for another reason than that it knows no such job."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        return None
    return done.stdout


def parse(lines: str) -> dict[str, State]:
    """The answer of squeue (JOB|STATE|REASON) or sacct (JOB|STATE), a line a job or an element of an array."""
    found = {}
    for line in lines.splitlines():
        job, _, rest = line.strip().partition("|")
        name, _, why = rest.partition("|")
        if name:
            name = name.split()[0]  # sacct: "CANCELLED by 1000"
            found[job] = State(name=name, why=why if name in _EXPLAINED and why != "None" else "")
    return found
