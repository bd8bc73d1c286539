"""What the harness costs: a trial against the same loop as a plain script, in turn, in fresh processes on one core.

python -m tests.perf.overhead --pairs 10
"""

import argparse
import random

from tests.perf.pairs import ratio, script, trial, where

SCRIPTS = {
    "torch-eager": "tests.perf.plain_torch",
    "tensorflow-function": "tests.perf.plain_tensorflow_function",
}


def main() -> None:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=4)
    asked = parser.parse_args()
    order = random.Random(0)
    print(where(asked.pairs, asked.epochs) + "\n")
    print("| entry | trial / script, median | ratio [95%] | trial, samples/s | script, samples/s |")
    print("|---|---|---|---|---|")
    for entry, module in SCRIPTS.items():
        cells = ratio(
            trial(entry), script(module), pairs=asked.pairs, epochs=asked.epochs, order=order, same_bytes=True
        )
        print(f"| {entry} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
