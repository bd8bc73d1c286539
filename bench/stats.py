"""list[Trial] -> summaries, comparisons. Pure."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.distributions import normal_quantile, t_quantile
from bench.errors import InputError
from bench.record import Case, Figure, Gpu, Machine, Measurements, MemorySample, Readings, Trial

CONFIDENCE = 0.95
ADAPTIVE_CONFIDENCE = 0.97  # of runs with --precision
TIE_BAND = math.log(1.01)  # +-1%, in logarithms so that a ratio and its inverse get mirrored verdicts
MOST_BLOCKS = 10_000  # beyond this "more blocks" is no advice

Quantity = Literal["samples_per_second", "time_to_first_step_seconds"]
Verdict = Literal["faster", "slower", "tie", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median, least and greatest of n trials' values."""

    median: float
    least: float
    greatest: float
    n: int


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Trials that do not count, and why. status: the record's, or "uncertified" where it says ok without a proof."""

    status: str
    reason: str
    trials: int


@dataclass(frozen=True, kw_only=True)
class MemorySpread:
    """Resident memory, its anonymous pages and its pages of files, each over the trials by itself."""

    rss_bytes: Spread
    anon_bytes: Spread
    file_bytes: Spread


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """A trial that counts though something spoilt it, and what did; figures are taken with it, and it is named."""

    run: str
    block: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GpuSummary:
    """What NVML told of the card over the measured windows: per trial the mean (temperature, memory: the greatest)
    of the readings that were had, then the spread over trials. None: no trial has such a reading.

    throttled: the reasons that were seen, with the share of all samples in which each held. foreign_trials: those with
    another process on the card. gpm: by the metric's name. reasons: why a figure is not there, by its name.
    """

    names: tuple[str, ...]
    busy_percent: Spread | None
    power_watts: Spread | None
    sm_clock_megahertz: Spread | None
    temperature_celsius: Spread | None
    memory_used_bytes: Spread | None
    gpm: tuple[tuple[str, Spread], ...]
    throttled: tuple[tuple[str, float], ...]
    foreign_trials: int
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the counted trials of one case on one machine say. None: no counted trial has the figure.

    sampled_peak: the largest of each kind of memory over one more epoch after the measured ones. joules: of the whole
    processor package by RAPL on the CPU, idle cores included, of the card by NVML on CUDA.
    """

    case: Case
    machine: Machine
    n: int
    left_out: tuple[LeftOut, ...]
    samples_per_second: Spread | None
    warm_up_only: bool  # some trial had a single epoch, so its warm-up had to stand for the steady state
    time_to_first_step_seconds: Spread | None
    peak_training_bytes: Spread | None
    peak_above_import_bytes: Spread | None
    memory_reason: str | None
    after_import: MemorySpread | None
    after_build: MemorySpread | None
    sampled_peak: MemorySpread | None
    device_peak_allocated_bytes: Spread | None
    device_peak_reserved_bytes: Spread | None
    device_memory_reason: str | None
    joules_per_sample: Spread | None
    joules_per_epoch: Spread | None
    energy_reason: str | None
    gpu: GpuSummary | None
    disturbed: tuple[Disturbance, ...]
    final_accuracy_mean: float | None
    final_accuracy_sd: float | None  # None below two trials
    float64_deviation: float | None  # the certificate's: the largest of a parameter over its steps in float64
    loss_deviation: float | None  # the largest of a loss in the run's own dtype, in the certificate and in every check


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The mean of a figure's blocks with its 95% interval, or None with the reason why there is none.

    Of a ratio the figures are the blocks' log differences, so that exp(mean) is the ratio.
    """

    n: int
    mean: float | None
    sd: float | None
    interval: tuple[float, float] | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Case B against case A, block by block. ratio: B's value over A's.

    interval: 95%, of the ratio. blocks_to_decide: blocks in all that would decide it, where the verdict is undecided
    and a number can be told. reason: why there is no interval, or no such number.
    """

    quantity: Quantity
    a: Case
    b: Case
    pairs: int
    ratio: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    blocks_to_decide: int | None
    reason: str | None


def samples_per_second(trial: Trial) -> float | None:
    """Training rows a second in steady state: the median over the windows of the epochs after the first.

    The first epoch is warm-up and counts only where it is the only one (`is_warm_up_only`). Where an epoch has a
    single batch there is no window, and that batch's own time stands for it. None: the clock saw no time pass.
    """
    if trial.measurements is None:
        return None
    epochs = trial.measurements.epochs
    rates = []
    for epoch in epochs[1:] or epochs:
        steps, seconds = epoch.window_steps, epoch.window_seconds
        if steps == 0:
            steps, seconds = 1, epoch.first_batch_seconds
        if seconds > 0:
            rates.append(steps * trial.case.batch_size / seconds)
    return statistics.median(rates) if rates else None


def is_warm_up_only(trial: Trial) -> bool:
    """Whether the trial has one epoch, so that `samples_per_second` had to take the warm-up."""
    return trial.measurements is not None and len(trial.measurements.epochs) == 1


def time_to_first_step_seconds(trial: Trial) -> float | None:
    """Import + build + first step, in seconds; the harness's own work on the data is left out."""
    measured = trial.measurements
    if measured is None:
        return None
    return measured.import_seconds + measured.build_seconds + measured.first_step_seconds


