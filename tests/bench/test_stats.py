"""bench/stats.py: what may enter a figure, and the laws of a ratio."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.proportion import confint_proportions_2indep

from bench.errors import InputError
from bench.record import Gpu, Trial
from bench.stats import (
    TIE_BAND,
    Comparison,
    Disturbance,
    blocks_to_decide,
    compare,
    counts,
    difference_of_shares,
    estimate,
    half_width,
    samples_per_second,
    summarise,
    time_to_first_step_seconds,
    verdict_of,
    wilson,
)
from tests.make import MIB, make_machine, make_task, make_trial

SECONDS = st.floats(min_value=0.01, max_value=100)
PAIRS = st.lists(st.tuples(SECONDS, SECONDS), min_size=2, max_size=8)
MIRRORED = {"faster": "slower", "slower": "faster", "tie": "tie", "undecided": "undecided"}
UNHURRIED = settings(deadline=None)  # on a shared machine a slow example proves nothing
FEW = settings(max_examples=30, deadline=None)  # an example validates up to 16 records


def sides(pairs: list[tuple[float, float]], scale: float = 1.0) -> tuple[list[Trial], list[Trial]]:
    """Trials of torch-eager and of tensorflow-function, a block for each pair of seconds."""
    a = [make_trial("torch-eager", block, seconds=one * scale) for block, (one, _) in enumerate(pairs)]
    b = [make_trial("tensorflow-function", block, seconds=two * scale) for block, (_, two) in enumerate(pairs)]
    return a, b


def figures(comparison: Comparison) -> list[float]:
    """Ratio and interval."""
    assert comparison.ratio is not None
    assert comparison.interval is not None
    return [comparison.ratio, *comparison.interval]


def test_the_warm_up_epoch_does_not_enter_samples_per_second() -> None:
    """The median over the windows of the epochs after the first."""
    task = make_task()
    trial = make_trial(seconds=2.0)  # its first epoch takes 4.0

    actual = samples_per_second(trial)

    assert (task.steps_per_epoch - 1) * 64 / 2.0 == actual


def test_a_single_epoch_is_used_and_flagged() -> None:
    """Where there is no epoch but the warm-up, its value stands, and the summary says so."""
    task = make_task(epochs=1)
    short, long = make_trial(seconds=1.0, task=task), make_trial(seconds=1.0)

    actual = samples_per_second(short), summarise([short])[0].warm_up_only, summarise([long])[0].warm_up_only

    assert ((task.steps_per_epoch - 1) * 64 / 2.0, True, False) == actual


def test_an_epoch_without_a_window_is_measured_by_its_batch() -> None:
    """A record whose epochs hold a single batch has no window; its value is never a division by zero."""
    trial = make_trial()
    assert trial.measurements is not None
    single = [
        epoch.model_copy(update={"window_steps": 0, "window_seconds": 0.0}) for epoch in trial.measurements.epochs
    ]
    trial = trial.model_copy(update={"measurements": trial.measurements.model_copy(update={"epochs": single})})

    actual = samples_per_second(trial)

    assert pytest.approx(64 / 0.001) == actual


def test_time_to_first_step_is_import_build_and_first_step() -> None:
    """The harness's own work on the data is left out."""
    actual = time_to_first_step_seconds(make_trial(import_seconds=4.0, build_seconds=2.0, first_step_seconds=1.0))

    assert actual == 7.0


@pytest.mark.parametrize(
    "trial",
    [
        make_trial(status="refused", reason="no"),
        make_trial(status="timed-out", reason="too long"),
        make_trial(certificate="refused", certificate_reason="loss differs"),
        make_trial().model_copy(update={"certificate": None}),
    ],
    ids=["refused", "timed-out", "certificate refused", "no certificate"],
)
def test_a_trial_without_proof_never_counts(trial: Trial) -> None:
    """Only status ok with the certificate same-work enters; the others are told with their reason."""
    summary = summarise([make_trial(block=1), trial])[0]

    actual = counts(trial), summary.n, sum(left.trials for left in summary.left_out), bool(summary.left_out[0].reason)

    assert actual == (False, 1, 1, True)


