"""What `bench run` says of a cluster: flags and a file -> Executor."""

from pathlib import Path
from typing import Any

from bench.cluster import Executor, Slurm
from bench.errors import InputError
from bench.record import read_toml


def read_executor(name: str | None, file: Path | None, **flags: Any) -> Executor | None:
    """Who starts the jobs; None where the runner itself starts each worker. A flag goes before the file.

    flags: of the keys of bench.cluster.Slurm, None where not given. Raises InputError.
    """
    given = {flag: value for flag, value in flags.items() if value is not None}
    if name not in (None, "slurm", "local"):
        raise InputError(f"--executor {name!r}: no such executor; take slurm or local, or leave it out")
    if name != "slurm":
        words = ["--executor-config"] if file is not None else []
        words += [f"--no-{flag}" if value is False else f"--{flag}" for flag, value in given.items()]
        if words:
            raise InputError(f"{', '.join(words)}: is for --executor slurm alone; add that, or leave it out")
        return None if name is None else Executor(name="local")
    slurm = Slurm() if file is None else read_toml(Slurm, file)
    return Executor(name="slurm", slurm=slurm.model_copy(update=given))
