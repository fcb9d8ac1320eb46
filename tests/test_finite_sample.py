"""The ledger's finite-sample term of real lineages equals its closed form.

Synthetic images are float and unbounded, fits are exact, and pools are so small that the term is
large. Each seed has real images of its own, so that seeds are independent.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import roots_genlaguerre
from scipy.stats import chi2
from tiny_sweep import finish, folder_in_memory, make_lineage, make_sweep, plan_in

from analysis.reading.results import load_results
from analysis.statistics.forecasts import Forecasts
from analysis.tables.ledger import Step, build_ledger
from model.config import ModelConfig, SampleConfig
from model.networks.sampler_gain import sampler_gain
from sweep.config import SweepConfig
from sweep.estimate.forecast import forecast_all
from sweep.store.store import open_store

pytestmark = pytest.mark.slow

CLOSE, FAR = 3.0, 3.5
"""Largest distance from a closed form, and smallest one from a wrong formula, in standard errors.
"""


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def sweep_of(
    changes: dict[str, object], grids: Sequence[dict[str, list]], num_seeds: int
) -> SweepConfig:
    """Lineages of independent seeds on synthetic images, half of them for the reference."""
    settings = {
        "data.name": "synthetic",
        "data.dtype": "float32",
        "data.train_limit": None,
        "data.reference_fraction": 0.5,
        "pool.rule": "replace",
        "pool.alpha": None,
        "metrics.names": ["gain"],
        **changes,
    }
    seeds = [{"seed": [n], "data.split_seed": [n]} for n in range(num_seeds)]
    return make_sweep(tuple(a | b for a in grids for b in seeds), make_lineage(settings))


def distance(values: np.ndarray, expected: float | np.ndarray = 0.0) -> float:
    """How far the mean of independent values is from an expectation, in standard errors."""
    errors = values - expected
    return float(errors.mean() / (errors.std(ddof=1) / len(errors) ** 0.5))


# The variance of maximum likelihood fits


N, SEEDS, GENERATIONS = 5, 120, 3
BANDS = ("head", "middle", "tail")


@pytest.fixture(scope="module")
def gaussian(memory) -> pd.DataFrame:
    """Gaussian fits to N images under replace, and to N, 2 N and 3 N under accumulate."""
    changes: dict[str, object] = {
        "generations": GENERATIONS,
        "data.num_images": 200,
        "data.spectrum": 0.0,
        "model.family": "gaussian",
        "pool.initial_images": N,
        "metrics.num_images": 100,
    }
    sweep = sweep_of(changes, [{"pool.rule": ["replace", "accumulate"]}], SEEDS)
    frame = load_results([finish(memory / "gaussian", sweep)])
    sizes = frame.groupby(["pool.rule", "generation"])["num_images"].unique().explode()
    assert sizes["replace"].tolist() == [N] * GENERATIONS
    assert sizes["accumulate"].tolist() == [N * t for t in range(1, GENERATIONS + 1)]
    return frame


def kept(rule: str, t: int) -> float:
    """Expected variance of V_t along a direction that does not depend on the pools, over the real.

    A fit to n images has divisor n, and so 1 - 1/n of the variance that they were drawn with. Under
    accumulate, k N images have the fit's variance v and mean m, so their squares about m add up to
    k N v. Those of N new images about their own mean add up to (N - 1) v, and that mean has a
    variance of v / N about m. About the common mean of all (k + 1) N images it is, in expectation,
    k N v + (N - 1) v + v k / (k + 1) = ((k + 1) N - 1 / (k + 1)) v.
    """
    if rule == "replace":
        return (1 - 1 / N) ** t
    return float(np.prod([1 - 1 / (N * k**2) for k in range(1, t + 1)]))


def distances(frame: pd.DataFrame, rule: str, expected: Callable[[int], float]) -> list[float]:
    """Of the term in each band and generation, from what is expected of a share of the variance.

    The first pool is a random part of all training images, which give the directions. Their own
    variance is gain_train of the reference's, and so is that of the first pool in expectation.
    """
    steps = [Step("finite sample", (f"rule={rule}",))]
    tables = build_ledger(frame, [f"gain_{band}" for band in BANDS], steps, confidence=0.95)
    found = []
    for band, table in zip(BANDS, tables, strict=True):
        rows = table.summary[table.summary["term"] == "finite sample"]
        for t, mean in zip(rows["generation"], rows["mean"], strict=True):
            own = frame[(frame["pool.rule"] == rule) & (frame["generation"] == t)]
            term = own[f"gain_{band}"].to_numpy() - 1
            assert mean == pytest.approx(term.mean())
            found.append(distance(term, expected(t) * own[f"gain_train_{band}"].to_numpy() - 1))
    return found


@pytest.mark.parametrize("rule", ["replace", "accumulate"])
def test_the_term_of_a_fit_is_the_variance_that_few_images_lose(gaussian, rule: str) -> None:
    assert np.abs(distances(gaussian, rule, lambda t: kept(rule, t))).max() < CLOSE


WRONG: dict[str, tuple[str, Callable[[int], float]]] = {
    "nothing is lost": ("replace", lambda t: 1.0),
    "only the first fit loses": ("replace", lambda t: 1 - 1 / N),
    "a divisor of N - 1 in the formula": ("replace", lambda t: (1 - 1 / (N - 1)) ** t),
    "a fit with divisor N + 1": ("replace", lambda t: (1 - 2 / (N + 1)) ** t),
    "accumulating as replacing": ("accumulate", lambda t: (1 - 1 / N) ** t),
    "each pool loses by its size": (
        "accumulate",
        lambda t: float(np.prod([1 - 1 / (N * k) for k in range(1, t + 1)])),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_formula_of_a_fit_is_found(gaussian, name: str) -> None:
    rule, formula = WRONG[name]
    assert np.abs(distances(gaussian, rule, formula)).max() > FAR


# The exact score of few images, with a sampler that contracts


FEW, MANY = 3, 400
SAMPLER = ModelConfig(family="exact-gaussian", process="flow", normalization="half")
STEPS = SampleConfig(steps=3)
VARIANCE = 64.0
"""In the network's units, of the only direction: 4 for each of 16 equal pixels."""


