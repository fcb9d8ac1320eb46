"""Facts of `sweep reproduce`: published results hold, and an injected error contradicts them."""

import json
import math

import numpy as np
import pytest
from scipy import stats

import model.filters.probed
import model.gaussian
import model.networks.ddim
from model.networks.sampler_gain import sampler_gain
from sweep.__main__ import PROGRAM
from sweep.reproductions.capsules import CAPSULES
from sweep.reproductions.dey_2024 import BOUND, inflation
from sweep.reproductions.ferbach_2024 import FIRST, next_shares
from sweep.reproductions.kazdan_2024 import kept_variance
from sweep.reproductions.khelifa_2026 import (
    GENERATIONS,
    GROUPS,
    KERAS,
    LAMBDA,
    MEAN,
    NOISY,
    SCHEDULE,
    SIGNAL_RATE,
    SIGNS,
    VARIANCES,
    estimate_limit,
    hermite_factor,
    variance_of,
)
from sweep.reproductions.report import with_error
from sweep.reproductions.rows import (
    Reproduction,
    Row,
    Source,
    against_bound,
    against_efficiency,
    against_number,
    against_records,
    against_share,
    normal,
    not_comparable,
)
from sweep.reproductions.shi_2025 import entropy
from sweep.reproductions.small_lineages import fit_lineages
from sweep.reproductions.suresh_2024 import log_factor, mean_factor

VERDICTS = {
    "kazdan-2024": "pass",
    "dey-2024": "pass",
    "suresh-2024": "not comparable",
    "shi-2025": "pass",
    "khelifa-2026": "pass",
    "ferbach-2024": "pass",
}


def compared(z: float, source: Source = "paper", *, is_bound: bool = False) -> Row:
    return Row(what="x", source=source, expected=0.0, ours=z, z=z, is_bound=is_bound)


def z_of(row: Row) -> float:
    assert row.z is not None
    return row.z


def verdict(*rows: Row) -> str:
    return Reproduction(rows=rows).verdict


# Rows and verdicts


def test_one_row_passes_within_the_normal_interval_of_99_percent() -> None:
    assert Reproduction(rows=(compared(0.0),)).limit == pytest.approx(2.5758, abs=1e-4)
    assert verdict(compared(2.57)) == verdict(compared(-2.57)) == "pass"
    assert verdict(compared(2.58)) == verdict(compared(-2.58)) == "fail"


def test_the_limit_of_many_rows_divides_their_false_alarms() -> None:
    """Of 10 rows, each may exceed it with probability 0.1 %; rows without a z do not count."""
    rows = (*[compared(0.0)] * 10, not_comparable("y", "why"))
    assert 2 * stats.norm.sf(Reproduction(rows=rows).limit) == pytest.approx(0.001)


def test_one_row_that_fails_decides() -> None:
    assert verdict(compared(0.0), compared(9.0)) == "fail"
    assert verdict(compared(0.0), compared(9.0, source="derived")) == "fail"
    assert verdict(compared(0.0), compared(math.nan)) == "fail"


def test_our_own_derivations_do_not_let_a_reproduction_pass() -> None:
    assert verdict(compared(0.0, source="derived"), not_comparable("y", "why")) == "not comparable"
    assert verdict(compared(0.0, source="records"), not_comparable("y", "why")) == "pass"


def test_a_lower_bound_is_contradicted_from_below_only() -> None:
    assert verdict(compared(99.0, is_bound=True)) == "pass"
    assert verdict(compared(-99.0, is_bound=True)) == "fail"


def test_z_is_as_improbable_as_students_t() -> None:
    """The 97.5 % quantile of 5 degrees of freedom, 2.5706, is 1.96; t beyond doubles stays."""
    assert normal(2.5705818, 5) == pytest.approx(1.959964)
    assert normal(-2.5705818, 5) == pytest.approx(-1.959964)
    assert normal(-1e30, 1e9) == -1e30


def test_the_tests_are_those_of_scipy() -> None:
    ours, theirs = np.random.default_rng(0).normal(size=(2, 12)) * [[1.0], [3.0]]
    row = against_number("x", ours, 0.5, source="derived")
    assert 2 * stats.norm.sf(abs(z_of(row))) == pytest.approx(stats.ttest_1samp(ours, 0.5).pvalue)
    error = theirs.std(ddof=1) / 12**0.5
    row = against_records("x", ours, theirs.mean(), expected_error=error, count=12)
    welch = stats.ttest_ind(ours, theirs, equal_var=False).pvalue
    assert 2 * stats.norm.sf(abs(z_of(row))) == pytest.approx(welch)


