"""A valid Trial with what a test cares about, and a default for all the rest."""

import gc
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench import duets, store
from bench.certificate import LIMITS
from bench.contract import ENTRIES, Data, Settings
from bench.duet import Duet
from bench.duets import DuetRecord
from bench.flops import flops_per_sample, products
from bench.record import Case, Certificate, Figure, Machine, Proof, Reading, Status, Trial
from bench.studying import StudyRecord
from bench.task import Task, load_task

MIB = 1024 * 1024


@cache
def make_task(**changes: Any) -> Task:
    """The shipped task mlp at three epochs, with other values where given."""
    return load_task("mlp").changed(**{"epochs": 3} | changes)


def make_machine(**changes: Any) -> Machine:
    """A machine of two cores without a GPU, its governor unknown."""
    values = {
        "fingerprint": "machine-0",
        "name": "testbox",
        "cpu_model": "Example CPU 9000",
        "architecture": "x86_64",
        "cores": 2,
        "physical_cores": 2,
        "memory_bytes": 8 * 1024**3,
        "kernel": "6.1.0",
        "system": "Linux",
        "hypervisor": None,
        "governor": None,
        "gpus": [],
        "gpu_driver": None,
        "reasons": {"governor": "no cpufreq here", "gpus": "no NVIDIA driver", "gpu_driver": "no NVIDIA driver"},
    }
    return Machine.model_validate(values | changes)


def make_ceiling(task: Task, flops_per_second: float) -> dict[str, Any]:
    """A ceiling as a trial measures it: every product of the task, and a square one, at the same rate."""
    shapes = [*products(task), ("square", 1024, 1024, 1024)]
    seconds = [2 * m * k * n / flops_per_second for _, m, k, n in shapes]
    return {
        "products": [
            {"what": what, "m": m, "k": k, "n": n, "seconds": s, "flops_per_second": flops_per_second}
            for (what, m, k, n), s in zip(shapes, seconds, strict=True)
        ],
        "flops_per_second": {"value": flops_per_second, "reason": None},
        "bandwidth_bytes_per_second": {"value": 2e10, "reason": None},
        "product_relative_error": {"value": 1e-7, "reason": None},
        "product_precision": "ieee",
    }


