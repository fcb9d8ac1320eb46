"""Facts of the forecast of variances: the closed forms of pool rules, members and spectra."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_sweep import make_lineage, make_sweep, plan

from model.data.datasets import load_dataset
from model.errors import UsageError
from model.networks.sampler_gain import sampler_gain
from sweep.__main__ import PROGRAM
from sweep.config import LineageConfig
from sweep.estimate.forecast import (
    GenerationForecast,
    Spectrum,
    find_spectrum,
    forecast,
    forecast_all,
)
from sweep.planning.lineages import PlannedLineage

ONE = Spectrum(variances=np.array([2.0]), num_pixels=4, channel_variance=0.25)
"""One direction, in whose units the mean image has a variance of 1/2 per pixel."""
GENERATIONS = 6


def planned(changes: dict[str, object]) -> PlannedLineage:
    """A lineage whose network keeps the units of the first pool, so that its gain is constant."""
    settings = {"model.normalization": "first_pool", "sample.steps": 20, **changes}
    return plan(make_sweep(base=make_lineage(settings, generations=GENERATIONS)))[0]


def variances(lineage: PlannedLineage, spectrum: Spectrum = ONE) -> list[float]:
    return [each.head for each in forecast(lineage, spectrum)]


def first_gain(lineage: PlannedLineage) -> float:
    settings = lineage.nodes[0].settings
    return float(sampler_gain(ONE.variances, settings.model, settings.sample)[0])


def test_the_first_generation_has_the_samplers_gain() -> None:
    lineage = planned({"pool.alpha": 1.0})
    assert variances(lineage)[0] == pytest.approx(first_gain(lineage))


def test_a_perfect_sampler_changes_nothing() -> None:
    lineage = planned({"model.family": "gaussian", "pool.alpha": 1.0})
    assert variances(lineage) == pytest.approx([1.0] * GENERATIONS)


def test_an_exact_score_has_the_forecast_of_its_network() -> None:
    exact, network = (
        planned({"model.family": family, "pool.alpha": 1.0})
        for family in ("exact-gaussian", "ddim")
    )
    assert variances(exact) == variances(network)


@pytest.mark.parametrize("rule", ["replace", "grow", "accumulate", "mix"])
def test_pools_lose_variance_by_their_rules_recursion(rule: str) -> None:
    """With p_n the pool's variance and r its gain: p' = (p + r p) / 2 and so on, at alpha 1."""
    alpha = 1.0 if rule in ("grow", "mix") else None
    lineage = planned({"pool.rule": rule, "pool.alpha": alpha})
    settings = lineage.nodes[0].settings

    def sampled(pool: float) -> float:
        gain = sampler_gain(np.array([2.0 * pool]), settings.model, settings.sample)
        return float(gain[0]) * pool

    pool, expected, everything = 1.0, [], [1.0]
    for _ in range(GENERATIONS):
        new = sampled(pool)
        expected.append(new)
        everything.append(new)
        pool = {
            "replace": new,
            "grow": (pool + new) / 2,
            "accumulate": float(np.mean(everything)),
            "mix": (1 + new) / 2,
        }[rule]
    assert variances(lineage) == pytest.approx(expected, rel=1e-6)


def test_a_smaller_pool_is_enlarged_by_its_own_normalisation() -> None:
    """The network's units follow the pool, so that a pool that has shrunk alike has V_1's gain."""
    alone = Spectrum(variances=np.array([3.0]), num_pixels=3, channel_variance=0.25)
    lineage = planned(
        {"model.normalization": "train_channel", "pool.rule": "replace", "pool.alpha": None}
    )
    shrinking = variances(lineage, alone)
    assert shrinking == pytest.approx([shrinking[0] ** n for n in range(1, GENERATIONS + 1)])


def test_members_mix_by_their_shares() -> None:
    members = ["model.family=gaussian share=0.25", "model.family=ddim share=0.75"]
    lineage = planned({"pool.alpha": 1.0, "ensemble.members": members})
    gain = float(
        sampler_gain(
            ONE.variances, lineage.nodes[1].settings.model, lineage.nodes[1].settings.sample
        )[0]
    )
    assert variances(lineage)[0] == pytest.approx(0.25 + 0.75 * gain)


def test_the_spectrum_adds_up_to_the_pixels_variance() -> None:
    data = load_dataset(LineageConfig().data)
    spectrum = find_spectrum(data)
    train = data.images[data.train] / 255
    D = spectrum.num_pixels
    assert D == 64
    of_pixels = train.var(axis=0).sum() / train.var()
    assert spectrum.variances.sum() == pytest.approx(of_pixels, rel=1e-6)
    assert spectrum.of_mean == pytest.approx(1 - of_pixels / D, rel=1e-6)
    assert spectrum.bands(spectrum.variances) == (1, 1, 1)


def test_few_images_have_as_many_directions_less_one() -> None:
    data = load_dataset(replace(LineageConfig().data, train_limit=20))
    assert len(find_spectrum(data).variances) == 19


def test_a_family_without_a_closed_form_has_no_forecast() -> None:
    lineage = planned({"model.family": "vae", "pool.alpha": 1.0})
    with pytest.raises(UsageError, match="must be one of ddim, unet2d, flow, edm, gaussian"):
        forecast_all([lineage])


def test_the_plan_prints_it_as_a_table_and_as_json(capsys) -> None:
    assert PROGRAM.run(["plan", "quickstart", "--forecast"]) == 0
    text = capsys.readouterr().out
    assert "forecast of the samples' deviation" in text
    assert PROGRAM.run(["plan", "quickstart", "--forecast", "--format", "json"]) == 0
    forecasts = json.loads(capsys.readouterr().out)["forecast"]
    assert len(forecasts) == 6
    names = set(GenerationForecast.__annotations__)
    assert set(forecasts[0]["generations"][0]) == names
    assert f"{forecasts[0]['generations'][0]['deviation']:.2f}" in text