def test_a_share_has_the_binomial_error() -> None:
    """60 of 100 is 2 errors of 0.05 above 0.5."""
    row = against_share("x", 60, 100, 0.5, source="paper")
    assert z_of(row) == pytest.approx(2)
    assert row.ours_error == pytest.approx(0.05)


def test_bounds_compare_with_the_mean_or_its_inverse() -> None:
    """Values of mean 2: twice the bound 1; an efficiency of 0.5, above 0.4 and below 0.6."""
    values = np.array([1.9, 2.0, 2.1])
    for against, below, above in ((against_bound, 1.0, 3.0), (against_efficiency, 0.4, 0.6)):
        assert z_of(against("x", values, below)) > 0 > z_of(against("x", values, above))
    assert against_efficiency("x", values, 0.4).ours == pytest.approx(0.5)


def test_values_without_any_spread_fail() -> None:
    assert verdict(against_number("x", np.ones(3), 1.0, source="paper")) == "fail"


def test_numbers_have_two_digits_of_their_error() -> None:
    assert with_error(0.123456, 0.0123) == "0.123 +- 0.012"
    assert with_error(123.4, 12.3) == "123 +- 12"
    assert with_error(1 / 3, 0.0) == "0.3333"


# Closed forms


def test_variance_kept_under_accumulate_has_eulers_product_as_its_limit() -> None:
    """Product of 1 - x^2 / t^2 = sin(pi x) / (pi x), with x^2 = 1 / n."""
    x = 10**-0.5
    limit = math.sin(math.pi * x) / (math.pi * x)
    assert kept_variance("accumulate", 10, 100_000) == pytest.approx(limit, rel=1e-5)
    assert kept_variance("replace", 10, 2) == pytest.approx(0.81)


def test_efficiencies_are_the_limit_of_the_closed_forms_for_many_images() -> None:
    """The risk of the mean is n (1 - kept variance); under accumulate the bound is its limit."""
    n = 10**6
    for rule in ("accumulate", "replace"):
        assert n * (1 - kept_variance(rule, n, 10)) == pytest.approx(inflation(rule, 10), rel=1e-4)
    assert 1 / inflation("accumulate", 100_000) == pytest.approx(BOUND, rel=1e-5)


def test_factors_of_the_deviation_are_those_of_chi_squared() -> None:
    """By numerical integration of chi^2 with n - 1 = 4 degrees of freedom."""
    chi = stats.chi2(4)
    assert mean_factor(5) == pytest.approx(chi.expect(lambda x: (x / 5) ** 0.5))
    assert log_factor(5) == pytest.approx(chi.expect(lambda x: math.log(x / 5) / 2))


def test_the_preferred_of_two_follow_bradley_and_terry() -> None:
    """Shares a, b: a^2 + 2 a b e^r / (e^r + 1) of the first."""
    shares = next_shares(np.array([0.3, 0.7]), np.array([1.0, 0.0]), 2)
    first = 0.09 + 2 * 0.21 * math.e / (math.e + 1)
    assert shares == pytest.approx([first, 1 - first])


def test_the_preferred_of_many_tend_to_the_tilted_distribution() -> None:
    """Of K images, p is at p e^r / E e^r up to a term in 1 / K, which is 2 / 1000 with K = 1000."""
    rewards = np.array([0.2, 0.8, 1.6, 1.6])
    limit = FIRST * np.exp(rewards) / (FIRST @ np.exp(rewards))
    gaps = {K: np.abs(next_shares(FIRST, rewards, K) - limit).max() for K in (8, 16)}
    assert gaps[8] / gaps[16] == pytest.approx(2, rel=0.1)
    assert gaps[16] * 16 / 1000 < 1e-3


def test_entropy_is_that_of_a_normal_distribution() -> None:
    """log(2 pi e) / 2 for each of two dimensions; of rows twice as far apart, 2 log 2 more."""
    rows = np.random.default_rng(0).standard_normal((1000, 2))
    assert entropy(rows) == pytest.approx(math.log(2 * math.pi * math.e), abs=0.1)
    assert entropy(2 * rows) - entropy(rows) == pytest.approx(2 * math.log(2))


