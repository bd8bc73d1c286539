"""bench.claims: what makes a claim supported, refuted, dependent, undecided or not measured, and that each can fail."""

import fnmatch
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from bench.claims import (
    Claim,
    ClaimVerdict,
    Judged,
    Observation,
    Seen,
    choose,
    describe,
    document,
    explain,
    headlines,
    judge,
    judge_seen,
    read_claims,
    verdicts,
)
from bench.contract import ENTRIES
from bench.duets import Played, contest
from bench.errors import InputError
from bench.measures import DUET
from bench.record import Trial
from bench.studies import STUDIES, find_study
from bench.studying import StudyRecord
from tests.make import make_duet, make_machine, make_study, make_task, make_trial

Records = list[tuple[Path, Trial]]


def claim(**changes: Any) -> Claim:
    """A claim on the throughput of tensorflow-function beside torch-eager, with other values where given."""
    evidence = {"what": "speed", "measure": "samples_per_second", "pairs": [("tensorflow-function", "torch-eager")]}
    evidence |= {key[2:]: changes.pop(key) for key in list(changes) if key.startswith("e_")}
    values = {
        "name": "a-claim",
        "topic": "efficient",
        "sentence": "TensorFlow is faster.",
        "said_by": "someone",
        "meaning": "It trains more samples a second.",
        "evidence": [evidence],
    }
    return Claim.model_validate(values | changes)


def kept(trials: list[Trial]) -> Records:
    """Trials with the paths that records have."""
    return [
        (Path(f"raw/{t.placement.run}/{t.case.entry}-{t.placement.block}-{n}.json"), t) for n, t in enumerate(trials)
    ]


def both(factor: float, *, blocks: int = 5, noise: float = 0.001, **changes: Any) -> list[Trial]:
    """Trials of both entries over blocks, tensorflow-function's windows shorter by the factor."""
    found = []
    for block in range(blocks):
        wobble = 1 + noise * (-1) ** block
        found.append(make_trial("torch-eager", block, seconds=1.0, **changes))
        found.append(make_trial("tensorflow-function", block, seconds=wobble / factor, **changes))
    return found


def one(judged: list[Judged]) -> Judged:
    """The only one."""
    assert len(judged) == 1
    return judged[0]


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [(1.2, 0.001, "supported"), (0.9, 0.001, "refuted"), (1.0, 0.001, "refuted"), (1.02, 0.1, "undecided")],
)
def test_a_ratio_decides_by_its_interval(factor: float, noise: float, verdict: ClaimVerdict) -> None:
    """Faster, slower, the same within the tie band (so not faster), and too noisy to tell."""
    found = one(judge([claim()], kept(both(factor, noise=noise)), []))

    assert found.verdict == verdict


def test_undecided_says_what_would_decide() -> None:
    """A number of blocks, where the spread lets one be told."""
    found = one(judge([claim()], kept(both(1.05, noise=0.05)), []))

    assert found.verdict == "undecided"
    assert "blocks would decide" in found.why


def test_a_claim_that_holds_under_some_conditions_depends_and_names_them() -> None:
    """Faster in large batches, slower in small ones: the batch is what tells."""
    trials = [
        trial
        for batch, factor in ((32, 0.8), (64, 0.9), (512, 1.5))
        for trial in both(factor, task=make_task(batch_size=batch))
    ]

    found = one(judge([claim()], kept(trials), []))

    assert found.verdict == "depends"
    assert found.where == "from batch 512 on, not up to batch 64"


def test_what_the_task_may_explain_is_not_put_down_to_the_batch() -> None:
    """Two tasks that differ in more than their batch are named as tasks."""
    trials = [*both(0.8), *both(1.5, task=make_task(name="other", batch_size=512))]

    assert one(judge([claim()], kept(trials), [])).where == "for other"


