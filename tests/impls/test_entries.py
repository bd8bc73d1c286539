"""Every entry keeps the contract and does the task's arithmetic."""

import contextlib
import functools
from types import ModuleType

import numpy as np
import pytest

from bench.contract import Entry, Params, Refusal, Settings
from bench.inputs import initial_params
from bench.oracle import Oracle
from bench.plugins import find_entry
from bench.task import Task, load_task
from tests.impls.apart import APART, COMPILES_LONG, apart, here_alone
from tests.make import OPTIMIZERS, load_configured, small_data

DOUBLE = load_task("mlp-tiny").changed(dtype="float64", layers=(784, 24, 16, 10), batch_size=32)
SINGLE = DOUBLE.changed(dtype="float32")
BATCHES = np.random.default_rng(1).integers(0, 512, (100, 32))
BATCHES.flags.writeable = False

# What an entry may refuse, and the words that it must give for it. Anything else that is refused is a fault.
REFUSED = {
    "sklearn": {
        "rmsprop": "no rmsprop",
        "adam": "eps",
        "adamw": "no adamw",
        "weight_decay": "alpha",
        "decay": "rate",
        "gelu": "no GELU",
    }
}


def refusal(entry: Entry, task: Task) -> str | None:
    """The word that the entry's refusal of this task must contain; None where it must not refuse."""
    words, optimizer = REFUSED.get(entry.name, {}), task.optimizer.model_dump()
    for what in (optimizer["name"], *(key for key in ("weight_decay", "decay") if optimizer.get(key)), task.activation):
        if what in words:
            return words[what]
    return None


def held(entry: Entry, module: ModuleType, task: Task) -> None:
    """The entry follows the oracle for 100 steps, or refuses the task where it may, in the right words."""
    word = refusal(entry, task)
    if word is None:
        assert deviation(module, task) < 1e-10
        return
    with pytest.raises(Refusal, match=word):
        deviation(module, task)


@pytest.mark.slow
@here_alone
@pytest.mark.parametrize("name", APART)
def test_an_entry_with_another_backend_of_keras_is_held_to_the_same(name: str) -> None:
    """All tests of this file, in a process whose Keras has that backend."""
    done = apart(__file__, name)

    assert 0 == done.returncode, done.stdout[-3000:]


@functools.cache
def true_params(task: Task) -> Params:
    """The oracle's after 100 steps: computed once for all entries."""
    oracle = Oracle(task, initial_params(task, 0), small_data(task, 512))
    for rows in BATCHES:
        oracle.step(rows)
    return oracle.params()


def deviation(module: ModuleType, task: Task) -> float:
    """The largest deviation of a parameter from the oracle's after 100 steps, relative to its array's largest."""
    trainer = module.build(task, initial_params(task, 0), small_data(task, 512))
    trainer.train(BATCHES)
    pairs = zip(trainer.params(), true_params(task), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for x, y in pairs for a, b in zip(x, y, strict=True))


