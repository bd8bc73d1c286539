"""A recording of `bench selftest` -> how often other tools are right about the same duets, beside our gate.

python -m tests.perf.other_tools RECORDING --decisions 400

Each decision takes the duets that ours has for both of its stages; a tool gets their windows in its own format, of all
processes, and is asked by its own interface. A value of a tool is the mean of windows that follow each other, ten a
process, for these tools time a tenth of a second and more at once, and some compare each value with each. Interleaved
windows are more than they ask for: run one side after the other, as they are used, they do worse.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyperf
from asv.commands.compare import _is_result_better
from asv_runner.statistics import compute_stats
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import parse_compare_fail

from bench.commands.gate import PAIRS
from bench.errors import InputError
from bench.gate import Rule
from bench.selftest import Kept, Rate, read_recording, replay, triples

VALUES = 10  # of a process
SLOWDOWNS = (0.0, 0.02, 0.03, 0.05)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a tool gets for one decision: seconds a step of each window, process by process."""

    base: list[list[float]]
    head: list[list[float]]


Tool = Callable[[Sequence[Asked]], int]  # of so many decisions, those in which it says that the head is slower


def by_pyperf(asked: Sequence[Asked]) -> int:
    """`python -m pyperf compare_to`: a benchmark a decision, a run a process. Slower: listed under "Slower"."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for side in ("base", "head"):
            benchmarks = [
                pyperf.Benchmark(
                    [
                        pyperf.Run(values, metadata={"name": f"d{n}"}, collect_metadata=False)
                        for values in getattr(one, side)
                    ]
                )
                for n, one in enumerate(asked)
            ]
            paths.append(str(Path(folder) / f"{side}.json"))
            pyperf.BenchmarkSuite(benchmarks).dump(paths[-1])
        done = subprocess.run(
            [sys.executable, "-m", "pyperf", "compare_to", "--group-by-speed", *paths],
            capture_output=True,
            text=True,
            check=True,
        )
    slower = re.search(r"^Slower \((\d+)\):", done.stdout, flags=re.MULTILINE)
    if slower is not None:
        return int(slower[1])
    if len(asked) == 1:  # a single benchmark is not grouped
        return int("slower" in done.stdout)
    return 0


def by_pytest_benchmark(rule: str) -> Tool:
    """The check behind `--benchmark-compare-fail=RULE`."""
    check = parse_compare_fail(rule)

    def of(sides: list[list[float]]) -> dict[str, float]:
        stats = Stats()
        for values in sides:
            for value in values:
                stats.update(value)
        return {"min": stats.min, "mean": stats.mean}

    return lambda asked: sum(check.fails(of(one.head), of(one.base)) is not None for one in asked)


def by_asv(factor: float) -> Tool:
    """The rule of `asv continuous --factor FACTOR`: a U test at 0.002, and a ratio of the medians beyond the factor."""

    def slower(one: Asked) -> bool:
        found = []
        for side in (one.base, one.head):
            samples = [value for values in side for value in values]
            value, stats = compute_stats(samples, 1)
            found.append((value, (stats, samples)))
        (base, base_seen), (head, head_seen) = found
        return bool(_is_result_better(base, head, base_seen, head_seen, factor))

    return lambda asked: sum(map(slower, asked))


TOOLS: dict[str, Tool] = {
    "pyperf compare_to": by_pyperf,
    "pytest-benchmark, min:5%": by_pytest_benchmark("min:5%"),
    "pytest-benchmark, mean:5%": by_pytest_benchmark("mean:5%"),
    "asv continuous, factor 1.1 (its default)": by_asv(1.1),
    "asv continuous, factor 1.02": by_asv(1.02),
}


def values(windows: Sequence[float], steps: int) -> list[float]:
    """Seconds a step of a process, VALUES of them: each of as many windows that follow each other."""
    size = max(1, len(windows) // VALUES)
    parts = [windows[start : start + size] for start in range(0, size * min(VALUES, len(windows)), size)]
    return [sum(part) / len(part) / steps for part in parts]


def drawn(kept: Sequence[Kept], duets: int, slowdown: float, chance: random.Random) -> Asked:
    """One decision's windows: duets without replacement, roles at random, the head's seconds multiplied."""
    base, head = [], []
    for one in chance.sample(kept, duets):
        of_base, of_head = chance.sample(("base", "control", "head"), 2)
        base.append(values(one.duet.windows[of_base], one.duet.steps))
        head.append([value * (1 + slowdown) for value in values(one.duet.windows[of_head], one.duet.steps)])
    return Asked(base=base, head=head)


def table(kept: Sequence[Kept], *, decisions: int, pairs: int, seed: int = 0) -> str:
    """The Markdown table: a row a tool, the share of decisions in which it calls the head slower."""
    same = [one for one in kept if one.slowdown == 0 and not one.hog and one.stage == 1 and one.duet.status == "ok"]
    ours = replay(triples(kept), decisions=decisions, cases=1, pairs=pairs, rule=Rule(), seed=seed)
    chance = random.Random(seed)
    asked = {s: [drawn(same, 3 * pairs, s, chance) for _ in range(decisions)] for s in SLOWDOWNS}
    rows = {"ours: bench gate": [ours.false_red, *(ours.found[s] for s in SLOWDOWNS if s)]}
    for name, tool in TOOLS.items():
        rows[name] = [Rate(what="slower", times=tool(asked[s]), n=decisions) for s in SLOWDOWNS]
    lines = [
        f"{decisions} decisions of {3 * pairs} duets, drawn from {len(same)}; share called slower, per cent [95%].",
        "",
        "| rule | same code | " + " | ".join(f"{s:.0%} slower" for s in SLOWDOWNS if s) + " |",
        "|---|" + "---|" * len(SLOWDOWNS),
    ]
    lines += [f"| {name} | " + " | ".join(map(_cell, rates)) + " |" for name, rates in rows.items()]
    return "\n".join(lines) + "\n"


def _cell(rate: Rate) -> str:
    low, high = rate.interval
    return f"{100 * rate.times / rate.n:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    """Parse, draw, ask, print."""
    parser = argparse.ArgumentParser(description="Other tools' rules on a recording of `bench selftest`.")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--decisions", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    asked = parser.parse_args()
    try:
        print(table(read_recording(asked.recording), decisions=asked.decisions, pairs=asked.pairs), end="")
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