def test_a_task_on_which_it_holds_nowhere_is_named_apart() -> None:
    """Where the mode tells the others apart; where nothing does, what holds is listed."""
    like = one(judge([claim()], kept(both(1.5)), [])).observations[0]

    def seen(task: str, mode: str, *, holds: bool) -> Observation:
        conditions = replace(like.conditions, task=task)
        return replace(like, conditions=conditions, mode=mode, outcome="holds" if holds else "fails")

    of_two = [
        seen(task, mode, holds=holds) for task in ("a", "b") for mode, holds in (("graph", True), ("eager", False))
    ]
    wide = [seen("wide", mode, holds=False) for mode in ("graph", "eager")]

    assert "in mode graph, not in mode eager" == explain(of_two)
    assert "in mode graph, not in mode eager, and not at all for wide" == explain([*of_two, *wide])
    assert explain([*of_two, *wide, seen("b", "eager", holds=True)]).startswith("for tensorflow-function against")


def test_the_tasks_stand_behind_a_mode_that_holds_on_some_of_them() -> None:
    """A list of all that holds would not say what fails; a mode that holds nowhere is named apart."""
    like = one(judge([claim()], kept(both(1.5)), [])).observations[0]
    held = {
        ("graph", "a"): True,
        ("graph", "b"): False,
        ("compiled", "a"): True,
        ("compiled", "b"): True,
        ("whole-loop", "a"): False,
        ("whole-loop", "b"): True,
        ("eager", "a"): False,
        ("eager", "b"): False,
    }

    seen = [
        replace(like, conditions=replace(like.conditions, task=task), mode=mode, outcome="holds" if holds else "fails")
        for (mode, task), holds in held.items()
    ]

    assert explain(seen) == "in mode graph (a), compiled (a and b) and whole-loop (b), not in mode eager"
    assert explain(seen[:6]) == "in mode graph (a), compiled (a and b) and whole-loop (b)"


def test_a_smaller_share_of_agreement_can_be_asked() -> None:
    """Two of three conditions are enough where the claim says so."""
    trials = [
        t
        for batch, factor in ((32, 1.5), (64, 1.5), (512, 0.8))
        for t in both(factor, task=make_task(batch_size=batch))
    ]

    assert one(judge([claim()], kept(trials), [])).verdict == "depends"
    assert one(judge([claim(agree=0.6)], kept(trials), [])).verdict == "supported"


def test_machines_are_never_pooled() -> None:
    """Each has a verdict of its own."""
    other = make_machine(fingerprint="machine-1", name="otherbox")
    judged = judge([claim()], kept([*both(1.5), *both(0.8, machine=other)]), [])

    assert {j.machine.name: j.verdict for j in judged if j.machine} == {"testbox": "supported", "otherbox": "refuted"}


def test_runs_are_never_mixed_in_a_pair() -> None:
    """Where no run holds both, nothing is compared."""
    trials = [
        t.model_copy(update={"placement": t.placement.model_copy(update={"run": t.case.entry})}) for t in both(1.5)
    ]

    found = one(judge([claim()], kept(trials), []))

    assert found.verdict == "not measured here"


def test_what_no_record_speaks_of_says_how_to_measure_it() -> None:
    """A command, or the claim's own reason."""
    assert "bench run" in one(judge([claim()], [], [])).why
    assert one(judge([claim(unmeasured="no such device")], [], [])).why == "no such device"
    assert (
        "bench study soak"
        in one(
            judge(
                [
                    claim(
                        e_measure="soak/rss_growth_bytes",
                        e_kind="at-most",
                        e_limit=1.0,
                        e_pairs=[],
                        e_subjects=["torch-eager"],
                    )
                ],
                [],
                [],
            )
        ).why
    )


def test_conditions_without_a_figure_decide_nothing() -> None:
    """Energy that no machine tells is not measured, though trials are there."""
    found = one(judge([claim(e_measure="joules_per_sample", e_better="less")], kept(both(1.5)), []))

    assert found.verdict == "not measured here"
    assert found.why == "the machine does not tell its energy"


def test_less_is_better_where_the_evidence_says_so() -> None:
    """The value is always how many times better."""
    trials = [
        make_trial(entry, block, import_seconds=seconds)
        for block in range(5)
        for entry, seconds in (("torch-eager", 2.0 + 0.01 * block), ("tensorflow-function", 4.0))
    ]
    found = one(judge([claim(e_measure="time_to_first_step_seconds", e_better="less")], kept(trials), []))

    assert found.verdict == "refuted"
    assert (found.observations[0].value or 0) < 1