def make_trial(
    entry: str = "torch-eager",
    block: int = 0,
    *,
    seconds: float = 1.0,
    accuracy: float = 0.87,
    status: Status = "ok",
    reason: str | None = None,
    run: str = "run-0",
    profile: str = "quick",
    started_utc: str | None = None,
    task: Task | None = None,
    mode: str | None = None,
    tier: str | None = None,
    device: str = "cpu",
    threads: int = 2,
    machine: Machine | None = None,
    certificate: str | None = "same-work",
    certificate_reason: str | None = None,
    deviation: float | None = 1e-7,
    import_seconds: float = 2.0,
    build_seconds: float = 0.5,
    first_step_seconds: float = 0.25,
    peak_bytes: int | None = 500 * MIB,
    above_import_bytes: int | None = 100 * MIB,
    memory_reason: str | None = None,
    packages: dict[str, str] | None = None,
    git_commit: str | None = "0123456789abcdef0123456789abcdef01234567",
    flops_per_second: float = 1e11,
    gather_seconds: float | None = 1e-5,
    precision: str = "ieee",
    environment: str = "",
    processes: int = 1,
) -> Trial:
    """A trial as the runner records it.

    seconds: of the window of every epoch after the first; the first, which is warm-up, takes twice as long.
    accuracy: after the last epoch. status other than ok: no measurements, no certificate.
    certificate: the verdict of its check; None for a record without a certificate.
    flops_per_second: of every product of its ceiling. gather_seconds: of a step; None where the entry can't tell.
    """
    task = task or make_task()
    known = {e.name: e for e in ENTRIES}.get(entry)
    steps = task.steps_per_epoch - 1
    epochs = [
        {
            "window_seconds": seconds * (2 if epoch == 0 else 1),
            "window_cpu_seconds": seconds * 2,
            "window_steps": steps,
            "first_batch_seconds": first_step_seconds if epoch == 0 else 0.001,
            "compilations": None,
            "mean_loss": 0.5,
            "last_loss": 0.4,
            "test_accuracy": accuracy - 0.01 * (task.epochs - 1 - epoch) if accuracy > 0.1 else accuracy,
            "surroundings": {
                "steal_seconds": 0.0,
                "foreign_seconds": 0.0,
                "voluntary_switches": 10,
                "involuntary_switches": 5,
                "energy_joules": None,
            },
        }
        for epoch in range(task.epochs)
    ]
    sample = {"rss_bytes": 400 * MIB, "anon_bytes": 300 * MIB, "file_bytes": 100 * MIB}
    measurements = {
        "import_seconds": import_seconds,
        "data_seconds": 0.3,
        "build_seconds": build_seconds,
        "first_step_seconds": first_step_seconds,
        "total_training_seconds": seconds * (task.epochs + 1) + first_step_seconds,
        "epochs": epochs,
        "step_latency_nanoseconds": [1_000_000] * 5,
        "first_losses": [2.3, 2.2],
        "losses_sha256": "0" * 64,
        "memory": {
            "after_import": sample,
            "after_build": sample,
            "peak_training_bytes": peak_bytes,
            "peak_above_import_bytes": above_import_bytes,
            "sampled_peak": sample,
            "sampled_peak_samples": 900,
            "device_peak_allocated_bytes": {"value": None, "reason": "not on CUDA"},
            "device_peak_reserved_bytes": {"value": None, "reason": "not on CUDA"},
            "reason": memory_reason,
        },
        "flops_per_sample": flops_per_sample(task),
        "gather_seconds_per_step": {"value": gather_seconds, "reason": None if gather_seconds else "no gather"},
        "ceiling": make_ceiling(task, flops_per_second),
        "reasons": {"energy_joules": "no RAPL here"},
    }
    check = {
        "verdict": certificate,
        "steps": 2,
        "tolerances": [1e-6, 1e-6],
        "trainer_deviations": [deviation, deviation],
        "measured_deviations": [deviation, deviation],
        "largest_deviation": deviation,
        "reason": certificate_reason,
    }
    proof = {
        "file": f"certificate_{task.name}_{entry}.json",
        "sha256": "0" * 64,
        "status": "ok",
        "reason": None,
        "implementation_sha256": "b" * 64,
        "float64_parameter_deviation": 3e-16,
        "own_dtype_loss_deviation": deviation,
    }
    packages = packages if packages is not None else {"torch": "2.13.0"}
    return Trial.model_validate(
        {
            "placement": {"run": run, "profile": profile, "plan_seed": 7, "block": block, "position": 0},
            "case": {
                "task": task.name,
                "fingerprint": task.fingerprint,
                "entry": entry,
                "framework": known.framework if known else entry,
                "mode": mode or (known.mode if known else "unstated"),
                "tier": tier or (known.tier if known else "unstated"),
                "device": device,
                "threads": threads,
                "batch_size": task.batch_size,
                "precision": precision,
                "environment": environment,
                "processes": processes,
            },
            "task": task,
            "training_seed": block,
            "status": status,
            "reason": reason,
            "started_utc": started_utc or f"2026-01-02T03:{block % 60:02d}:00Z",
            "worker_seconds": 10.0,
            "measurements": measurements if status == "ok" else None,
            "check": check if status == "ok" and certificate is not None else check | {"verdict": "same-work"},
            "certificate": proof if status == "ok" and certificate is not None else None,
            "implementation_sha256": "b" * 64,
            "versions": {
                "python": "3.11.2",
                "numpy": "2.1.0",
                "evenhand": "0.1.0",
                "packages": packages,
                "blas": [],
            },
            "machine": machine or make_machine(),
            "source": {"git_commit": git_commit, "git_dirty": False, "sha256": "a" * 64, "reason": None},
            "conditions": {
                "cores": [0, 1],
                "load_before": 0.1,
                "memory_limit_bytes": None,
                "time_limit_seconds": 300.0,
                "environment": {"OMP_NUM_THREADS": str(threads)},
                "sensors": True,
            },
        }
    )


