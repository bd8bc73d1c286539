"""A trained torch-eager -> the files that serve it, in PyTorch's formats. served.py beside it reads them."""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from bench.contract import Refusal
from impls.torch import mlp
from impls.torch.mlp import Trainer, build, configure

__all__ = ["SERVED", "build", "configure", "save", "versions"]

SERVED = "impls.torch.served"


def versions() -> Mapping[str, str]:
    """The framework, and what exports and serves beside it."""
    others = ("onnx", "onnxscript", "onnxruntime")
    return {**mlp.versions(), **{name: version(name) for name in others if find_spec(name)}}


def save(name: str, trainer: Trainer, folder: Path) -> None:
    """Write what serving `name` needs into the empty folder; all formats take any number of images at once."""
    network = trainer.network.eval()
    # An example: of two images, as one would be taken for a fixed number; a copy, as torch.export.save keeps all the
    # memory that the example is a view of.
    images = trainer.images[:2].clone()
    # torch.export reads the older setting of TF32, which raises (2.13) where it is not what the newer one says.
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.fp32_precision == "tf32"
    any_number = ({0: torch.export.Dim("batch")},)
    match name:
        case "torch-eager":
            torch.save(network, folder / "network.pt")
        case "torch-export":
            program = torch.export.export(network, (images,), dynamic_shapes=any_number)
            torch.export.save(program, folder / "network.pt2")
        case "torch-aoti":
            _check_compiler()
            program = torch.export.export(network, (images,), dynamic_shapes=any_number)
            torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "network.pt2"))
        case "torch-script":
            torch.jit.trace(network, images).save(folder / "network.pt")
        case "torch-onnx":
            path = folder / "network.onnx"
            torch.onnx.export(network, (images,), path, dynamo=True, dynamic_shapes=any_number, verbose=False)
        case _:
            raise Refusal(f"{name} is no format of PyTorch's; see impls/torch/exported.py")


def _check_compiler() -> None:
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise Refusal("AOTInductor finds no C++ compiler; install g++") from None
