"""One trainer's step, its forward pass alone, and both passes without an update -> seconds a step of each.

A subject's module is an entry's (bench.contract) whose trainer has three methods more. Neither of the first two changes
a parameter; both take the rows and hand the losses to the host at the end of a call, as `train` does:

    forward(batches) -> losses        nothing but the forward pass, as a step makes it
    gradients(batches) -> losses      forward and backward
    latest_gradients() -> Params      of the last batch given to `gradients`, on the host; never timed
"""

import random
import time
from itertools import chain
from types import ModuleType

import numpy as np

from bench.conformance import check_trainer, checked_losses
from bench.contract import Array, Params, Refusal, Settings
from bench.inputs import first_batches, initial_params, load_data, training_rows
from bench.oracle import Oracle
from bench.record import Reading, WorkerRequest
from bench.studies.same_work import STEPS, TOLERANCE, require_same_losses

WINDOWS = 21  # of each kind, in turn; their median is the figure
STEPS_A_WINDOW = 200


def measure(
    module: ModuleType, request: WorkerRequest, settings: Settings, *, steps_a_window: int = STEPS_A_WINDOW
) -> list[Reading]:
    """`forward_seconds`, `gradient_seconds` (both passes), `step_seconds`, each of one step, and `backward_to_forward`.

    Raises Refusal where one of them did other work than it should.
    """
    module.configure(settings)
    task, seed = request.task, request.training_seed
    params, batches = initial_params(task, seed), first_batches(task, seed, WINDOWS * steps_a_window)
    trainer = module.build(task, params, load_data(task).train)
    check_trainer(trainer)
    kinds = {"forward": trainer.forward, "gradient": trainer.gradients, "step": trainer.train}

    checked = batches[:STEPS]
    data, rows = training_rows(task, checked)
    still, trained = Oracle(task, params, data), Oracle(task, params, data)
    true = {kind: [still.gradients(one)[0] for one in rows] for kind in ("forward", "gradient")}
    true["step"] = [trained.step(one) for one in rows]
    for kind, run in kinds.items():  # each compiles what it has to compile
        require_same_losses(checked_losses(run(checked), len(rows)).tolist(), true[kind], kind)
        if kind == "gradient":
            _require_same_gradients(trainer.latest_gradients(), still.latest_gradients)

    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    order = random.Random(seed)
    for part in np.array_split(batches, WINDOWS):
        for kind in order.sample(list(kinds), len(kinds)):
            started = time.perf_counter()
            kinds[kind](part)
            seconds[kind].append((time.perf_counter() - started) / len(part))
    median = {kind: float(np.median(windows)) for kind, windows in seconds.items()}
    ratio = (median["gradient"] - median["forward"]) / median["forward"]
    return [
        *(Reading(name=f"{kind}_seconds", unit="s", value=value) for kind, value in median.items()),
        Reading(name="backward_to_forward", unit="1", value=ratio),
    ]


def _require_same_gradients(found: Params, expected: list[Array]) -> None:
    """Raise Refusal where a gradient is off by more than TOLERANCE of its largest number."""
    for index, (ours, true) in enumerate(zip(chain.from_iterable(found), expected, strict=True)):
        deviation = float(np.abs(ours - true).max() / np.abs(true).max())
        if not deviation <= TOLERANCE:
            raise Refusal(
                f"not the same work: the gradient of {'bias' if index % 2 else 'weight'} {index // 2} is off by "
                f"{deviation:.1e} of the largest, by float64; tolerated is {TOLERANCE:g}"
            )
