"""Forecast of each generation's variance from the real images and the sampler, without training.

If real images were Gaussian and every network were trained to the end, a sampler would turn a
pool's variance along each principal direction into a known one (model/networks/sampler_gain.py),
and the pool rule would mix it with that of the earlier images. Of conditional models, the same is
said of each class, and of its mean, which a sampler keeps for the most part. No number is fitted.
Pixels are taken to be neither clipped nor rounded, filters to keep a random subset, and the
deviations of several channels to change alike.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from model.commands.output import wrapped
from model.config import ModelConfig, SampleConfig
from model.data.datasets import Dataset, load_dataset
from model.errors import UsageError
from model.family_facts import sampler_family
from model.features.principal import MOST_DIRECTIONS
from model.networks.sampler_gain import check_linear, sampler_response
from sweep.estimate.generations import group_lineages, group_lines
from sweep.estimate.spectrum import LEAST_VARIANCE, Moments, Spectrum, find_spectrum
from sweep.finished import read_finished, specs_of
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan, by_generation
from sweep.planning.pool import UNKNOWN, pool_origins
from sweep.records import load_lineages
from sweep.store.store import Store

SCHEDULED = ("ddim", "unet2d")
"""Families with DDIM's sampler, whose schedule ends at model.max_signal_rate."""
FINE_STEPS, FINE_SIGNAL_RATE = 100, 0.999
"""The sampler with which a coarser one is compared."""
SpectrumKey = tuple[str, bool]
"""Key of a data set, and whether its components are those of each class."""
RANDOM = ("seed", "data.split_seed")
"""Axes over which measured values are averaged."""
LEAST_BIAS = 0.005
"""Smallest change of deviations that is worth a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationForecast:
    """The forecast for the images of one generation."""

    generation: int
    real_share: float
    """Share of real images in the pool."""
    pixel_std: float
    """Standard deviation over images, averaged over pixels, over that of real images."""
    head: float
    middle: float
    tail: float
    """Variance over that of real images, by band of principal directions."""
    directions: list[float]
    """The same for each of the first MOST_DIRECTIONS principal directions."""


def forecast(lineage: PlannedLineage, spectrum: Spectrum) -> Iterator[GenerationForecast]:
    """Forecast each generation of a lineage.

    Raises:
        UsageError: A family has no closed form, or a sampler is guided.
    """
    for generation, (moments, real_share) in enumerate(
        forecast_moments(lineage, spectrum), start=1
    ):
        head, middle, tail = spectrum.bands(moments)
        yield GenerationForecast(
            generation=generation,
            real_share=real_share,
            pixel_std=spectrum.pixel_std(moments),
            head=head,
            middle=middle,
            tail=tail,
            directions=spectrum.gains(moments)[:MOST_DIRECTIONS].tolist(),
        )


def forecast_moments(
    lineage: PlannedLineage, spectrum: Spectrum
) -> Iterator[tuple[Moments, float]]:
    """Yield what each generation's images have of the real ones, and the real share of its pool.

    Raises:
        UsageError: As forecast.
    """
    known = {0: spectrum.real}
    for generation, members in enumerate(by_generation(lineage.nodes), start=1):
        drawn, shares = [], []
        for node in members:
            origins = pool_origins(node.pool)
            parts = [known[int(origin)] for origin in origins]
            pool = Moments.average(parts, list(origins.values()))
            drawn.append(sampled(pool, node.settings.model, node.settings.sample, spectrum))
            shares.append(node.settings.share)
        known[generation] = Moments.average(drawn, shares)
        yield known[generation], origins.get("0", 0) / sum(origins.values())


def sampled(pool: Moments, model: ModelConfig, sample: SampleConfig, spectrum: Spectrum) -> Moments:
    """The images of a model that has learned a pool, drawn by a sampler."""
    units = np.maximum(pool.variances / scale_of(pool, model, spectrum), LEAST_VARIANCE)
    response = sampler_response(units, model, sample)
    return Moments(
        variances=response.variances / units * pool.variances,
        of_mean=response.of_mean * pool.of_mean,
    )


def scale_of(pool: Moments, model: ModelConfig, spectrum: Spectrum) -> float:
    """The variance that is 1 in the network's units, in those of the spectrum."""
    if model.normalization == "first_pool":
        return 1.0
    if model.normalization == "half":  # a pixel's deviation of 1/2 is 1
        return float(0.25 / spectrum.channel_variances.mean())
    return spectrum.total(pool)


