"""Facts of the forecast of variances: the closed forms of pool rules, members and spectra."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_sweep import compute, make_lineage, make_sweep, plan, plan_in

from model.data.datasets import load_dataset
from model.errors import UsageError
from model.networks.sampler_gain import sampler_gain, sampler_response
from sweep.__main__ import PROGRAM
from sweep.commands.plan import look_ahead
from sweep.commands.request import load_sweep_file
from sweep.config import LineageConfig, flatten, to_json
from sweep.estimate.forecast import (
    GenerationForecast,
    forecast,
    forecast_all,
    forecast_lines,
    split_linear,
)
from sweep.estimate.spectrum import Classes, Spectrum, find_spectrum
from sweep.planning.lineages import PlannedLineage
from sweep.planning.rules import POOL_RULES
from sweep.store.store import open_store

ONE = Spectrum(
    variances=np.array([2.0]),
    directions=np.full((4, 1), 0.5),
    channel_variances=np.full(4, 0.25),
)
"""One direction, in whose units the mean image has a variance of 1/2 per pixel."""
GENERATIONS = 6
EXPERIMENTS = Path(__file__).parents[1] / "experiments"


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
    alone = replace(ONE, variances=np.array([4.0]))
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
    D, real = len(spectrum.channel_variances), spectrum.real
    assert D == 64
    nothing = replace(real, variances=0 * real.variances)
    of_pixels = train.var(axis=0).sum() / train.var()
    assert spectrum.variances.sum() == pytest.approx(of_pixels, rel=1e-6)
    assert spectrum.total(real) == 1
    assert spectrum.total(nothing) == pytest.approx(1 - of_pixels / D, rel=1e-6)
    assert spectrum.bands(real) == (1, 1, 1)
    of_pixels = np.sqrt(spectrum.by_pixel(real) * spectrum.channel_variances)
    np.testing.assert_allclose(of_pixels, train.std(axis=0).ravel(), atol=1e-6)
    quarter = replace(real, variances=real.variances / 4)
    assert spectrum.pixel_std(quarter) == pytest.approx(0.5)


def test_few_images_have_as_many_directions_less_one() -> None:
    data = load_dataset(replace(LineageConfig().data, train_limit=20))
    spectrum = find_spectrum(data)
    assert len(spectrum.variances) == 19
    of_pixels = np.sqrt(spectrum.by_pixel(spectrum.real) * spectrum.channel_variances)
    np.testing.assert_allclose(of_pixels, (data.images[data.train] / 255).std(axis=0).ravel())


def test_a_family_without_a_closed_form_has_no_forecast() -> None:
    lineage = planned({"model.family": "vae", "pool.alpha": 1.0})
    with pytest.raises(UsageError, match="must be one of ddim, unet2d, flow, edm, gaussian"):
        forecast_all([lineage])


def test_lineages_without_one_are_named_beside_the_others(capsys) -> None:
    words = ["plan", "quickstart", "--forecast", "--axis", "model.family=ddim,vae"]
    assert PROGRAM.run([*words, "--axis", "pool.alpha=1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    table = text.partition("forecast of")[2].partition("note:")[0]
    assert "family ddim" in table
    assert "vae" not in table
    assert "note: 3 lineages have no forecast: model.family must be one of ddim" in text


def test_a_forecast_before_the_run_names_the_lineages_of_the_run(tmp_path) -> None:
    """Although no run has prepared the data set yet, whose pixels are part of their ids."""
    sweep = make_sweep()
    before = look_ahead(sweep, out=tmp_path / "out", with_forecast=True)
    in_run = plan_in(sweep, open_store(tmp_path / "store"))
    assert set(before.forecasts or ()) == {lineage.id for lineage in in_run}


def test_the_plan_prints_it_as_a_table_and_as_json(capsys) -> None:
    assert PROGRAM.run(["plan", "quickstart", "--forecast"]) == 0
    text = capsys.readouterr().out
    assert "forecast of the samples' pixel_std" in text
    assert PROGRAM.run(["plan", "quickstart", "--forecast", "--format", "json"]) == 0
    forecasts = json.loads(capsys.readouterr().out)["forecast"]
    assert len(forecasts) == 6
    names = {*GenerationForecast.__annotations__, "measured_pixel_std"}
    assert set(forecasts[0]["generations"][0]) == names
    assert f"{forecasts[0]['generations'][0]['pixel_std']:.2f}" in text


@pytest.mark.parametrize(
    ("own", "fine", "note"),
    [
        (
            (),
            ("--sample.steps", "100", "--model.max-signal-rate", "0.999"),
            "for Gaussian images, 10 steps ending at signal rate 0.95 multiply their pixel_std by "
            "{:.2f}, however well the network is trained; 100 steps ending at signal rate 0.999, "
            "by {:.2f}",
        ),
        (
            ("--model.family", "edm"),
            ("--model.family", "edm", "--sample.steps", "100"),
            "for Gaussian images, 10 steps of edm multiply their pixel_std by {:.2f}, however well "
            "the network is trained; 100 steps of edm, by {:.2f}",
        ),
    ],
)
def test_a_sampler_that_changes_deviation_is_named_with_a_finer_one(
    own, fine, note, capsys
) -> None:
    """Both numbers are V_1's in the forecasts of the two samplers."""
    notes, kept = [], []
    for words in (own, fine):
        arguments = ["plan", "quickstart", "--forecast", "--format", "json", *words]
        assert PROGRAM.run(arguments) == 0
        plan = json.loads(capsys.readouterr().out)
        notes += plan["notes"]
        kept.append(plan["forecast"][0]["generations"][0]["pixel_std"])
    assert notes == [note.format(*kept)]


