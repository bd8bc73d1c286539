"""bench/attribution.py: lines, crossovers, parts of a gap and threads whose truth is known."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attribution import (
    Attribution,
    Crossover,
    Fit,
    Missing,
    attribute,
    crossover,
    efficiencies,
    fit,
    held_out,
    lines,
    step_parts,
    zero_of_line,
)
from bench.ceilings import best_ceilings
from bench.errors import InputError
from bench.flops import flops_per_sample
from bench.record import Trial
from bench.stats import estimate
from tests.make import make_step, make_task, make_trial, without_ceiling

SIZES = (32, 64, 128, 256, 512)
FEW = settings(max_examples=20, deadline=None)  # an example validates some 30 records
SIMULATED = 2000
RNG_SEED = 20260102


def sweep(
    entry: str, overhead: float, work: float, *, blocks: int = 3, noise: float = 0.0, sizes: tuple[int, ...] = SIZES
) -> list[Trial]:
    """Every size in every block; noise: the relative sd, the same numbers whatever the overhead and work."""
    rng = np.random.Generator(np.random.Philox([RNG_SEED, len(entry)]))
    factors = 1 + noise * rng.normal(size=(blocks, len(sizes)))
    return [
        make_step(entry, block, (overhead + work * size) * float(factors[block, index]), size)
        for block in range(blocks)
        for index, size in enumerate(sizes)
    ]


def fitted(trials: list[Trial]) -> Fit:
    """The fit, which must be there."""
    found = fit(trials, "batch-size")
    assert isinstance(found, Fit)
    return found


def crossed(a: list[Trial], b: list[Trial]) -> Crossover:
    """The crossover, which must be there."""
    found = crossover(fitted(a), fitted(b))
    assert isinstance(found, Crossover)
    return found


# --- the line -----------------------------------------------------------------------------------------------------


def test_overhead_and_work_are_recovered_exactly() -> None:
    """Where the times lie on a line, it is that line, in every block, and sizes held out are met."""
    seen = fitted(sweep("torch-eager", 2e-4, 3e-6))

    assert [pytest.approx(2e-4, rel=1e-9)] * 3 == list(seen.overheads)
    assert [pytest.approx(3e-6, rel=1e-9)] * 3 == list(seen.works)
    assert pytest.approx(2e-4 + 3e-6 * 100, rel=1e-9) == seen.predict(100).mean
    assert seen.misfit < 1e-9
    assert seen.held_out.sizes == (64.0, 256.0)
    assert seen.held_out.largest < 1e-9


def test_a_bent_curve_is_no_line() -> None:
    """The check on held-out sizes can fail: time that grows with the square of the size."""
    trials = [make_step("numpy", block, 1e-8 * size**2, size) for block in range(2) for size in SIZES]

    seen = fitted(trials).held_out

    assert not seen.holds
    assert seen.largest > 0.1


def test_only_sizes_between_are_held_out() -> None:
    """The first and the last stay in: a prediction beyond them would be another promise."""
    sizes = np.array([1.0, 2.0, 3.0, 4.0])

    seen = held_out(sizes, 1 + sizes)

    assert seen.sizes == (2.0,)


def test_a_width_sweep_is_linear_in_the_operations() -> None:
    """The slope's inverse is the rate of the products, whatever the widths."""
    tasks = [make_task(name=f"mlp-w{w}", layers=(784, w, w, 10)) for w in (64, 128, 256, 512)]
    trials = []
    for block in range(2):
        for task in tasks:
            step = 1e-4 + flops_per_sample(task) * task.batch_size / 5e10
            trials.append(make_trial("numpy", block, task=task, seconds=step * (task.steps_per_epoch - 1)))

    seen = fit(trials, "width")

    assert isinstance(seen, Fit)
    assert seen.work.mean is not None
    assert pytest.approx(5e10, rel=1e-6) == 1 / seen.work.mean
    assert pytest.approx(1e-4, rel=1e-6) == seen.overhead.mean


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (sweep("numpy", 1e-4, 1e-6, sizes=(32, 64)), "needs 3 sizes, has 2"),
        ([make_step("numpy", block, 1e-3, size) for block, size in enumerate(SIZES)], "no block has every size"),
        ([], "needs 3 sizes, has 0"),
        ([make_step("numpy", 0, 1e-3, size, certificate="refused") for size in SIZES], "needs 3 sizes, has 0"),
    ],
    ids=["two sizes", "no whole block", "none", "refused"],
)
def test_without_enough_there_is_no_line_but_a_reason(trials: list[Trial], reason: str) -> None:
    """Never a fit of two points, which would always be perfect."""
    assert Missing(reason=reason) == fit(trials, "batch-size")