def test_the_best_of_each_framework_is_compared() -> None:
    """And only where the entries that a best needs did run."""
    trials = both(0.5)
    trials += [make_trial("tensorflow-loop", block, seconds=0.5 + 0.001 * block) for block in range(5)]
    best = {"e_pairs": [], "e_best_of": [("tensorflow", "torch")]}

    found = one(judge([claim(**best)], kept(trials), []))

    assert found.verdict == "supported"
    assert found.observations[0].subject == "tensorflow-loop"
    assert one(judge([claim(**best, e_needs=["torch-tuned"])], kept(trials), [])).verdict == "not measured here"


def test_the_best_are_of_one_run_and_of_the_one_with_the_most_entries() -> None:
    """A faster entry in another, smaller run neither becomes a best nor makes the comparison vanish."""
    trials = both(0.5)
    trials += [make_trial("tensorflow-loop", block, seconds=0.5 + 0.001 * block) for block in range(5)]
    trials += [make_trial("torch-tuned", block, seconds=0.01, run="run-1") for block in range(8)]

    found = one(judge([claim(e_pairs=[], e_best_of=[("tensorflow", "torch")])], kept(trials), []))

    assert [(o.subject, o.against, o.run) for o in found.observations] == [("tensorflow-loop", "torch-eager", "run-0")]


def test_an_upper_bound_bounds() -> None:
    """A speed-up beyond the claimed range is not the claimed one."""
    within = {"e_least": 1.2, "e_most": 4.5}

    assert one(judge([claim(**within)], kept(both(2.0)), [])).verdict == "supported"
    assert one(judge([claim(**within)], kept(both(6.0)), [])).verdict == "refuted"


def test_threads_are_compared_with_fewer_of_the_same_entry() -> None:
    """Two threads beside one, in one run."""
    asked = claim(e_pairs=[], e_subjects=["torch-eager"], e_vary="threads", e_values=(2, 1), e_least=1.1)
    trials = [
        make_trial("torch-eager", b, seconds=s + 0.001 * b, threads=n)
        for b in range(5)
        for n, s in ((1, 1.0), (2, 0.6))
    ]

    found = one(judge([asked], kept(trials), []))

    assert found.verdict == "supported"
    assert found.observations[0].against == "torch-eager with threads 1"


def processes(speedup: float, *, shared: bool = False) -> Records:
    """Two processes of torch-ddp beside torch-eager in one, over five blocks of one run."""
    found = []
    for block in range(5):
        wobble = 1 + 0.002 * block
        found.append(make_trial("torch-eager", block, seconds=1.0, threads=1))
        two = make_trial("torch-ddp", block, seconds=wobble / speedup, threads=1, processes=2)
        conditions = two.conditions.model_copy(update={"cores_shared": shared})
        found.append(two.model_copy(update={"conditions": conditions}))
    return kept(found)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (processes(1.6), "supported"),
        (processes(0.7), "refuted"),
        (processes(1.6, shared=True), "not measured here"),
        (kept(both(1.0, threads=1)), "not measured here"),
    ],
    ids=["faster", "slower", "on shared cores", "one process"],
)
def test_the_shipped_claim_on_processes_is_decided_by_records(records: Records, verdict: ClaimVerdict) -> None:
    """Of processes with cores of their own; until there are some it says which command measures it."""
    [asked] = choose(read_claims(), ["processes"], Path())
    found = one(judge([asked], records, []))

    assert found.verdict == verdict, found.why
    if verdict == "not measured here":
        assert "--entry torch-ddp" in found.why
        assert "--processes 1 --processes 2" in found.why
    else:
        assert found.observations[0].against == "torch-eager with processes 1"
        assert "1 thread in each of 2 processes" in describe(found.observations[0])


