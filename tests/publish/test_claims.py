"""bench/publish/claims.py: the answer for the project's README."""

from dataclasses import replace

from bench import claims
from bench.publish.claims import answer, by_machine, tally
from bench.record import Trial
from tests.bench.test_claims import claim
from tests.make import make_machine, make_trial


def trials(**machine: str) -> list[Trial]:
    """PyTorch and TensorFlow as their guides write them, four blocks, on a machine."""
    on = make_machine(**machine)
    return [
        make_trial(entry, block, seconds=seconds + 0.001 * block).model_copy(update={"machine": on})
        for block in range(4)
        for entry, seconds in (("torch-eager", 2.0), ("tensorflow-function", 1.0))
    ]


def test_two_machines_with_one_processor_are_told_apart() -> None:
    """By their names, for each has an answer of its own."""
    found = [*trials(name="first", fingerprint="machine-1"), *trials(name="second", fingerprint="machine-2")]
    judged = claims.judge(claims.read_claims(claims.SHIPPED), [(claims.SHIPPED, one) for one in found], [])
    heads = [line for line in answer(judged, "results").splitlines() if line.startswith("On ")]

    assert 2 == len(set(heads)), heads
    assert [True, True] == [name in head for name, head in zip(("first", "second"), heads, strict=True)]


def test_each_machine_has_every_claim() -> None:
    """With who measured what it did not, so that no claim is lost where another machine has more."""
    first = trials(name="first", fingerprint="machine-1")
    other = make_machine(name="second", fingerprint="machine-2")
    second = [make_trial(entry, block, machine=other) for block in range(3) for entry in ("keras-fit", "jax-jit")]
    asked = [claim(), claim(name="another", e_pairs=[("keras-fit", "jax-jit")])]
    found = by_machine(claims.judge(asked, [(claims.SHIPPED, one) for one in (*first, *second)], []))
    told = {fingerprint: [(one.claim.name, one.why) for one in of] for fingerprint, of in found.items()}

    assert ["machine-1", "machine-2"] == list(told)
    assert [("a-claim", "holds in 1 of 1"), ("another", "only second has records of it")] == told["machine-1"]
    assert ("a-claim", "only first has records of it") == told["machine-2"][0]


def test_the_machine_that_measured_the_most_claims_comes_first() -> None:
    """Whatever it is called: a reader begins with the one that answers most."""
    first, second = (trials(name=name, fingerprint=name) for name in ("a-machine", "b-machine"))
    more = [make_trial("keras-fit", block, machine=second[0].machine) for block in range(4)]
    asked = [claim(), claim(name="another", e_pairs=[("keras-fit", "torch-eager")])]
    found = by_machine(claims.judge(asked, [(claims.SHIPPED, one) for one in (*first, *second, *more)], []))

    assert ["b-machine", "a-machine"] == list(found)


def test_a_tally_counts_each_verdict_in_words() -> None:
    """One depends, two depend; a verdict that no claim has is not named."""
    judged = claims.judge(claims.read_claims(claims.SHIPPED), [], [])
    one = replace(judged[0], verdict="depends")

    assert "1 claim: 1 depends on conditions that are named." == tally([one])
    assert "3 claims: 2 depend on conditions that are named, 1 not measured here." == tally([one, one, judged[1]])
