"""list[Trial] -> where the time of a step goes: fits of sweeps, crossovers, parts of a gap, threads. Pure.

Three definitions that all of this rests on. A trial's time per step is the median over its windows after the first
epoch. The block is the unit of repetition, so a line is fitted in each block by itself, and every interval is Student's
over the blocks. Only trials that count (`bench.stats.counts`) enter.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.distributions import t_quantile
from bench.errors import InputError
from bench.flops import flops_per_sample, products
from bench.record import Case, Trial
from bench.stats import CONFIDENCE, Estimate, Spread, counts, estimate, samples_per_second, spread

LEAST_SIZES = 3  # two points always lie on a line, so it would be no finding that they do
TOLERANCE = 0.10  # of a prediction of a size that was held out, and of what an attribution may leave unexplained

Kind = Literal["batch-size", "width"]
Block = tuple[str, int]  # run and number
Rows = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Nothing to tell, and why."""

    reason: str


# --- time per step against size -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Sizes that a line fitted without them predicts: (predicted - measured) / measured of the means over blocks."""

    sizes: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The largest error, without its sign."""
        return max(map(abs, self.errors))

    @property
    def holds(self) -> bool:
        """Whether every held-out size is predicted within 10%."""
        return self.largest <= TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Fit:
    """time per step = overhead + work * size, of one entry in the blocks of one run.

    size: the batch size, or in a sweep over width the operations of a step (see `size_of`). seconds: block by size, as
    measured. overhead, work: mean and 95% interval over the blocks' own lines. misfit: the largest relative distance of
    a mean over blocks from the line. incomplete: blocks that lack a size, which are left out.
    """

    case: Case
    kind: Kind
    blocks: tuple[Block, ...]
    incomplete: int
    sizes: tuple[float, ...]
    seconds: tuple[tuple[float, ...], ...]
    overheads: tuple[float, ...]
    works: tuple[float, ...]
    overhead: Estimate
    work: Estimate
    misfit: float
    held_out: HeldOut

    def predict(self, size: float) -> Estimate:
        """Time of a step at a size: mean over the blocks' lines, with the interval of that mean."""
        return estimate([o + w * size for o, w in zip(self.overheads, self.works, strict=True)])


def seconds_per_step(trial: Trial) -> float | None:
    """Time of a step in steady state: the median over the windows of the epochs after the first.

    Warm-up and epochs without a window are dealt with as in `bench.stats.samples_per_second`.
    """
    if trial.measurements is None:
        return None
    epochs = trial.measurements.epochs
    times = [
        e.window_seconds / e.window_steps if e.window_steps else e.first_batch_seconds for e in epochs[1:] or epochs
    ]
    times = [seconds for seconds in times if seconds > 0]
    return statistics.median(times) if times else None


def size_of(trial: Trial, kind: Kind) -> float:
    """What the time of a step is taken to be linear in.

    batch-size: the rows of a batch. width: the floating-point operations of a step's matrix products, for those grow
    with the square of the width once there are two hidden layers, and so do the parameters that the optimiser moves.
    """
    if kind == "batch-size":
        return float(trial.case.batch_size)
    return flops_per_sample(trial.task) * trial.case.batch_size


def lines(sizes: Rows, seconds: Rows, scale: Rows) -> tuple[Rows, Rows]:
    """Overheads and works (blocks,) of the weighted least squares of seconds (blocks, sizes) on sizes (sizes,).

    The weights are 1 / scale^2, scale (sizes,) being the mean time at each size: what is small is then the relative
    error, as the noise of a time is about proportional to it (Aitken 1935). The weights are the same for all blocks,
    and so the fit is linear in the times: the mean of the blocks' lines is the line of the means, and is unbiased,
    where weights of each block's own times would favour those that came out short.
    """
    unit = float(sizes.max())  # operations of a step are 1e9: unscaled, the two columns would differ by as much
    columns = np.stack([1 / scale, sizes / unit / scale], axis=1)  # (sizes, 2)
    found = np.linalg.lstsq(columns, (seconds / scale).T, rcond=None)[0]  # (2, blocks)
    return found[0], found[1] / unit


