"""Facts of a whole training: resumption, selection, divergence, and a golden loss."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from every_family import NETWORKS, OBJECTIVES, fit_family, new_trainer
from tiny_training import MODEL, SEED, Memory, draw_pool, make_job, make_train

from model.best_checkpoint import validation_score
from model.checkpoint import Checkpoint
from model.config import MetricsConfig, ModelConfig, SampleConfig, TrainConfig
from model.job import Diverged, Fit, Progress
from model.training.trainer import REPORT_STEPS, Trainer


class Stopped(Exception):
    """Raised by a test's progress: the machine is lost."""


def run(train: TrainConfig, **settings) -> Fit:
    return fit_family(draw_pool(), None, make_job(train, **settings))


def run_interrupted(train: TrainConfig, **settings) -> Fit:
    """Lose the machine at the second look at the loss, after one saved state, and start again."""
    scratch = Memory()

    def stop(progress: Progress) -> None:
        if progress.step == 2 * REPORT_STEPS:
            raise Stopped

    settings |= {"scratch": scratch, "checkpoint_seconds": 1e-9}
    with pytest.raises(Stopped):
        run(train, progress=stop, **settings)
    assert len(scratch.states) == 1
    return run(train, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"lr_schedule": "cosine"}, marks=pytest.mark.slow),
        {"lr_schedule": "cosine", "decay_mode": "unscaled", "ema_init": "independent"},
        {"drop_last": False, "batch_size": 7, "hflip": True, "shuffle_window": 5},
        pytest.param({"ema_average_buffers": False}, marks=pytest.mark.slow),
    ],
)
def test_resumed_training_is_bit_equal_to_an_uninterrupted_one(settings):
    train = make_train(**settings)
    resumed, whole = run_interrupted(train), run(train)
    assert resumed.checkpoint.digest() == whole.checkpoint.digest()
    assert resumed.checkpoint.settings == whole.checkpoint.settings
    assert resumed.images_seen == whole.images_seen
    for name, curve in whole.curves.items():
        np.testing.assert_array_equal(resumed.curves[name], curve)


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.slow
def test_every_family_resumes_to_the_same_bits(family):
    """In bf16 and with mirrored images."""
    train = make_train(hflip=True, precision="bf16")
    settings = {"model": replace(MODEL, family=family), "num_steps": 45}
    resumed, whole = run_interrupted(train, **settings), run(train, **settings)
    assert resumed.checkpoint.digest() == whole.checkpoint.digest()
    for name, curve in whole.curves.items():
        np.testing.assert_array_equal(resumed.curves[name], curve)


@pytest.mark.parametrize("family", NETWORKS)
def test_every_family_can_be_selected_by_its_validation_images(family):
    """Each epoch's images are drawn and measured, and the best of three kept."""
    metrics = MetricsConfig(extractor="pixels")
    measure = validation_score(draw_pool(16), SampleConfig(steps=2), metrics, seed=SEED)
    scores = []

    def score(checkpoint: Checkpoint) -> float:
        scores.append((measure(checkpoint), checkpoint.digest()))
        return scores[-1][0]

    model = replace(MODEL, family=family)
    fit = run(make_train(lr=0.01, **EPOCHS_OF_20), model=model, score=score)
    assert len(scores) == 3
    assert fit.checkpoint.digest() == min(scores)[1]


@pytest.mark.parametrize("family", NETWORKS)
def test_every_family_has_its_curves(family):
    """The final loss is the mean of the first, over the last tenth of the steps."""
    fit = run(make_train(), num_steps=20, model=replace(MODEL, family=family))
    names = OBJECTIVES[family].curves
    assert tuple(fit.curves) == ("step", *names)
    assert fit.final_loss == pytest.approx(fit.curves[names[0]][-2:].mean(), rel=1e-6)


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.slow
def test_every_family_learns_images_that_are_all_alike(family):
    """The loss falls by a tenth at least in 100 steps."""
    images = np.tile(draw_pool(1), (32, 1, 1, 1))
    job = make_job(make_train(lr=0.01), num_steps=100, model=replace(MODEL, family=family))
    losses = fit_family(images, None, job).curves[OBJECTIVES[family].curves[0]]
    assert losses[-20:].mean() < 0.9 * losses[:5].mean()


@pytest.mark.parametrize("family", NETWORKS)
def test_absurd_rate_makes_every_family_diverge(family):
    with pytest.raises(Diverged, match=r"the loss is (nan|inf)"):
        run(make_train(lr=1e20), model=replace(MODEL, family=family))


def test_same_training_twice_is_bit_equal():
    """Whatever the global generators' state: they are neither read nor changed."""
    digests = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            digests.append(run(make_train(), num_steps=3).checkpoint.digest())
            assert torch.equal(torch.get_rng_state(), before)
    assert digests[0] == digests[1]


def test_training_leaves_numpys_global_random_numbers_alone():
    before = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    run(make_train(), num_steps=3)
    after = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    assert after == before


def test_seeds_give_different_models():
    first, second = (
        run(make_train(), num_steps=2, seed=seed).checkpoint for seed in (SEED, (0, 2, 0))
    )
    assert first.digest("raw.") != second.digest("raw.")


def trainer(model: ModelConfig = MODEL) -> Trainer:
    return new_trainer(draw_pool(), make_job(make_train(), model=model))


def test_state_of_another_network_is_refused():
    state = trainer(replace(MODEL, stem_width=8)).state()
    with pytest.raises(ValueError, match="weights must be those of this network"):
        trainer().restore(state)