def test_a_block_that_lacks_a_size_is_left_out_and_counted() -> None:
    """Its line would be another one, and the interval would show that for noise."""
    trials = sweep("numpy", 1e-4, 1e-6)

    seen = fitted(trials[:-1])

    assert ((("run-0", 0), ("run-0", 1)), 1) == (seen.blocks, seen.incomplete)


def test_a_sweep_of_two_entries_or_of_a_copied_record_is_refused() -> None:
    """A wrong selection is a wrong request."""
    trials = sweep("numpy", 1e-4, 1e-6)

    with pytest.raises(InputError, match="of one entry"):
        fit([*trials, make_step("sklearn", 0, 1e-3)], "batch-size")
    with pytest.raises(InputError, match="twice in block 0"):
        fit([*trials, trials[0]], "batch-size")


@FEW
@given(shuffle=st.randoms(use_true_random=False))
def test_order_of_trials_is_irrelevant(shuffle: random.Random) -> None:
    """The same trials in any order give the same bits."""
    a, b = sweep("torch-eager", 2e-4, 3e-6, noise=0.02), sweep("numpy", 1e-4, 4e-6, noise=0.02)
    mixed_a, mixed_b = a.copy(), b.copy()
    for trials in (mixed_a, mixed_b):
        shuffle.shuffle(trials)

    actual = fitted(mixed_a), crossed(mixed_a, mixed_b), attribute(mixed_a, mixed_b, 64), best_ceilings(mixed_a)

    assert (fitted(a), crossed(a, b), attribute(a, b, 64), best_ceilings(a)) == actual


@FEW
@given(scale=st.floats(min_value=1e-3, max_value=1e3))
def test_a_line_is_unit_free(scale: float) -> None:
    """Seconds or milliseconds: overhead and work scale with the times; a crossover in sizes stays where it is."""
    a, b = sweep("torch-eager", 2e-4, 3e-6, noise=0.01), sweep("numpy", 1e-4, 4e-6, noise=0.01)
    a_scaled = sweep("torch-eager", 2e-4 * scale, 3e-6 * scale, noise=0.01)
    b_scaled = sweep("numpy", 1e-4 * scale, 4e-6 * scale, noise=0.01)

    there, here = fitted(a_scaled), fitted(a)
    crossing, crossing_here = crossed(a_scaled, b_scaled), crossed(a, b)

    assert [pytest.approx(value * scale, rel=1e-6) for value in here.overheads] == list(there.overheads)
    assert [pytest.approx(value * scale, rel=1e-6) for value in here.works] == list(there.works)
    assert crossing_here.at == pytest.approx(crossing.at, rel=1e-6)
    assert crossing_here.interval == pytest.approx(crossing.interval, rel=1e-6)


def simulate(blocks: int, noise: float, shared: float, measure: Callable[[np.ndarray, np.ndarray], bool]) -> float:
    """The share of simulated sweeps of which `measure` says that its interval holds the truth.

    shared: sd of a factor that a whole block of both entries has in common; noise: sd of each trial's own.
    """
    rng = np.random.Generator(np.random.Philox(RNG_SEED))
    sizes = np.array(SIZES, dtype=float)
    truth = np.stack([2e-4 + 3e-6 * sizes, 1e-4 + 4e-6 * sizes])  # they cross at 100
    held = 0
    for _ in range(SIMULATED):
        block = 1 + shared * rng.normal(size=(1, blocks, 1))
        seconds = truth[:, None, :] * block * (1 + noise * rng.normal(size=(2, blocks, len(sizes))))
        held += measure(sizes, seconds)
    return held / SIMULATED


def both_lines(sizes: np.ndarray, seconds: np.ndarray) -> list[tuple[list[float], list[float]]]:
    """Overheads and works of each entry."""
    found = [lines(sizes, entry, entry.mean(axis=0)) for entry in seconds]
    return [(overheads.tolist(), works.tolist()) for overheads, works in found]


