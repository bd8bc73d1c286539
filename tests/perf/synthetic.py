"""A number -> a results folder with so many synthetic records, to see how what reads them grows. Published nowhere.

The shape of a cluster: types of nodes, which are what tables call machines (two nodes of one type have one fingerprint
and name); on each type a plan of 288 cases in 12 blocks, run in three nights, so 10,368 trials. Every record is a real
one with another place, entry, task and machine, and with times, losses and latencies of its own, so that it is as long
as a real one and no two are alike. One trial in a hundred has failed, one in fifty was disturbed.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import store
from bench.contract import ENTRIES, Entry
from bench.flops import flops_per_sample, products
from bench.plan import case_of
from bench.probes.machine import fingerprint_of
from bench.record import Case, Machine, compact_json
from bench.task import Task, load_task
from tests.command import ROOT

SIZES = (32, 64, 128, 256, 512)  # of batches of mlp: a sweep
TASKS = ("mlp-tiny", "mlp-deep", "mlp-wide", "mlp-adam", "mlp-adamw", "mlp-rmsprop", "mlp-tanh", "mlp-gelu", "mlp-l2")
TASKS += ("mlp-decay",)
BLOCKS = 12
NIGHTS = 3
FAILED, DISTURBED = 0.01, 0.02
RATE = 1e11  # operations a second of every product

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Real records as texts, with places for what differs: "@machine@". proof: what trials say of a certificate."""

    trial: str
    certificate: str
    proof: Document
    machine: Machine
    ceiling: Document


def source() -> Source:
    """Of the newest published trial of mlp by torch-eager, and its certificate."""
    path = newest_trial()
    trial: Document = json.loads(path.read_text(encoding="utf-8"))
    proof = path.parent / trial["certificate"]["file"]
    certificate: Document = json.loads(proof.read_text(encoding="utf-8"))
    shared = {name: f"@{name}@" for name in ("task", "case", "machine")}
    measured = ("epochs", "step_latency_nanoseconds", "first_losses", "import_seconds", "flops_per_sample", "ceiling")
    kept = trial["measurements"] | {name: f"@{name}@" for name in measured}
    differs = ("training_seed", "started_utc", "disturbances", "status", "reason", "certificate")
    return Source(
        trial=compact_json(
            trial
            | shared
            | {name: f"@{name}@" for name in differs}
            | {"measurements": kept, "placement": trial["placement"] | {"run": "@run@", "block": "@block@"}}
        ),
        certificate=compact_json(certificate | shared | {"started_utc": "@started_utc@"}),
        proof=trial["certificate"],
        machine=Machine.model_validate(trial["machine"]),
        ceiling=trial["measurements"]["ceiling"],
    )


def newest_trial() -> Path:
    """The newest published trial of mlp by torch-eager."""
    return max((ROOT / "results" / "raw").glob("*/*/*/block-*_mlp_torch-eager_cpu_t1_b64.json"))


def filled(text: str, values: Document) -> str:
    """The text with its places filled."""
    for name, value in values.items():
        text = text.replace(f'"@{name}@"', json.dumps(value), 1)
    return text


def node_type(number: int, like: Machine) -> Machine:
    """A type of node: another processor, and so another fingerprint."""
    changed = like.model_copy(update={"cpu_model": f"Synthetic CPU {number:04d}"})
    fingerprint = fingerprint_of(changed)
    return changed.model_copy(update={"fingerprint": fingerprint, "name": f"synthetic-{number:04d}-2c"})


def plan() -> list[tuple[Task, Entry, int]]:
    """Task, entry and threads of every case."""
    tasks = [load_task("mlp").changed(batch_size=size) for size in SIZES] + [load_task(name) for name in TASKS]
    cases = [(task, entry, 1) for task in tasks for entry in ENTRIES]
    return cases + [(load_task("mlp"), entry, 2) for entry in ENTRIES]


def write(folder: Path, count: int, *, cases: int | None = None, blocks: int = BLOCKS, nights: int = NIGHTS) -> int:
    """Write so many trials and the certificates that they name; returns how many files that are.

    cases: of each type of node, the first of the plan.
    """
    of, rng, chosen = source(), random.Random(0), plan()[:cases]
    left, files, number = count, 0, 0
    while True:
        node = node_type(number, of.machine)
        for night in range(nights):
            day = f"2026-{1 + night:02d}-01"
            place = store.raw_folder(folder) / day / node.name / f"{number:06d}-full-{night:04d}"
            place.mkdir(parents=True, exist_ok=True)
            for task, entry, threads in chosen:
                made = _Made(of, place, day, node, task, case_of(task, entry, "cpu", threads), rng)
                made.certify()
                for block in range(min(blocks, left)):
                    made.try_(block)
                files, left = files + 1 + min(blocks, left), left - min(blocks, left)
                if left == 0:
                    return files
        number += 1