def test_a_good_trial_counts() -> None:
    """The check of the test above can say yes."""
    actual = counts(make_trial())

    assert actual is True


def test_an_uncertified_trial_changes_no_ratio() -> None:
    """A wild value without proof leaves the comparison as it was."""
    a, b = sides([(1.0, 2.0), (1.1, 2.1), (0.9, 2.2)])
    wild = make_trial("tensorflow-function", 3, seconds=1e-6, certificate="refused")

    actual = compare([*a, make_trial(block=3)], [*b, wild])

    assert compare(a, b) == actual


def test_a_summary_tells_median_range_accuracy_and_worst_deviation() -> None:
    """The figures are those of the records."""
    trials = [
        make_trial(block=0, seconds=1.0, accuracy=0.86, deviation=1e-7, peak_bytes=100),
        make_trial(block=1, seconds=2.0, accuracy=0.88, deviation=3e-6, peak_bytes=300),
        make_trial(block=2, seconds=4.0, accuracy=0.87, deviation=2e-7, peak_bytes=200),
    ]
    samples = (make_task().steps_per_epoch - 1) * 64

    seen = summarise(trials)[0]

    assert seen.samples_per_second is not None
    assert seen.peak_training_bytes is not None
    assert (samples / 2, samples / 4, samples, 3) == (
        seen.samples_per_second.median,
        seen.samples_per_second.least,
        seen.samples_per_second.greatest,
        seen.samples_per_second.n,
    )
    assert (seen.loss_deviation, seen.float64_deviation) == (3e-6, 3e-16)
    assert (seen.peak_training_bytes.median,) == (200,)
    assert pytest.approx((0.87, 0.01)) == (seen.final_accuracy_mean, seen.final_accuracy_sd)


def test_machines_devices_threads_precisions_and_environments_are_never_pooled() -> None:
    """Each is a case of its own."""
    trials = [
        make_trial(),
        make_trial(machine=make_machine(fingerprint="other")),
        make_trial(device="cuda"),
        make_trial(threads=1),
        make_trial(task=make_task(batch_size=32)),
        make_trial(precision="tf32"),
        make_trial(environment="torch-2.12"),
        make_trial(processes=2),
    ]

    actual = [summary.n for summary in summarise(trials)]

    assert actual == [1, 1, 1, 1, 1, 1, 1, 1]


@FEW
@given(pairs=PAIRS)
def test_ratio_of_the_inverse_is_the_inverse(pairs: list[tuple[float, float]]) -> None:
    """A over B is one over B over A: ratio, interval and verdict."""
    a, b = sides(pairs)

    there, back = compare(a, b), compare(b, a)

    ratio, low, high = figures(back)
    assert [pytest.approx(value, rel=1e-9) for value in (1 / ratio, 1 / high, 1 / low)] == figures(there)
    assert MIRRORED[back.verdict] == there.verdict


@FEW
@given(pairs=PAIRS, random=st.randoms(use_true_random=False))
def test_order_of_trials_is_irrelevant(pairs: list[tuple[float, float]], random: object) -> None:
    """The same trials in any order give the same bits."""
    a, b = sides(pairs)
    mixed_a, mixed_b, every = a.copy(), b.copy(), a + b
    for trials in (mixed_a, mixed_b, every):
        random.shuffle(trials)  # type: ignore[attr-defined]

    actual = compare(mixed_a, mixed_b), summarise(every)

    assert (compare(a, b), summarise(a + b)) == actual


@FEW
@given(pairs=PAIRS, scale=st.floats(min_value=0.001, max_value=1000))
def test_a_ratio_is_unit_free(pairs: list[tuple[float, float]], scale: float) -> None:
    """Seconds or milliseconds: the ratio is the same."""
    expected = figures(compare(*sides(pairs)))

    actual = figures(compare(*sides(pairs, scale)))

    assert [pytest.approx(value, rel=1e-9) for value in expected] == actual


@UNHURRIED
@given(sd=st.floats(min_value=1e-6, max_value=10), n=st.integers(min_value=2, max_value=500))
def test_more_blocks_with_the_same_sd_do_not_widen(sd: float, n: int) -> None:
    """The half-width falls with every block."""
    actual = half_width(sd, n + 1)

    assert half_width(sd, n) > actual