@pytest.fixture(scope="module")
def one_direction(memory) -> tuple[pd.DataFrame, Forecasts]:
    """Images whose 16 pixels are equal, so that a fit has one variance and no directions."""
    changes: dict[str, object] = {
        "generations": 2,
        "data.image_size": 4,
        "data.num_images": 2 * MANY,
        "data.spectrum": 1000.0,
        "model.family": "gaussian",
        "model.normalization": SAMPLER.normalization,
        "sample.steps": STEPS.steps,
        "pool.initial_images": FEW,
        "metrics.num_images": MANY,
    }
    exact = {"model.family": [SAMPLER.family], "model.process": [SAMPLER.process]}
    sweep = sweep_of(changes, [{"model.family": ["gaussian"], "generations": [1]}, exact], SEEDS)
    out = finish(memory / "exact", sweep)
    forecasts = {
        lineage: [{"head": each.head} for each in generations]
        for lineage, generations in forecast_all(plan_in(sweep, open_store(out))).items()
    }
    return load_results([out]), forecasts


def sampled(variances: np.ndarray) -> np.ndarray:
    """Variance of the samples of pools, both in units of the real one."""
    return variances * sampler_gain(VARIANCE * variances, SAMPLER, STEPS)


def expected_variance(t: int) -> float:
    """Expected variance of V_t's samples in units of the real one, by quadrature.

    A fit's variance is chi^2_{N-1} / N times the variance with which its images were drawn.
    """
    x, weights = roots_genlaguerre(80, (FEW - 1) / 2 - 1)
    factors, weights = 2 * x / FEW, weights / weights.sum()

    def following(variances: np.ndarray, left: int) -> np.ndarray:
        if left == 0:
            return variances
        drawn = sampled(np.multiply.outer(variances, factors).ravel())
        return following(drawn, left - 1).reshape(len(variances), -1) @ weights

    return float(following(np.ones(1), t)[0])


def gains(frame: pd.DataFrame, family: str, t: int) -> np.ndarray:
    rows = frame[(frame["model.family"] == family) & (frame["generation"] == t)]
    return rows.sort_values("seed")["gain_head"].to_numpy()


