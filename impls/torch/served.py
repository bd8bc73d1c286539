"""What exported.py beside this file saved -> a function from images to logits. Imports nothing until it is asked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]  # (n, pixels), on the host
Logits = NDArray[np.float32]  # (n, classes), on the host

# What serving imports, and nothing else: see bench.studies.exported.
IMPORTS: dict[str, tuple[str, ...]] = {
    "torch-eager": ("torch",),
    "torch-export": ("torch",),
    "torch-aoti": ("torch",),
    "torch-script": ("torch",),
    "torch-onnx": ("onnxruntime",),
}


def load(name: str, folder: Path, threads: int) -> Callable[[Images], Logits]:
    """What was saved for `name`, ready to answer, in a process with so many threads."""
    if name == "torch-onnx":
        return _onnxruntime(folder / "network.onnx", threads)
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    match name:
        case "torch-eager":
            # Pickled whole, as the file of Keras holds its network whole; a state_dict would need the code beside it.
            network = torch.load(folder / "network.pt", weights_only=False)
        case "torch-export":
            network = torch.export.load(folder / "network.pt2").module()
        case "torch-aoti":
            network = torch._inductor.aoti_load_package(str(folder / "network.pt2"))
        case "torch-script":
            network = torch.jit.load(folder / "network.pt")

    def answer(images: Images) -> Logits:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return answer


def _onnxruntime(path: Path, threads: int) -> Callable[[Images], Logits]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name

    def answer(images: Images) -> Logits:
        return session.run(None, {given: images})[0]

    return answer