@pytest.mark.parametrize("n", [2, 5, 30])
def test_the_half_width_is_that_of_scipys_t_interval(n: int) -> None:
    """The quantile taken from scipy.special is scipy.stats' own."""
    expected = distributions.t.interval(0.95, n - 1, loc=0, scale=0.3 / math.sqrt(n))[1]

    actual = half_width(0.3, n)

    assert pytest.approx(expected, rel=1e-12) == actual


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_intervals_cover_what_they_say(n: int) -> None:
    """94 to 97% of 95% intervals hold the true ratio, blocks shifted together as a busy machine shifts them."""
    rng = np.random.Generator(np.random.Philox(20260102))
    true, tries = math.log(1.3), 10_000
    machine = rng.normal(0, 0.2, (tries, n))
    a = machine + rng.normal(0, 0.02, (tries, n))
    b = machine + true + rng.normal(0, 0.03, (tries, n))
    intervals = [estimate(row).interval for row in (b - a).tolist()]

    actual = sum(i is not None and i[0] <= true <= i[1] for i in intervals) / tries

    assert 0.94 <= actual <= 0.97


def test_intervals_of_unpaired_values_would_not_cover() -> None:
    """The simulation can fail: with a normal quantile in place of Student's, 3 blocks cover far too little."""
    rng = np.random.Generator(np.random.Philox(20260102))
    rows = rng.normal(0, 1, (10_000, 3))
    half = 1.96 * rows.std(axis=1, ddof=1) / math.sqrt(3)

    actual = float(np.mean(np.abs(rows.mean(axis=1)) <= half))

    assert actual < 0.94


def test_a_single_block_has_no_interval() -> None:
    """The ratio stands, undecided, with the reason."""
    actual = compare(*sides([(1.0, 2.0)]))

    assert actual.interval is None
    assert (
        actual.verdict,
        actual.blocks_to_decide,
        actual.reason,
    ) == ("undecided", None, "a single block has no interval")


def test_no_block_in_common_has_no_ratio() -> None:
    """Trials of different blocks or runs are never paired."""
    a, b = [make_trial(block=0, run="one")], [make_trial("tensorflow-function", 0, run="two")]

    actual = compare(a, b)

    assert (actual.pairs, actual.ratio, actual.interval, actual.verdict) == (0, None, None, "undecided")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.02, 0.03, "faster"),
        (-0.03, -0.02, "slower"),
        (-0.005, 0.005, "tie"),
        (0.0, 0.02, "undecided"),
        (-0.02, 0.02, "undecided"),
    ],
)
def test_the_verdict_follows_the_tie_band(low: float, high: float, expected: str) -> None:
    """Outside the band of +-1%: faster or slower. Inside: tie. Across an edge: undecided."""
    actual = verdict_of((low, high), more_is_faster=True)

    assert expected == actual


def test_less_time_is_faster() -> None:
    """The verdict knows which way a quantity counts."""
    a = [make_trial("torch-eager", block, import_seconds=2.0) for block in range(3)]
    b = [make_trial("tensorflow-function", block, import_seconds=8.0) for block in range(3)]

    actual = compare(a, b, value="time_to_first_step_seconds").verdict

    assert actual == "slower"


@UNHURRIED
@given(mean=st.floats(min_value=-0.2, max_value=0.2), sd=st.floats(min_value=1e-4, max_value=0.3))
def test_blocks_to_decide_is_the_least_number_that_decides(mean: float, sd: float) -> None:
    """At that number the interval has left the edge behind, one block earlier it had not."""
    n = blocks_to_decide(mean, sd)
    if n is None:
        n = 10_000
        assert half_width(sd, n) >= abs(abs(mean) - TIE_BAND)
        return

    half = half_width(sd, n)

    assert verdict_of((mean - half, mean + half), more_is_faster=True) != "undecided"
    assert n == 2 or half_width(sd, n - 1) >= abs(abs(mean) - TIE_BAND)