class _Made:
    """The records of one case of one run."""

    def __init__(
        self, of: Source, place: Path, night: str, node: Machine, task: Task, case: Case, rng: random.Random
    ) -> None:
        self._of, self._place, self._night, self._task, self._case, self._rng = of, place, night, task, case, rng
        self._shared = {name: one.model_dump(mode="json") for name, one in (("task", task), ("machine", node))}
        self._shared["case"] = case.model_dump(mode="json")
        # Entries differ by up to a factor of 8, and by what a batch takes beside its step.
        speed = random.Random(case.entry).uniform(1, 8)
        self._seconds = 2e-5 * speed * (20 + task.batch_size / 4) * random.Random(node.name).uniform(0.5, 2)
        self._like = [self._seconds * 1e9 * rng.lognormvariate(0, 0.1) for _ in range(200)]
        self._text = ""

    def certify(self) -> None:
        """Write the certificate, and put into the text of its trials what they share."""
        file = self._place / store.certificate_file(self._case)
        text = filled(self._of.certificate, self._shared | {"started_utc": f"{self._night}T00:00:00+00:00"})
        file.write_text(text, encoding="utf-8")
        shapes = [*products(self._task), ("square", 1024, 1024, 1024)]
        ceiling = self._of.ceiling | {
            "products": [
                {"what": what, "m": m, "k": k, "n": n, "seconds": 2 * m * k * n / RATE, "flops_per_second": RATE}
                for what, m, k, n in shapes
            ]
        }
        proof = self._of.proof | {"file": file.name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        of_case = {"run": self._place.name, "certificate": proof, "ceiling": ceiling}
        self._text = filled(self._of.trial, self._shared | of_case | {"flops_per_sample": flops_per_sample(self._task)})

    def try_(self, block: int) -> None:
        """Write a trial."""
        rng, worked = self._rng, self._rng.random() >= FAILED
        pace = self._seconds * rng.lognormvariate(0, 0.02)
        text = filled(
            self._text,
            {
                "block": block,
                "training_seed": self._task.seed + block,
                "started_utc": f"{self._night}T{block:02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}+00:00",
                "disturbances": [f"steal {rng.uniform(1, 9):.1f} % of a window"] if rng.random() < DISTURBED else [],
                "status": "ok" if worked else "failed",
                "reason": None if worked else "RuntimeError: a synthetic failure",
                "import_seconds": rng.lognormvariate(0, 0.1),
                "epochs": list(self._epochs(pace)),
                "step_latency_nanoseconds": [int(pace / self._seconds * latency) for latency in self._like],
                "first_losses": [2.3 * 0.99**step * rng.uniform(0.9, 1.1) for step in range(100)],
            },
        )
        (self._place / store.trial_file(self._case, block)).write_text(text, encoding="utf-8")

    def _epochs(self, pace: float) -> Iterator[Document]:
        rng, steps = self._rng, self._task.steps_per_epoch - 1
        for epoch in range(self._task.epochs):
            seconds = steps * pace * rng.lognormvariate(0.1 if epoch == 0 else 0, 0.01)
            yield {
                "window_seconds": seconds,
                "window_cpu_seconds": seconds * rng.uniform(0.95, 1),
                "window_steps": steps,
                "first_batch_seconds": pace * rng.uniform(2, 4),
                "compilations": None,
                "mean_loss": 0.6 / (1 + epoch) + rng.uniform(0, 0.01),
                "last_loss": 0.6 / (1 + epoch) + rng.uniform(0, 0.1),
                "test_accuracy": round(0.88 - 0.05 / (1 + epoch) + rng.uniform(-0.004, 0.004), 4),
                "surroundings": {
                    "steal_seconds": 0.0,
                    "foreign_seconds": rng.uniform(0, 0.01),
                    "voluntary_switches": rng.randrange(4),
                    "involuntary_switches": rng.randrange(90),
                    "energy_joules": None,
                },
            }