def final_accuracy(trial: Trial) -> float | None:
    """Share of the test set that is right after the last epoch."""
    return trial.measurements.epochs[-1].test_accuracy if trial.measurements and trial.measurements.epochs else None


# The function of a quantity, and whether more of it is faster.
QUANTITIES: dict[Quantity, tuple[Callable[[Trial], float | None], bool]] = {
    "samples_per_second": (samples_per_second, True),
    "time_to_first_step_seconds": (time_to_first_step_seconds, False),
}


def joules_per_sample(trial: Trial) -> float | None:
    """Energy of the windows over the training rows in them; all windows, as a card's energy is known of all alone."""
    measured = trial.measurements
    if measured is None:
        return None
    rows = sum(epoch.window_steps for epoch in measured.epochs) * trial.case.batch_size
    if trial.case.device == "cuda":
        joules = trial.gpu.energy_joules if trial.gpu is not None else None
    else:
        read = [None if e.surroundings is None else e.surroundings.energy_joules for e in measured.epochs]
        known = [value for value in read if value is not None]
        joules = math.fsum(known) if len(known) == len(read) else None
    return None if joules is None or rows == 0 else joules / rows


def joules_per_epoch(trial: Trial) -> float | None:
    """Energy per sample times the rows that an epoch trains."""
    joules = joules_per_sample(trial)
    return None if joules is None else joules * trial.task.steps_per_epoch * trial.case.batch_size


def _energy_reason(trial: Trial) -> str | None:
    """Why a trial has no energy, where its record tells."""
    if trial.measurements is None or joules_per_sample(trial) is not None:
        return None
    if trial.case.device == "cuda":
        return trial.gpu.reasons.get("energy_joules") if trial.gpu is not None else "no card was watched"
    return trial.measurements.reasons.get("energy_joules")


def counts(trial: Trial) -> bool:
    """Whether a trial may enter a table: it ended well, and its case's certificate and its own check prove its work."""
    certified = trial.certificate is not None and trial.certificate.status == "ok"
    checked = trial.check is not None and trial.check.verdict == "same-work"
    return trial.status == "ok" and certified and checked and trial.measurements is not None


def why_left_out(trial: Trial) -> tuple[str, str]:
    """Status and reason of a trial that does not count."""
    if trial.status != "ok":
        return trial.status, trial.reason or "no reason was recorded"
    if trial.measurements is None:
        return "uncertified", "the record has no measurements"
    if trial.certificate is None or trial.check is None:
        return "uncertified", f"the record has no {'certificate' if trial.certificate is None else 'check'}"
    return "uncertified", trial.certificate.reason or trial.check.reason or "its proof was refused"


CaseKey = tuple[str, str, str, str, int, str, str, int]


def case_key(trial: Trial) -> CaseKey:
    """What trials must share to be of one case: task, machine, entry, device, threads, processes and the like."""
    case, machine = trial.case, trial.machine.fingerprint
    where = case.device, case.threads, case.precision, case.environment, case.processes
    return case.fingerprint, machine, case.entry, *where


