"""Quantiles and tails of the normal, Student's t, F and beta distributions: SciPy's, loaded by the first call.

SciPy takes a third of a second to import, which commands that ask for no interval (`bench list`, `bench --help`) need
not wait for; `scipy.stats` would take a second more, so these are the functions that it calls itself.
"""

from functools import lru_cache


def normal_quantile(p: float) -> float:
    """The z below which a share p of the normal distribution lies."""
    from scipy.special import ndtri

    return float(ndtri(p))


def t_cdf(freedom: float, t: float) -> float:
    """P(T <= t) of Student's t with so many degrees of freedom."""
    from scipy.special import stdtr

    return float(stdtr(freedom, t))


@lru_cache(maxsize=1024)  # a report asks thousands of times for a handful
def t_quantile(freedom: float, p: float) -> float:
    """The t below which a share p of Student's t lies."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))


def f_quantile(above: float, below: float, p: float) -> float:
    """The value below which a share p of F lies. above, below: degrees of freedom of its two variances."""
    from scipy.special import fdtri

    return float(fdtri(above, below, p))


def beta_quantile(a: float, b: float, p: float) -> float:
    """The value below which a share p of the beta distribution lies."""
    from scipy.special import betaincinv

    return float(betaincinv(a, b, p))
