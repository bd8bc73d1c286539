"""How much slower are a process's first steps after another one had the core?

python -m tests.perf.switching ENTRY --after ENTRY [--task mlp] [--window 25] [--times 200]

Two processes of a duet, on the core of its sides. After a window of the one, a quarter of a second long, the other
trains six short ones in a row. Each of the first three is held against the mean of the last three of its own row; a
line gives the ratio of seconds with a 95% interval, Student's t over the rows.
"""

import argparse
import math
import statistics
import time

from bench import plan, runner
from bench.duet import LIMIT_SECONDS, Side, _players, _request
from bench.plugins import find_entry
from bench.stats import estimate
from bench.task import load_task
from bench.windows import Command, Ready

OTHERS_SECONDS = 0.25
IN_A_ROW, FIRST = 6, 3
WARM_UP = 10


def rows(entry: str, after: str, task_name: str, window: float, times: int) -> list[list[float]]:
    """Seconds of six windows in a row, so many times; a window takes about so many seconds."""
    task, entries = load_task(task_name), [find_entry(entry), find_entry(after)]
    cores, deadline = runner.worker_cores(1), time.monotonic() + LIMIT_SECONDS + 4 * times * (OTHERS_SECONDS + window)
    sides = [Side(name="base"), Side(name="head")]
    requests = [
        _request(side, task, found, seed=0, device="cpu", threads=1) for side, found in zip(sides, entries, strict=True)
    ]
    assert all(runner.why_not(one, plan.case_of(task, one, "cpu", 1)) is None for one in entries)
    with _players(sides, requests, cores) as players:
        commands = []
        for player, wanted in zip(players, (window, OTHERS_SECONDS), strict=True):
            player.answer(Ready, deadline)
            player.pin(cores)
            player.ask(Command(steps=4), deadline)
            a_step = min(player.ask(Command(steps=4), deadline).seconds for _ in range(3)) / 4
            commands.append(Command(steps=max(1, round(wanted / a_step))))
            for _ in range(WARM_UP):
                player.ask(commands[-1], deadline)
        found = []
        for _ in range(times):
            players[1].ask(commands[1], deadline)
            found.append([players[0].ask(commands[0], deadline).seconds for _ in range(IN_A_ROW)])
    return found


def main() -> None:
    """Print a line for each of the first windows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entry")
    parser.add_argument("--after", required=True)
    parser.add_argument("--task", default="mlp")
    parser.add_argument("--window", type=float, default=25.0, help="milliseconds")
    parser.add_argument("--times", type=int, default=200)
    asked = parser.parse_args()
    found = rows(asked.entry, asked.after, asked.task, asked.window / 1000, asked.times)
    milliseconds = 1000 * statistics.median(row[-1] for row in found)
    print(f"{asked.entry} after {asked.after}, {asked.task}, {asked.times} rows of windows of {milliseconds:.1f} ms")
    for place in range(FIRST):
        seen = estimate([math.log(row[place]) - statistics.fmean(map(math.log, row[FIRST:])) for row in found])
        assert seen.mean is not None
        assert seen.interval is not None
        low, high = (100 * math.expm1(end) for end in seen.interval)
        print(f"window {place + 1}: {100 * math.expm1(seen.mean):+.1f} % [{low:+.1f}, {high:+.1f}]")


if __name__ == "__main__":
    main()