def test_a_spread_is_pooled_over_conditions_and_needs_many_processes() -> None:
    """The steadier side is found; with few processes it is not decided."""

    def trials(blocks: int) -> Records:
        found = []
        for batch in (32, 64):
            for block in range(blocks):
                task = make_task(batch_size=batch)
                found.append(make_trial("torch-eager", block, seconds=1 + 0.2 * (block % 2), task=task))
                found.append(make_trial("tensorflow-function", block, seconds=1 + 0.01 * (block % 2), task=task))
        return kept(found)

    asked = claim(e_kind="spread", e_least=1.25)

    assert one(judge([asked], trials(10), [])).verdict == "supported"
    assert one(judge([claim(e_kind="spread", e_least=15.0)], trials(10), [])).verdict == "undecided"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ratio", {}),
        ("spread", {}),
        ("at-most", {"e_limit": 1e9, "e_pairs": [], "e_subjects": ["torch-eager"]}),
    ],
)
def test_a_run_that_was_stopped_by_what_it_said_decides_by_a_wider_interval(kind: str, changes: dict[str, Any]) -> None:
    """97% in place of 95%, as in its tables: by SciPy's t and F of four degrees of freedom."""
    trials = [
        make_trial(entry, block, seconds=1 + size * (-1) ** block)
        for block in range(5)
        for entry, size in (("torch-eager", 0.01), ("tensorflow-function", 0.02))
    ]
    aimed = [
        trial.model_copy(update={"placement": trial.placement.model_copy(update={"target": 0.01})}) for trial in trials
    ]

    def half(found: list[Trial]) -> float:
        interval = one(judge([claim(e_kind=kind, **changes)], kept(found), [])).observations[0].interval
        assert interval is not None
        low, high = interval
        return (high - low) / 2 if kind == "at-most" else math.log(high / low) / 2

    wider = stats.t.ppf(0.985, 4) / stats.t.ppf(0.975, 4)
    if kind == "spread":
        wider = math.log(stats.f.ppf(0.985, 4, 4)) / math.log(stats.f.ppf(0.975, 4, 4))
    assert half(aimed) / half(trials) == pytest.approx(wider, rel=1e-6)
    assert half([*trials[:-2], *aimed[-2:]]) == pytest.approx(half(aimed))


def test_duets_in_parts_decide_by_a_wider_interval() -> None:
    """The contest's own, so that the table of ratios and the verdict on a claim say the same."""
    made = [make_duet(block, head=0.1 + 0.01 * block, pairs=9) for block in range(5)]
    played = [(Path(f"duet-{record.block}.json"), record) for record in made]
    seen = contest(played)
    assert seen.number == "in parts"
    assert seen.ratio.interval is not None
    asked = claim(e_measure="duet/samples_per_second")
    [told] = one(judge([asked], [], [], played)).observations

    assert told.interval == pytest.approx([math.exp(end) for end in seen.ratio.interval])


def test_failures_are_counted_over_all_conditions() -> None:
    """Many failures on one side are seen; no failure in few trials rules nothing out."""

    def trials(n: int, failing: int) -> Records:
        found = [make_trial("tensorflow-function", block) for block in range(n)]
        found += [
            make_trial("torch-eager", b, status="crashed", reason="killed")
            if b < failing
            else make_trial("torch-eager", b)
            for b in range(n)
        ]
        return kept(found)

    asked = claim(e_measure="failed", e_kind="failures", e_better="less", e_pairs=[("tensorflow", "torch")])

    assert one(judge([asked], trials(40, 20), [])).verdict == "supported"
    assert one(judge([asked], trials(5, 0), [])).verdict == "undecided"
    assert one(judge([asked], trials(200, 0), [])).verdict == "refuted"


def test_accuracy_is_equivalent_or_not_and_needs_ten_seeds() -> None:
    """Within the margin over ten seeds; beyond it; over too few."""
    asked = claim(e_measure="final_accuracy", e_kind="equivalent")

    def trials(n: int, gap: float) -> Records:
        found = []
        for block in range(n):
            found.append(make_trial("torch-eager", block, accuracy=0.87 + 0.0005 * (block % 3)))
            found.append(make_trial("tensorflow-function", block, accuracy=0.87 + gap + 0.0005 * (block % 2)))
        return kept(found)

    assert one(judge([asked], trials(12, 0.0), [])).verdict == "supported"
    assert one(judge([asked], trials(12, 0.02), [])).verdict == "refuted"
    assert one(judge([asked], trials(5, 0.0), [])).verdict == "undecided"