def split_linear(
    lineages: Sequence[PlannedLineage],
) -> tuple[list[PlannedLineage], list[str]]:
    """Return the lineages that have a forecast, and a line for each reason why others have none.

    Raises:
        UsageError: None of them has one.
    """
    linear, reasons = [], dict[str, int]()
    for lineage in lineages:
        try:
            check_classes(lineage)
            for node in lineage.nodes:
                check_linear(node.settings.model, node.settings.sample)
                check_origins(node)
        except UsageError as error:
            reasons[str(error)] = reasons.get(str(error), 0) + 1
        else:
            linear.append(lineage)
    if not linear:
        raise UsageError(next(iter(reasons)))
    return linear, [f"{count:,} lineages have no forecast: {x}" for x, count in reasons.items()]


def check_classes(lineage: PlannedLineage) -> None:
    """Raise UsageError if classes do not keep their shares, or only some members know them."""
    conditional = {node.settings.model.conditional for node in lineage.nodes}
    if len(conditional) > 1:
        raise UsageError(
            "model.conditional must be the same for all members for a forecast, got True and False"
        )
    if conditional == {True} and lineage.config.pool.concentration > 0:
        raise UsageError(
            "pool.concentration must be 0 with model.conditional for a forecast, got "
            f"{lineage.config.pool.concentration:g}: the shares of classes change"
        )


def check_origins(node: NodePlan) -> None:
    """Raise UsageError if only pixels decide how many images of each generation are in a pool."""
    if str(UNKNOWN) in pool_origins(node.pool):
        raise UsageError(
            "filter.name must not choose from images of several generations for a forecast, got "
            f"{node.settings.filter.name!r}"
        )


def spectrum_key(lineage: PlannedLineage) -> SpectrumKey:
    """The key of a lineage's data set, and whether its models are conditional."""
    return lineage.card.key, lineage.nodes[0].settings.model.conditional


def find_spectra(
    lineages: Sequence[PlannedLineage], loaded: Mapping[str, Dataset] | None = None
) -> dict[SpectrumKey, Spectrum]:
    """Find the spectra of lineages' data sets, and read those that are not loaded, by key.

    Raises:
        UsageError: A data set cannot be read.
        FileNotFoundError: A data set does not exist.
    """
    data = dict(loaded or {})
    for lineage in lineages:
        if lineage.card.key not in data:
            data[lineage.card.key] = load_dataset(lineage.config.data)
    return {
        (key, by_class): find_spectrum(data[key], by_class=by_class)
        for key, by_class in dict.fromkeys(map(spectrum_key, lineages))
    }


def forecast_all(
    lineages: Sequence[PlannedLineage], spectra: Mapping[SpectrumKey, Spectrum] | None = None
) -> dict[str, list[GenerationForecast]]:
    """Forecast lineages, by id; reads their data sets if no spectra are given.

    Raises:
        UsageError, FileNotFoundError: As forecast and find_spectra.
    """
    found = find_spectra(lineages) if spectra is None else spectra
    return {x.id: list(forecast(x, found[spectrum_key(x)])) for x in lineages}


def bias_notes(
    lineages: Iterable[PlannedLineage], spectra: Mapping[SpectrumKey, Spectrum]
) -> list[str]:
    """A line for each sampler that changes deviations, with what a finer one would do."""
    told: dict[str, None] = {}
    for lineage in lineages:
        spectrum, settings = spectra[spectrum_key(lineage)], lineage.nodes[0].settings
        model, sample = settings.model, settings.sample
        family = sampler_family(model)
        rate = FINE_SIGNAL_RATE if family in SCHEDULED else model.max_signal_rate
        fine = replace(model, max_signal_rate=rate)
        kept = kept_pixel_std(spectrum, model, sample)
        finer = kept_pixel_std(spectrum, fine, replace(sample, steps=FINE_STEPS))
        if abs(kept - 1) > abs(finer - 1) + LEAST_BIAS:
            end = " ending at signal rate {}" if family in SCHEDULED else f" of {family}"
            images = "Gaussian images of each class" if spectrum.classes else "Gaussian images"
            told[
                f"for {images}, {sample.steps} steps{end.format(model.max_signal_rate)} "
                f"multiply their pixel_std by {kept:.2f}, however well the network is trained; "
                f"{FINE_STEPS} steps{end.format(rate)}, by {finer:.2f}"
            ] = None
    return list(told)


