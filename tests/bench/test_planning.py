"""What a plan and a precision cost: by hand, from records that are known."""

import json
import math
from pathlib import Path

import pytest

from bench import store
from bench.cluster import Executor, keep
from bench.estimate import Estimator
from bench.planning import Need, cost, need, spreads
from bench.precision import LOOK_CONFIDENCE
from bench.probes.machine import read_machine
from bench.publish import terminal
from bench.record import Case, Machine, Trial
from bench.stats import blocks_below, half_width
from tests.command import bench
from tests.make import make_certificate, make_machine, make_trial


def run_of(
    blocks: int, spread: float, *, run: str = "run-0", machine: str = "machine-0", on: Machine | None = None
) -> list[Trial]:
    """Two entries whose log ratio is 0.1, but for an alternating +-spread."""
    on = on or make_machine(fingerprint=machine)
    trials = []
    for block in range(blocks):
        off = spread * (1 if block % 2 else -1)
        for entry, seconds in (("torch-eager", 1.0), ("tensorflow-eager", math.exp(0.1 + off))):
            trials.append(make_trial(entry, block, seconds=seconds, run=run, machine=on, threads=1))
    return trials


def cases_of(trials: list[Trial]) -> list[Case]:
    """The cases of trials, each once."""
    return list(dict.fromkeys(trial.case for trial in trials))


def needed(trials: list[Trial], *, target: float | None = None, cases: list[Case] | None = None) -> Need:
    """For the cases of the trials, on the machine of most tests."""
    return need(trials, cases or cases_of(trials), machine="machine-0", against="torch-eager", target=target)


@pytest.mark.parametrize(
    ("blocks", "nodes", "seconds", "node_seconds"),
    [
        (14, 1, 14 * 60 + 30, 14 * 60 + 30),
        (14, 8, 2 * 60 + 30, 14 * 60 + 8 * 30),  # two rounds; each of the eight certifies before its first block
        (3, 8, 60 + 30, 3 * 60 + 3 * 30),  # no node beyond the third is asked for
        (0, 8, 0, 0),
    ],
)
def test_nodes_take_blocks_in_rounds(blocks: int, nodes: int, seconds: float, node_seconds: float) -> None:
    """A minute a block, half a minute for the certificates."""
    found = cost(blocks, block_seconds=60, certificate_seconds=30, nodes=nodes)

    assert (seconds, node_seconds / 3600) == (found.seconds, pytest.approx(found.node_hours))


def test_the_blocks_of_a_target_are_the_fewest_whose_interval_is_narrow_enough() -> None:
    """By hand: half of the interval that n - 1 blocks give is above 1%, that of n below."""
    trials = run_of(6, 0.02)
    found = needed(trials)
    assert found.blocks is not None
    assert found.widest is not None
    sd = 0.02 * math.sqrt(6 / 5)

    assert (pytest.approx(sd), 6, "run-0") == (found.widest.sd, found.widest.pairs, found.widest.run)
    assert half_width(sd, found.blocks) < math.log(1.01) <= half_width(sd, found.blocks - 1)


def test_a_wider_target_needs_fewer_blocks_and_ends_at_a_look() -> None:
    """A run that stops by itself looks after 8, 12, 18, ... blocks, at 97%."""
    trials = run_of(6, 0.02)
    at_looks = needed(trials, target=0.01).blocks
    sd = 0.02 * math.sqrt(6 / 5)
    fewest = blocks_below(sd, math.log(1.01), confidence=LOOK_CONFIDENCE)
    assert fewest is not None

    assert (27, True) == (at_looks, 18 < fewest <= 27)
    assert 8 == needed(trials, target=0.05).blocks


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        ([], "1 of 1 ratios have no run of 3 blocks or more on this machine"),
        (run_of(2, 0.02), "1 of 1 ratios have no run"),
        (run_of(6, 0.02, machine="machine-1"), "1 of 1 ratios have no run"),
        (run_of(2, 0.02, run="a") + run_of(2, 0.02, run="b"), "1 of 1 ratios have no run"),
        (run_of(6, 2.0), "more than 10000 blocks would be needed"),
    ],
)
def test_what_cannot_be_told_is_none_with_the_reason(trials: list[Trial], reason: str) -> None:
    """Too few blocks in one run, another machine, or a spread that no number of blocks masters."""
    found = needed(trials, cases=cases_of(run_of(1, 0)))

    assert (None, True) == (found.blocks, reason in str(found.reason)), found.reason


