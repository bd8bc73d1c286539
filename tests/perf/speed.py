"""Are the implementations as good as their frameworks' experts write them? Four ratios, in turn, on one core.

python -m tests.perf.speed --pairs 10
"""

import argparse
import random

from tests.perf.pairs import Side, ratio, script, trial, where

# What is compared, the two sides, whether both train on the same bytes.
STATEMENTS: dict[str, tuple[Side, Side, bool]] = {
    "tensorflow-loop / tensorflow-function": (trial("tensorflow-loop"), trial("tensorflow-function"), True),
    "jax-scan / torch-eager": (trial("jax-scan"), trial("torch-eager"), True),
    "torch-eager / the tutorial's script with its DataLoader": (
        trial("torch-eager"),
        script("tests.perf.document_torch"),
        False,
    ),
    "keras-fit / a plain script with model.fit": (trial("keras-fit"), script("tests.perf.plain_keras_fit"), False),
}


def main() -> None:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=4)
    asked = parser.parse_args()
    order = random.Random(0)
    print(where(asked.pairs, asked.epochs) + "\n")
    print("| compared | median | ratio [95%] | first, samples/s | second, samples/s |")
    print("|---|---|---|---|---|")
    for what, (a, b, same_bytes) in STATEMENTS.items():
        cells = ratio(a, b, pairs=asked.pairs, epochs=asked.epochs, order=order, same_bytes=same_bytes)
        print(f"| {what} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
