"""Speeds of a preset's network on this machine, and the time that its sweep would take here."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from model.blocks import SAMPLE_BATCH
from model.errors import OneLineError
from sweep.commands.doctor.facts import Fact
from sweep.commands.doctor.machine import trials_at_once
from sweep.estimate.costs import cost_rows, estimates_of
from sweep.estimate.timings import Machine, Timings, draw_kind, format_seconds, train_kind
from sweep.files import Json
from sweep.lineage.datasets import expected_card
from sweep.planning.keys import canonical
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.nodes import unique_nodes
from sweep.presets.table import preset_of
from sweep.status.stages import Stage

if TYPE_CHECKING:
    from model.job import Fit

MOST_STEPS, FEWEST_STEPS, MOST_SECONDS = 20, 3, 30.0
"""Steps of the training that is timed: fewer if MOST_STEPS would take longer than MOST_SECONDS."""
DRAW_STEPS = 2
"""Steps of the sampler that are timed; all steps take equally long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What was measured with a preset's network, and what follows from it."""

    preset: str
    precision: str
    num_steps: int
    """Steps of the training that was timed."""
    train_seconds: float
    train_images: int
    draw_seconds: float
    draw_images: int
    times: Json
    """The row of `sweep plan` for this machine."""

    def fact(self) -> Fact:
        """The speeds and the time as a line."""
        count, row = self.times["num_slots"], self.times
        at_once = "one trial at a time" if count == 1 else f"{count} trials at once"
        text = (
            f"{self.num_steps} steps in {self.precision}: "
            f"{speed(self.train_images, self.train_seconds)}; drawing "
            f"{speed(self.draw_images, self.draw_seconds)}; the sweep: about "
            f"{format_seconds(row['seconds'])} with {at_once}, without measuring"
        )
        return Fact(name=self.preset, text=text)

    def to_json(self) -> Json:
        """The same in numbers."""
        return {
            "preset": self.preset,
            "precision": self.precision,
            "num_steps": self.num_steps,
            "train_images_per_second": self.train_images / self.train_seconds,
            "draw_images_per_second": self.draw_images / self.draw_seconds,
            **self.times,
        }


def speed(images: int, seconds: float) -> str:
    """Images per second in words."""
    each = images / seconds
    return f"{each:,.0f} images/s" if each >= 100 else f"{each:.3g} images/s"


def measure(preset: str) -> Speed | Fact:
    """Train a preset's network for a few steps on random images, and draw images from it.

    Returns:
        The speeds, or a fact that says why they cannot be measured.
    """
    with Stage(f"training the network of {preset} for some steps"):
        try:
            return timed(preset)
        except (OneLineError, ModuleNotFoundError) as error:
            return Fact(name=preset, text=f"not measured: {error}")


def timed(preset: str) -> Speed:
    """As measure; raises OneLineError or ModuleNotFoundError if something is missing."""
    from model.commands.process import prepare_process
    from model.networks.arithmetic import network_precision
    from sweep.lineage.environment import device_name

    device, threads, count = trials_at_once()
    prepare_process(device, threads)
    sweep = preset_of(preset)
    train = replace(sweep.base.train, precision=network_precision(sweep.base.train, device))
    sweep = replace(sweep, base=replace(sweep.base, train=train))
    lineages = plan_sweep(sweep, expected_card)
    fit, draw_seconds = time_network(lineages[0], device)
    machine = Machine(device=device_name(device), num_threads=threads)
    timings = Timings()
    settings, shape = lineages[0].nodes[0].settings, lineages[0].card.shape
    inputs = {"model": canonical(settings.model), "train": canonical(settings.train)}
    timings.add(machine, train_kind(inputs, shape), fit.images_seen, seconds=fit.seconds)
    kind = draw_kind(inputs, shape, canonical(settings.sample))
    timings.add(machine, kind, SAMPLE_BATCH, seconds=draw_seconds)
    return Speed(
        preset=preset,
        precision=train.precision,
        num_steps=len(fit.curves["step"]),
        train_images=fit.images_seen,
        train_seconds=fit.seconds,
        draw_images=SAMPLE_BATCH,
        draw_seconds=draw_seconds,
        times=time_of(lineages, timings, count),
    )


def time_network(lineage: PlannedLineage, device: str) -> tuple["Fit", float]:
    """Train V_1's network on random images, and draw SAMPLE_BATCH images from it.

    Returns:
        The training, and the seconds of the drawing.
    """
    from model.families import family_of
    from model.job import TrainingJob
    from model.networks.sampling import noise_shape

    node, card = lineage.nodes[0], lineage.card
    settings, seed = node.settings, (0, 1, 0)
    count = 2 * settings.train.batch_size
    pixels = np.random.default_rng(0).random((count, *card.shape), np.float32)
    images = (255 * pixels).astype(np.uint8) if card.dtype == "uint8" else pixels
    job = TrainingJob(
        model=settings.model,
        train=settings.train,
        num_steps=1,
        seed=seed,
        bounded=card.bounded,
        device=device,
    )
    family = family_of(settings.model.family)
    first = family.fit(images, None, job)
    steps = min(MOST_STEPS, max(FEWEST_STEPS, int(MOST_SECONDS / first.seconds)))
    fit = family.fit(images, None, replace(job, num_steps=steps))
    assert family.sample is not None
    shape = (SAMPLE_BATCH, *noise_shape(fit.checkpoint, settings.sample))
    noise = np.random.default_rng(1).standard_normal(shape, np.float32)
    assert family.sample is not None
    seconds = 0.0
    for num_steps in (1, DRAW_STEPS):  # the first call allocates memory
        sampler = replace(settings.sample, steps=num_steps)
        started = time.perf_counter()
        family.sample(fit.checkpoint, noise, sampler, device=device)
        seconds = (time.perf_counter() - started) / num_steps
    return fit, seconds * settings.sample.steps


def time_of(lineages: list[PlannedLineage], timings: Timings, count: int) -> Json:
    """The time of all models of a sweep with a number of trials at once."""
    missing = list(unique_nodes(lineage.nodes for lineage in lineages).values())
    most = min(count, len(lineages))
    (row,) = cost_rows(
        lineages, estimates_of(lineages, missing, timings), slots=[most], prices=None
    )
    return row