def make_step(entry: str, block: int, step_seconds: float, size: int = 64, **changes: object) -> Trial:
    """A trial of mlp at a batch size whose steps take so long in steady state."""
    task = make_task(batch_size=size)
    seconds = step_seconds * (task.steps_per_epoch - 1)
    return make_trial(entry, block, seconds=seconds, task=task, **changes)  # type: ignore[arg-type]


def without_ceiling(trial: Trial) -> Trial:
    """The trial as one of before schema 2: no products."""
    assert trial.measurements is not None
    unknown = Figure(value=None, reason="not measured before schema 2")
    ceiling = trial.measurements.ceiling.model_copy(update={"products": [], "flops_per_second": unknown})
    return trial.model_copy(update={"measurements": trial.measurements.model_copy(update={"ceiling": ceiling})})


def make_record(trial: Trial, results: Path = Path("results")) -> tuple[Path, Trial]:
    """The trial with the path that a results folder would keep it at."""
    place, case = trial.placement, trial.case
    folder = results / "raw" / trial.started_utc[:10] / trial.machine.name / place.run
    return folder / f"block-{place.block:03d}_{case.entry}_{case.device}_t{case.threads}.json", trial


_configured: set[str] = set()


def load_configured(name: str) -> ModuleType:
    """A module of impls, its framework configured once in this process, as a worker does it."""
    module, framework = importlib.import_module(name), name.split(".")[1]
    if framework not in _configured:
        module.configure(Settings(device="cpu", threads=1))
        _configured.add(framework)
    gc.freeze()  # what a framework is made of stays: no collection, of which each trial makes several, goes through it
    return module