@pytest.mark.parametrize(
    ("gap", "verdict", "why"), [(0.0, "supported", "holds in 1 of 1"), (0.02, "refuted", "fails in 1 of 1")]
)
def test_too_few_seeds_undo_no_verdict_of_enough(gap: float, verdict: str, why: str) -> None:
    """Three seeds at another batch size are no test of it: set aside, and that is said."""
    asked = claim(e_measure="final_accuracy", e_kind="equivalent")
    found = [
        make_trial(entry, block, accuracy=0.87 + off, task=make_task(batch_size=batch), run=f"of-{batch}")
        for batch, blocks in ((64, 12), (512, 3))
        for block in range(blocks)
        for entry, off in (("torch-eager", 0.0), ("tensorflow-function", gap + 0.0005 * (block % 2)))
    ]

    judged = one(judge([asked], kept(found), []))

    assert (verdict, f"{why}; 1 more with fewer than 10 seeds set aside") == (judged.verdict, judged.why)
    assert {3, 12} == {o.n for o in judged.observations}


def test_too_few_seeds_leave_a_claim_open_where_only_a_ratio_speaks_beside_them() -> None:
    """Faster holds, and equally accurate is open: so is the claim that asks for both."""
    faster, equal = claim(), claim(e_measure="final_accuracy", e_kind="equivalent")
    asked = faster.model_copy(update={"evidence": [*faster.evidence, *equal.evidence]})

    judged = one(judge([asked], kept(both(2.0, blocks=5)), []))

    assert ("undecided", "1 of 2 are not decided; 5 seeds, and a claim needs 10") == (judged.verdict, judged.why)


def test_a_study_decides_like_a_trial() -> None:
    """Growth below the limit holds, above it fails; the same bits hold, others fail."""
    growth = claim(e_measure="soak/growth", e_kind="at-most", e_limit=100.0, e_pairs=[], e_subjects=["torch-eager"])
    bits = claim(e_measure="repeat/bits", e_kind="same", e_pairs=[], e_subjects=["torch-eager"])

    def judged(asked: Claim, name: str, *values: float) -> str:
        reading = asked.evidence[0].measure.partition("/")[2]
        return one(
            judge([asked], [], [make_study(name, "torch-eager", b, **{reading: v}) for b, v in enumerate(values)])
        ).verdict

    assert judged(growth, "soak", 10.0, 12.0, 11.0) == "supported"
    assert judged(growth, "soak", 1000.0, 1012.0, 1011.0) == "refuted"
    assert judged(growth, "soak", 0.0, 200.0) == "undecided"
    assert judged(bits, "repeat", 7.0, 7.0) == "supported"
    assert judged(bits, "repeat", 7.0, 8.0) == "refuted"
    assert judged(bits, "repeat", 7.0) == "undecided"


def test_an_exact_figure_that_varies_is_none() -> None:
    """Counts are compared as they are; a count that differs between processes decides nothing."""
    asked = claim(e_measure="code-size/nodes", e_kind="exact", e_better="less", e_least=1.05)

    def records(*of_torch: float) -> list[tuple[Path, StudyRecord]]:
        found = [make_study("code-size", "torch-eager", b, nodes=v) for b, v in enumerate(of_torch)]
        return [*found, make_study("code-size", "tensorflow-function", 0, nodes=100.0)]

    assert one(judge([asked], [], records(120.0))).verdict == "supported"
    assert one(judge([asked], [], records(102.0))).verdict == "refuted"
    assert one(judge([asked], [], records(120.0, 121.0))).verdict == "undecided"


def test_a_reached_version_is_named() -> None:
    """The rule was written for older ones."""
    trials = kept(both(1.5, packages={"torch": "2.15.1"}))

    assert one(judge([claim(expires={"torch": "2.15"})], trials, [])).expired == ("torch",)
    assert one(judge([claim(expires={"torch": "2.16"})], trials, [])).expired == ()


def test_answers_are_filled_from_what_was_seen() -> None:
    """Factors and conditions; in the order of the headlines."""
    said = {"supported": "TensorFlow trains {factor} times as fast."}
    judged = judge(
        [claim(headline=2, answers=said), claim(name="first", headline=1, answers=said)], kept(both(1.5)), []
    )

    assert [h.claim.name for h in headlines(judged)] == ["first", "a-claim"]
    assert headlines(judged)[0].answer == "TensorFlow trains 1.5 times as fast."