@pytest.mark.parametrize("blocks", [3, 5, 10])
@pytest.mark.parametrize("what", ["overhead", "work", "prediction", "crossover"])
def test_intervals_cover_what_they_say(what: str, blocks: int) -> None:
    """93 to 97% of 2,000 simulated 95% intervals hold the truth, with noise of trials and of whole blocks."""

    def measure(sizes: np.ndarray, seconds: np.ndarray) -> bool:
        (overheads, works), (other_overheads, other_works) = both_lines(sizes, seconds)
        if what == "crossover":
            differences = [
                [b - a for a, b in zip(one, other, strict=True)]
                for one, other in ((overheads, other_overheads), (works, other_works))
            ]
            zero = zero_of_line(*differences, low=32, high=512)
            # Without an end the interval holds everything that it does not exclude: Fieller's set, asked at the truth.
            gap = estimate([o + w * 100 for o, w in zip(*differences, strict=True)]).interval
            assert gap is not None
            inside = gap[0] <= 0 <= gap[1]
            if zero.interval is not None:
                assert inside == (zero.interval[0] <= 100 <= zero.interval[1])
            return inside
        values, truth = {
            "overhead": (overheads, 2e-4),
            "work": (works, 3e-6),
            "prediction": ([o + w * 200 for o, w in zip(overheads, works, strict=True)], 8e-4),
        }[what]
        interval = estimate(values).interval
        assert interval is not None
        return interval[0] <= truth <= interval[1]

    actual = simulate(blocks, 0.03, 0.03, measure)

    assert 0.93 <= actual <= 0.97


def test_an_interval_from_the_residuals_of_one_line_would_not_cover() -> None:
    """The simulation can fail: points of all blocks in one regression share their block, and it covers too little."""

    def measure(sizes: np.ndarray, seconds: np.ndarray) -> bool:
        blocks, means = seconds.shape[1], seconds[0].mean(axis=0)
        columns = np.tile(np.stack([1 / means, sizes / means], axis=1), (blocks, 1))
        found, residual, *_ = np.linalg.lstsq(columns, (seconds[0] / means).ravel(), rcond=None)
        sd = math.sqrt(residual[0] / (len(columns) - 2) * np.linalg.inv(columns.T @ columns)[1, 1])
        return bool(abs(found[1] - 3e-6) <= 2.07 * sd)  # t of 23 degrees of freedom

    actual = simulate(5, 0.01, 0.05, measure)

    assert actual < 0.90


# --- crossovers ---------------------------------------------------------------------------------------------------


def test_a_known_crossover_is_found() -> None:
    """2e-4 + 3e-6 x and 1e-4 + 4e-6 x take the same time at 100."""
    seen = crossed(sweep("torch-eager", 2e-4, 3e-6, noise=0.01), sweep("numpy", 1e-4, 4e-6, noise=0.01))

    assert seen.interval is not None
    assert seen.at is not None
    assert (seen.verdict, seen.faster_low, seen.faster_high, seen.contradicted) == ("crossover", "b", "a", ())
    assert seen.interval[0] < 100 < seen.interval[1]
    assert seen.interval[0] < seen.at < seen.interval[1]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1e-4, 3e-6), (2e-4, 4e-6), "a-faster"),
        ((2e-4, 4e-6), (1e-4, 3e-6), "b-faster"),
        ((1e-4, 3e-6), (1.2e-4, 2.99e-6), "a-faster"),
    ],
    ids=["a", "b", "crosses at 2,000, beyond what was measured"],
)
def test_no_crossover_in_the_range_is_said(a: tuple[float, float], b: tuple[float, float], expected: str) -> None:
    """One is faster at all sizes measured; a crossing that is only extrapolated is none."""
    seen = crossed(sweep("torch-eager", *a, noise=1e-4), sweep("numpy", *b, noise=1e-4))

    assert (expected, None, None) == (seen.verdict, seen.at, seen.interval)


def test_alike_entries_are_not_told_apart() -> None:
    """Noise makes no crossover."""
    seen = crossed(sweep("torch-eager", 2e-4, 3e-6, noise=0.05), sweep("numpy", 2e-4, 3e-6, noise=0.05))

    assert (seen.verdict, seen.at) == ("not-told-apart", None)


def test_a_single_block_tells_nothing_apart() -> None:
    """It has no interval, and says so."""
    seen = crossed(sweep("torch-eager", 2e-4, 3e-6, blocks=1), sweep("numpy", 1e-4, 4e-6, blocks=1))

    assert ("not-told-apart", "a single block has no interval") == (seen.verdict, seen.reason)