def test_measured_values_are_averaged_over_seeds_alone() -> None:
    """Lineages with the same forecast and another training stand apart."""
    out = EXPERIMENTS / "mechanism"
    outlook = look_ahead(load_sweep_file(out / "sweep.json"), out=out, with_forecast=True)
    assert outlook.forecasts is not None
    lines = list(forecast_lines(outlook.lineages, outlook.forecasts, outlook.measured))
    cells = [line.split() for line in lines if line.startswith("  V_")]
    assert {cell[4] for cell in cells} == {"(3)"}
    assert len(cells) == 4 * len(outlook.lineages) / 3


def remaining(run: str, config: Callable[[LineageConfig], bool]) -> np.ndarray:
    """pixel_std of V_1 over real images, and of V_4 over V_1: (2, 2), predicted and measured."""
    out = EXPERIMENTS / run
    outlook = look_ahead(load_sweep_file(out / "sweep.json"), out=out, with_forecast=True)
    assert outlook.forecasts is not None
    chosen = [each.id for each in outlook.lineages if config(each.config)]
    assert len(chosen) == 3  # seeds
    predicted = [[each.pixel_std for each in outlook.forecasts[name]] for name in chosen]
    rows = np.mean([predicted, [outlook.measured[name] for name in chosen]], axis=1)
    return np.stack([rows[:, 0], rows[:, 3] / rows[:, 0]])


def test_committed_networks_follow_their_forecast() -> None:
    """They keep a little more of the deviation than the forecast says, in nearly the same order.

    The numbers of 5 steps and of grow were computed once more by other code.
    """
    arms = [
        ("mechanism", {"sample.steps": 5}),
        ("mechanism", {"sample.steps": 100}),
        ("mechanism", {"sample.stochasticity": 1.0, "sample.multistep": 1}),
        ("mechanism", {"sample.multistep": 2}),
        ("mechanism", {"model.family": "flow"}),
        *(("rules", {"pool.rule": name}) for name, x in POOL_RULES.items() if not x.selects),
    ]
    found = np.stack([remaining(run, lambda x, own=own: has(x, own)) for run, own in arms])
    five, left = found[0], found[:, 1]
    np.testing.assert_allclose(five, [[0.718, 0.832], [0.664, 0.689]], atol=0.001)
    grow = left[5]
    np.testing.assert_allclose(grow, [0.844, 0.873], atol=0.001)
    assert np.corrcoef(left.T)[0, 1] > 0.97
    assert 0 < (left[:, 1] - left[:, 0]).mean() < 0.03


def has(config: LineageConfig, changed: Mapping[str, object]) -> bool:
    """Whether a lineage has some settings."""
    settings = dict(flatten(to_json(config)))
    return all(settings[name] == value for name, value in changed.items())


# Conditional models: each class has its own Gaussian


