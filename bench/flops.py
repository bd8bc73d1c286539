"""Task -> floating-point operations of its matrix products. Pure."""

from bench.task import Task

Shape = tuple[str, int, int, int]  # what, m, k, n: a product of an (m, k) and a (k, n) matrix


def products(task: Task) -> list[Shape]:
    """Every matrix product of one training step: forward, gradient of the weights, gradient of a layer's input.

    The input's gradient of layer 0 is not among them, since nothing is trained by it; where an entry computes it all
    the same, that is its own loss.
    """
    found = []
    for layer, (fan_in, fan_out) in enumerate(zip(task.layers, task.layers[1:], strict=False)):
        found.append((f"layer {layer} forward", task.batch_size, fan_in, fan_out))
        found.append((f"layer {layer} weight gradient", fan_in, task.batch_size, fan_out))
        if layer > 0:
            found.append((f"layer {layer} input gradient", task.batch_size, fan_out, fan_in))
    return found


def flops_per_sample(task: Task) -> float:
    """Operations of one training step's matrix products for each sample: 2 m k n a product, a multiply and an add.

    The convention of the field (Narayanan et al. 2021, appendix; torch.utils.flop_counter): biases, activations, loss
    and optimiser are not counted. For an MLP it is 6 W - 2 W0, W the number of weights and W0 that of the first layer.
    """
    return sum(2 * m * k * n for _, m, k, n in products(task)) / task.batch_size