def spread(values: Iterable[float | None]) -> Spread | None:
    """Median and range of the values that are there; None where none is."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    return Spread(median=statistics.median(present), least=min(present), greatest=max(present), n=len(present))


def summarise(trials: Iterable[Trial]) -> list[Summary]:
    """One summary for each case and machine, in order of their keys. Runs are pooled: choose them before."""
    groups: dict[CaseKey, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[case_key(trial)].append(trial)
    return [_summary(groups[key]) for key in sorted(groups)]


def _summary(trials: Sequence[Trial]) -> Summary:
    counted = [trial for trial in trials if counts(trial)]
    measured: list[Measurements] = [trial.measurements for trial in counted if trial.measurements is not None]
    # Sorted, so that the same trials in another order give the same bits.
    accuracies = sorted(m.epochs[-1].test_accuracy for m in measured if m.epochs)
    proofs = [trial.certificate for trial in counted if trial.certificate is not None]
    losses = [proof.own_dtype_loss_deviation for proof in proofs]
    losses += [trial.check.largest_deviation for trial in counted if trial.check is not None]
    left_out = Counter(why_left_out(trial) for trial in trials if not counts(trial))
    return Summary(
        case=trials[0].case,
        machine=trials[0].machine,
        n=len(counted),
        left_out=tuple(LeftOut(status=s, reason=r, trials=n) for (s, r), n in sorted(left_out.items())),
        samples_per_second=spread(samples_per_second(trial) for trial in counted),
        warm_up_only=any(is_warm_up_only(trial) for trial in counted),
        time_to_first_step_seconds=spread(time_to_first_step_seconds(trial) for trial in counted),
        peak_training_bytes=spread(m.memory.peak_training_bytes for m in measured),
        peak_above_import_bytes=spread(m.memory.peak_above_import_bytes for m in measured),
        memory_reason=_first(m.memory.reason for m in measured),
        after_import=_memory_spread(m.memory.after_import for m in measured),
        after_build=_memory_spread(m.memory.after_build for m in measured),
        sampled_peak=_memory_spread(m.memory.sampled_peak for m in measured),
        device_peak_allocated_bytes=_figure_spread(m.memory.device_peak_allocated_bytes for m in measured),
        device_peak_reserved_bytes=_figure_spread(m.memory.device_peak_reserved_bytes for m in measured),
        device_memory_reason=_first(m.memory.device_peak_allocated_bytes.reason for m in measured),
        joules_per_sample=spread(map(joules_per_sample, counted)),
        joules_per_epoch=spread(map(joules_per_epoch, counted)),
        energy_reason=_first(map(_energy_reason, counted)),
        gpu=_gpu_summary([trial.gpu for trial in counted if trial.gpu is not None]),
        disturbed=tuple(
            Disturbance(run=run, block=block, reasons=reasons)
            for run, block, reasons in sorted(
                (t.placement.run, t.placement.block, tuple(t.disturbances)) for t in counted if t.disturbances
            )
        ),
        final_accuracy_mean=statistics.mean(accuracies) if accuracies else None,
        final_accuracy_sd=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        float64_deviation=greatest(proof.float64_parameter_deviation for proof in proofs),
        loss_deviation=greatest(losses),
    )


def _first(reasons: Iterable[str | None]) -> str | None:
    """One reason for all, the same whatever the order of the trials."""
    return min((reason for reason in reasons if reason), default=None)


def _figure_spread(figures: Iterable[Figure]) -> Spread | None:
    return spread(figure.value for figure in figures)


def _memory_spread(samples: Iterable[MemorySample | None]) -> MemorySpread | None:
    present = [sample for sample in samples if sample is not None]
    rss, anon, file = (
        spread(getattr(sample, name) for sample in present) for name in ("rss_bytes", "anon_bytes", "file_bytes")
    )
    if rss is None or anon is None or file is None:
        return None
    return MemorySpread(rss_bytes=rss, anon_bytes=anon, file_bytes=file)


def _gpu_summary(cards: Sequence[Gpu]) -> GpuSummary | None:
    if not cards:
        return None

    metrics = {n: spread(mean_reading(card.gpm.get(n, [])) for card in cards) for card in cards for n in card.gpm}
    samples = [reasons for card in cards for reasons in card.throttle_reasons if reasons is not None]
    seen = Counter(reason for reasons in samples for reason in set(reasons))
    missing = sorted({(name, why) for card in cards for name, why in card.reasons.items()}, reverse=True)
    return GpuSummary(
        names=tuple(sorted({card.name for card in cards})),
        busy_percent=spread(mean_reading(card.busy_percent) for card in cards),
        power_watts=spread(mean_reading(card.power_watts) for card in cards),
        sm_clock_megahertz=spread(mean_reading(card.sm_clock_megahertz) for card in cards),
        temperature_celsius=spread(greatest(card.temperature_celsius) for card in cards),
        memory_used_bytes=spread(greatest(card.memory_used_bytes) for card in cards),
        gpm=tuple((name, found) for name, found in sorted(metrics.items()) if found is not None),
        throttled=tuple((reason, times / len(samples)) for reason, times in sorted(seen.items())),
        foreign_trials=sum(bool(card.foreign_processes) for card in cards),
        reasons=tuple(sorted(dict(missing).items())),
    )


def mean_reading(readings: Readings) -> float | None:
    """Of the samples that were had; None where none was."""
    present = [value for value in readings if value is not None]
    return math.fsum(present) / len(present) if present else None


def greatest(values: Iterable[float | None]) -> float | None:
    """The greatest of those that were had; None where none was."""
    return max((value for value in values if value is not None), default=None)


def half_width(sd: float, n: int, *, confidence: float = CONFIDENCE) -> float:
    """Half the width of Student's t interval of a mean: t(confidence, n - 1) * sd / sqrt(n). n of at least 2.

    Student, 1908, Biometrika 6(1). Assumes that the differences of blocks are independent and about normal; on paired
    log ratios it covers 94.7 to 95.6% at 5 to 10 pairs, where a bootstrap covers 83 to 91%.
    """
    return t_quantile(n - 1, (1 + confidence) / 2) * sd / math.sqrt(n)


def estimate(differences: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean and t interval of paired log differences, one for each block."""
    n = len(differences)
    if n == 0:
        return Estimate(n=0, mean=None, sd=None, interval=None, reason="no block has both cases")
    mean = math.fsum(differences) / n  # fsum: exact, so the order of the blocks is no matter
    if n == 1:
        return Estimate(n=1, mean=mean, sd=None, interval=None, reason="a single block has no interval")
    deviations = [d - mean for d in differences]
    sd = math.sqrt(math.fsum(d * d for d in deviations) / (n - 1))  # d ** 2 is pow's, which now and then rounds wrong
    half = half_width(sd, n, confidence=confidence)
    return Estimate(n=n, mean=mean, sd=sd, interval=(mean - half, mean + half), reason=None)


