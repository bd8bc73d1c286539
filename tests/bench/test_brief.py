"""bench.brief: less of a record, and the same report of it."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.brief import Briefer
from bench.claims import read_claims
from bench.material import Material
from bench.publish import parts
from bench.record import Certificate, Epoch, Trial
from bench.stats import summarise
from tests.bench.test_stats import make_gpu
from tests.make import make_certificate, make_record, make_trial
from tests.publish.test_sweeps import crossing, over_processes


def sharing(trial: Trial) -> Trial:
    """Where its processes have one core between them."""
    shared = {"cores": [1], "cores_shared": trial.case.processes > 1}
    return trial.model_copy(update={"conditions": trial.conditions.model_copy(update=shared)})


def trials() -> list[Trial]:
    """Sweeps, one over processes that share cores, a card, a failure, a disturbed trial, and one with its energy."""
    energetic = make_trial("numpy", run="energy").model_dump()
    for epoch in energetic["measurements"]["epochs"]:
        epoch["surroundings"]["energy_joules"] = 3.0
    return [
        *(trial for _, trial in crossing()),
        *(sharing(trial) for _, trial in over_processes({1: 1.0, 2: 0.5})),
        make_trial("torch-eager", device="cuda", run="card").model_copy(update={"gpu": make_gpu()}),
        make_trial("jax-jit", status="failed", reason="it broke", run="failed"),
        make_trial("numpy", run="noisy").model_copy(update={"disturbances": ["steal"]}),
        Trial.model_validate(energetic),
    ]


def part_of(of: list[Trial], certificate: Certificate) -> parts.Part:
    """All that a report says of them."""
    records = [make_record(trial) for trial in of]
    material = Material(
        trials=records, studies=[], suites=[], certificates=[(Path("results/c.json"), certificate)], withdrawn=()
    )
    asked = parts.Asked(
        results=Path("results"), project=Path(), claims=tuple(read_claims()), page=True, printed=True, look=None
    )
    [part] = parts.of_material(material, asked)
    return part


def told(part: parts.Part, brief: Briefer) -> list[Any]:
    """What a part says; its certificates by what the matrix shows of them."""
    certificates = [(place, path, brief.certificate(one).parts) for place, path, one in part.certificates]
    return [part.sections, part.sweeps, part.verdicts, part.candidate, part.facts, part.lists, certificates]


def test_a_report_says_the_same_of_brief_records() -> None:
    """Every text, line, chart, verdict and link; a certificate's largest deviations too."""
    brief, whole, certificate = Briefer(), trials(), make_certificate()

    short = part_of([brief.trial(trial.model_copy(deep=True)) for trial in whole], brief.certificate(certificate))

    assert told(part_of(whole, certificate), Briefer()) == told(short, Briefer())


def test_a_card_is_summed_up_alike() -> None:
    """Means, greatest readings and throttled samples of several cards."""
    cards = [make_gpu(), make_gpu(power_watts=[None, None], throttle_reasons=[None, None], foreign_processes=[1])]
    whole = [
        make_trial(block=block, device="cuda").model_copy(update={"gpu": card}) for block, card in enumerate(cards)
    ]
    brief = Briefer()

    seen = summarise([brief.trial(trial.model_copy(deep=True)) for trial in whole])[0].gpu

    assert seen is not None
    assert summarise(whole)[0].gpu == seen


@pytest.mark.parametrize(
    "ask",
    [
        lambda trial: trial.conditions.environment,
        lambda trial: trial.measurements.first_losses,
        lambda trial: trial.measurements.epochs[0].mean_loss,
        lambda trial: trial.check.tolerances,
        lambda trial: trial.measurements.epochs[0].surroundings.steal_seconds,
    ],
)
def test_what_is_left_out_cannot_be_taken_for_a_value(ask: Callable[[Trial], object]) -> None:
    """An error, and no 0 or None."""
    with pytest.raises(AttributeError):
        ask(Briefer().trial(make_trial()))


def test_what_records_share_is_kept_once() -> None:
    """Machine, versions, code, task and case of two blocks; their epochs are their own."""
    brief = Briefer()

    a, b = (brief.trial(make_trial(block=block)) for block in range(2))

    shared = [getattr(a, name) is getattr(b, name) for name in ("machine", "versions", "source", "task", "case")]
    assert [True] * 5 == shared
    assert a.measurements is not None
    assert b.measurements is not None
    assert a.measurements.epochs[0] is not b.measurements.epochs[0]
    assert isinstance(a.measurements.epochs[0], Epoch)


def test_a_brief_record_takes_a_third_of_the_memory() -> None:
    """Of 200 trials as they come out of their files."""
    texts = [make_trial(block=block).to_json() for block in range(200)]

    def taken(read: Callable[[str], Trial]) -> int:
        tracemalloc.start()
        try:
            kept = [read(text) for text in texts]
            return tracemalloc.get_traced_memory()[0] if kept else 0
        finally:
            tracemalloc.stop()

    brief = Briefer()

    assert 3 * taken(lambda text: brief.trial(Trial.model_validate_json(text))) < taken(Trial.model_validate_json)