def test_the_mixture_of_forward_processes_is_the_limit_of_the_recursion() -> None:
    """The sum over k of lambda (1 - lambda)^k E[P_{(k+1) t_0}], of x^2 - 1 and of x."""
    k = np.arange(1000)
    weights, rates = LAMBDA * (1 - LAMBDA) ** k, SIGNAL_RATE ** (k + 1)
    assert weights @ rates == pytest.approx(hermite_factor(1))
    assert weights @ rates**2 == pytest.approx(hermite_factor(2))
    for real in VARIANCES.values():
        limit = 1 + (real - 1) * hermite_factor(2)
        assert variance_of(100, real) == pytest.approx(limit)
        assert variance_of(GENERATIONS, real) == pytest.approx(limit, rel=0.005)


def test_finite_steps_change_the_variances_of_early_stopping_little() -> None:
    """Below 0.2 %, a third of the standard errors, generation by generation."""
    for real in VARIANCES.values():
        pool = real
        for generation in range(1, GENERATIONS + 1):
            drawn = (sampler_gain(np.array([pool]), SCHEDULE, NOISY) * pool).item()
            assert drawn == pytest.approx(variance_of(generation, real), rel=0.002)
            pool = LAMBDA * real + (1 - LAMBDA) * drawn


def test_pixels_of_early_stopping_are_the_networks_units() -> None:
    """Their mean is 0 and their mean square 1."""
    variances = np.array([VARIANCES[group] for group in GROUPS])
    assert (MEAN * SIGNS).mean() == 0
    assert (variances + (MEAN * SIGNS) ** 2).mean() == pytest.approx(1)


def test_the_last_estimate_has_the_fixed_point_of_its_gain() -> None:
    """It solves u = lambda v + (1 - lambda) g(u) u."""
    real = 1.75
    pool = estimate_limit(real) * real
    gain = sampler_gain(np.array([pool]), SCHEDULE, KERAS).item()
    assert pool == pytest.approx(LAMBDA * real + (1 - LAMBDA) * gain * pool)


def test_lineages_of_both_rules_have_the_same_first_model_and_seeds_differ() -> None:
    accumulate, replace = (
        fit_lineages(rule, num_images=4, generations=2, seeds=2)
        for rule in ("accumulate", "replace")
    )
    assert replace.variances.shape == (2, 2, 64)
    assert (accumulate.variances[:, 0] == replace.variances[:, 0]).all()
    assert (accumulate.variances[:, 1] != replace.variances[:, 1]).any()
    assert (replace.means[0] != replace.means[1]).all()


# The command


def test_the_list_has_a_line_for_each_capsule(capsys) -> None:
    assert PROGRAM.run(["reproduce"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(CAPSULES)
    assert PROGRAM.run(["reproduce", "--format", "json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == list(CAPSULES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPSULES)
def test_published_results_hold(name: str, capsys) -> None:
    """A reproduction without a published number says so. Its text fits 100 columns."""
    assert PROGRAM.run(["reproduce", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == VERDICTS[name]
    assert max(map(len, lines)) <= 100


def widened(flat):
    """Mean and factor of a fit with a variance that is a fifth too large."""
    mean, factor = FIT(flat)
    return mean, factor * 1.2**0.5


def unbiased(flat):
    """Mean and factor of a fit with divisor N - 1 in place of N."""
    mean, factor = FIT(flat)
    return mean, factor * (len(flat) / (len(flat) - 1)) ** 0.5


def hasty(rewards, temperature, rng):
    """A choice at a temperature that is a fifth too high."""
    return CHOOSE(rewards, temperature * 1.2, rng)


def nearest(self):
    """The free row nearest to the accepted ones, in place of the farthest."""
    return int(np.argmin(np.where(self.is_free, self.squares, np.inf)))


def late(times, max_signal_rate, min_signal_rate):
    """A schedule that ends nearer to the images."""
    return RATES(times, (max_signal_rate + 1) / 2, min_signal_rate)


FIT, CHOOSE = model.gaussian.mean_and_factor, model.filters.probed.choose
RATES = model.networks.ddim.diffusion_rates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "error"),
    [
        ("kazdan-2024", "model.gaussian.mean_and_factor", unbiased),
        ("dey-2024", "model.gaussian.mean_and_factor", widened),
        ("suresh-2024", "model.gaussian.mean_and_factor", unbiased),
        ("ferbach-2024", "model.filters.probed.choose", hasty),
        ("shi-2025", "model.filters.spread.Spread.farthest", nearest),
        ("khelifa-2026", "model.networks.ddim.diffusion_rates", late),
    ],
)
def test_an_injected_error_contradicts_them(name, target, error, monkeypatch, capsys) -> None:
    monkeypatch.setattr(target, error)
    assert PROGRAM.run(["reproduce", name, "--format", "json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "fail"
    assert "fail" in {row["verdict"] for row in result["rows"]}