def blocks_to_decide(mean: float, sd: float, *, band: float = TIE_BAND) -> int | None:
    """Blocks in all at which the interval would leave the edge of the tie band behind.

    The least n >= 2 with t(95%, n - 1) * sd / sqrt(n) < | |mean| - band |. Assumes that mean and sd stay as they are:
    a plan, no promise. None above 10,000 blocks: the ratio lies on the edge of the band.
    """
    return blocks_below(sd, abs(abs(mean) - band))


def blocks_below(sd: float, width: float, *, confidence: float = CONFIDENCE) -> int | None:
    """The least n >= 2 of blocks whose interval's half-width is below `width`; None where above 10,000.

    sd: of the log differences of blocks, assumed to stay as it is.
    """
    low, high = 1, 2  # the half-width falls with n: double, then halve the gap
    while high <= MOST_BLOCKS and half_width(sd, high, confidence=confidence) >= width:
        low, high = high, 2 * high
    high = min(high, MOST_BLOCKS)
    if half_width(sd, high, confidence=confidence) >= width:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = half_width(sd, middle, confidence=confidence) < width
        low, high = (low, middle) if enough else (middle, high)
    return high


def wilson(k: int, n: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a share of which k of n were seen; n of at least 1. Wilson, 1927, JASA 22(158)."""
    z = normal_quantile((1 + confidence) / 2)
    middle = (k + z * z / 2) / (n + z * z)
    half = z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return middle - half, middle + half


def difference_of_shares(
    first: tuple[int, int], second: tuple[int, int], *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of the first share less the second, each given as k of n; n of at least 1.

    Newcombe, 1998, Statistics in Medicine 17, method 10: from the two shares' Wilson intervals. statsmodels has it too,
    and takes a second to import.
    """
    (k, n), (m, o) = first, second
    (low, high), (least, most) = wilson(k, n, confidence=confidence), wilson(m, o, confidence=confidence)
    p, q = k / n, m / o
    return p - q - math.hypot(p - low, most - q), p - q + math.hypot(high - p, q - least)


def verdict_of(interval: tuple[float, float] | None, *, more_is_faster: bool, band: float = TIE_BAND) -> Verdict:
    """The verdict on an interval of a log ratio: outside the tie band, inside it, or across its edge."""
    if interval is None:
        return "undecided"
    low, high = interval
    if -band < low and high < band:
        return "tie"
    if low > band:
        return "faster" if more_is_faster else "slower"
    if high < -band:
        return "slower" if more_is_faster else "faster"
    return "undecided"


def decided(seen: Estimate, *, more_is_faster: bool) -> tuple[Verdict, int | None, str | None]:
    """Verdict, blocks that would decide it where it is undecided, and why there is no interval or no such number."""
    verdict = verdict_of(seen.interval, more_is_faster=more_is_faster)
    if verdict != "undecided" or seen.mean is None or seen.sd is None:
        return verdict, None, seen.reason
    needed = blocks_to_decide(seen.mean, seen.sd)
    return verdict, needed, f"more than {MOST_BLOCKS} blocks would be needed" if needed is None else None


def log_values(trials: Sequence[Trial], quantity: Quantity = "samples_per_second") -> dict[tuple[str, int], float]:
    """Logarithm of each counted trial's value, by (run, block)."""
    return {block: math.log(value) for block, value in _values(trials, quantity).items()}


def confidence_of(trials: Iterable[Trial]) -> float:
    """The confidence of an interval that is printed as 95%: 97% where a run stopped once it was narrow enough.

    With the seven planned looks of bench/precision.py such intervals cover 96.1 to 96.5%.
    """
    return ADAPTIVE_CONFIDENCE if any(trial.placement.target is not None for trial in trials) else CONFIDENCE


def compare(
    trials_a: Sequence[Trial], trials_b: Sequence[Trial], *, value: Quantity = "samples_per_second"
) -> Comparison:
    """Case B against case A over the blocks that hold both; trials that do not count are left out.

    Per block d = ln(value of B) - ln(value of A), paired by run and block; ratio = exp(mean d), its 95% interval the t
    interval over blocks. Raises InputError where the two sides differ in fingerprint, machine, device, threads,
    processes or precision, where a side is empty or mixes cases, or where a block holds a case twice. Environments may
    differ: two versions of one framework are a comparison.
    """
    a, b = _one_case(trials_a), _one_case(trials_b)
    _refuse_unlike(a, b)
    of_a, of_b = log_values(trials_a, value), log_values(trials_b, value)
    shared = sorted(of_a.keys() & of_b.keys())
    confidence = confidence_of([*trials_a, *trials_b])
    seen = estimate([of_b[block] - of_a[block] for block in shared], confidence=confidence)
    verdict, needed, reason = decided(seen, more_is_faster=QUANTITIES[value][1])
    return Comparison(
        quantity=value,
        a=a.case,
        b=b.case,
        pairs=seen.n,
        ratio=None if seen.mean is None else math.exp(seen.mean),
        interval=None if seen.interval is None else (math.exp(seen.interval[0]), math.exp(seen.interval[1])),
        verdict=verdict,
        blocks_to_decide=needed,
        reason=reason,
    )


def _one_case(trials: Sequence[Trial]) -> Trial:
    if not trials:
        raise InputError("comparison: a side has no trials; check what was selected")
    for trial in trials:
        _refuse_unlike(trials[0], trial)
        if trial.case.entry != trials[0].case.entry:
            raise InputError(
                f"comparison: one side mixes the entries {trials[0].case.entry} and {trial.case.entry}; select one"
            )
        if trial.case.environment != trials[0].case.environment:
            raise InputError(
                f"comparison: one side mixes the environments {trials[0].case.environment!r} and "
                f"{trial.case.environment!r} of {trial.case.entry}; select one"
            )
    return trials[0]


def _refuse_unlike(a: Trial, b: Trial) -> None:
    if a.case.fingerprint != b.case.fingerprint:
        raise InputError(
            "comparisons across fingerprints are refused: "
            f"{a.case.entry} trained {a.case.task} ({a.case.fingerprint}), "
            f"{b.case.entry} trained {b.case.task} ({b.case.fingerprint}); run both on one task"
        )
    for what, one, other in (
        ("machines", a.machine.fingerprint, b.machine.fingerprint),
        ("devices", a.case.device, b.case.device),
        ("threads", str(a.case.threads), str(b.case.threads)),
        ("processes", str(a.case.processes), str(b.case.processes)),
        ("precisions", a.case.precision, b.case.precision),
    ):
        if one != other:
            raise InputError(
                f"comparisons across {what} are refused: {a.case.entry} on {one}, {b.case.entry} on {other}; "
                "compare within one"
            )


def _values(trials: Sequence[Trial], quantity: Quantity) -> dict[tuple[str, int], float]:
    """Values of the counted trials by (run, block)."""
    of_trial = QUANTITIES[quantity][0]
    values: dict[tuple[str, int], float] = {}
    for trial in filter(counts, trials):
        block = trial.placement.run, trial.placement.block
        if block in values:
            raise InputError(
                f"comparison: run {block[0]} holds {trial.case.entry} twice in block {block[1]}; "
                "remove the copy from the results"
            )
        value = of_trial(trial)
        if value is not None and value > 0:
            values[block] = value
    return values
