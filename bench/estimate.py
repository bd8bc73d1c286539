"""Earlier records -> the seconds that a trial will take."""

import statistics
from pathlib import Path

from bench import store
from bench.cluster import machine_of_nodes
from bench.errors import InputError
from bench.record import Case, Trial
from bench.task import Task

_Key = tuple[str, str, str, int, int]

# Where no record tells: what a process needs before it trains, and a step of a small network run from Python, slowest
# entry taken. Only ever shown as an estimate, and named as a guess.
_GUESSED_START_SECONDS = 10.0
_GUESSED_STEP_SECONDS = 1e-3
_GUESSED_FLOPS_PER_SECOND = 3e10
_GUESSED_CERTIFICATE_SECONDS = 20.0


class Estimator:
    """Seconds a trial, from the records of one machine where there are some, else guessed.

    machine: its fingerprint. trials: every earlier one, of all machines. nodes: a cluster's are meant: the machine is
    that of the newest record that a job on Slurm made, where there is one, else the given one.
    """

    def __init__(self, results: Path, machine_fingerprint: str, *, nodes: bool = False) -> None:
        self._known: dict[_Key, list[float]] = {}
        try:
            found = store.read_trials(results)
            known = [certificate for _, certificate in store.newest_certificates(results)]
        except InputError:  # no results yet; a broken record is the report's to complain of, not a reason not to run
            found, known = [], []
        self.trials = [trial for _, trial in found]
        self.machine = (machine_of_nodes(found) if nodes else None) or machine_fingerprint
        self._certified: dict[_Key, float] = {}
        for _, trial in found:
            if trial.machine.fingerprint == self.machine and trial.worker_seconds > 0:
                self.learn(trial)
        for certificate in known:
            if certificate.machine.fingerprint == self.machine:
                self._certified[self._key(certificate.case)] = certificate.worker_seconds
        self.basis = "from earlier records" if self._known else "guessed, as no earlier record tells"

    @staticmethod
    def _key(case: Case) -> _Key:
        return case.fingerprint, case.entry, case.device, case.threads, case.processes

    def learn(self, trial: Trial) -> None:
        """Take a finished trial into account; how long a lost one would have taken is not known."""
        if trial.status == "lost":
            return
        self._known.setdefault(self._key(trial.case), []).append(trial.worker_seconds)

    def certificate_seconds(self, case: Case) -> float:
        """Estimated life of the worker that certifies a case, in seconds."""
        return self._certified.get(self._key(case), _GUESSED_CERTIFICATE_SECONDS)

    def seconds(self, case: Case, task: Task) -> float:
        """Estimated life of the worker, in seconds."""
        known = self._known.get(self._key(case))
        if known:
            return statistics.median(known)
        steps = task.epochs * task.steps_per_epoch
        weights = sum(a * b for a, b in zip(task.layers, task.layers[1:], strict=False))
        flops = 6 * weights * task.batch_size * steps  # forward 2, backward 4 a weight and sample
        return _GUESSED_START_SECONDS + steps * _GUESSED_STEP_SECONDS + flops / _GUESSED_FLOPS_PER_SECOND / case.threads
