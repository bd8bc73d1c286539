"""Does a step of a program that a compiler made for an earlier process take as long as of one made for itself?

python -m tests.perf.kept_programs ENTRY [--task mlp] [--pairs 8] [--seconds 3]

Duets of one entry with itself, windows and lead-ins as of two entries. The subject's folder for temporary files is
empty, so that whatever is compiled is compiled by it; the two processes of the reference find what was left for them.
Prints each duet, what starting the sides took, and the ratio of rates with its 95% interval, Student's t over the
duets.
"""

import argparse
import math
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from bench import duet, plan
from bench.duet import OF_TWO_ENTRIES, Side
from bench.duets import sample_of
from bench.plugins import find_entry
from bench.stats import estimate
from bench.task import load_task


def main() -> None:
    """Print a line a duet, and what they say together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entry")
    parser.add_argument("--task", default="mlp")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    task, entry = load_task(asked.task), find_entry(asked.entry)
    windows = replace(OF_TWO_ENTRIES, side_seconds=asked.seconds)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        case = plan.case_of(task, entry, "cpu", 1)
        one = duet.calibrate(Side(name="base", scratch=kept), task=task, entry=entry, case=case, windows=windows)
        if isinstance(one, str):
            raise SystemExit(one)
        score = duet.together(one, one, windows)
        sides = [Side(name="base", scratch=kept), Side(name="control", scratch=kept), Side(name="head")]
        samples = []
        for number in range(asked.pairs):
            played = duet.play(score, sides, seed=number, order=random.Random(number))
            if played.status != "ok":
                raise SystemExit(f"{played.status}: {played.reason}")
            sample = sample_of(played)
            samples.append(sample)
            ratio, control = math.exp(sample.difference), math.exp(sample.control)
            ready = f"sides ready after {played.start_seconds:.0f} s"
            print(f"duet {number + 1}: {ratio:.4f} (control {control:.4f}), {ready}", flush=True)
    for name, values in (
        ("own program over kept one", [sample.difference for sample in samples]),
        ("kept one over kept one", [sample.control for sample in samples]),
    ):
        seen = estimate(values)
        assert seen.mean is not None
        assert seen.interval is not None
        low, high = (math.exp(end) for end in seen.interval)
        print(f"{asked.entry}, {asked.task}: {name}: {math.exp(seen.mean):.4f} [{low:.4f}, {high:.4f}], n = {seen.n}")


if __name__ == "__main__":
    main()
