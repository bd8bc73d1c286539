"""Every export format answers as the network that was trained, in a process that loads what serving needs alone."""

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.contract import Entry, Refusal, Settings
from bench.inputs import initial_params
from bench.record import WorkerRequest
from bench.serving import Order
from bench.studies import find_study
from bench.studies.exported import TOLERANCE, Load, bytes_in, measure, served
from bench.task import load_task
from tests.command import ROOT
from tests.make import load_configured, small_data

TASK = load_task("mlp-tiny")
ROWS = 600
SUBJECTS = find_study("exported").subjects
# Compiling takes half a minute.
EACH = [pytest.param(one, id=one.name, marks=pytest.mark.slow if "aoti" in one.name else ()) for one in SUBJECTS]
OWN_RUNTIME = [
    pytest.param(one, id=one.name, marks=pytest.mark.slow if "tflite" in one.name else ())
    for one in SUBJECTS
    if one.name in ("torch-onnx", "tensorflow-tflite")
]


def saved(subject: Entry, folder: Path) -> np.ndarray:
    """Train for two steps and export into the folder, beside images.npy; the logits of the images."""
    load_configured(f"impls.{subject.framework}.mlp")
    module = importlib.import_module(subject.module)
    data = small_data(TASK, ROWS)
    trainer = module.build(TASK, initial_params(TASK, 0), data)
    trainer.train(np.arange(2 * TASK.batch_size, dtype=np.int64).reshape(2, -1))
    (folder / "exported").mkdir()
    module.save(subject.name, trainer, folder / "exported")
    np.save(folder / "images.npy", data.images)
    return trainer.logits(data.images)


@pytest.mark.parametrize("subject", EACH)
def test_what_is_served_answers_as_what_was_trained(subject: Entry, tmp_path: Path) -> None:
    """At batch 1 and in batches; and the files hold each weight once, and no training data."""
    logits = saved(subject, tmp_path)
    order = Order(
        module=importlib.import_module(subject.module).SERVED,
        name=subject.name,
        folder=str(tmp_path),
        threads=1,
        warm_up_calls=0,
        calls=3,
        batch_size=256,
        seconds=0,
        parent_pid=os.getpid(),
    )
    found = served(order, 120)

    assert {"import_seconds", "load_seconds", "first_answer_seconds", "rss_bytes"} < set(found)
    assert set(range(ROWS)) == set(found["rows"].tolist())
    assert (1 + 3 + 3 * 256, TASK.layers[-1]) == found["answers"].shape
    assert np.abs(found["answers"] - logits[found["rows"]]).max() / np.abs(logits).max() <= TOLERANCE
    weights = 4 * sum(w.size + b.size for w, b in initial_params(TASK, 0))
    compiled = 2_000_000 if subject.mode == "compiled" else 0  # the shared library, and its source
    assert weights <= bytes_in(tmp_path / "exported") < 1.5 * weights + 60_000 + compiled


@pytest.mark.parametrize(
    ("name", "planted", "loaded"),
    [("torch-onnx", "", "[]"), ("torch-onnx", "import onnx", "['onnx']"), ("tensorflow-tflite", "", "[]")],
)
def test_what_has_a_runtime_of_its_own_serves_without_the_framework(
    name: str, planted: str, loaded: str, tmp_path: Path
) -> None:
    """No import of PyTorch or TensorFlow stands in its cold start and its memory; the second case shows the check."""
    subject = next(one for one in SUBJECTS if one.name == name)
    saved(subject, tmp_path)
    script = (
        "import importlib, pathlib, sys, numpy as np\n"
        f"served = importlib.import_module('impls.{subject.framework}.served')\n"
        f"answer = served.load('{name}', pathlib.Path('{tmp_path}/exported'), 1)\n"
        f"answer(np.zeros((1, {TASK.layers[0]}), np.float32))\n"
        f"{planted}\n"
        f"print(sorted(set(sys.modules) & {{'torch', 'tensorflow', 'keras', 'onnx'}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert (0, loaded) == (done.returncode, done.stdout.strip()), done.stderr


def _change(framework: str, network: object) -> None:
    """Change one weight of the last layer, by a thousandth of the largest."""
    if framework == "torch":
        import torch

        with torch.no_grad():
            weight = network[-1].weight  # type: ignore[index]
            weight[0, 0] += weight.abs().max() / 1000
        return
    kernel = network.layers[-1].kernel  # type: ignore[attr-defined]
    value = kernel.numpy()
    value[0, 0] += np.abs(value).max() / 1000
    kernel.assign(value)


@pytest.mark.parametrize("subject", OWN_RUNTIME)
def test_a_weight_that_changed_on_the_way_is_refused(subject: Entry) -> None:
    """In a real format of each framework."""
    load_configured(f"impls.{subject.framework}.mlp")
    module = importlib.import_module(subject.module)

    def save(name: str, trainer: object, folder: Path) -> None:
        _change(subject.framework, trainer.network)  # type: ignore[attr-defined]
        module.save(name, trainer, folder)

    planted = SimpleNamespace(build=module.build, save=save, configure=lambda settings: None, SERVED=module.SERVED)
    request = WorkerRequest(
        what="study",
        task=TASK,
        training_seed=0,
        entry=subject.name,
        entry_module=subject.module,
        device="cpu",
        threads=1,
        memory_limit_bytes=None,
        parent_pid=os.getpid(),
    )
    few = replace(Load(), warm_up_calls=0, calls=1, seconds=0)
    with pytest.raises(Refusal, match=f"{subject.name}: what was exported is not what was trained"):
        measure(planted, request, Settings(device="cpu", threads=1), load=few)  # type: ignore[arg-type]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_format_that_is_not_there_is_refused(framework: str, tmp_path: Path) -> None:
    """By its name, before a file is written."""
    subject = next(one for one in SUBJECTS if one.framework == framework)
    with pytest.raises(Refusal, match="nonsense is no format"):
        saved(replace(subject, name="nonsense"), tmp_path)

    assert 0 == bytes_in(tmp_path)
