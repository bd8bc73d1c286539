"""The gate's own measure: exact intervals, decisions drawn from a recording, recordings that are gone on with."""

import json
import math
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import plan
from bench.cli import _run
from bench.duet import Duet
from bench.errors import InputError
from bench.gate import Rule
from bench.plugins import find_entry
from bench.precision import stop_at
from bench.selftest import (
    Kept,
    Kind,
    Triple,
    clopper_pearson,
    drawn,
    live_rates,
    read_recording,
    replay,
    tried,
    triples,
)
from tests.command import bench
from tests.make import make_task

CASE = plan.case_of(make_task(), find_entry("torch-eager"), "cpu", 1)


def duet(base: float, control: float, head: float, *, foreign: float = 0.0) -> Duet:
    """A duet of one round with these log seconds."""
    return Duet(
        case=CASE,
        seed=0,
        steps=100,
        slowdown={},
        started_utc="2026-01-02T03:04:05+00:00",
        status="ok",
        windows={"base": [math.exp(base)], "control": [math.exp(control)], "head": [math.exp(head)]},
        order=["bch"],
        foreign_share=foreign,
        steal_share=0.0,
        wall_seconds=10.0,
    )


def decision(
    number: int,
    chance: random.Random,
    *,
    slowdown: float = 0.0,
    foreign: float = 0.0,
    hog: bool = False,
    duets: int = 6,
) -> list[Kept]:
    """The lines of a live decision of six pairs; its second stage where it was flagged."""
    made = []
    for index in range(duets):
        base, control, head = (chance.gauss(0, 0.005) for _ in range(3))
        one = duet(base, control, head + math.log1p(slowdown), foreign=foreign)
        made.append(Kept(decision=number, stage=1 if index < 6 else 2, pairs=6, slowdown=slowdown, hog=hog, duet=one))
    return made


def normal_recording(n: int, sd: float = 0.01) -> list[Triple]:
    """n duets of three identical sides."""
    chance = random.Random(0)
    return [
        Triple(
            logs=(chance.gauss(0, sd), chance.gauss(0, sd), chance.gauss(0, sd)),
            foreign_share=0.0,
            steal_share=0.0,
            seconds=10.0,
        )
        for _ in range(n)
    ]


@settings(deadline=None)  # the first call imports scipy.stats
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_exact_interval_is_the_one_that_binomial_tails_give(seen: tuple[int, int]) -> None:
    """At either end the chance of a count so extreme is 2.5%."""
    from scipy.stats import binom

    times, n = seen
    low, high = clopper_pearson(times, n)

    assert low <= times / n <= high
    assert times == 0 or 0.025 == pytest.approx(float(binom.sf(times - 1, n, low)), rel=1e-6)
    assert times == n or 0.025 == pytest.approx(float(binom.cdf(times, n, high)), rel=1e-6)


def test_no_red_in_400_decisions_bounds_the_rate_by_one_in_100() -> None:
    """What a number of decisions can show at best."""
    assert clopper_pearson(0, 400)[1] < 0.01 < clopper_pearson(0, 300)[1]


def test_a_decision_is_drawn_without_replacement() -> None:
    """No duet counts twice: with all of them drawn, each stands there once."""
    recording = [
        Triple(logs=(float(i), float(i), float(i)), foreign_share=i / 100, steal_share=0.0, seconds=1.0)
        for i in range(20)
    ]
    samples = drawn(recording, 20, 0.0, random.Random(0))

    assert [i / 100 for i in range(20)] == sorted(one.foreign_share or 0.0 for one in samples)


def test_a_multiplied_slowdown_moves_every_difference_by_its_logarithm() -> None:
    """And leaves the control as it was."""
    recording = normal_recording(30)
    plain, slowed = (drawn(recording, 30, s, random.Random(7)) for s in (0.0, 0.05))

    assert [one.control for one in plain] == [one.control for one in slowed]
    assert all(math.log(1.05) == pytest.approx(b.difference - a.difference) for a, b in zip(plain, slowed, strict=True))


def test_roles_given_at_random_make_the_true_difference_0() -> None:
    """Whatever the recording's own mean is: here one process is always 10% slower."""
    recording = [Triple(logs=(0.0, 0.0, 0.1), foreign_share=0.0, steal_share=0.0, seconds=1.0)] * 3000
    differences = [one.difference for one in drawn(recording, 3000, 0.0, random.Random(0))]

    assert abs(math.fsum(differences) / 3000) < 0.005


def test_a_replay_of_normal_duets_keeps_what_the_method_promises() -> None:
    """False red at most 1%, 3% found, intervals that cover 95%; the adaptive stop too."""
    seen = replay(normal_recording(400, sd=0.008), decisions=200, cases=4, pairs=6, rule=Rule())

    assert seen.false_red.times <= 7  # with a rate of 1%, more have a chance of 0.1%
    assert seen.found[0.03].times >= 190
    assert seen.found[0.01].times < seen.found[0.03].times
    assert clopper_pearson(seen.covered.times, 200, confidence=0.999)[1] > 0.95
    assert all(clopper_pearson(rate.times, 200, confidence=0.999)[1] > 0.95 for rate in seen.covered_at_stop.values())


def test_the_cover_of_a_stop_that_peeks_is_lower() -> None:
    """The check above can fail: looked at after every duet, and printed as 95%, the interval covers less."""
    chance, recording = random.Random(0), normal_recording(400)
    held = 0
    for _ in range(400):
        differences = [one.difference for one in drawn(recording, 80, 0.0, chance)]
        interval = stop_at(differences, target=0.009, looks=range(2, 81)).interval
        held += interval is not None and interval[0] <= 0 <= interval[1]

    assert held / 400 < 0.94


