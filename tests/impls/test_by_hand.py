"""Gradients by hand are the framework's own, and nothing is left to automatic differentiation."""

from types import ModuleType

import numpy as np
import pytest

from bench.inputs import initial_params
from bench.task import load_task
from tests.make import load_configured, small_data

TASK = load_task("mlp-tiny").changed(dtype="float64", layers=(784, 24, 16, 10), batch_size=32)
ROWS = np.arange(32)


@pytest.fixture(params=["torch", "tensorflow"])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return load_configured(f"impls.{request.param}.by_hand")


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_the_gradients_are_those_that_autodiff_finds(module: ModuleType, activation: str) -> None:
    """Of one batch in float64, to 1e-12 of each array's largest."""
    task = TASK.changed(activation=activation)
    data = small_data(task, 64)
    trainer = module.build(task, initial_params(task, 0), data)
    if "torch" in module.__name__:
        import torch
        import torch.nn.functional as F

        images, labels = torch.tensor(data.images[ROWS]), torch.tensor(data.labels[ROWS])
        F.cross_entropy(trainer.network(images), labels).backward()
        expected = [p.grad.numpy().copy() for p in trainer.network.parameters()]
        with torch.no_grad():
            _, found = trainer.gradients(images, labels)
    else:
        import tensorflow as tf

        images, labels = tf.constant(data.images[ROWS]), tf.constant(data.labels[ROWS])
        with tf.GradientTape() as tape:
            logits = trainer.network(images)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        expected = tape.gradient(loss, trainer.network.trainable_variables)
        _, found = trainer.gradients(images, labels)

    for ours, theirs in zip(map(np.asarray, found), map(np.asarray, expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12 * np.abs(theirs).max())


def test_nothing_is_differentiated_automatically(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step runs where the framework's own differentiation raises; the entry that it is compared with does not."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("differentiated automatically")

    if "torch" in module.__name__:
        import torch

        monkeypatch.setattr(torch.Tensor, "backward", refuse)
        other = load_configured("impls.torch.mlp")
    else:
        import tensorflow as tf

        monkeypatch.setattr(tf.GradientTape, "gradient", refuse)
        other = load_configured("impls.tensorflow.function")
    given = (TASK, initial_params(TASK, 0), small_data(TASK, 64))

    assert np.isfinite(module.build(*given).train(ROWS[np.newaxis])).all()
    with pytest.raises(AssertionError, match="differentiated automatically"):
        other.build(*given).train(ROWS[np.newaxis])


def test_a_graph_by_hand_reads_each_kernel_once() -> None:
    """A second read may be of the weights after the update (impls/tensorflow/README.md)."""
    import tensorflow as tf

    module = load_configured("impls.tensorflow.by_hand")
    trainer = module.build(TASK, initial_params(TASK, 0), small_data(TASK, 64))
    graph = trainer._graph.get_concrete_function(tf.constant(ROWS)).graph
    products = [op for op in graph.get_operations() if op.type == "MatMul"]
    reads = {x.name for op in products for x in op.inputs if x.op.type == "ReadVariableOp"}

    assert len(TASK.layers) - 1 == len(reads)
    assert 3 * len(reads) - 1 == len(products)