def test_a_ratio_on_the_edge_of_the_band_is_never_decided() -> None:
    """No number of blocks is promised where none would do."""
    actual = blocks_to_decide(TIE_BAND, 0.1)

    assert actual is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_trial("numpy", task=make_task(batch_size=32)), "comparisons across fingerprints are refused"),
        (make_trial("numpy", machine=make_machine(fingerprint="other")), "comparisons across machines are refused"),
        (make_trial("numpy", device="cuda"), "comparisons across devices are refused"),
        (make_trial("numpy", threads=1), "comparisons across threads are refused"),
        (make_trial("numpy", processes=2), "comparisons across processes are refused"),
        (make_trial("numpy", precision="tf32"), "comparisons across precisions are refused"),
    ],
    ids=["fingerprint", "machine", "device", "threads", "processes", "precision"],
)
def test_unlike_sides_are_refused(other: Trial, message: str) -> None:
    """Another task, machine, device, number of threads or precision is an error, on either side and within one."""
    trial = make_trial()

    for a, b in (([trial], [other]), ([other], [trial]), ([trial], [trial, other])):
        with pytest.raises(InputError, match=message):
            compare(a, b)


def test_environments_are_compared_and_never_mixed() -> None:
    """Two versions of one framework are a comparison; on one side they would be no case."""
    old = [make_trial(block=block, environment="torch-2.12") for block in range(2)]
    new = [make_trial(block=block, environment="torch-2.13", seconds=0.5) for block in range(2)]

    actual = compare(old, new).ratio

    assert pytest.approx(2.0) == actual
    with pytest.raises(InputError, match="mixes the environments"):
        compare([old[0], new[1]], old)


def with_energy(trial: Trial, joules: list[float | None]) -> Trial:
    """The trial with the energy of each of its windows."""
    assert trial.measurements is not None
    epochs = [
        epoch.model_copy(update={"surroundings": epoch.surroundings.model_copy(update={"energy_joules": value})})
        for epoch, value in zip(trial.measurements.epochs, joules, strict=True)
        if epoch.surroundings is not None
    ]
    return trial.model_copy(update={"measurements": trial.measurements.model_copy(update={"epochs": epochs})})


def test_energy_is_per_sample_of_the_windows_and_per_epoch_of_all_its_rows() -> None:
    """The first row of an epoch lies outside the window, and is reckoned like the others."""
    steps = make_task().steps_per_epoch
    trial = with_energy(make_trial(), [20.0, 10.0, 12.0])

    seen = summarise([trial])[0]

    assert seen.joules_per_sample is not None
    assert seen.joules_per_epoch is not None
    assert pytest.approx(42.0 / (3 * (steps - 1) * 64)) == seen.joules_per_sample.median
    assert pytest.approx(14.0 * steps / (steps - 1)) == seen.joules_per_epoch.median
    assert seen.energy_reason is None


def test_energy_that_was_not_read_in_every_window_is_none_with_its_reason() -> None:
    """Half of it would be a wrong figure."""
    seen = [summarise([trial])[0] for trial in (make_trial(), with_energy(make_trial(), [20.0, None, 12.0]))]

    assert [(None, "no RAPL here")] * 2 == [(one.joules_per_sample, one.energy_reason) for one in seen]


def test_memory_is_told_by_kind() -> None:
    """Resident, anonymous and of files; what no trial has is None, never 0."""
    seen = summarise([make_trial(), make_trial(block=1)])[0]

    assert seen.sampled_peak is not None
    assert seen.after_import is not None
    assert (400 * MIB, 300 * MIB, 100 * MIB) == (
        seen.sampled_peak.rss_bytes.median,
        seen.sampled_peak.anon_bytes.median,
        seen.after_import.file_bytes.median,
    )
    assert (seen.device_peak_allocated_bytes, seen.device_memory_reason) == (None, "not on CUDA")


def test_a_disturbed_trial_counts_and_is_named() -> None:
    """Nothing is dropped in silence, and nothing is kept in silence."""
    trial = make_trial(block=1).model_copy(update={"disturbances": ["steal of 0.4 s"]})

    seen = summarise([make_trial(), trial])[0]

    assert seen.n == 2
    assert (Disturbance(run="run-0", block=1, reasons=("steal of 0.4 s",)),) == seen.disturbed
    assert summarise([make_trial()])[0].disturbed == ()