def test_turning_the_entries_turns_the_verdict() -> None:
    """The same crossover from either side."""
    a, b = sweep("torch-eager", 2e-4, 3e-6, noise=0.01), sweep("numpy", 1e-4, 4e-6, noise=0.01)

    there, back = crossed(a, b), crossed(b, a)

    assert there.at == pytest.approx(back.at)
    assert there.interval == pytest.approx(back.interval)
    assert (there.faster_low, there.faster_high) == (back.faster_high, back.faster_low)


def test_lines_that_the_times_contradict_are_marked() -> None:
    """A bent curve whose line lies on the wrong side at some size: the verdict there is the line's fault."""
    bent = {32: 2.0e-4, 64: 2.4e-4, 128: 6.0e-4, 256: 11e-4, 512: 21e-4}
    straight = [make_step("torch-eager", block, 4.1e-6 * size, size) for block in range(3) for size in SIZES]
    other = [make_step("numpy", block, bent[size], size) for block in range(3) for size in SIZES]

    assert crossed(straight, other).contradicted != ()
    assert crossed(sweep("torch-eager", 2e-4, 3e-6), sweep("numpy", 1e-4, 4e-6)).contradicted == ()


def test_other_sizes_or_blocks_have_no_crossover() -> None:
    """With the reason."""
    a, b = sweep("torch-eager", 2e-4, 3e-6), sweep("numpy", 1e-4, 4e-6, sizes=(32, 64, 128))
    late = [make_step("numpy", 7, 1e-4 + 4e-6 * size, size) for size in SIZES]

    assert crossover(fitted(a), fitted(b)) == Missing(reason="the two were not measured at the same sizes")
    assert crossover(fitted(a), fitted(late)) == Missing(reason="no block has both entries at every size")


# --- attribution --------------------------------------------------------------------------------------------------


def planted(
    entry: str, *, rate: float, gather: float | None, overhead: float, other: float, bend: float = 0.0
) -> list[Trial]:
    """A sweep whose steps are made of known parts; bend: seconds at batch size 128 that are on no line."""
    trials = []
    for block in range(3):
        for size in SIZES:
            task = make_task(batch_size=size)
            step = overhead + other * size + flops_per_sample(task) * size / rate
            step += (gather or 2e-5) + (bend if size == 128 else 0.0)
            step *= 1 + 0.001 * block
            trials.append(make_step(entry, block, step, size, flops_per_second=rate, gather_seconds=gather))
    return trials


def attributed(a: list[Trial], b: list[Trial], size: int) -> Attribution:
    """The attribution, which must be there."""
    found = attribute(a, b, size)
    assert isinstance(found, Attribution)
    return found


def test_the_parts_of_a_gap_are_the_planted_ones_and_add_up() -> None:
    """Products, gather, overhead and other work; nothing is left unexplained."""
    a = planted("torch-eager", rate=5e10, gather=3e-5, overhead=2e-4, other=1e-6)
    b = planted("numpy", rate=1e11, gather=1e-5, overhead=1e-4, other=3e-6)
    flops = flops_per_sample(make_task()) * 64

    seen = attributed(a, b, 64)

    parts = {part.name: part.seconds.mean for part in seen.parts}
    # The plant is larger by 0.1% a block in everything but the products and the gather, which are timed alone.
    assert parts == {
        "products": pytest.approx(flops / 1e11 - flops / 5e10, rel=1e-6),
        "gather": pytest.approx(-2e-5, rel=1e-6),
        "overhead": pytest.approx(-1e-4, rel=0.01),
        "other work": pytest.approx(2e-6 * 64, rel=0.01),
    }
    assert seen.gap.mean == pytest.approx(sum(part for part in parts.values() if part is not None), rel=1e-6)
    assert seen.adds_up is True
    assert seen.notes == ()


def test_a_planted_residual_is_marked() -> None:
    """What lies on no line is told as unexplained, and the attribution as not adding up at that size."""
    a = planted("torch-eager", rate=5e10, gather=3e-5, overhead=2e-4, other=1e-6)
    b = planted("numpy", rate=1e11, gather=1e-5, overhead=1e-4, other=3e-6, bend=5e-4)

    seen = attributed(a, b, 128)

    assert seen.adds_up is False
    assert seen.unexplained is not None
    assert seen.unexplained.mean is not None
    assert seen.unexplained.mean > 1e-4
    total = sum(part.seconds.mean or 0.0 for part in seen.parts) + seen.unexplained.mean
    assert seen.gap.mean == pytest.approx(total, rel=1e-9)


