"""So many synthetic records -> seconds and memory of `bench report`, to see that both grow with their number.

python -m tests.perf.report_scale --records 1000 --records 10000 --records 100000

The records are a real one with other places, entries and times; they are written to a temporary folder and published
nowhere.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import store
from bench.contract import ENTRIES
from bench.record import Case, Certificate
from bench.task import load_task
from tests.command import ROOT

BLOCKS = 10
SIZES = (32, 64, 128, 256, 512)


def synthesise(folder: Path, count: int) -> None:
    """Write so many trials: machines of 10 blocks of all entries at five batch sizes, with one certificate a case."""
    source = max((ROOT / "results" / "raw").glob("*/*/*/block-*_mlp_torch-eager_cpu_t1_b64.json"))
    trial: dict[str, Any] = json.loads(source.read_text())
    certificate: dict[str, Any] = json.loads((source.parent / trial["certificate"]["file"]).read_text())
    rng, made, run = random.Random(0), 0, 0
    while made < count:
        place = folder / "raw" / "2026-01-01" / f"synthetic-{run:05d}" / f"run-{run:05d}"
        place.mkdir(parents=True)
        machine = trial["machine"] | {"fingerprint": f"{run:012x}", "name": f"synthetic-{run:05d}"}
        for size in SIZES:
            task = load_task("mlp").changed(batch_size=size)
            for entry in ENTRIES:
                case = trial["case"] | {"fingerprint": task.fingerprint, "batch_size": size, "entry": entry.name}
                case |= {"framework": entry.framework, "mode": entry.mode, "tier": entry.tier}
                shared = {"task": task.model_dump(mode="json"), "case": case, "machine": machine}
                proof = Certificate.model_validate(certificate | shared, strict=False)
                path = place / store.certificate_file(Case.model_validate(case))
                path.write_text(proof.to_json())
                of_case = trial | shared | {"certificate": store.proof_of(path).model_dump(mode="json")}
                for block in range(BLOCKS):
                    if made == count:
                        return
                    factor = rng.lognormvariate(0, 0.02)
                    measured = dict(of_case["measurements"])
                    measured["epochs"] = [
                        e | {"window_seconds": e["window_seconds"] * factor} for e in measured["epochs"]
                    ]
                    placement = trial["placement"] | {"run": place.name, "block": block}
                    document = of_case | {"measurements": measured, "placement": placement}
                    name = store.trial_file(Case.model_validate(case), block)
                    (place / name).write_text(json.dumps(document))
                    made += 1
        run += 1


def measure(count: int) -> tuple[float, int]:
    """Seconds and peak resident bytes of a report on so many records."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        synthesise(folder, count)
        started = time.monotonic()
        command = [sys.executable, "-m", "bench", "report", "--results", scratch, "--format", "csv"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        if status != 0:
            sys.exit(f"bench report ended with status {status}")
        return seconds, usage.ru_maxrss * 1024


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description="How bench report grows with the number of records.")
    parser.add_argument("--records", type=int, action="append")
    asked = parser.parse_args()
    print("| records | seconds | seconds a 1,000 records | peak memory |\n|---|---|---|---|")
    for count in asked.records or [1_000, 10_000]:
        seconds, peak = measure(count)
        print(f"| {count:,} | {seconds:.1f} | {1000 * seconds / count:.2f} | {peak / 2**20:,.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
