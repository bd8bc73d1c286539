"""What exporting.py saved -> logits; or, by its name, one fault of what serves."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NAMES = ("good", "changed", "reuses", "wrong-in-batches", "stale", "raises", "aborts", "leaves", "hangs", "tells")
IMPORTS = dict.fromkeys(NAMES, ("json",))


def load(name: str, folder: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    with np.load(folder / "network.npz") as file:
        arrays = list(file.values())
    match name:
        case "raises":
            raise RuntimeError("no such operator")
        case "aborts":
            os.abort()
        case "leaves":
            sys.exit(7)
        case "hangs":
            Path(os.environ["HANGS_PID_FILE"]).write_text(str(os.getpid()))
            time.sleep(600)
        case "tells":
            told = {"cores": sorted(os.sched_getaffinity(0)), "threads": threads, "omp": os.environ["OMP_NUM_THREADS"]}
            Path(os.environ["TELLS_FILE"]).write_text(json.dumps(told))
    kept = np.empty((1, arrays[-1].size), np.float32)
    first: list[np.ndarray] = []

    def answer(images: np.ndarray) -> np.ndarray:
        x = images
        for index in range(0, len(arrays), 2):
            x = (np.maximum(x, 0) if index else x) @ arrays[index] + arrays[index + 1]
        if name == "wrong-in-batches" and len(images) > 1:
            return np.zeros_like(x)
        if len(images) > 1:
            return x
        if name == "stale":
            first.append(x)
            return first[0]
        if name == "reuses":
            kept[:] = x
            return kept
        return x

    return answer
