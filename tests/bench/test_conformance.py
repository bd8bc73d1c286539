"""What an entry is and returns is checked before it is believed."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.conformance import (
    ContractBroken,
    check_module,
    check_placement,
    checked_logits,
    checked_losses,
    checked_params,
)
from bench.contract import Refusal
from bench.task import load_task

TASK = load_task("mlp-tiny").changed(layers=(784, 3, 10))


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (np.zeros(3, dtype=np.float64), r"float64 \(3,\)"),
        (np.zeros((3, 1), dtype=np.float32), r"float32 \(3, 1\)"),
        (np.zeros(2, dtype=np.float32), r"float32 \(2,\)"),
        ([0.0, 0.0, 0.0], "list"),
        (None, "NoneType"),
    ],
)
def test_losses_of_another_shape_or_dtype_are_named(losses: object, found: str) -> None:
    """The message says what was wanted and what came."""
    with pytest.raises(ContractBroken, match=r"float32 \(3,\), returned " + found):
        checked_losses(losses, 3)


def test_right_losses_pass_as_they_are() -> None:
    """No copy, no change."""
    losses = np.ones(3, dtype=np.float32)

    assert checked_losses(losses, 3) is losses


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros((2, 4)), r"\(4, 2\), returned float64 \(2, 4\)"),
        (np.zeros((4, 2), dtype=np.int64), r"of floats \(4, 2\), returned int64"),
        (np.full((4, 2), np.nan), "not finite"),
        ("logits", "returned str"),
    ],
)
def test_wrong_logits_are_named(logits: object, message: str) -> None:
    """A transposed result must not become a low accuracy."""
    with pytest.raises(ContractBroken, match=message):
        checked_logits(logits, 4, 2)


def layers() -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.zeros((a, b), np.float32), np.zeros(b, np.float32)) for a, b in ((784, 3), (3, 10))]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (tuple(layers()), "a list of 2 layers .*, returned tuple"),
        (layers()[:1], "a list of 2 layers .*, returned 1 layers"),
        ([layers()[0], layers()[1][:1]], r"a pair \(weight, bias\) for layer 1"),
        ([layers()[0], (layers()[1][0], layers()[1][1][:9])], r"bias 1 as float32 \(10,\), returned float32 \(9,\)"),
        ([layers()[0], (layers()[1][0].tolist(), layers()[1][1])], r"weight 1 as float32 \(3, 10\), returned list"),
    ],
)
def test_wrong_parameters_are_named(params: object, message: str) -> None:
    """Layer, figure, what was wanted and what came."""
    with pytest.raises(ContractBroken, match=message):
        checked_params(params, TASK)


def test_right_parameters_come_back_flat() -> None:
    """Weight and bias in turn."""
    assert [(784, 3), (3,), (3, 10), (10,)] == [array.shape for array in checked_params(layers(), TASK)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"build": None}, r"lacks build\(\)"),
        ({"build": None, "versions": "1.0"}, r"lacks versions\(\), build\(\)"),
        ({"NAME": "torch-eager"}, "calls itself 'torch-eager', but was asked for as 'mine'"),
    ],
)
def test_a_module_that_is_no_entry_is_named(changes: dict, message: str) -> None:
    """What it lacks, or the name that it lies about."""
    whole = {"configure": print, "versions": dict, "build": print, "NAME": "mine"}
    check_module(SimpleNamespace(**whole), "mine")

    with pytest.raises(ContractBroken, match=message):
        check_module(SimpleNamespace(**whole | changes), "mine")


def placed(**where: str) -> SimpleNamespace:
    """A trainer whose tensors lie there."""
    return SimpleNamespace(placement=lambda: where)


def test_tensors_on_the_device_of_the_case_pass() -> None:
    """On either device; on the CPU an entry need not tell."""
    check_placement(placed(weight="cpu", images="cpu"), "cpu")
    check_placement(placed(weight="cuda"), "cuda")
    check_placement(SimpleNamespace(), "cpu")


def test_a_tensor_left_on_the_cpu_is_named() -> None:
    """One of them is enough: its copies would be in the time of every step."""
    with pytest.raises(ContractBroken, match=r"must lie on cuda; placement\(\) tells of momentum on cpu"):
        check_placement(placed(weight="cuda", momentum="cpu"), "cuda")


def test_an_entry_that_names_no_tensor_has_shown_nothing() -> None:
    """An empty list must not pass for all of them."""
    with pytest.raises(ContractBroken, match="no tensor at all"):
        check_placement(placed(), "cpu")


def test_an_entry_that_does_not_tell_is_refused_on_cuda() -> None:
    """A silent fall-back to the CPU would look just so."""
    with pytest.raises(Refusal, match="nothing shows that it is CUDA"):
        check_placement(SimpleNamespace(), "cuda")
