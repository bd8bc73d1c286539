"""What a job does on its node, and what it refuses to do."""

import os
from pathlib import Path

import pytest

from bench import node
from bench.errors import InputError
from bench.node import Order, draft_of
from bench.plan import block_order
from bench.probes.machine import read_machine
from bench.record import Plan
from bench.runner import Where
from tests.bench.test_cluster import make_plan


def test_cores_that_jobs_would_share_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Slurm gives one core and nothing confines the job to it, two blocks would measure each other."""
    seen = len(os.sched_getaffinity(0))
    order = Order(plan=make_plan(), results="r", block=0, submitter_pid=None, exclusive=False)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", str(seen))
    node._check_cores(order)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", str(seen - 1))
    node._check_cores(order.model_copy(update={"exclusive": True}))

    with pytest.raises(InputError, match="leave --no-exclusive out, or let Slurm confine jobs"):
        node._check_cores(order)


def test_a_drafted_record_says_which_trial_had_begun() -> None:
    """The place in the plan, the case, the seed and the machine are those of the trial; nothing is measured."""
    plan = make_plan(threads=[1])
    case = block_order(plan, 2)[1]
    machine = read_machine()
    draft = draft_of(plan, case, block=2, where=Where(machine=machine, source=plan.source))

    assert (2, 1, 7) == (draft.placement.block, draft.placement.position, draft.placement.plan_seed)
    assert (case, draft.task.seed + 2, machine) == (draft.case, draft.training_seed, draft.machine)
    assert ("lost", None, None) == (draft.status, draft.measurements, draft.certificate)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"source": make_plan().source.model_copy(update={"sha256": "0" * 64})}, "has other code than the one"),
        ({"source": None, "threads": [4096]}, "this machine gives"),
    ],
)
def test_a_node_that_cannot_do_a_block_says_why_before_it_writes(
    tmp_path: Path, changes: dict[str, object], cause: str
) -> None:
    """Other code, or fewer cores than threads: nothing is recorded."""
    order = Order(plan=of_this_code(changes), results=str(tmp_path), block=0, submitter_pid=None, exclusive=True)

    with pytest.raises(InputError, match=cause):
        node._run_block(order, "7_0")
    assert [] == list(tmp_path.iterdir())


def of_this_code(changes: dict[str, object]) -> Plan:
    """A plan with these changes; where its code is None, that of this checkout."""
    if changes["source"] is None:
        changes = changes | {"source": node.read_source(node.ROOT)}
    return make_plan(**changes)
