"""What the harness costs: a trial against the same loop as a plain script, in turn, in fresh processes on one core.

python -m tests.perf.overhead --pairs 10
"""

from tests.perf.pairs import Statement, run, script, trial

SCRIPTS = {
    "torch-eager": "tests.perf.plain_torch",
    "tensorflow-function": "tests.perf.plain_tensorflow_function",
}

if __name__ == "__main__":
    run(
        "overhead",
        "What the harness costs: trials against plain scripts.",
        "| entry | trial / script, median | ratio [95%] | trial, samples/s | script, samples/s |",
        [Statement(what=entry, a=trial(entry), b=script(module), same_bytes=True) for entry, module in SCRIPTS.items()],
    )