def kept_pixel_std(spectrum: Spectrum, model: ModelConfig, sample: SampleConfig) -> float:
    """What a sampler keeps of the pixel_std of a pool of real images."""
    return spectrum.pixel_std(sampled(spectrum.real, model, sample, spectrum))


def forecast_lines(
    lineages: Sequence[PlannedLineage],
    forecasts: Mapping[str, list[GenerationForecast]],
    measured: Mapping[str, list[float | None]],
) -> Iterator[str]:
    """Yield forecasts as a table, with the mean of what lineages with the same forecast measured.

    Args:
        lineages: The lineages.
        forecasts: The generations' forecast, by lineage id.
        measured: The generations' measured `pixel_std` as in the forecast, by lineage id.
    """
    yield from wrapped(
        "forecast of the samples' pixel_std, and of their variance by band of principal "
        "directions, over those of real images, if these were Gaussian and all networks trained to "
        "the end:"
    )

    def setting(lineage: PlannedLineage) -> Hashable:
        """What must be equal where measured values are averaged: all but the seeds."""
        if lineage.id not in measured:
            return None
        return tuple((name, str(x)) for name, x in lineage.axes.items() if name not in RANDOM)

    def rows(members: Sequence[PlannedLineage]) -> Iterator[tuple[str, ...]]:
        """The forecast of the first lineage, with the mean of what all have measured."""
        for n, row in enumerate(forecast_rows(forecasts[members[0].id])):
            mean = mean_cell([measured[x.id][n] for x in members if x.id in measured])
            yield (*row[:3], mean, *row[3:]) if measured else row

    columns = ["  model", "real in pool", "pixel_std", "head", "middle", "tail"]
    if measured:
        columns.insert(3, "measured")
    alike = group_lineages(lineages, lambda x: (forecast_rows(forecasts[x.id]), setting(x)))
    yield from group_lines(columns, [(tuple(rows(group)), group) for group in alike])


def mean_cell(values: Sequence[float | None]) -> str:
    """The mean of known values, and their number if there are several."""
    known = [x for x in values if x is not None]
    many = f" ({len(known)})" if len(known) > 1 else ""
    return f"{np.mean(known):.2f}{many}" if known else ""


def forecast_rows(generations: Sequence[GenerationForecast]) -> tuple[tuple[str, ...], ...]:
    """The cells of a lineage's forecast, a row for each generation."""
    return tuple(
        (
            f"  V_{each.generation}",
            f"{each.real_share:.1%}",
            *(f"{x:.2f}" for x in (each.pixel_std, each.head, each.middle, each.tail)),
        )
        for each in generations
    )


def measured_pixel_std(
    lineages: Iterable[PlannedLineage], out: Path, store: Store
) -> dict[str, list[float | None]]:
    """What the records of a results folder say of the forecast's pixel_std, by lineage id.

    It is that of V_n's samples over that of the reference images, and None if it was not measured
    yet, or if several members draw the samples. A record is that of the lineage with its models.
    """
    records = {tuple(chain(*record.nodes)): record for record in load_lineages(out)}
    metrics = read_finished(store, specs_of(records.values())).metrics
    found: dict[str, list[float | None]] = {}
    for lineage in lineages:
        record = records.get(tuple(node.key for node in lineage.nodes))
        real = lineage.card.pixel_std
        if record is None or not real:
            continue
        found[lineage.id] = values = []
        for n, keys in enumerate(record.nodes):
            own = [metrics.get((keys[0], spec)) for spec in record.all_specs(n + 1, 0)]
            known = [each.values["pixel_std"] / real for each in own if each is not None]
            values.append(known[0] if known and len(keys) == 1 else None)
    return found
