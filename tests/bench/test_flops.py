"""Operations of a step: the formula, and what PyTorch counts of the real thing."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.flops import flops_per_sample, products
from bench.inputs import initial_params
from bench.task import Task, load_task, shipped_tasks
from tests.make import load_configured, small_data


def by_formula(task: Task) -> int:
    """6 W - 2 W0, as the literature writes it."""
    weights = [a * b for a, b in zip(task.layers, task.layers[1:], strict=False)]
    return 6 * sum(weights) - 2 * weights[0]


@pytest.mark.parametrize("name", shipped_tasks())
def test_the_products_sum_up_to_the_formula(name: str) -> None:
    """Two ways of counting, one number."""
    task = load_task(name)

    assert by_formula(task) == flops_per_sample(task)


@pytest.mark.parametrize("layers", [(784, 10), (784, 32, 10), (784, 24, 16, 8, 10)])
def test_pytorch_counts_as_many_in_a_real_step(layers: tuple[int, ...]) -> None:
    """FlopCounterMode sees each product that is dispatched in forward and backward."""
    module = load_configured("impls.torch.mlp")
    task = load_task("mlp-tiny").changed(layers=layers, batch_size=8)
    trainer = module.build(task, initial_params(task, 0), small_data(task, 16))
    with FlopCounterMode(display=False) as counted:
        trainer.step(torch.arange(8))

    assert counted.get_total_flops() == flops_per_sample(task) * 8


def test_pytorch_counts_more_where_the_inputs_gradient_is_computed_too() -> None:
    """The comparison can fail: with the images' gradient there is a product more."""
    module = load_configured("impls.torch.mlp")
    task = load_task("mlp-tiny").changed(batch_size=8)
    trainer = module.build(task, initial_params(task, 0), small_data(task, 16))
    trainer.images.requires_grad_(True)
    with FlopCounterMode(display=False) as counted:
        trainer.step(torch.arange(8))

    assert counted.get_total_flops() > flops_per_sample(task) * 8


def test_every_product_is_named_once() -> None:
    """The ceiling is looked up by these names."""
    names = [what for what, *_ in products(load_task("mlp"))]

    assert len(names) == len(set(names)) == 8
