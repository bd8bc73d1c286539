"""bench/publish/comparison.py: each verdict says what it rests on, and no text of a record breaks the table."""

from dataclasses import replace

import pytest
from rich.console import Console

from bench.comparison import NOT_INTERLEAVED, Finding, findings
from bench.publish.comparison import Compared, effect_text, tables, title, verdict_text, warnings
from bench.selection import Pair
from tests.make import MIB, make_trial

RATIO = Finding(
    figure="samples_per_second",
    pairing="block",
    pairs=8,
    n_a=8,
    n_b=8,
    a=80_000.0,
    b=40_000.0,
    effect="ratio",
    value=0.5,
    interval=(0.49, 0.51),
    margin=0.01,
    verdict="slower",
)


def make_pair(*, paired: bool = True, run: str = "run-0", environment: str = "") -> Pair:
    b = [make_trial("numpy", block, run=run, environment=environment) for block in range(3)]
    return Pair(a=tuple(make_trial(block=block) for block in range(3)), b=tuple(b), paired=paired)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "0.5 × [0.49, 0.51]"),
        ({"interval": None}, "0.5 × (no interval)"),
        ({"value": None, "reason": "a side has no value"}, "none (a side has no value)"),
        (
            {"figure": "final_accuracy", "effect": "difference", "value": 0.0012, "interval": (-0.001, 0.0034)},
            "+0.12 points [-0.10, +0.34]",
        ),
        (
            {
                "figure": "peak_training_bytes",
                "effect": "difference",
                "value": -12.5 * MIB,
                "interval": (-20 * MIB, -5 * MIB),
            },
            "-12.5 MiB [-20.0, -5.0]",
        ),
    ],
)
def test_an_effect_is_told_with_its_interval(changes: dict[str, object], expected: str) -> None:
    """Or with the reason why there is none."""
    assert expected == effect_text(replace(RATIO, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "slower"),
        ({"verdict": "undecided", "blocks_to_decide": 31}, "undecided (about 31 blocks would decide it)"),
        ({"verdict": "undecided", "reason": NOT_INTERLEAVED}, "undecided (did not take turns)"),
        ({"verdict": "undecided", "reason": "5 seeds"}, "undecided (5 seeds)"),
    ],
)
def test_an_undecided_verdict_says_what_it_lacks(changes: dict[str, object], expected: str) -> None:
    """A verdict alone needs nothing more."""
    assert expected == verdict_text(replace(RATIO, **changes))  # type: ignore[arg-type]


def test_a_title_says_what_is_shared_and_what_differs() -> None:
    """What differs stands as A → B."""
    assert "mlp, cpu, 2 threads, testbox, run run-0; torch-eager → numpy" == title(make_pair())
    assert "; run run-0 → run run-1" in title(make_pair(run="run-1"))
    assert "; own environment → environment old" in title(make_pair(environment="old"))


def test_only_sides_that_did_not_take_turns_are_warned_of() -> None:
    """Once, however many there are."""
    turns, apart = (Compared(pair=make_pair(paired=paired), findings=(RATIO,)) for paired in (True, False))

    assert [0, 1, 1] == [len(warnings(shown)) for shown in ([turns], [turns, apart], [apart, apart])]


def test_trials_that_were_left_out_or_disturbed_are_named() -> None:
    """Nothing is dropped in silence, and nothing is kept in silence; a trial on many lines is named once."""
    pair = make_pair()
    refused = make_trial("numpy", 1, status="refused", reason="has no SGD")
    disturbed = pair.b[2].model_copy(update={"disturbances": ["other processes took 9%"]})
    shown = Compared(pair=replace(pair, b=(pair.b[0], refused, disturbed)), findings=(RATIO,))

    assert [
        "B: numpy, run run-0, block 1: does not count: refused: has no SGD",
        "B: numpy, run run-0, block 2: disturbed, and counted all the same: other processes took 9%",
    ] == warnings([shown, shown])


def test_a_table_stands_what_a_record_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup and escape sequences of a stranger's record are text."""
    pair = make_pair(environment="[red]\x1b[31mevil[/red]")
    for table in tables([Compared(pair=pair, findings=tuple(findings(pair)))]):
        Console(width=200, force_terminal=False).print(table)

    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[red]" in printed