def make_gpu(**changes: object) -> Gpu:
    """A card over two samples."""
    values: dict[str, object] = {
        "uuid": "GPU-0",
        "name": "Example GPU",
        "driver": "580.1",
        "mig": False,
        "at_seconds": [0.1, 0.2],
        "busy_percent": [90.0, 100.0],
        "memory_used_bytes": [1e9, 2e9],
        "power_watts": [300.0, None],
        "sm_clock_megahertz": [1980.0, 1980.0],
        "memory_clock_megahertz": [2619.0, 2619.0],
        "temperature_celsius": [40.0, 44.0],
        "throttle_reasons": [["hw-slowdown"], []],
        "gpm": {"sm": [0.5, 0.7]},
        "energy_joules": 640.0,
        "window_seconds": 3.0,
        "foreign_processes": [],
        "reasons": {},
    }
    return Gpu.model_validate(values | changes)


def test_a_card_is_summed_up_by_trial() -> None:
    """Means of what was read, the greatest temperature and memory, and the share of samples that were throttled."""
    trial = make_trial(device="cuda").model_copy(update={"gpu": make_gpu()})
    blind = make_gpu(power_watts=[None, None], throttle_reasons=[None, None], reasons={"power_watts": "not supported"})
    other = make_trial(block=1, device="cuda").model_copy(update={"gpu": blind})

    summary = summarise([trial, other])[0]

    seen = summary.gpu
    assert seen is not None
    assert seen.busy_percent is not None
    assert seen.power_watts is not None
    assert seen.temperature_celsius is not None
    assert (95.0, 300.0, 1, 44.0) == (
        seen.busy_percent.median,
        seen.power_watts.median,
        seen.power_watts.n,
        seen.temperature_celsius.median,
    )
    assert (("hw-slowdown", 0.5),) == seen.throttled
    assert (("power_watts", "not supported"),) == seen.reasons
    assert ["sm"] == [name for name, _ in seen.gpm]
    assert summary.joules_per_sample is not None
    assert pytest.approx(640.0 / (3 * (make_task().steps_per_epoch - 1) * 64)) == summary.joules_per_sample.median


def test_without_a_card_there_is_no_summary_of_one() -> None:
    """And a card that tells no energy says why."""
    silent = make_gpu(energy_joules=None, reasons={"energy_joules": "not supported"})
    trial = make_trial(device="cuda").model_copy(update={"gpu": silent})

    assert summarise([make_trial()])[0].gpu is None
    assert (None, "not supported") == (
        summarise([trial])[0].joules_per_sample,
        summarise([trial])[0].energy_reason,
    )


def test_a_refusal_names_both_fingerprints() -> None:
    """So that the person sees which record is the wrong one."""
    one, other = make_task(), make_task(batch_size=32)

    with pytest.raises(InputError) as caught:
        compare([make_trial(task=one)], [make_trial(task=other)])

    assert one.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_a_block_that_holds_a_case_twice_is_refused() -> None:
    """A copied record must not pass as another block."""
    with pytest.raises(InputError, match="twice in block 0"):
        compare([make_trial(), make_trial()], [make_trial("numpy")])


def test_an_empty_side_is_refused() -> None:
    """An empty selection is a wrong request, not a comparison without a result."""
    with pytest.raises(InputError, match="no trials"):
        compare([], [make_trial()])


SHARES = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(first=SHARES, second=SHARES)
def test_intervals_of_shares_are_those_of_others(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Wilson's is SciPy's, Newcombe's statsmodels', with no and with all of them among the counts."""
    (k, n), (m, o) = first, second
    theirs = distributions.binomtest(k, n).proportion_ci(method="wilson")

    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert difference_of_shares(first, second) == pytest.approx(
        confint_proportions_2indep(k, n, m, o, compare="diff", method="newcomb"), abs=1e-12
    )


def test_an_example_of_newcombes() -> None:
    """His table II, 56 of 70 less 48 of 80: 0.0524 to 0.3339."""
    assert difference_of_shares((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