def held_out(sizes: Rows, means: Rows) -> HeldOut:
    """Fit without every other size, the first and the last staying in, and predict those. sizes and means: (sizes,)."""
    out = np.zeros(len(sizes), dtype=bool)
    out[1:-1:2] = True
    overheads, works = lines(sizes[~out], means[None, ~out], means[~out])
    errors = (overheads[0] + works[0] * sizes[out]) / means[out] - 1
    return HeldOut(sizes=tuple(sizes[out].tolist()), errors=tuple(errors.tolist()))


def fit(trials: Iterable[Trial], kind: Kind) -> Fit | Missing:
    """The line of one entry over the sizes of one run. Raises InputError where the trials are of several entries."""
    table = _table(trials, kind)
    if isinstance(table, Missing):
        return table
    sizes, seconds = table.sizes, table.seconds
    means = seconds.mean(axis=0)
    overheads, works = lines(sizes, seconds, means)
    fitted = float(np.mean(overheads)) + float(np.mean(works)) * sizes
    return Fit(
        case=table.case,
        kind=kind,
        blocks=table.blocks,
        incomplete=table.incomplete,
        sizes=tuple(sizes.tolist()),
        seconds=tuple(map(tuple, seconds.tolist())),
        overheads=tuple(overheads.tolist()),
        works=tuple(works.tolist()),
        overhead=estimate(overheads.tolist()),
        work=estimate(works.tolist()),
        misfit=float(np.max(np.abs(fitted / means - 1))),
        held_out=held_out(sizes, means),
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The counted trials of one entry in one run, block by size."""

    case: Case
    blocks: tuple[Block, ...]
    incomplete: int
    sizes: Rows  # (sizes,)
    trials: tuple[tuple[Trial, ...], ...]  # block by size
    seconds: Rows  # (blocks, sizes)


def _table(trials: Iterable[Trial], kind: Kind, only: Sequence[Block] | None = None) -> _Table | Missing:
    found: dict[Block, dict[float, tuple[Trial, float]]] = defaultdict(dict)
    who = set()
    for trial in filter(counts, trials):
        case, block = trial.case, (trial.placement.run, trial.placement.block)
        who.add((case.entry, case.environment, case.device, case.threads, case.precision, trial.machine.fingerprint))
        if len(who) > 1:
            raise InputError("a sweep is of one entry, machine, device, precision, number of threads; select one each")
        size = size_of(trial, kind)
        if size in found[block]:
            raise InputError(f"run {block[0]} holds {case.entry} twice in block {block[1]}; remove the copy")
        seconds = seconds_per_step(trial)
        if seconds is not None:
            found[block][size] = trial, seconds
    sizes = sorted({size for of_block in found.values() for size in of_block})
    if len(sizes) < LEAST_SIZES:
        return Missing(reason=f"needs {LEAST_SIZES} sizes, has {len(sizes)}")
    whole = sorted(block for block, of_block in found.items() if len(of_block) == len(sizes))
    blocks = [block for block in whole if only is None or block in only]
    if not blocks:
        return Missing(reason="no block has every size")
    rows = tuple(tuple(found[block][size] for size in sizes) for block in blocks)
    return _Table(
        case=rows[0][0][0].case,
        blocks=tuple(blocks),
        incomplete=len(found) - len(whole),
        sizes=np.array(sizes),
        trials=tuple(tuple(trial for trial, _ in row) for row in rows),
        seconds=np.array([[seconds for _, seconds in row] for row in rows], dtype=np.float64),
    )


# --- where two lines cross ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Zero:
    """Where the mean of lines is 0. signs: -1 or 1 where it is told apart from 0 at an end of the range, else 0.

    at: the mean line's zero, wherever it lies. interval: 95%, of that; None where the slope is not told apart from 0,
    for then the interval has no end.
    """

    at: float | None
    interval: tuple[float, float] | None
    sign_low: int
    sign_high: int


def zero_of_line(intercepts: Sequence[float], slopes: Sequence[float], *, low: float, high: float) -> Zero:
    """The zero of intercept + slope * x, and its sign at low and high, from one line a block. high may be infinite.

    Fieller 1954, J. R. Stat. Soc. B 16(2): all x at which the mean of intercept + slope * x is not told apart from 0
    by Student's t. It assumes intercepts and slopes jointly normal over blocks, and holds its level however badly the
    slope is known, unlike the delta method. Where the signs at the two ends are opposite, it lies between them.
    """
    n = len(intercepts)
    ends = [_sign(slopes if math.isinf(x) else _line(intercepts, slopes, x)) for x in (low, high)]
    intercept, slope = math.fsum(intercepts) / n, math.fsum(slopes) / n
    interval = None
    if _sign(slopes):
        spreads = np.cov(np.array([intercepts, slopes])) * t_quantile(n - 1, (1 + CONFIDENCE) / 2) ** 2 / n
        # The set is a x^2 + 2 b x + c <= 0; a > 0, as the slope is told apart from 0.
        a, b, c = slope**2 - spreads[1, 1], intercept * slope - spreads[0, 1], intercept**2 - spreads[0, 0]
        root = math.sqrt(max(float(b * b - a * c), 0.0))
        interval = float((-b - root) / a), float((-b + root) / a)
    return Zero(at=-intercept / slope if slope else None, interval=interval, sign_low=ends[0], sign_high=ends[1])


def _line(intercepts: Sequence[float], slopes: Sequence[float], x: float) -> list[float]:
    return [intercept + slope * x for intercept, slope in zip(intercepts, slopes, strict=True)]


def _sign(values: Sequence[float]) -> int:
    """-1 or 1 where the t interval of the mean leaves 0 out, else 0."""
    interval = estimate(values).interval
    return 0 if interval is None else int(interval[0] > 0) - int(interval[1] < 0)


Order = Literal["crossover", "a-faster", "b-faster", "not-told-apart"]


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Which of two entries is faster at which size, by their lines, between the least and the greatest size measured.

    at, interval: of the size at which they take the same time, where the verdict is "crossover". faster_low and
    faster_high: who is faster at the ends, None where they are not told apart there. contradicted: sizes at which the
    times themselves say clearly the opposite of the lines, so that the verdict is the lines' fault. reason: why none.
    """

    a: Case
    b: Case
    blocks: int
    low: float
    high: float
    verdict: Order
    at: float | None
    interval: tuple[float, float] | None
    faster_low: Literal["a", "b"] | None
    faster_high: Literal["a", "b"] | None
    contradicted: tuple[float, ...]
    reason: str | None


def crossover(a: Fit, b: Fit) -> Crossover | Missing:
    """The crossover of two entries over the blocks and sizes that both have."""
    if a.kind != b.kind or a.sizes != b.sizes:
        return Missing(reason="the two were not measured at the same sizes")
    shared = sorted(set(a.blocks) & set(b.blocks))
    if not shared:
        return Missing(reason="no block has both entries at every size")
    of_a, of_b = [a.blocks.index(block) for block in shared], [b.blocks.index(block) for block in shared]
    intercepts = [b.overheads[j] - a.overheads[i] for i, j in zip(of_a, of_b, strict=True)]
    slopes = [b.works[j] - a.works[i] for i, j in zip(of_a, of_b, strict=True)]
    low, high = a.sizes[0], a.sizes[-1]
    zero = zero_of_line(intercepts, slopes, low=low, high=high)
    ends = zero.sign_low, zero.sign_high
    crossing = ends[0] * ends[1] < 0
    verdict: Order = "crossover" if crossing else "not-told-apart"
    if ends[0] == ends[1] != 0:
        verdict = "a-faster" if ends[0] > 0 else "b-faster"
    contradicted = []
    for index, size in enumerate(a.sizes):
        measured = [b.seconds[j][index] - a.seconds[i][index] for i, j in zip(of_a, of_b, strict=True)]
        if _sign(_line(intercepts, slopes, size)) * _sign(measured) < 0:
            contradicted.append(size)
    return Crossover(
        a=a.case,
        b=b.case,
        blocks=len(shared),
        low=low,
        high=high,
        verdict=verdict,
        at=zero.at if crossing else None,
        interval=zero.interval if crossing else None,
        faster_low=_faster(ends[0]),
        faster_high=_faster(ends[1]),
        contradicted=tuple(contradicted),
        reason="a single block has no interval" if len(shared) == 1 else None,
    )


def _faster(sign: int) -> Literal["a", "b"] | None:
    return "a" if sign > 0 else "b" if sign < 0 else None


# --- the parts of a step, and of the gap between two entries ------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StepParts:
    """A step of one trial: its products timed alone, its gather timed alone (None: see reason), and what remains."""

    seconds: float
    products: float
    gather: float | None
    gather_reason: str | None

    @property
    def remainder(self) -> float:
        """What is neither; below 0 where the products alone took longer than the whole step."""
        return self.seconds - self.products - (self.gather or 0.0)


def step_parts(trial: Trial) -> StepParts | None:
    """The parts of a trial's step; None where its ceiling lacks one of the task's products."""
    seconds = seconds_per_step(trial)
    if seconds is None or trial.measurements is None:
        return None
    alone = {product.what: product.seconds for product in trial.measurements.ceiling.products}
    wanted = [what for what, *_ in products(trial.task)]
    if not all(what in alone for what in wanted):
        return None
    gather = trial.measurements.gather_seconds_per_step
    return StepParts(
        seconds=seconds,
        products=math.fsum(alone[what] for what in wanted),
        gather=gather.value,
        gather_reason=None if gather.value is not None else gather.reason or "no reason was recorded",
    )


Name = Literal["products", "gather", "overhead", "other work", "remainder"]


@dataclass(frozen=True, kw_only=True)
class GapPart:
    """What one part adds to the gap, in seconds a step: B's less A's, mean and interval over blocks."""

    name: Name
    seconds: Estimate


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """The gap between two entries at one batch size, time of B's step less A's, and its parts.

    products: the products of the step, each timed alone in the entry's own process (kernel speed). gather: taking a
    batch's rows. overhead: what a step costs whatever its size. other work: what grows with the batch and is no
    product: activations, loss, copies (kernel speed too). Where no sweep tells the last two apart there is one
    remainder. unexplained: the gap less all parts, which is the misfit of the lines; None with a remainder, which
    leaves nothing. adds_up: whether it is at most 10% of the gap; None where there is no such test, or where the gap
    itself is not told apart from 0.
    """

    a: Case
    b: Case
    blocks: int
    size: int
    gap: Estimate
    parts: tuple[GapPart, ...]
    unexplained: Estimate | None
    adds_up: bool | None
    notes: tuple[str, ...]


def attribute(trials_a: Iterable[Trial], trials_b: Iterable[Trial], size: int) -> Attribution | Missing:
    """The gap between two entries of one run at a batch size. All batch sizes of a sweep may and should be given.

    Where there are three, a line is fitted over the batch size through what is left of each entry's step after products
    and gather: its intercept is the overhead, its slope times the batch size the other work (`lines`, with weights from
    the whole step). Where not, that rest is one remainder. Products timed alone contain the cost of calling each, so
    that a framework's overhead of calling lies in products where it is inside a product.
    """
    sides = [[trial for trial in trials if counts(trial)] for trials in (trials_a, trials_b)]
    if not all(sides):
        return Missing(reason="an entry has no trial that counts")
    tables = [_table(side, "batch-size") for side in sides]
    shared: set[Block] = set()
    split = all(isinstance(table, _Table) for table in tables)
    if split:
        shared = set.intersection(*(set(table.blocks) for table in tables if isinstance(table, _Table)))
        split = bool(shared)
    if split:
        rows = [_table(side, "batch-size", sorted(shared)) for side in sides]
        whole = [row for row in rows if isinstance(row, _Table)]
        if size not in whole[0].sizes or size not in whole[1].sizes:
            return Missing(reason=f"batch size {size} was not measured")
    else:
        whole = _single(sides, size)
        if not whole:
            return Missing(reason=f"no block has both entries at batch size {size}")
    parts = [[[step_parts(trial) for trial in row] for row in table.trials] for table in whole]
    known = [[[part for part in row if part is not None] for row in table] for table in parts]
    if any(None in row for table in parts for row in table):
        return Missing(reason="the products were not timed alone in every trial")

    every = [part for table in known for row in table for part in row]
    reason = next((part.gather_reason for part in every if part.gather is None), None)
    notes = []
    if reason is not None:
        notes.append(f"gather stays in {'overhead and other work' if split else 'the remainder'}: {reason}")
    if any(part.remainder < 0 for part in every):
        notes.append("in some trial the products alone took longer than its whole step")
    sums = [
        _side(table, rows, size, gather=reason is None, split=split) for table, rows in zip(whole, known, strict=True)
    ]
    differences = {name: sums[1][name] - sums[0][name] for name in sums[0]}  # (blocks,)
    gap = estimate(differences.pop("gap").tolist())
    unexplained = differences.pop("unexplained", None)
    left = None if unexplained is None else estimate(unexplained.tolist())
    adds_up = None
    if left is not None and left.mean is not None and gap.mean is not None and _told(gap):
        adds_up = abs(left.mean) <= TOLERANCE * abs(gap.mean)
    names: tuple[Name, ...] = ("products", "gather", "overhead", "other work", "remainder")
    return Attribution(
        a=whole[0].case,
        b=whole[1].case,
        blocks=len(whole[0].blocks),
        size=size,
        gap=gap,
        parts=tuple(GapPart(name=n, seconds=estimate(differences[n].tolist())) for n in names if n in differences),
        unexplained=left,
        adds_up=adds_up,
        notes=tuple(notes),
    )


def _told(gap: Estimate) -> bool:
    return gap.interval is not None and not gap.interval[0] <= 0 <= gap.interval[1]


def _single(sides: Sequence[Sequence[Trial]], size: int) -> list[_Table]:
    """Both sides at one batch size over the blocks that hold both; empty where none does."""
    found = []
    for side in sides:
        of_size = [t for t in side if t.case.batch_size == size and seconds_per_step(t) is not None]
        found.append({(t.placement.run, t.placement.block): t for t in of_size})
    blocks = tuple(sorted(found[0].keys() & found[1].keys()))
    return [
        _Table(
            case=of_side[blocks[0]].case,
            blocks=blocks,
            incomplete=0,
            sizes=np.array([float(size)]),
            trials=tuple((of_side[block],) for block in blocks),
            seconds=np.array([[seconds_per_step(of_side[block])] for block in blocks], dtype=np.float64),
        )
        for of_side in found
        if blocks
    ]


def _side(table: _Table, parts: list[list[StepParts]], size: int, *, gather: bool, split: bool) -> dict[str, Rows]:
    """One entry's seconds at the size, part by part, a figure a block (blocks,)."""
    column = int(np.flatnonzero(table.sizes == size)[0])
    of_products = np.array([[part.products for part in row] for row in parts])  # (blocks, sizes)
    of_gather = np.array([[(part.gather or 0.0) if gather else 0.0 for part in row] for row in parts])
    rest = table.seconds - of_products - of_gather
    found = {"gap": table.seconds[:, column], "products": of_products[:, column]}
    if gather:
        found["gather"] = of_gather[:, column]
    if not split:
        return found | {"remainder": rest[:, column]}
    overheads, works = lines(table.sizes, rest, table.seconds.mean(axis=0))
    other = works * size
    return found | {"overhead": overheads, "other work": other, "unexplained": rest[:, column] - overheads - other}


# --- threads, processes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """What N workers reach of N / M times the speed of M, the least number measured (1 where it was).

    workers: threads, or processes.

    value: exp of the mean of the blocks' logarithms; interval: t interval of that mean. Both 1 for M itself.
    """

    workers: int
    base: int
    blocks: int
    rate: Spread
    value: float | None
    interval: tuple[float, float] | None
    reason: str | None


def efficiencies(
    trials: Iterable[Trial], workers: Callable[[Trial], int] = lambda trial: trial.case.threads
) -> list[Efficiency]:
    """The parallel efficiency of one entry on one task for each number of threads of one run, in their order.

    workers: another number in place of the threads. Over processes, trials whose batch grows with them give the
    efficiency of weak scaling, by the same formula.

    Efficiency = speed of N threads / (N * speed of one) (Amdahl 1967 and every textbook since); it assumes that a
    core's clock does not fall as more of them work, else that fall is in it.
    """
    rates: dict[int, dict[Block, float]] = defaultdict(dict)
    for trial in filter(counts, trials):
        rate = samples_per_second(trial)
        if rate is not None:
            rates[workers(trial)][trial.placement.run, trial.placement.block] = rate
    found = []
    base = min(rates, default=1)
    for number in sorted(rates):
        shared = sorted(rates[base].keys() & rates[number].keys())
        logs = [math.log(rates[number][k] / rates[base][k] * base / number) for k in shared]
        seen = estimate(logs)
        of_all = spread(rates[number].values())
        assert of_all is not None
        found.append(
            Efficiency(
                workers=number,
                base=base,
                blocks=seen.n,
                rate=of_all,
                value=None if seen.mean is None else math.exp(seen.mean),
                interval=None if seen.interval is None else (math.exp(seen.interval[0]), math.exp(seen.interval[1])),
                reason=seen.reason,
            )
        )
    return found