@here_alone
@pytest.mark.parametrize("name", sorted(set(COMPILES_LONG) - {"torch-tuned"}))  # it tries kernels for 20 seconds
def test_what_compiles_long_is_the_oracle_in_one_task_at_least(name: str) -> None:
    """All else that is asked of these entries below is among the slow tests."""
    entry = find_entry(name)
    held(entry, load_configured(entry.module), DOUBLE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_in_float64_an_entry_follows_the_oracle_for_100_steps(
    entry: Entry, module: ModuleType, optimizer: dict
) -> None:
    """Every optimiser: parameters within 1e-10, which no other algorithm reaches."""
    held(entry, module, DOUBLE.changed(optimizer=optimizer))


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_in_float64_every_activation_is_exact(entry: Entry, module: ModuleType, activation: str) -> None:
    """GELU by the error function, not by its approximation."""
    held(entry, module, DOUBLE.changed(activation=activation))


def test_the_comparison_with_the_oracle_can_fail(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate off by one part in a million is found."""
    optimizer = DOUBLE.optimizer
    wrong = optimizer.model_copy(update={"learning_rate": optimizer.learning_rate * (1 + 1e-6)})
    build = module.build
    monkeypatch.setattr(module, "build", lambda task, *rest: build(task.model_copy(update={"optimizer": wrong}), *rest))

    assert deviation(module, DOUBLE) > 1e-10


def test_in_float32_the_first_losses_are_the_oracles(module: ModuleType) -> None:
    """The loss of each step before its update: one taken after it would be that of another step."""
    data, params = small_data(SINGLE, 512), initial_params(SINGLE, 0)
    losses = module.build(SINGLE, params, data).train(BATCHES[:20])
    oracle = Oracle(SINGLE, params, data)
    expected = [oracle.step(rows) for rows in BATCHES[:20]]

    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert not np.allclose(losses[1:], expected[:-1], rtol=1e-5)


def test_shapes_and_dtypes_are_those_of_the_contract(module: ModuleType) -> None:
    """Losses float32 (steps,); logits (n, classes) in the task's dtype; parameters (fan_in, fan_out), (fan_out,)."""
    data = small_data(SINGLE, 512)
    trainer = module.build(SINGLE, initial_params(SINGLE, 0), data)
    losses, logits = trainer.train(BATCHES[:3]), trainer.logits(data.images[:5])

    assert (np.ndarray, np.float32, (3,)) == (type(losses), losses.dtype, losses.shape)
    assert (np.ndarray, np.float32, (5, 10)) == (type(logits), logits.dtype, logits.shape)
    assert [((784, 24), (24,)), ((24, 16), (16,)), ((16, 10), (10,))] == [
        (weight.shape, bias.shape) for weight, bias in trainer.params()
    ]


def test_the_trainer_starts_from_the_given_parameters(module: ModuleType) -> None:
    """To the bit, and in the contract's layout."""
    params = initial_params(SINGLE, 0)
    found = module.build(SINGLE, params, small_data(SINGLE, 64)).params()

    assert all((a == b).all() for x, y in zip(found, params, strict=True) for a, b in zip(x, y, strict=True))


def test_parameters_are_copies(module: ModuleType) -> None:
    """What was asked for once does not move with the training."""
    trainer = module.build(SINGLE, initial_params(SINGLE, 0), small_data(SINGLE, 512))
    before = trainer.params()
    kept = [weight.copy() for weight, _ in before]
    trainer.train(BATCHES[:2])

    assert all((weight == copy).all() for (weight, _), copy in zip(before, kept, strict=True))
    assert any((weight != copy).any() for (weight, _), copy in zip(trainer.params(), kept, strict=True))


def test_steps_one_by_one_are_steps_all_at_once(module: ModuleType) -> None:
    """The way in which the batches arrive does not change the training."""
    data, params = small_data(SINGLE, 512), initial_params(SINGLE, 0)
    one, many = module.build(SINGLE, params, data), module.build(SINGLE, params, data)
    single = np.concatenate([one.train(BATCHES[step : step + 1]) for step in range(8)])

    np.testing.assert_allclose(many.train(BATCHES[:8]), single, rtol=1e-6)


def test_two_trainers_do_not_touch_each_other(module: ModuleType) -> None:
    """The certificate's trainer lives beside others in its process."""
    data, params = small_data(SINGLE, 512), initial_params(SINGLE, 0)
    first, second = module.build(SINGLE, params, data), module.build(SINGLE, params, data)
    first.train(BATCHES[:5])

    np.testing.assert_array_equal(second.params()[0][0], params[0][0])


def test_an_evaluation_does_not_train(module: ModuleType) -> None:
    """Logits twice are the same, and the parameters stay."""
    data = small_data(SINGLE, 512)
    trainer = module.build(SINGLE, initial_params(SINGLE, 0), data)

    before = trainer.params()

    np.testing.assert_array_equal(trainer.logits(data.images[:5]), trainer.logits(data.images[:5]))
    np.testing.assert_array_equal(trainer.params()[0][0], before[0][0])


def test_a_device_that_is_not_there_is_refused(module: ModuleType) -> None:
    """Never a silent fall-back to the CPU."""
    from bench.probes.gpu import list_gpus

    if list_gpus()[0]:
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(Refusal, match=r"CUDA|cuda"):
        module.configure(Settings(device="cuda", threads=1))


def test_a_second_epoch_compiles_nothing(module: ModuleType) -> None:
    """Both calls of an epoch, then both again: whatever is traced or compiled is so in the first."""
    data = small_data(SINGLE, 512)
    trainer = module.build(SINGLE, initial_params(SINGLE, 0), data)
    if not hasattr(trainer, "compilations"):
        pytest.skip("compiles nothing")
    assert 0 <= trainer.compilations()
    for batches in (BATCHES[:1], BATCHES[1:9]):
        trainer.train(batches)
    trainer.logits(data.images[:5])
    first = trainer.compilations()
    for batches in (BATCHES[9:10], BATCHES[10:18], BATCHES[18:19]):
        trainer.train(batches)

    assert first >= 1
    assert first == trainer.compilations()


def test_a_new_shape_is_counted(module: ModuleType) -> None:
    """The count above can grow: batches of another size are another program, or are refused."""
    trainer = module.build(SINGLE, initial_params(SINGLE, 0), small_data(SINGLE, 512))
    if not hasattr(trainer, "compilations"):
        pytest.skip("compiles nothing")
    trainer.train(BATCHES[:2])
    before = trainer.compilations()
    with contextlib.suppress(TypeError, ValueError):  # as tensorflow-loop does, whose graph has a signature
        trainer.train(BATCHES[:2, :16])
        assert trainer.compilations() > before


def test_the_host_reads_nothing_inside_a_step(module: ModuleType) -> None:
    """Where the framework can tell."""
    if not hasattr(module, "host_reads"):
        pytest.skip("the framework cannot tell")
    trainer = module.build(SINGLE, initial_params(SINGLE, 0), small_data(SINGLE, 512))

    assert [] == module.host_reads(trainer, BATCHES[:3])


def test_versions_name_the_framework(module: ModuleType) -> None:
    """Non-empty strings."""
    assert all(isinstance(value, str) and value for value in module.versions().values())
    assert len(module.versions()) >= 1
