"""Are the implementations as good as their frameworks' experts write them? Four ratios, in turn, on one core.

python -m tests.perf.speed --pairs 10
"""

from tests.perf.pairs import Statement, run, script, trial

STATEMENTS = [
    Statement(
        what="tensorflow-loop / tensorflow-function",
        a=trial("tensorflow-loop"),
        b=trial("tensorflow-function"),
        same_bytes=False,
    ),
    Statement(what="jax-scan / torch-eager", a=trial("jax-scan"), b=trial("torch-eager"), same_bytes=False),
    Statement(
        what="torch-eager / the tutorial's script with its DataLoader",
        a=trial("torch-eager"),
        b=script("tests.perf.document_torch"),
        same_bytes=False,
    ),
    Statement(
        what="keras-fit / a plain script with model.fit",
        a=trial("keras-fit"),
        b=script("tests.perf.plain_keras_fit"),
        same_bytes=False,
    ),
]

if __name__ == "__main__":
    run(
        "speed",
        "Are the implementations as good as their frameworks' experts write them?",
        "| compared | median | ratio [95%] | first, samples/s | second, samples/s |",
        STATEMENTS,
    )