def test_a_replay_of_too_few_duets_is_refused() -> None:
    """A decision of 6 pairs takes 18 with its second stage."""
    with pytest.raises(InputError, match="holds 17 duets of the same code"):
        replay(normal_recording(17), decisions=1, cases=1, pairs=6, rule=Rule())


def test_live_decisions_are_counted_by_their_kind() -> None:
    """A quiet pass, a found slowdown after its second stage, a hog's invalid; an unfinished one is none."""
    chance = random.Random(0)
    kept = decision(0, chance) + decision(1, chance, slowdown=0.05, duets=18)
    kept += decision(2, chance, foreign=0.5, hog=True) + decision(3, chance, duets=4)
    rates = {kind: found for kind, found, _ in live_rates(kept, Rule())}

    assert (1, 1) == (rates[Kind(slowdown=0.0)]["pass"].times, rates[Kind(slowdown=0.0)]["pass"].n)
    assert (1, 1) == (rates[Kind(slowdown=0.05)]["regressed"].times, rates[Kind(slowdown=0.05)]["regressed"].n)
    assert 1 == rates[Kind(slowdown=0.0, hog=True)]["invalid"].times
    assert 1 == tried(kept)[3].next_stage(Rule())


def test_a_flagged_decision_wants_its_second_stage() -> None:
    """Twice the pairs, fresh."""
    kept = decision(0, random.Random(0), slowdown=0.05)

    assert 2 == tried(kept)[0].next_stage(Rule())
    assert {} == {kind: found for kind, found, _ in live_rates(kept, Rule())}


def test_a_recording_gives_back_what_was_written(tmp_path: Path) -> None:
    """Line by line; a last line that was cut short is left out, so that its duet is played anew."""
    kept = decision(0, random.Random(0))
    path = tmp_path / "recording.jsonl"
    path.write_text("".join(one.model_dump_json() + "\n" for one in kept) + kept[0].model_dump_json()[:50])

    assert kept == read_recording(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("hello\n", "line 1"), ('{"decision": 0}\n', "line 1: stage: is missing"), ("\xff", "not UTF-8")],
)
def test_a_broken_recording_is_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    """With the number of the line and what is wrong."""
    path = tmp_path / "recording.jsonl"
    path.write_bytes(content.encode("latin-1"))

    with pytest.raises(InputError, match=complaint):
        read_recording(path)


def test_a_replay_takes_identical_sides_of_first_stages_alone() -> None:
    """Slowed heads, hogs and second stages would bring what is not the machine's own."""
    chance = random.Random(0)
    kept = decision(0, chance, duets=18) + decision(1, chance, slowdown=0.03) + decision(2, chance, hog=True)

    assert 6 == len(triples(kept))


def test_the_command_replays_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rates with their intervals, as JSON."""
    path, chance = tmp_path / "recording.jsonl", random.Random(0)
    kept = [one for number in range(4) for one in decision(number, chance)]
    path.write_text("".join(one.model_dump_json() + "\n" for one in kept))
    monkeypatch.setattr(
        sys, "argv", ["bench", "selftest", "--replay", str(path), "--decisions", "20", "--cases", "2", "--json"]
    )
    code = _run()
    seen = json.loads(capsys.readouterr().out)

    assert (0, 24) == (code, seen["duets"])
    assert all(rate["n"] == 20 for rate in seen["rates"].values())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--replay", "/no/such/file"), "cannot be read"),
        (("--replay", "x", "--record", "y"), "take one of them"),
        (("--replay", "x", "--decisions", "0"), "--decisions 0"),
        (("--minutes", "0"), "--minutes 0"),
        (("--case", "mlp"), "must be task:entry"),
        (("--case", "mlp:nothing"), "no entry 'nothing'"),
        (("--case", "mlp-tiny:tests.plugins.raises"), "no window could be trained"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line_and_exit_2(
    arguments: tuple[str, ...], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its remedy, and without a traceback."""
    monkeypatch.setattr(sys, "argv", ["bench", "selftest", *arguments])
    code, said = _run(), capsys.readouterr().err

    assert (2, 1, True) == (code, len(said.splitlines()), complaint in said), said


@pytest.mark.slow
def test_a_live_selftest_is_gone_on_with_where_it_stopped(tmp_path: Path) -> None:
    """Real duets: a decision on the same code and one beside a hog, in two calls; the second plays what is missing."""
    arguments = ("selftest", "--case", "mlp-tiny:numpy", "--pairs", "2", "--slowed", "0", "--record", tmp_path / "r")
    first = bench(*arguments, "--decisions", "1", "--hogs", "0", "--json")
    before = (tmp_path / "r").read_text()
    second = bench(*arguments, "--decisions", "1", "--hogs", "1", "--json")
    rows = json.loads(second.stdout)

    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert (tmp_path / "r").read_text().startswith(before)
    assert [(False, 1), (True, 1)] == [(row["kind"]["hog"], row["pass"]["n"]) for row in rows]
    assert 1 == rows[1]["invalid"]["times"]


def test_other_tools_answer_on_the_same_recording() -> None:
    """Each by its own interface: of the same code mostly nothing, and 50% is found by all; so each can say both."""
    from tests.perf import other_tools

    chance = random.Random(0)
    kept = [one for number in range(8) for one in decision(number, chance)]
    same, slower = ([other_tools.drawn(kept, 18, s, chance) for _ in range(6)] for s in (0.0, 0.5))
    said = {name: (tool(same), tool(slower)) for name, tool in other_tools.TOOLS.items()}

    assert all(of_slower == 6 for _, of_slower in said.values()), said
    assert all(of_same < 6 for of_same, _ in said.values()), said
    assert 4 + 1 + len(said) == len(other_tools.table(kept, decisions=6, pairs=6).splitlines())
