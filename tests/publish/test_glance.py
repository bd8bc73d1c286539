"""bench/publish/glance.py: which framework to take, read off the right side of the right figure."""

import math
from dataclasses import replace

import pytest

from bench import claims
from bench.claims import Evidence, Observation
from bench.measures import DUET, TRIAL_MEASURES, Conditions
from bench.publish import glance
from bench.publish.glance import Choice, Take, choices, elsewhere, leader, of_leader, take, unusual
from bench.task import load_task
from tests.make import make_machine, make_record, make_trial


def observed(
    value: float | None,
    interval: tuple[float, float] | None = None,
    *,
    kind: str = "ratio",
    least: float = 1.01,
    a: float | None = None,
    b: float | None = None,
    better: str = "more",
) -> Observation:
    """TensorFlow beside PyTorch, `value` times as good."""
    evidence = Evidence.model_validate(
        {
            "what": "speed",
            "measure": "samples_per_second",
            "kind": kind,
            "better": better,
            "least": least,
            "pairs": (("tensorflow-function", "torch-eager"),),
        }
    )
    conditions = Conditions(
        machine="machine-0",
        task="mlp",
        fingerprint=load_task("mlp").fingerprint,
        batch_size=64,
        width=128,
        epochs=10,
        optimizer="sgd",
        threads=1,
        device="cpu",
        precision="ieee",
    )
    return Observation(
        evidence=evidence,
        conditions=conditions,
        subject="tensorflow-function",
        against="torch-eager",
        mode="graph",
        outcome="holds",
        a=a,
        b=b,
        unit="1",
        n=5,
        value=value,
        interval=interval,
        reason=None,
        blocks_to_decide=None,
        paths=(),
        run="run-0",
    )


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        ("tensorflow", observed(1.2, (1.1, 1.3))),
        ("torch", observed(0.8, (0.7, 0.9))),
        ("tie", observed(1.0, (0.995, 1.005))),
        ("undecided", observed(1.02, (0.9, 1.2))),
        ("undecided", observed(1.5, None)),
        ("undecided", observed(1.04, (1.02, 1.06), least=1.05)),
        ("tensorflow", observed(1.5, (1.3, 1.7), kind="spread", least=1.25)),
        ("torch", observed(2.0, kind="exact", a=100, b=90, better="less", least=1.05)),
        ("tie", observed(1.0, kind="exact", a=100, b=98, better="less", least=1.05)),
        ("tensorflow", observed(None, kind="exact", a=3, b=0, least=1.0)),
        ("undecided", observed(None, kind="exact", a=None, b=3)),
    ],
)
def test_the_winner_is_told_by_the_interval_or_by_exact_figures(expected: Take, seen: Observation) -> None:
    """Never by the point alone, and on the side that the measure calls better."""
    assert expected == take(seen)


def test_the_leader_is_told_as_so_many_times_better() -> None:
    """Turned where PyTorch leads: value and interval, the ends in order."""
    seen = of_leader(observed(0.5, (0.4, 0.8)))

    assert "torch" == leader(observed(0.5, (0.4, 0.8)))
    assert (2.0, (1.25, 2.5)) == (seen.value, seen.interval)


def test_turning_it_twice_changes_nothing() -> None:
    """What leads already is left as it is."""
    seen = observed(1.5, (1.2, 1.9))

    assert seen == of_leader(seen) == of_leader(of_leader(seen))


def test_the_choice_shown_is_that_of_the_task_as_it_ships() -> None:
    """Though a variant has more blocks; the variants are counted beside it."""
    own = load_task("mlp")
    records = [
        make_record(make_trial(entry, block, seconds=seconds, task=task, threads=1, run=run))
        for task, blocks, run in ((own, 2, "own"), (own.changed(epochs=2), 4, "short"))
        for block in range(blocks)
        for entry, seconds in (("torch-eager", 1.0 + block / 50), ("tensorflow-function", 2.0))
    ]

    found = next(c for c in choices(records, [])["machine-0"] if c.case.name == "as-written")

    assert found.shown is not None
    assert ("own", "torch") == (found.shown.run, found.take)
    assert "the same in 1 of 1 other" == elsewhere(found)