def test_of_claims_with_one_place_the_last_that_has_an_answer_is_said() -> None:
    """The more exact one where it was measured, else the other."""
    answers = {"supported": "faster"}
    rough = claim(name="rough", headline=2, answers=answers)
    exact = claim(name="exact", headline=2, answers=answers, e_measure="duet/samples_per_second")

    assert ["exact"] == [h.claim.name for h in headlines(judge([rough, exact], kept(both(1.5)), [], turns(0.1)))]
    assert ["rough"] == [h.claim.name for h in headlines(judge([rough, exact], kept(both(1.5)), []))]


@pytest.mark.parametrize(("ratio", "said"), [(1.04, "1.04"), (1.2345, "1.2"), (12.3, "12")])
def test_a_factor_near_1_is_not_said_to_be_1(ratio: float, said: str) -> None:
    """Three digits there, two elsewhere."""
    [judged] = judge([claim(answers={"supported": "{factor} times"})], kept(both(ratio)), [])

    assert judged.answer == f"{said} times"


def test_a_verdict_as_json_names_its_records() -> None:
    """Paths relative to the results folder, figures unrounded."""
    trials = [(Path("results") / path, trial) for path, trial in kept(both(1.5))]
    found = document(one(judge([claim()], trials, [])), Path("results"))

    assert len(found["observations"][0]["records"]) == 10
    assert found["observations"][0]["records"][0].startswith("raw/")
    assert describe(one(judge([claim()], trials, [])).observations[0]).startswith(
        "tensorflow-function against torch-eager"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claim = 3", "claim: input should be a valid list"),
        ("[[claim]]\nname = 'x'", "topic: is missing"),
        ("not toml", "is no TOML"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    """With file and path of what is wrong."""
    path = tmp_path / "claims.toml"
    path.write_text(text)

    with pytest.raises(InputError, match=str(path)) as caught:
        read_claims(path)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"e_subjects": ["torch-eager"]},
        {"e_kind": "same"},
        {"e_limit": 3.0},
        {"e_vary": "threads"},
        {"agree": 0.4},
        {"answers": {"supported": "by {much}"}},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Each kind has what it needs, and nothing else."""
    with pytest.raises(ValueError, match=r"subjects|pairs|limit|vary|agree|answers"):
        claim(**changes)


def turns(head: float, **changes: Any) -> list[Played]:
    """Three duets with torch-eager, whose windows take 0.2 s."""
    records = [make_duet(block, head=head * (1 + 0.001 * block), **changes) for block in range(3)]
    return [(Path(f"raw/{one.run}/{one.subject.entry}-{one.block}.json"), one) for one in records]


@pytest.mark.parametrize(("head", "verdict"), [(0.1, "supported"), (0.3, "refuted"), (0.2, "refuted")])
def test_duets_decide_by_their_ratio(head: float, verdict: ClaimVerdict) -> None:
    """The value and the interval are the contest's own, to the last digit that matters."""
    found = one(judge([claim(e_measure="duet/samples_per_second")], [], [], turns(head)))
    [observation] = found.observations
    ratio = contest(turns(head)).ratio
    assert ratio.mean is not None

    assert (verdict, 3) == (found.verdict, observation.n)
    assert observation.value == pytest.approx(math.exp(ratio.mean))
    assert observation.interval == pytest.approx(tuple(map(math.exp, ratio.interval or ())))
    assert describe(observation).endswith("on mlp, batch 64, in turns, 2 threads")


def test_an_undecided_ratio_of_duets_asks_for_duets() -> None:
    """Not for blocks, which it has none of."""
    noisy = [(path, d) for n, head in enumerate((0.19, 0.21, 0.2)) for path, d in turns(head)[n : n + 1]]
    found = one(judge([claim(e_measure="duet/samples_per_second")], [], [], noisy))

    assert "undecided" == found.verdict
    assert found.why.endswith("duets would decide")


def test_duets_that_cannot_be_believed_decide_nothing() -> None:
    """Other guests took the cores: the reason is said, however far apart the rates are."""
    found = one(judge([claim(e_measure="duet/samples_per_second")], [], [], turns(0.1, steal=0.4)))

    assert "not measured here" == found.verdict
    assert "40%" in found.why


def test_a_reference_is_held_against_whom_it_took_turns_with() -> None:
    """In one run it played against two, on a machine that grew twice as fast: each ratio is of its own duets."""
    names = ("numpy", "jax-jit")
    asked = claim(e_measure="duet/samples_per_second", e_pairs=[(name, "torch-eager") for name in names])
    slow, fast = (turns(0.1, subject=name) for name in names)
    fast = [(path, d.model_copy(update={"duet": d.duet.model_copy(update={"steps": 20})})) for path, d in fast]
    found = one(judge([asked], [], [], [*slow, *fast]))

    assert [(3200, 2), (6400, 2)] == [(o.b, pytest.approx(o.value, rel=0.01)) for o in found.observations]


def test_a_duet_is_no_trial_and_a_trial_no_duet() -> None:
    """Each measure has its own points, and a claim that nothing speaks of says how it would be measured."""
    of_trials, of_duets = claim(), claim(e_measure="duet/samples_per_second")
    why = one(judge([of_duets], kept(both(1.5)), [])).why

    assert "`bench duet tensorflow-function --against torch-eager` measures it" in why
    assert "not measured here" == one(judge([of_trials], [], [], turns(0.1))).verdict


def test_an_unknown_measure_or_name_is_refused() -> None:
    """With what there is."""
    with pytest.raises(InputError, match="no such measure"):
        judge([claim(e_measure="speeed")], kept(both(1.5)), [])
    with pytest.raises(InputError, match="duet/samples_per_second alone"):
        judge([claim(e_measure="duet/memory")], [], [], turns(0.1))
    with pytest.raises(InputError, match="holds no claim"):
        choose([claim()], ["another"], Path("claims.toml"))


def test_the_shipped_claims_cover_the_document() -> None:
    """Every topic of the document has a claim, each study that a claim asks for exists, and there are at least 12."""
    claims = read_claims()
    topics = {c.topic for c in claims}

    assert len(claims) >= 12
    assert topics >= {
        "efficient",
        "stable",
        "easy",
        "flexible",
        "production",
        "large scale",
        "automatic differentiation",
        "optimisers",
        "CUDA",
    }
    for name in {e.measure.partition("/")[0] for c in claims for e in c.evidence if "/" in e.measure} - {DUET}:
        find_study(name)
    known = {subject.name for s in STUDIES for subject in s.subjects} | {entry.name for entry in ENTRIES}
    asked = {
        n
        for c in claims
        for e in c.evidence
        if "/" in e.measure
        for n in (*e.subjects, *(x for pair in e.pairs for x in pair))
    }
    assert asked <= known


def test_the_claim_on_width_asks_the_widened_tasks_alone() -> None:
    """`mlp-w1024`, and not mlp-wide, which differs in batch size and is a condition of other claims."""
    [of_width] = choose(read_claims(), ["large-scale-width"], Path("claims.toml"))
    asked = [
        {task for task in ("mlp", "mlp-wide", "mlp-w64", "mlp-w4096") for p in e.tasks if fnmatch.fnmatchcase(task, p)}
        for e in of_width.evidence
    ]

    assert [{"mlp-w64", "mlp-w4096"}] * 3 == asked


def test_machines_can_be_judged_one_by_one() -> None:
    """In whatever order their verdicts come together, they are those of all machines at once."""
    other = make_machine(fingerprint="machine-1", name="elsewhere")
    ours, theirs = kept(both(1.5)), kept([t.model_copy(update={"machine": other}) for t in both(0.8)])
    alone = kept([t for t in both(1.0) if t.case.entry == "torch-eager"])
    asked = [claim(), claim(name="nobody-measured", e_pairs=[("keras-fit", "jax-jit")])]

    parts = [judge_seen(asked, Seen(of, [])) for of in (theirs, alone, ours)]

    assert judge(asked, [*ours, *theirs], []) == verdicts(asked, parts) == verdicts(asked, parts[::-1])
    assert ["supported", "refuted", "not measured here"] == [one.verdict for one in verdicts(asked, parts)]
