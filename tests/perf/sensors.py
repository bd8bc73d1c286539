"""What the sensors cost: trials with the counters around each window and trials without, in turn.

python -m tests.perf.sensors --pairs 10
"""

from tests.perf.pairs import Statement, run, trial

ENTRIES = ("torch-eager", "tensorflow-function")

if __name__ == "__main__":
    run(
        "sensors",
        "What the sensors cost: trials with them against trials without.",
        "| entry | with / without, median | ratio [95%] | with, samples/s | without, samples/s |",
        [Statement(what=one, a=trial(one), b=trial(one, sensors=False), same_bytes=True) for one in ENTRIES],
    )
