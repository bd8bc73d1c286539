"""list[Trial] -> shares of the ceilings, and the frameworks whose products are slow on this machine. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.record import Trial
from bench.stats import Spread, counts, samples_per_second, spread

SLOW_CEILING = 0.5  # a framework below half of what the machine does is told apart, with the reason where it is known

Place = tuple[str, str, int, str, str, int]  # machine, device, threads, precision, dtype, processes


@dataclass(frozen=True, kw_only=True)
class Best:
    """The most that any trial's products reached at a place, and whose they were."""

    flops_per_second: float
    entry: str
    framework: str
    environment: str


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What one case's training achieves of what it could. None: no trial that counts has the figure (see reason).

    achieved: samples/s times the operations of a sample's products. own: the best product in the trial's own process,
    which is the framework's ceiling. of_own and of_machine: shares of the medians.
    """

    achieved: Spread | None
    own: Spread | None
    of_own: float | None
    machine: Best | None
    of_machine: float | None
    reason: str | None


def place_of(trial: Trial) -> Place:
    """What two ceilings must share to be comparable."""
    case = trial.case
    return trial.machine.fingerprint, case.device, case.threads, case.precision, trial.task.dtype, case.processes


def ceiling_of(trial: Trial) -> float | None:
    """The best of a trial's products, in operations a second: of all its ranks, each taken for as fast as rank 0."""
    if trial.measurements is None or (best := trial.measurements.ceiling.flops_per_second.value) is None:
        return None
    return best * max(1, len(trial.measurements.memory.peak_training_bytes_of_ranks))


def best_ceilings(trials: Iterable[Trial]) -> dict[Place, Best]:
    """The machine's ceiling at each place: the greatest of all trials that count, over all frameworks, tasks and runs.

    The greatest and no median, as a product cannot run faster than the machine; what disturbs it only makes it slower.
    """
    best: dict[Place, Best] = {}
    for trial in filter(counts, trials):
        flops, case = ceiling_of(trial), trial.case
        if flops is None:
            continue
        one = Best(flops_per_second=flops, entry=case.entry, framework=case.framework, environment=case.environment)
        place = place_of(trial)
        if place not in best or _rank(one) > _rank(best[place]):
            best[place] = one
    return best


def _rank(best: Best) -> tuple[float, str, str]:
    return best.flops_per_second, best.entry, best.environment  # names, so that the order of trials is no matter


def shares(trials: Iterable[Trial], best: Mapping[Place, Best]) -> Shares | None:
    """The shares of one case; None where no trial counts."""
    counted = [trial for trial in trials if counts(trial)]
    if not counted:
        return None
    achieved, own = spread(map(_achieved, counted)), spread(map(ceiling_of, counted))
    machine = best.get(place_of(counted[0]))
    figures = [t.measurements.ceiling.flops_per_second for t in counted if t.measurements is not None]
    return Shares(
        achieved=achieved,
        own=own,
        of_own=achieved.median / own.median if achieved is not None and own is not None else None,
        machine=machine,
        of_machine=achieved.median / machine.flops_per_second if achieved is not None and machine is not None else None,
        reason=None if own is not None else next(iter(sorted({f.reason for f in figures if f.reason})), None),
    )


def _achieved(trial: Trial) -> float | None:
    rate = samples_per_second(trial)
    return None if rate is None or trial.measurements is None else rate * trial.measurements.flops_per_sample


@dataclass(frozen=True, kw_only=True)
class SlowCeiling:
    """A framework whose products run at under half of what the machine does, by the medians of its own ceilings.

    mkl and cpu_capability: as the entry's versions() told them, None where it told none. amd: whether the CPU says so
    of itself. Products of a framework with MKL on a CPU of AMD take MKL's AVX2 path, whatever the CPU offers.
    """

    framework: str
    environment: str
    entries: tuple[str, ...]
    flops_per_second: float
    machine: Best
    share: float
    mkl: str | None
    cpu_capability: str | None
    amd: bool

    @property
    def by_mkls_path(self) -> bool:
        """Whether MKL's choice of path on AMD is the reason."""
        return self.mkl is not None and self.amd


def slow_ceilings(trials: Iterable[Trial], best: Mapping[Place, Best]) -> list[SlowCeiling]:
    """The frameworks whose own ceiling is under half the machine's, by place, framework, environment and BLAS."""
    groups: dict[tuple[Place, str, str, str, str], list[Trial]] = defaultdict(list)
    for trial in filter(counts, trials):
        packages = trial.versions.packages if trial.versions is not None else {}
        mkl, capability = (packages.get(name, "none") for name in ("mkl", "cpu_capability"))
        mkl = "" if mkl.lower() == "none" else mkl
        groups[place_of(trial), trial.case.framework, trial.case.environment, mkl, capability].append(trial)
    found = []
    for (place, framework, environment, mkl, capability), group in sorted(groups.items()):
        own = spread(map(ceiling_of, group))
        if own is None or own.median >= SLOW_CEILING * best[place].flops_per_second:
            continue
        found.append(
            SlowCeiling(
                framework=framework,
                environment=environment,
                entries=tuple(sorted({trial.case.entry for trial in group})),
                flops_per_second=own.median,
                machine=best[place],
                share=own.median / best[place].flops_per_second,
                mkl=mkl or None,
                cpu_capability=None if capability.lower() == "none" else capability,
                amd="amd" in (group[0].machine.cpu_model or "").lower() and place[1] == "cpu",
            )
        )
    return found
