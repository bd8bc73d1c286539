"""impls/*/dynamic.py: the hidden layer is applied as often as is asked, or as the batch says, and learns from it."""

import numpy as np
import pytest

from bench.inputs import initial_params
from bench.studies import find_study
from bench.studies.dynamic_depth import DEPTHS, Reference, depth_of
from bench.task import load_task
from tests.make import load_configured, small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 16, 16, 10), dtype="float64", batch_size=32)
DATA = small_data(TASK, 256)
BATCHES = np.random.default_rng(2).integers(0, 256, (30, 32))
SUBJECTS = {subject.name: subject.module for subject in find_study("dynamic-depth").subjects}
# torch.compile makes a program of each depth, for seconds each; the test at the end makes them too.
MARKED = [pytest.param(name, marks=pytest.mark.slow if name == "torch-compile" else ()) for name in SUBJECTS]


@pytest.mark.parametrize("fixed", [None, 3])
@pytest.mark.parametrize("subject", MARKED)
def test_in_float64_a_subject_follows_the_reference(subject: str, fixed: int | None) -> None:
    """30 losses, which are float32; every depth is among them."""
    module, params = load_configured(SUBJECTS[subject]), initial_params(TASK, 0)
    trainer = module.Trainer(subject, TASK, params, DATA, depths=DEPTHS, fixed=fixed)
    reference = Reference(TASK, params, DATA, fixed=fixed)

    assert DEPTHS == len({depth_of(DATA.labels[rows]) for rows in BATCHES})
    np.testing.assert_allclose(trainer.train(BATCHES), [reference.step(rows) for rows in BATCHES], rtol=1e-7)


@pytest.mark.parametrize("subject", ["torch-eager", "tensorflow-function", "jax-jit"])
def test_one_layer_more_is_seen(subject: str) -> None:
    """The comparison above can fail."""
    module, params = load_configured(SUBJECTS[subject]), initial_params(TASK, 0)
    (loss,) = module.Trainer(subject, TASK, params, DATA, depths=DEPTHS, fixed=4).train(BATCHES[:1])
    true = Reference(TASK, params, DATA, fixed=3).step(BATCHES[0])

    assert abs(loss - true) > 1e-3 * true


@pytest.mark.parametrize("subject", ["tensorflow-function", "tensorflow-xla", "jax-jit"])
def test_one_program_serves_every_depth(subject: str) -> None:
    """None is traced or compiled for a batch that goes deeper."""
    module, params = load_configured(SUBJECTS[subject]), initial_params(TASK, 0)
    trainer = module.Trainer(subject, TASK, params, DATA, depths=DEPTHS)
    trainer.train(BATCHES)

    assert 1 == trainer.compilations()


def test_torch_compile_leaves_the_choice_to_python() -> None:
    """It says so, and makes a program for each depth; of a fixed depth it makes one whole program."""
    module, params = load_configured(SUBJECTS["torch-compile"]), initial_params(TASK, 0)
    dynamic, static = (
        module.Trainer("torch-compile", TASK, params, DATA, depths=DEPTHS, fixed=fixed) for fixed in (None, 3)
    )
    dynamic.train(BATCHES)
    static.train(BATCHES)

    assert dynamic.graph_breaks() > 0
    assert dynamic.compilations() > DEPTHS
    assert (0, 1) == (static.graph_breaks(), static.compilations())
