"""bench/measures.py: the figures that points hold."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.measures import latency_tail
from tests.make import make_trial

LATENCIES = st.lists(st.integers(min_value=1, max_value=10**12), min_size=1, max_size=300)


@settings(max_examples=200, deadline=None)
@given(LATENCIES)
def test_the_tail_of_the_latencies_is_numpys_to_the_bit(latencies: list[int]) -> None:
    """p99 over p50, linear between order statistics: written out, because numpy takes ten times as long."""
    trial = make_trial()
    assert trial.measurements is not None
    measured = trial.measurements.model_copy(update={"step_latency_nanoseconds": latencies})
    p50, p99 = np.percentile(latencies, (50, 99))

    assert p99 / p50 == latency_tail(trial.model_copy(update={"measurements": measured}))


def test_without_latencies_there_is_no_tail() -> None:
    """None, and no 0."""
    trial = make_trial(status="failed", reason="it broke")

    assert latency_tail(trial) is None
