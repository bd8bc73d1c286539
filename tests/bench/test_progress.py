"""What a run says of the time that is left, while trials of known length come in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import cli, plan, runner, store
from bench.estimate import Estimator
from bench.record import Trial
from tests.bench.test_cluster import make_plan
from tests.make import make_machine, make_trial, prove_case


def test_the_time_left_is_that_of_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guessed at seconds, each takes 1,000 s: after the first of three, two are left, not nothing."""
    chosen = make_plan(entries=["torch-eager"], blocks=3)
    folder = store.create_run(tmp_path, chosen, "testbox")
    [case] = plan.cases(chosen)
    trial = make_trial(task=plan.task_of(chosen, case)).model_copy(update={"case": case, "worker_seconds": 1000.0})

    def three(*_: Any, after: Callable[[Trial], None], **__: Any) -> None:
        prove_case(folder, case, make_machine())
        for _block in range(3):
            after(trial)

    monkeypatch.setattr(runner, "run_plan", three)
    cli._run_with_progress(chosen, folder, Estimator(tmp_path, "machine-0"), make_machine())

    lines = capsys.readouterr().err.splitlines()
    assert ["[1/3, about 33 min left]", "[2/3, about 17 min left]", "[3/3, about 0 s left]"] == [
        line.partition("]")[0] + "]" for line in lines
    ]