def terms(
    frame: pd.DataFrame, steps: list[Step], forecasts: Forecasts | None = None
) -> pd.DataFrame:
    """Means by generation and term."""
    (table,) = build_ledger(frame, ["gain_head"], steps, confidence=0.95, forecast=forecasts)
    return table.summary.set_index(["generation", "term"])["mean"].astype(float).unstack("term")


def forecast_of(forecasts: Forecasts, frame: pd.DataFrame, t: int) -> np.ndarray:
    rows = frame[(frame["model.family"] == "exact-gaussian") & (frame["generation"] == t)]
    return np.array([forecasts[x][t - 1]["head"] for x in rows.sort_values("seed")["lineage"]])


OF_REFERENCE = (MANY - 1) / (MANY - 3)
"""Expectation of the real variance over that of the reference images."""
SAMPLER_FIRST = [Step("finite sample", ("family=exact-gaussian",))]
FIT_FIRST = [
    Step("finite sample", ("family=gaussian",)),
    Step("sampler", SAMPLER_FIRST[0].settings),
]


def expected_forecast(t: int) -> float:
    """Expected forecast for V_t, which takes the training images' variance for the real one."""

    def gain(x: float) -> float:
        variance = start = np.array([x / MANY])
        for _ in range(t):
            variance = sampled(variance)
        return float((variance / start)[0])

    return float(chi2(MANY - 1).expect(gain))


@pytest.mark.parametrize("t", [1, 2])
def test_the_term_of_an_exact_score_is_what_its_forecast_does_not_know(one_direction, t) -> None:
    frame, forecasts = one_direction
    found = terms(frame, SAMPLER_FIRST, forecasts).loc[t]
    forecast, gain = forecast_of(forecasts, frame, t), gains(frame, "exact-gaussian", t)
    assert found["sampler"] == pytest.approx(forecast.mean() - 1)
    assert found["finite sample"] == pytest.approx((gain - forecast).mean())
    assert abs(distance(forecast, expected_forecast(t))) < CLOSE
    expected = expected_variance(t) * OF_REFERENCE - expected_forecast(t)
    assert abs(distance(gain - forecast, expected)) < CLOSE
    assert abs(distance(gain - forecast)) > FAR


def test_wrong_formulas_of_an_exact_score_are_found(one_direction) -> None:
    """The samples of a pool with the expected variance, and a gain that does not change."""
    frame, _ = one_direction
    gain, one = gains(frame, "exact-gaussian", 1), np.ones(1)
    for wrong in (sampled((1 - 1 / FEW) * one), (1 - 1 / FEW) * sampled(one)):
        assert abs(distance(gain, float(wrong[0]) * OF_REFERENCE)) > FAR


def test_an_interaction_is_in_the_later_arms_term(one_direction) -> None:
    """Few images and a coarse sampler: each alone, both, and what both together add."""
    frame, forecasts = one_direction
    sampler_first, fit_first = (
        terms(frame, SAMPLER_FIRST, forecasts).loc[1],
        terms(frame, FIT_FIRST).loc[1],
    )
    for found in (sampler_first, fit_first):
        assert found["sampler"] + found["finite sample"] == pytest.approx(found["total"], rel=1e-12)
    assert sampler_first["total"] == pytest.approx(fit_first["total"], rel=1e-12)
    fit, both = (gains(frame, family, 1) for family in ("gaussian", "exact-gaussian"))
    sampler = forecast_of(forecasts, frame, 1)
    assert abs(distance(fit - 1, (1 - 1 / FEW) * OF_REFERENCE - 1)) < CLOSE
    interaction = both - sampler - fit + 1
    for later in (
        sampler_first["finite sample"] - fit_first["finite sample"],
        fit_first["sampler"] - sampler_first["sampler"],
    ):
        assert later == pytest.approx(interaction.mean(), rel=1e-9)
    expected = (expected_variance(1) - (1 - 1 / FEW)) * OF_REFERENCE - expected_forecast(1) + 1
    assert abs(distance(interaction, expected)) < CLOSE
    assert abs(distance(interaction)) > FAR