def test_a_plan_of_one_case_compares_nothing() -> None:
    """It has no ratio to be known."""
    trials = run_of(6, 0.02)
    found = needed(trials, cases=cases_of(trials)[:1])

    assert (None, "the plan compares nothing") == (found.blocks, found.reason)


def test_the_run_with_the_most_pairs_is_taken_and_the_newest_of_these() -> None:
    """As tables do; runs are not pooled: what lies between days is not what blocks vary by."""
    trials = run_of(4, 0.05, run="short") + run_of(6, 0.02, run="long")
    (found,) = spreads(trials, cases_of(trials), machine="machine-0", against="torch-eager")

    assert ("long", 6, "tensorflow-eager", "torch-eager") == (found.run, found.pairs, found.entry, found.reference)


def test_trials_that_do_not_count_have_no_spread() -> None:
    """Lost and failed ones leave their block without a pair."""
    trials = run_of(4, 0.02)
    lost = [t if t.placement.block else make_trial(t.case.entry, 0, status="lost", reason="job 1") for t in trials]
    (found,) = spreads(lost, cases_of(trials), machine="machine-0", against="torch-eager")

    assert 3 == found.pairs


def written(results: Path, trials: list[Trial]) -> Path:
    """The trials as a results folder has them; the folder of their run."""
    first = trials[0]
    folder = store.run_folder(results, "2026-01-02", first.machine.name, first.placement.run)
    for trial in trials:
        certificate = make_certificate().model_copy(update={"case": trial.case, "machine": trial.machine})
        path = folder / store.certificate_file(trial.case)
        proof = store.proof_of(path) if path.exists() else store.write_certificate(folder, certificate)
        store.write_trial(folder, trial.model_copy(update={"certificate": proof}))
    return folder


def test_a_dry_run_says_what_a_precision_costs_from_this_machine_s_records(tmp_path: Path) -> None:
    """Blocks, time on one node and on several, and which ratio needs them; for people the same in a line."""
    written(tmp_path, run_of(6, 0.02, on=read_machine()))
    flags = ("run", "--dry-run", "--task", "mlp", "--epochs", "3", "--results", tmp_path)
    flags = (*flags, "--entry", "torch-eager", "--entry", "tensorflow-eager", "--blocks", "2")
    found = json.loads(bench(*flags, "--json").stdout)
    text = bench(*flags).stdout
    fewest = needed(run_of(6, 0.02)).blocks
    at_looks = json.loads(bench(*flags, "--precision", "1%", "--json").stdout)["precision"]

    assert ("from earlier records", fewest) == (found["basis"], found["precision"]["blocks"])
    assert 4 * 10 + 2 * 5 == found["estimated_seconds"]  # what the records' trials and certificates took
    assert [1, 8] == [cost["nodes"] for cost in found["precision"]["costs"]]
    assert f"a half-width of 1% on every ratio needs about {fewest} blocks (tensorflow-eager / torch-eager" in text
    assert (27, 0.01) == (at_looks["blocks"], at_looks["target"])


def test_on_a_cluster_the_nodes_records_tell(tmp_path: Path) -> None:
    """The machine is that of the newest record that Slurm's jobs made; without any, the one that is asked."""
    before = Estimator(tmp_path, "machine-0", nodes=True).machine
    written(tmp_path, run_of(3, 0.02, on=make_machine(name="login")))
    folder = written(tmp_path, run_of(3, 0.02, run="run-1", on=make_machine(fingerprint="machine-1", name="node")))
    plain = Estimator(tmp_path, "machine-0", nodes=True).machine
    keep(folder.parents[1] / "login" / folder.name, Executor(name="slurm"))
    (folder.parents[1] / "login" / folder.name / store.PLAN_FILE).touch()

    assert ("machine-0", "machine-0") == (before, plain)
    assert "machine-1" == Estimator(tmp_path, "machine-0", nodes=True).machine
    assert "machine-0" == Estimator(tmp_path, "machine-0").machine


def test_hours_are_told_in_the_unit_that_fits() -> None:
    """Minutes below an hour, hours above; node hours beside."""
    short = cost(2, block_seconds=60, certificate_seconds=0, nodes=1)
    long = cost(140, block_seconds=600, certificate_seconds=0, nodes=8)

    assert (
        "as jobs of a block each: 2.0 min on 1 node (0.033 node hours); 3.0 h on 8 nodes (23 node hours)"
        == terminal.costs_text([short, long])
    )