def test_damaged_state_is_refused():
    with pytest.raises(ValueError, match="training state must be a complete checkpoint"):
        trainer().restore(trainer().state()[:-1])


def test_curves_have_one_value_per_step():
    fit = run(make_train(), num_steps=23)
    assert fit.curves["step"].tolist() == list(range(1, 24))
    assert {name: (len(c), c.dtype.name) for name, c in fit.curves.items() if name != "step"} == {
        "noise_loss": (23, "float32"),
        "image_loss": (23, "float32"),
    }


def test_progress_is_reported_every_20_steps_and_at_the_end():
    seen: list[Progress] = []
    run(make_train(), num_steps=45, progress=seen.append)
    assert [progress.step for progress in seen] == [20, 40, 45]
    assert {progress.num_steps for progress in seen} == {45}


def test_training_lowers_the_loss():
    """Of images that are all alike, whose noise is easy to see."""
    images = np.tile(draw_pool(1), (32, 1, 1, 1))
    fit = fit_family(images, None, make_job(make_train(lr=0.01), num_steps=100))
    assert fit.curves["noise_loss"][-20:].mean() < 0.8 * fit.curves["noise_loss"][:1].mean()


def test_checkpoint_says_what_its_sampler_needs():
    settings = run(make_train(), num_steps=1, bounded=False).checkpoint.settings
    assert settings["family"] == "ddim"
    assert (settings["shape"], settings["dtype"], settings["bounded"]) == (
        [1, 8, 8],
        "uint8",
        False,
    )
    assert settings["precision"] == "fp32"


@pytest.mark.parametrize(("normalization", "std"), [("half", 0.5), ("train_channel", None)])
def test_checkpoint_holds_the_normalisation(normalization, std):
    """By the pool's own deviation, or to [-1, 1]."""
    model = replace(MODEL, normalization=normalization)
    tensors = run(make_train(), num_steps=1, model=model).checkpoint.tensors
    expected = (draw_pool() / 255).std() if std is None else std
    assert tensors["std"].item() == pytest.approx(expected, rel=1e-6)


# Selection


def head_size(checkpoint: Checkpoint) -> float:
    """A score that is best at first: the averaged head leaves zero."""
    return checkpoint.tensors["ema.head.weight"].abs().sum().item()


EPOCHS_OF_20 = {"select": "best_kid", "repetitions": 5, "drop_last": True}
"""32 images x 5 // 8 = 20 steps an epoch."""


@pytest.mark.parametrize("scores", [[3.0, 1.0, 2.0], [math.nan, 1.0, math.inf]])
def test_best_epoch_is_kept(scores):
    """The second of three here; a score that is not finite is none."""
    digests, rest = [], iter(scores)

    def score(checkpoint: Checkpoint) -> float:
        digests.append(checkpoint.digest())
        return next(rest)

    fit = run(make_train(**EPOCHS_OF_20), score=score)
    assert len(digests) == 3
    assert fit.checkpoint.digest() == digests[1]


def test_best_epoch_survives_a_resumption():
    """It was the first of three, before the machine was lost."""
    resumed = run_interrupted(make_train(**EPOCHS_OF_20), score=head_size).checkpoint
    whole = run(make_train(**EPOCHS_OF_20), score=head_size).checkpoint
    first = run(make_train(**EPOCHS_OF_20), num_steps=20).checkpoint
    assert resumed.digest() == whole.digest() == first.digest()


# Divergence


def test_absurd_rate_diverges():
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step 20 of 60"):
        run(make_train(lr=1e20))


def test_images_that_are_not_finite_diverge():
    images = draw_pool().astype(np.float32)
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(Diverged, match="the loss is nan"):
        fit_family(images, None, make_job(make_train(), num_steps=5))


def test_divergence_is_not_saved():
    """A resumption would only repeat it."""
    scratch = Memory()
    with pytest.raises(Diverged):
        run(make_train(lr=1e20), scratch=scratch, checkpoint_seconds=1e-9)
    assert scratch.states == []


# Golden

GOLDEN = {
    "noise_loss": 0.741093915,
    "image_loss": 2.046026209,
    "weights": 0.0173879361,
    "statistics": 1.220903773,
}


def test_golden_loss_of_20_steps():
    """The numerics of training. If this fails, sweep/planning/keys.py needs a new NUMERICS_VERSION.

    fp32 on one thread, of images by a formula. The tolerance lets other processors pass: scalar,
    SSE4.1 and AVX2 kernels, with and without oneDNN, and a second thread, differ by 4e-8 at most.
    An Adam epsilon of 1e-7 instead of 1e-8 differs by 1e-5.
    """
    n, y, x = np.ogrid[:48, :8, :8]
    images = ((37 * n + 11 * y * y + 5 * x * (n % 7)) % 256).astype(np.uint8)[:, None]
    train = TrainConfig(epochs=None, steps=20, batch_size=16)
    fit = fit_family(images, None, make_job(train, num_steps=20, model=ModelConfig(widths=(8, 16))))
    averaged = {k: v.double() for k, v in fit.checkpoint.tensors.items() if k.startswith("ema.")}
    numbers = {
        "noise_loss": fit.curves["noise_loss"].mean(dtype=np.float64),
        "image_loss": fit.curves["image_loss"].mean(dtype=np.float64),
        "weights": averaged["ema.head.weight"].abs().mean().item(),
        "statistics": averaged["ema.up.0.1.norm.running_var"].mean().item(),
    }
    assert numbers == pytest.approx(GOLDEN, rel=1e-6)
