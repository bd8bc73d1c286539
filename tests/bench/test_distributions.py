"""bench/distributions.py: the quantiles of scipy.stats, and not a moment of its import before one is asked for."""

import subprocess
import sys

import pytest
from scipy import stats

from bench.distributions import beta_quantile, f_quantile, normal_quantile, t_cdf, t_quantile


@pytest.mark.parametrize("p", [0.005, 0.5, 0.9, 0.975])
@pytest.mark.parametrize("freedom", [1, 4, 29])
def test_quantiles_are_those_of_scipy_stats(freedom: int, p: float) -> None:
    """Whose order of arguments is another one."""
    assert normal_quantile(p) == pytest.approx(stats.norm.ppf(p), rel=1e-9, abs=1e-12)
    assert t_quantile(freedom, p) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9, abs=1e-12)
    assert t_cdf(freedom, t_quantile(freedom, p)) == pytest.approx(p, rel=1e-9)
    assert f_quantile(freedom, 7, p) == pytest.approx(stats.f.ppf(p, freedom, 7), rel=1e-9)
    assert beta_quantile(freedom, 7, p) == pytest.approx(stats.beta.ppf(p, freedom, 7), rel=1e-9)


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import bench.cli", False),
        ("import bench.worker, bench.measure; from bench.budget import student_quantile as q; q(16, 0.999)", False),
        ("from bench.distributions import t_cdf; t_cdf(3, 0.5)", True),  # that the test can fail
    ],
)
def test_the_command_line_and_a_worker_do_without_scipy(code: str, loaded: bool) -> None:
    """In a process of its own."""
    asked = f"import sys; {code}; print('scipy' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()

    assert str(loaded) == said