def test_a_case_that_turns_elsewhere_says_where() -> None:
    """The other framework, with the conditions under which it is the one to take."""
    records = [
        make_record(make_trial(entry, block, seconds=seconds * (1 + block / 1000), task=task, threads=1, run=run))
        for run, task, times in (
            ("own", load_task("mlp"), (1.0, 2.0)),
            ("large", load_task("mlp").changed(batch_size=512), (2.0, 1.0)),
        )
        for block in range(3)
        for entry, seconds in zip(("torch-eager", "tensorflow-function"), times, strict=True)
    ]

    found = next(c for c in choices(records, [])["machine-0"] if c.case.name == "as-written")

    assert "TensorFlow in 1 of 1 other (batch 512)" == elsewhere(found)


def test_what_is_open_elsewhere_too_is_said_to_be_open() -> None:
    """Not "the same": that is said of a framework to take, or of a tie."""
    shown, other, tie = observed(1.0, (0.9, 1.1)), observed(1.1, (0.9, 1.2)), observed(1.0, (0.999, 1.001))

    def said(*seen: Observation) -> str:
        return elsewhere(Choice(case=glance.CASES[0], shown=seen[0], all=seen, why=""))

    assert "not decided in 1 of 1 other" == said(shown, other)
    assert "the same in 1 of 2 others; not decided in 1" == said(tie, replace(tie, n=6), other)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"threads": 2, "batch_size": 512}, "batch 512, 2 threads"),
        ({"epochs": 3}, "3 epochs"),
        ({"study": DUET, "epochs": 0}, ""),
        ({"study": DUET, "epochs": 0, "task": "mlp-deep", "fingerprint": "deep"}, "mlp-deep"),
        ({"device": "cuda", "precision": "tf32"}, "cuda, tf32"),
        ({"fingerprint": "another learning rate"}, "mlp, batch 64, 10 epochs, 1 thread"),
    ],
    ids=["as usual", "batch and threads", "epochs", "a duet", "a duet of another task", "device", "no word for it"],
)
def test_only_what_is_unusual_is_said(changed: dict[str, str | int], said: str) -> None:
    """Of a task that differs in what has no word here, all is said, rather than nothing."""
    usual = observed(1.0).conditions

    assert said == unusual(replace(usual, **changed), usual)


def test_machines_are_judged_each_by_itself() -> None:
    """One faster in PyTorch, one in TensorFlow: two choices, no mean of them."""
    other = make_machine(fingerprint="machine-1", name="elsewhere")
    records = [
        make_record(make_trial(entry, block, seconds=seconds * (1 + block / 1000), machine=machine))
        for machine, times in ((make_machine(), (1.0, 2.0)), (other, (2.0, 1.0)))
        for block in range(3)
        for entry, seconds in zip(("torch-eager", "tensorflow-function"), times, strict=True)
    ]

    found = choices(records, [])

    taken = {machine: next(c.take for c in of if c.case.name == "as-written") for machine, of in found.items()}
    assert {"machine-0": "torch", "machine-1": "tensorflow"} == taken


def test_what_was_not_measured_is_not_chosen() -> None:
    """It says how it would be measured."""
    records = [make_record(make_trial("torch-eager", block)) for block in range(2)]
    records += [make_record(make_trial("tensorflow-function", block)) for block in range(2)]

    found = next(c for c in choices(records, [])["machine-0"] if c.case.name == "code")

    assert ("not measured", None) == (found.take, found.shown)
    assert "bench study code-size" in found.why


def test_cases_ask_for_what_the_claims_ask_for() -> None:
    """No measure of its own that no study has; names once; TensorFlow first in each pair."""
    known = {e.measure for claim in claims.read_claims() for e in claim.evidence} | set(TRIAL_MEASURES)
    pairs = [pair for case in glance.CASES for e in case.evidence for pair in (*e.pairs, *e.best_of)]

    assert {e.measure for case in glance.CASES for e in case.evidence} <= known
    assert len({case.name for case in glance.CASES}) == len(glance.CASES)
    assert all(a.startswith("tensorflow") and b.startswith("torch") for a, b in pairs)


def test_an_interval_is_turned_without_loss() -> None:
    """The product of a value and its turned one is 1."""
    seen = observed(0.3, (0.25, 0.36))

    assert math.isclose(1, (seen.value or 0) * (of_leader(seen).value or 0))
    assert replace(seen, value=None) == of_leader(replace(seen, value=None))
