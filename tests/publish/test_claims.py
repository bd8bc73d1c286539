"""bench/publish/claims.py: the answer for the project's README."""

from dataclasses import replace

import pytest

from bench import claims
from bench.publish.claims import answer, by_machine, measured_nowhere, tally
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
    assert [("a-claim", "holds in 1 of 1"), ("another", "measured on second alone")] == told["machine-1"]
    assert ("a-claim", "measured on first alone") == told["machine-2"][0]


def telling_energy(trial: Trial) -> Trial:
    """The same trial on a machine that reads its energy."""
    document = trial.model_dump(mode="json")
    for epoch in document["measurements"]["epochs"]:
        epoch["surroundings"]["energy_joules"] = 5.0 * epoch["window_seconds"]
    return Trial.model_validate(document)


@pytest.mark.parametrize(("without", "other"), [("a-machine", "b-machine"), ("b-machine", "a-machine")])
def test_a_machine_without_a_figure_hides_no_verdict_of_another(without: str, other: str) -> None:
    """It says why it has none, wherever it stands in the order of fingerprints; the other keeps its verdict."""
    neither = trials(name="none", fingerprint=without)
    some = [telling_energy(one) for one in trials(name="some", fingerprint=other)]
    asked = [claim(e_measure="joules_per_sample", e_better="less")]

    found = by_machine(claims.judge(asked, [(claims.SHIPPED, one) for one in (*neither, *some)], []))

    assert [other, without] == list(found)
    assert ["supported"] == [one.verdict for one in found[other]]
    assert ["the machine does not tell its energy"] == [one.why for one in found[without]]


def test_a_machine_without_records_says_why_the_others_have_no_figure() -> None:
    """Not that it was measured there: nobody has it."""
    second = make_machine(name="second", fingerprint="machine-2")
    other = [make_trial(entry, block, machine=second) for block in range(3) for entry in ("keras-fit", "jax-jit")]
    asked = [claim(e_measure="joules_per_sample"), claim(name="another", e_pairs=[("keras-fit", "jax-jit")])]
    records = [*trials(name="first", fingerprint="machine-1"), *other]

    found = by_machine(claims.judge(asked, [(claims.SHIPPED, one) for one in records], []))

    why = "the machine does not tell its energy"
    assert [why, f"no machine has a figure of it: {why}"] == [found[name][0].why for name in ("machine-1", "machine-2")]


def test_a_claim_that_no_machine_has_a_figure_of_is_listed_once() -> None:
    """With every reason; one that some machine measured is not in the list."""
    records = [*trials(name="first", fingerprint="machine-1"), *trials(name="second", fingerprint="machine-2")]
    asked = [claim(e_measure="joules_per_sample"), claim(name="speed")]

    found = measured_nowhere(claims.judge(asked, [(claims.SHIPPED, one) for one in records], []))

    assert [("a-claim", "the machine does not tell its energy")] == [(one.claim.name, one.why) for one in found]


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
