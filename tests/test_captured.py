"""Facts of captured steps. Without a GPU there is no graph, but everything that it would repeat."""

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from every_family import OBJECTIVES
from tiny_training import MODEL, draw_pool, make_job, make_train
from torch.utils._python_dispatch import TorchDispatchMode

from model.job import TrainingJob
from model.training.captured import WARM_STEPS, CapturedTrainer
from model.training.trainer import Trainer

SETTINGS = [
    {},
    {"lr_schedule": "cosine", "ema_init": "copy"},
    {"lr_schedule": "cosine", "decay_mode": "unscaled", "hflip": True},
    {"adam_eps_form": "hat", "decay_mode": "unscaled", "adam_eps": 1e-3},
    {"adam_eps_form": "hat", "lr_schedule": "cosine", "loss_reduction": "spatial_sum"},
]
"""All ways in which a rate, a decay or an epsilon changes from step to step."""


Kind = TypeVar("Kind", bound=Trainer)


def new(kind: type[Kind], job: TrainingJob) -> Kind:
    labels = np.arange(32) % 3 if job.model.conditional else None
    return kind(OBJECTIVES[job.model.family], draw_pool(), labels, job)


def job_of(family: str = "ddim", *, conditional: bool = False, device: str = "cpu", **settings):
    model = replace(MODEL, family=family, conditional=conditional)
    train = make_train(**settings)
    return make_job(train, model=model, num_classes=3 if conditional else 0, device=device)


def take_steps(trainer: Trainer, num_steps: int, *, batch: int = 8) -> None:
    for step in range(num_steps):
        trainer.train_step((np.arange(batch) + step * batch) % 32)


def assert_close(first: Trainer, second: Trainer, tolerance: float) -> None:
    expected = first.checkpoint().tensors
    for name, tensor in second.checkpoint().tensors.items():
        torch.testing.assert_close(tensor, expected[name], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(second.curves, first.curves, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("settings", SETTINGS)
def test_captured_steps_train_the_same_model(settings):
    """Up to the rounding of rates to float32, which 12 steps of rate .001 do not make visible."""
    job = job_of(**settings)
    trainers = [new(kind, job) for kind in (Trainer, CapturedTrainer)]
    for trainer in trainers:
        take_steps(trainer, 12)
    assert_close(*trainers, 2e-5)


@pytest.mark.parametrize("family", ["flow", "edm", "vae"])
def test_captured_steps_train_every_family_with_classes(family):
    """The random numbers of noise, mirrors and dropped labels are drawn in the same order."""
    job = job_of(family, conditional=True, hflip=True)
    trainers = [new(kind, job) for kind in (Trainer, CapturedTrainer)]
    for trainer in trainers:
        take_steps(trainer, 5)
    assert_close(*trainers, 2e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_captured_training_resumes_to_the_same_bits(settings):
    job = job_of(**settings)
    whole, first, second = (new(CapturedTrainer, job) for _ in range(3))
    take_steps(whole, 7)
    take_steps(first, 4)
    second.restore(first.state())
    for step in range(4, 7):
        second.train_step((np.arange(8) + step * 8) % 32)
    assert whole.checkpoint().digest() == second.checkpoint().digest()


class Record(TorchDispatchMode):
    """Notes each operation with those of its arguments that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not str(func).startswith("profiler."):
            everything = [*args, *(kwargs or {}).items()]
            self.calls.append((str(func), [scalars(each) for each in everything]))
        return func(*args, **(kwargs or {}))


def scalars(argument: Any) -> Any:
    """The argument without tensors: a graph reads them where they are."""
    if isinstance(argument, (list, tuple)):
        return [scalars(each) for each in argument]
    return None if isinstance(argument, (torch.Tensor, torch.Generator)) else argument


def recorded(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The operations of two later steps' updates; a graph repeats the first for the second."""
    take_steps(trainer, 2)
    update, calls = trainer._update, []

    def watched(*batch):
        with Record() as record:
            curves = update(*batch)
        calls.append(record.calls)
        return curves

    monkeypatch.setattr(trainer, "_update", watched)
    take_steps(trainer, 2)
    return calls


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_captured_step_has_the_same_operations_and_numbers(settings, monkeypatch):
    """What changes would be lost in a graph."""
    first, second = recorded(
        new(CapturedTrainer, job_of(conditional=True, **settings)), monkeypatch
    )
    assert first == second


def test_steps_that_are_not_captured_have_numbers_that_change(monkeypatch):
    """The test above would see them: the decay of the average's warm-up."""
    first, second = recorded(new(Trainer, job_of()), monkeypatch)
    assert [call[0] for call in first] == [call[0] for call in second]
    assert first != second


def test_images_on_the_host_are_refused():
    job = replace(job_of(), images_on="host")
    with pytest.raises(ValueError, match=r"images_on must be device with train\.captured"):
        new(CapturedTrainer, job)


@pytest.mark.gpu
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_graph_repeats_the_steps_of_a_gpu(settings):
    """With steps of another size in between. Atomic additions of resizing are in any order."""
    job = job_of(conditional=True, device="cuda", **settings)
    graph, eager = (new(CapturedTrainer, job) for _ in range(2))
    eager.use_graph = False
    for trainer in (graph, eager):
        for _ in range(3):
            take_steps(trainer, WARM_STEPS + 2)
            take_steps(trainer, 1, batch=5)
    assert graph._graph is not None
    assert eager._graph is None
    assert_close(graph, eager, 1e-4)