# One of each optimiser that a task can name, with and without weight decay.
OPTIMIZERS = (
    {"name": "sgd", "learning_rate": 0.01},
    {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
    {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.001},
    {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "decay": {"factor": 0.5, "every_steps": 41}},
    {"name": "rmsprop", "learning_rate": 0.001, "rho": 0.9, "eps": 1e-7},
    {"name": "rmsprop", "learning_rate": 0.001, "rho": 0.9, "eps": 1e-7, "weight_decay": 0.001},
    {"name": "adam", "learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    {"name": "adam", "learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.001},
    {"name": "adamw", "learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
)


def small_data(task: Task, rows: int) -> Data:
    """Random images in [0, 1] and random labels in the task's dtype, read-only as the real ones are."""
    generator = np.random.default_rng(0)
    images = generator.random((rows, task.layers[0])).astype(task.dtype)
    labels = generator.integers(0, task.layers[-1], rows)
    for array in (images, labels):
        array.flags.writeable = False
    return Data(images=images, labels=labels)


def make_certificate(*, faults: list[str] | None = None, host_reads: list[str] | None = None) -> Certificate:
    """A certificate of torch-eager on mlp with one part; refused where there are faults."""
    trial = make_trial()
    series = [
        {"what": "loss", "deviations": [5e-8, 1e-8], "tolerances": [6e-8, 6e-8]},
        {"what": "parameter weight 0", "deviations": [0.0, 1e-15], "tolerances": [1e-10, 1e-10]},
    ]
    part = {"name": "float64", "dtype": "float64", "steps": 2, "series": series, "faults": faults or []}
    return Certificate.model_validate(
        {
            "status": "refused" if faults else "ok",
            "reason": "not the same work" if faults else None,
            "case": trial.case,
            "task": trial.task,
            "training_seed": 0,
            "implementation_sha256": "b" * 64,
            "versions": trial.versions,
            "parts": [part],
            "host_reads": host_reads or [],
            "limits": LIMITS,
            "machine": trial.machine,
            "source": trial.source,
            "started_utc": "2026-01-02T03:04:05+00:00",
            "worker_seconds": 5.0,
        }
    )


def make_study(name: str, subject: str, block: int, **values: float | None) -> tuple[Path, StudyRecord]:
    """A record of a study with these readings."""
    trial = make_trial(subject, block, task=make_task(name="mlp-tiny"))
    readings = [
        Reading(name=k, unit="bytes", value=v, reason=None if v is not None else "unknown") for k, v in values.items()
    ]
    record = StudyRecord(
        study=name,
        run="run-s",
        plan_seed=0,
        block=block,
        position=0,
        case=trial.case,
        task=trial.task,
        training_seed=block,
        status="ok",
        reason=None,
        readings=readings,
        versions=trial.versions,
        implementation_sha256=None,
        machine=trial.machine,
        source=trial.source,
        cores=[1],
        load_before=0.0,
        time_limit_seconds=60,
        started_utc="2026-01-02T03:00:00Z",
        worker_seconds=1,
    )
    return Path(f"raw/run-s/study_{name}_{subject}_{block}.json"), record


def make_duet(
    block: int = 0,
    *,
    head: float = 0.1,
    control: float = 0.2,
    subject: str = "tensorflow-function",
    run: str = "run-d",
    status: str = "ok",
    steal: float = 0.0,
    lead_in: int = 0,
    **changes: Any,
) -> DuetRecord:
    """A duet of a subject with torch-eager, of two rounds: seconds of the head's and of the control's windows.

    Those of the base take 0.2 s; a window has ten steps.
    """
    of, against = make_trial(subject), make_trial("torch-eager")
    windows = {"base": [0.2, 0.2], "control": [control, control], "head": [head, head]}
    duet = Duet.model_validate(
        {
            "case": against.case,
            "seed": block,
            "steps": 10,
            "slowdown": {},
            "started_utc": "2026-01-02T05:00:00+00:00",
            "status": status,
            "reason": None if status == "ok" else "planted",
            "packages": {"base": {"torch": "2.13.0"}, "control": {"torch": "2.13.0"}, "head": {"keras": "3.15.1"}},
            "windows": windows if status == "ok" else {},
            "order": ["bch", "hcb"],
            "lead_in": lead_in,
            "foreign_share": 0.0,
            "steal_share": steal,
        }
    )
    proof = Proof(
        file="certificate_x.json",
        sha256="0" * 64,
        status="ok",
        reason=None,
        implementation_sha256="b" * 64,
        float64_parameter_deviation=0.0,
        own_dtype_loss_deviation=0.0,
    )
    record = DuetRecord(
        run=run,
        block=block,
        subject=of.case,
        reference=against.case,
        subject_proof=proof,
        reference_proof=proof,
        subject_call_seconds=0.0,
        reference_call_seconds=0.0,
        task=of.task,
        duet=duet,
        cores=[1],
        machine=of.machine,
        source=of.source,
    )
    return record.model_copy(update=changes)


def prove_case(folder: Path, case: Case, machine: Machine) -> Proof:
    """A certificate of the case in a folder, made where there is none; what records say of it."""
    file = folder / store.certificate_file(case)
    if not file.exists():
        certificate = make_certificate().model_copy(update={"case": case, "machine": machine})
        store.write_certificate(folder, certificate)
    return store.proof_of(file)


def prove_duet(folder: Path, record: DuetRecord) -> DuetRecord:
    """Keep a duet in a folder with the certificates of both sides; returns it as it is kept."""
    cases = {"subject_proof": record.subject, "reference_proof": record.reference}
    proofs = {side: prove_case(folder, case, record.machine) for side, case in cases.items()}
    kept = record.model_copy(update=proofs)
    duets.write(folder, kept)
    return kept