def test_a_gap_that_is_none_has_no_share() -> None:
    """Ten per cent of a gap that is not told apart from 0 is no test."""
    a = planted("torch-eager", rate=5e10, gather=3e-5, overhead=2e-4, other=1e-6)
    b = planted("numpy", rate=5e10, gather=3e-5, overhead=2e-4, other=1e-6)

    assert attributed(a, b, 64).adds_up is None


def test_a_gather_that_one_entry_cannot_tell_stays_in_the_rest() -> None:
    """For both, and the attribution says so; it would be no difference of like things else."""
    a = planted("torch-eager", rate=5e10, gather=3e-5, overhead=2e-4, other=1e-6)
    b = planted("numpy", rate=1e11, gather=None, overhead=1e-4, other=3e-6)

    seen = attributed(a, b, 64)

    assert [part.name for part in seen.parts] == ["products", "overhead", "other work"]
    assert seen.notes == ("gather stays in overhead and other work: no gather",)
    assert seen.adds_up is True


def test_without_a_sweep_there_is_one_remainder() -> None:
    """Overhead and other work are told apart by sizes alone."""
    a = [
        t for t in planted("torch-eager", rate=5e10, gather=3e-5, overhead=2e-4, other=1e-6) if t.case.batch_size == 64
    ]
    b = [t for t in planted("numpy", rate=1e11, gather=1e-5, overhead=1e-4, other=3e-6) if t.case.batch_size == 64]

    seen = attributed(a, b, 64)

    parts = {part.name: part.seconds.mean or 0.0 for part in seen.parts}
    assert list(parts) == ["products", "gather", "remainder"]
    assert (None, None) == (seen.unexplained, seen.adds_up)
    assert seen.gap.mean == pytest.approx(sum(parts.values()), rel=1e-9)


def test_products_that_take_longer_than_the_step_are_told() -> None:
    """A ceiling that was disturbed must not pass for an attribution."""
    a = [make_step("torch-eager", block, 1e-4, flops_per_second=1e9) for block in range(2)]
    b = [make_step("numpy", block, 1e-4) for block in range(2)]

    assert "in some trial the products alone took longer than its whole step" in attributed(a, b, 64).notes


def test_without_products_there_is_no_attribution() -> None:
    """Nor a size that was not measured, nor a side without trials."""
    a, b = [make_step("torch-eager", 0, 1e-3)], [make_step("numpy", 0, 2e-3)]

    assert attribute(a, [without_ceiling(b[0])], 64) == Missing(
        reason="the products were not timed alone in every trial"
    )
    assert attribute(a, b, 65) == Missing(reason="no block has both entries at batch size 65")
    assert attribute(sweep("numpy", 1e-4, 1e-6), sweep("sklearn", 1e-4, 1e-6), 65) == Missing(
        reason="batch size 65 was not measured"
    )
    assert attribute(a, [], 64) == Missing(reason="an entry has no trial that counts")
    assert step_parts(without_ceiling(a[0])) is None


# --- threads ------------------------------------------------------------------------------------------------------


def test_perfect_scaling_has_an_efficiency_of_1() -> None:
    """N threads, N times the speed; and half of that is one half."""
    trials = [make_step("numpy", block, 1e-3 / n, threads=n) for block in range(3) for n in (1, 2, 4)]
    trials += [make_step("numpy", block, 1e-3 / 4, threads=8) for block in range(3)]

    seen = efficiencies(trials)

    assert [(1, pytest.approx(1)), (2, pytest.approx(1)), (4, pytest.approx(1)), (8, pytest.approx(0.5))] == [
        (one.workers, one.value) for one in seen
    ]


def test_an_efficiency_has_an_interval_over_blocks() -> None:
    """Paired: what slows a whole block down is in neither."""
    trials = []
    for block, (factor, noise) in enumerate(((1.0, 1.0), (2.0, 1.02), (0.5, 0.98))):
        trials.append(make_step("numpy", block, 1e-3 * factor, threads=1))
        trials.append(make_step("numpy", block, 1e-3 / 1.6 * factor * noise, threads=2))

    _, seen = efficiencies(trials)

    assert seen.interval is not None
    assert seen.value == pytest.approx(0.8, rel=0.001)
    assert 0.7 < seen.interval[0] < 0.8 < seen.interval[1] < 0.9


def test_without_one_thread_the_least_number_is_the_base() -> None:
    """And it is named."""
    trials = [make_step("numpy", block, 1e-3 / n, threads=n) for block in range(2) for n in (2, 4)]

    assert [(2, 2), (4, 2)] == [(one.workers, one.base) for one in efficiencies(trials)]