def test_the_spectra_of_classes_add_up_to_that_of_all_images() -> None:
    """Along each principal direction and of each pixel, with the variance of the class means."""
    data = load_dataset(LineageConfig().data)
    whole, by_class = (find_spectrum(data, by_class=x) for x in (False, True))
    real = by_class.real
    assert len(by_class.variances) > len(whole.variances)
    np.testing.assert_allclose(by_class.by_direction(real), whole.variances, rtol=1e-9)
    np.testing.assert_allclose(by_class.by_pixel(real), whole.by_pixel(whole.real), atol=1e-9)
    assert by_class.total(real) == by_class.pixel_std(real) == 1


CONDITIONAL: dict[str, object] = {
    "model.family": "exact-mixture",
    "model.conditional": True,
    "pool.alpha": 1.0,
}


def test_the_sampler_acts_on_the_variances_and_the_means_of_classes() -> None:
    """Two classes of a third and two thirds of the images, in one direction of four pixels."""
    shares, own, means = np.array([1 / 3, 2 / 3]), np.array([0.6, 1.2]), np.array([-1.0, 0.5])
    line = ONE.directions
    classes = Classes(
        owners=np.array([0, 1]), shares=shares, means=means[:, None] * line.T, directions=line
    )
    two = replace(ONE, variances=own, directions=np.hstack([line, line]), classes=classes)
    lineage = planned(CONDITIONAL)
    settings = lineage.nodes[0].settings
    response = sampler_response(own, settings.model, settings.sample)
    now, before = (
        shares @ (variance + mean**2) - (shares @ mean) ** 2
        for variance, mean in ((response.variances, response.of_mean * means), (own, means))
    )
    assert (response.of_mean < 0.99).all()
    (first, *_) = forecast(lineage, two)
    assert first.head == pytest.approx(now / before)
    assert first.pixel_std == pytest.approx((now / before) ** 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pool.concentration": 0.5, "pool.focal_classes": ["0"]},
            "pool.concentration must be 0 with model.conditional for a forecast, got 0.5",
        ),
        (
            {
                "model.family": "ddim",
                "ensemble.members": ["share=0.5", "model.conditional=False share=0.5"],
            },
            "model.conditional must be the same for all members",
        ),
    ],
)
def test_classes_that_change_their_shares_have_no_forecast(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        split_linear([planned(CONDITIONAL | changes)])


def test_committed_conditional_networks_follow_the_forecast_of_classes() -> None:
    """V_1's pixel_std; a forecast from one Gaussian for all images is farther off."""
    folder = EXPERIMENTS / "conditional"
    sweep = load_sweep_file(folder / "sweep.json")
    outlook = look_ahead(sweep, out=folder, with_forecast=True)
    lineages = {x.id: x for x in outlook.lineages}
    whole = find_spectrum(load_dataset(sweep.base.data))
    rows = [
        (
            outlook.measured[name][0],
            said[0].pixel_std,
            next(forecast(lineages[name], whole)).pixel_std,
        )
        for name, said in (outlook.forecasts or {}).items()
        if lineages[name].config.model.family in ("ddim", "flow", "edm")
    ]
    assert len(rows) == 9
    measured, by_class, of_all = np.array(rows, float).T
    assert (np.abs(measured - by_class) < np.abs(measured - of_all)).all()
    assert np.abs(measured - by_class).max() < 0.08


@pytest.mark.slow
def test_class_gaussians_lose_the_variance_of_their_forecast(tmp_path, monkeypatch) -> None:
    """Of many synthetic images of four classes, in every band and generation."""
    monkeypatch.setattr("sweep.estimate.spectrum.MOST_IMAGES", 30_000)
    data = {
        "name": "synthetic",
        "dtype": "float32",
        "image_size": 4,
        "num_images": 60_000,
        "num_classes": 4,
        "spectrum": 1.5,
        "reference_fraction": 0.5,
        "train_limit": None,
    }
    changes = {
        "data": data,
        "model": {"family": "exact-mixture", "conditional": True},
        "pool.alpha": 1.0,
        "sample.steps": 10,
        "metrics": {"names": ["gain"], "extractor": "pixels", "num_images": None},
    }
    config, store = make_lineage(changes, generations=2), open_store(tmp_path)
    (lineage,) = plan_in(make_sweep(({},), config), store)
    (expected,) = forecast_all([lineage]).values()
    for made, said in zip(compute(config, store), expected, strict=True):
        (metrics,) = made.metrics
        for band in ("head", "middle", "tail"):
            gain = metrics.values[f"gain_{band}"] / metrics.values[f"gain_train_{band}"]
            assert gain == pytest.approx(getattr(said, band), rel=0.02)
