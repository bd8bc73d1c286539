"""The stand-in for libnvidia-ml.so.1: built with the system's compiler, used by our code in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import ROOT

SOURCE = Path(__file__).with_name("nvml_stub.c")
CARDS = ("GPU-57ab0000-0000-0000-0000-00000000000a", "GPU-57ab1111-0000-0000-0000-00000000000b")
SLICES = ("MIG-57ab2222-0000-0000-0000-00000000000c", "MIG-57ab3333-0000-0000-0000-00000000000d")

# What a script finds; `tell` prints its answer, with what NVML lent and did not get back.
_PRELUDE = """
import json, os, time
import pynvml
from bench.errors import InputError
from bench.probes import gpu

def sampled(uuid, seconds, pids=None, interval=0.02, before=0.05, after=0.05):
    with gpu.Sampler(uuid, interval) as sampler:
        time.sleep(before)
        begin = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        time.sleep(after)
    return sampler.series([(begin, end)], {os.getpid()} if pids is None else pids).model_dump(mode="json")

def chosen(wanted):
    try:
        card = gpu.choose(wanted)
        return [card.uuid, card.name]
    except InputError as error:
        return str(error)

def tell(answer):
    lib = pynvml.nvmlLib
    print(json.dumps([answer, lib.nvmlStubUsers(), lib.nvmlStubSamples()]))
"""


def build(folder: Path) -> Path:
    """Build the stub into a folder, and return that. Skips the test, in sight, where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc), which the NVML stub is built with")
    library = folder / "libnvidia-ml.so.1"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library)]
    subprocess.run([compiler, *options, str(SOURCE), "-lm"], check=True)
    return folder


def run(folder: Path, code: str, *, scenario: str = "two-cards", fail: str = "", pairs: bool = True) -> Any:
    """What a script tells that finds the stub as NVML. pairs: whether it must have given back what NVML lent."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + code],
        cwd=ROOT,
        env={**os.environ, "LD_LIBRARY_PATH": path, "NVML_STUB_SCENARIO": scenario, "NVML_STUB_FAIL": fail},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (0, "") == (done.returncode, done.stderr)  # an exception in a thread is on stderr alone
    answer, users, samples = json.loads(done.stdout)
    if pairs:
        assert (0, 0) == (users, samples)
    return answer
