"""Facts of class conditioning: labels that are learned, dropped and asked for, and guidance."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from every_family import OBJECTIVES, fit_family, sample_family, with_marks
from tiny_training import MODEL, Memory, draw_pool, make_job, make_train
from torch import Tensor

from model.blocks import SAMPLE_BATCH
from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.job import Fit, Progress, TrainingJob
from model.networks.conditioning import drop_labels, guide, padded_labels
from model.networks.unet import UNet
from model.randomness import Purpose, image_noise
from model.training.trainer import REPORT_STEPS

CONDITIONAL = replace(MODEL, conditional=True)
NUM_CLASSES = 3
LABELS = np.arange(32) % NUM_CLASSES
LEARNING = make_train(lr=1e-2, ema_decay=0.9, ema_init="copy")


def conditional_job(*, num_steps: int = 3, **settings) -> TrainingJob:
    settings = {"model": CONDITIONAL, "num_classes": NUM_CLASSES} | settings
    return make_job(make_train(), num_steps=num_steps, **settings)


def fit(labels: np.ndarray | None = LABELS, **settings) -> Fit:
    return fit_family(draw_pool(), labels, conditional_job(**settings))


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    """A network of 40 steps, so that classes differ."""
    return fit(num_steps=40).checkpoint


def draw(
    checkpoint: Checkpoint, labels: np.ndarray | None, *, count: int = 6, **settings
) -> np.ndarray:
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(count), (1, 8, 8))
    return sample_family(checkpoint, noise, SampleConfig(steps=3, **settings), labels=labels)


def network(num_classes: int = NUM_CLASSES) -> UNet:
    return UNet((1, 8, 8), MODEL, torch.Generator().manual_seed(0), num_classes)


# The network


def test_class_vector_stands_beside_the_variances_sinusoids() -> None:
    """Row `label` of the table, the last row being "no class"."""
    net = network()
    variance = torch.tensor([0.1, 0.5]).view(-1, 1, 1, 1)
    embedding = net.embed(variance, torch.tensor([1, NUM_CLASSES]))
    assert net.class_embedding is not None
    assert net.class_embedding.weight.shape == (NUM_CLASSES + 1, MODEL.embedding_dim)
    expected = net.class_embedding.weight[[1, NUM_CLASSES]]
    assert torch.equal(embedding[:, MODEL.embedding_dim :, 0, 0], expected)
    assert torch.equal(embedding[:, : MODEL.embedding_dim], net.embedding(variance))


def test_class_vectors_are_drawn_last() -> None:
    """The stem's weights, whose shape does not change, are those of the unconditional network."""
    assert torch.equal(network().stem.weight, network(0).stem.weight)
    generator = torch.Generator().manual_seed(0)
    net = UNet((1, 8, 8), MODEL, generator, NUM_CLASSES)
    assert net.class_embedding is not None
    replayed = torch.Generator().manual_seed(0)
    first = UNet((1, 8, 8), replace(MODEL, embedding_dim=2 * MODEL.embedding_dim), replayed)
    assert torch.equal(first.down[0][0].conv1.weight, net.down[0][0].conv1.weight)  # ty: ignore[not-subscriptable] (ModuleList of ModuleLists)
    vectors = torch.empty(NUM_CLASSES + 1, MODEL.embedding_dim).normal_(generator=replayed)
    assert torch.equal(net.class_embedding.weight, vectors)


def test_unconditional_network_has_no_class_vectors() -> None:
    assert [name for name in network(0).state_dict() if "class" in name] == []


def test_making_a_conditional_network_leaves_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    network()
    assert torch.equal(torch.get_rng_state(), before)


# Labels that train


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_so_many_labels_are_dropped_as_asked(share: float) -> None:
    """Of 40,000, within 5 standard deviations of a binomial; the others stay as they are."""
    labels = torch.arange(40_000) % NUM_CLASSES
    generator = torch.Generator().manual_seed(1)
    found = drop_labels(labels, share, no_class=NUM_CLASSES, generator=generator)
    dropped = found == NUM_CLASSES
    deviation = (share * (1 - share) / len(labels)) ** 0.5
    assert abs(dropped.float().mean().item() - share) <= 5 * deviation
    assert torch.equal(found[~dropped], labels[~dropped])


def test_dropout_is_part_of_the_training() -> None:
    """Without it the vector of "no class" has no gradient: only decay moves it."""
    never, often = (
        fit(model=replace(CONDITIONAL, label_dropout=share)).checkpoint for share in (0.0, 0.7)
    )
    name = "raw.class_embedding.weight"
    start = fit(num_steps=0).checkpoint.tensors[name]
    decayed = start * (1 - 1e-3 * 1e-4) ** 3  # lr x weight decay, 3 steps
    torch.testing.assert_close(never.tensors[name][-1], decayed[-1], rtol=1e-6, atol=0)
    assert (often.tensors[name][-1] - decayed[-1]).abs().max() > 1e-4


def test_labels_change_what_is_learned() -> None:
    assert fit().checkpoint.digest() != fit(LABELS[::-1].copy()).checkpoint.digest()


def test_unconditional_training_ignores_labels() -> None:
    """To the bytes of the file."""
    files = {
        fit(labels, model=MODEL, num_classes=classes).checkpoint.to_bytes()
        for labels, classes in ((None, 0), (LABELS, NUM_CLASSES))
    }
    assert len(files) == 1


def test_unconditional_checkpoint_says_nothing_of_classes() -> None:
    """It has the bytes it had before there were any."""
    settings = fit(None, model=MODEL).checkpoint.settings
    assert set(settings) == {"family", "model", "shape", "dtype", "bounded", "precision"}
    assert not {"conditional", "label_dropout"} & set(settings["model"])


def test_conditional_checkpoint_holds_its_classes() -> None:
    settings = fit(class_names=("a", "b", "c")).checkpoint.settings
    assert (settings["num_classes"], settings["class_names"]) == (3, ["a", "b", "c"])
    assert settings["model"]["conditional"] is True


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (None, {}, r"^labels must be \(32,\) int64 for a conditional model, got None$"),
        (LABELS[:-1], {}, r"^labels must be \(32,\) int64, one for each image, got \(31,\) int64"),
        (LABELS.astype(np.int32), {}, r"got \(32,\) int32$"),
        (LABELS, {"num_classes": 2}, r"^labels must lie in \[0, 2\), got \(0, 2\)$"),
        (LABELS - 1, {}, r"^labels must lie in \[0, 3\), got \(-1, 1\)$"),
        (LABELS, {"num_classes": 0}, r"^num_classes must be at least 1, got 0; train on data"),
        (LABELS, {"class_names": ("a",)}, r"^class_names must name all 3 classes or none"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(labels, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        fit(labels, **settings)


def test_resumed_conditional_training_is_bit_equal_to_an_uninterrupted_one() -> None:
    scratch = Memory()

    def stop(progress: Progress) -> None:
        if progress.step == 2 * REPORT_STEPS:
            raise KeyboardInterrupt

    kept: dict[str, Any] = {"num_steps": 60, "scratch": scratch, "checkpoint_seconds": 1e-9}
    with pytest.raises(KeyboardInterrupt):
        fit(progress=stop, **kept)
    assert len(scratch.states) == 1
    resumed, whole = fit(**kept).checkpoint, fit(num_steps=60).checkpoint
    assert resumed.to_bytes() == whole.to_bytes()


# Labels that are asked for


def test_images_depend_on_the_class_asked_for(trained: Checkpoint) -> None:
    first, second = (draw(trained, np.full(6, label)) for label in (0, 1))
    assert (first != second).any()


def test_padding_repeats_the_last_class() -> None:
    padded = padded_labels(np.array([2, 0]))
    assert padded.tolist() == [2, *[0] * (SAMPLE_BATCH - 1)]


def test_image_does_not_depend_on_the_classes_of_others(trained: Checkpoint) -> None:
    labels = np.array([0, 1, 2, 2, 1, 0])
    other = np.array([0, 2, 1, 0, 0, 0])
    np.testing.assert_array_equal(draw(trained, labels)[[0, 5]], draw(trained, other)[[0, 5]])


def test_without_guidance_the_class_has_no_effect(trained: Checkpoint) -> None:
    first, second = (draw(trained, np.full(6, label), guidance=0.0) for label in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_guidance_changes_images(trained: Checkpoint) -> None:
    plain, guided = (draw(trained, np.zeros(6, np.int64), guidance=w) for w in (1.0, 3.0))
    assert (plain != guided).any()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"^labels must be \(6,\) int64 for a conditional model, got None$"),
        (np.full(6, NUM_CLASSES), r"^labels must lie in \[0, 3\), got \(3, 3\)$"),
        (np.zeros(5, np.int64), r"^labels must be \(6,\) int64, one for each image"),
    ],
)
def test_classes_that_a_model_has_not_are_an_error(trained: Checkpoint, labels, message) -> None:
    """Also "no class", which guidance 0 asks for."""
    with pytest.raises(ValueError, match=message):
        draw(trained, labels)


def test_unconditional_model_cannot_be_asked_for_classes() -> None:
    checkpoint = fit(None, model=MODEL).checkpoint
    with pytest.raises(ValueError, match=r"^labels must be None for an unconditional model"):
        draw(checkpoint, np.zeros(6, np.int64))
    with pytest.raises(ValueError, match=r"^sample\.guidance must be 1 with an unconditional"):
        draw(checkpoint, None, guidance=2.0)


# Guidance


def stub(calls: list[list[int]]):
    """A predictor of x + 10 label, which keeps the labels it is called with."""

    def predict(x: Tensor, labels: Tensor) -> Tensor:
        calls.append(labels.tolist())
        return x + 10 * labels

    return predict


@pytest.mark.parametrize(
    ("guidance", "expected", "asked"),
    [
        (0.0, [51.0, 52.0], [[5, 5]]),
        (0.5, [31.0, 37.0], [[5, 5], [1, 2]]),
        (1.0, [11.0, 22.0], [[1, 2]]),
        (3.0, [-69.0, -38.0], [[5, 5], [1, 2]]),
    ],
)
def test_guidance_is_a_step_from_no_class_to_the_class(guidance, expected, asked) -> None:
    """Images 1, 2 of classes 1, 2, "no class" 5: 51 + w (11 - 51), 52 + w (22 - 52).

    Guidance 1 and 0 need one call.
    """
    calls: list[list[int]] = []
    predict = guide(stub(calls), torch.tensor([1, 2]), guidance=guidance, no_class=5)
    assert predict(torch.tensor([1.0, 2.0])).tolist() == expected
    assert calls == asked


# Every family of networks


@pytest.fixture(scope="module", params=with_marks(list(OBJECTIVES)))
def of_family(request) -> Checkpoint:
    """A conditional model of each family of networks, after 40 steps."""
    return fit(model=replace(CONDITIONAL, family=request.param), num_steps=40).checkpoint


def test_every_family_draws_the_class_asked_for(of_family: Checkpoint) -> None:
    """Other images of another class, and those of the same whatever stands beside them."""
    labels = np.array([0, 1, 2, 2, 1, 0])
    images, others = draw(of_family, labels), draw(of_family, (labels + 1) % NUM_CLASSES)
    assert (images != others).any()
    mixed = draw(of_family, np.array([0, 2, 1, 0, 0, 0]))
    np.testing.assert_array_equal(images[[0, 5]], mixed[[0, 5]])


@pytest.mark.slow
def test_every_family_learns_its_classes(of_family: Checkpoint) -> None:
    """Of upright and level stripes, each come when they are asked for.

    Drawn from the same noise, so that a model deaf to classes would show no difference at all.
    """
    stripes = np.full((2, 8, 8), 25)
    stripes[0, :, ::2] = stripes[1, ::2, :] = 210
    labels = np.arange(32) % 2
    noise = np.random.default_rng(0).integers(0, 20, (32, 1, 8, 8))
    pool = (stripes[labels][:, None] + noise).astype(np.uint8)
    model = replace(CONDITIONAL, family=of_family.family)
    job = replace(conditional_job(num_steps=300, num_classes=2, model=model), train=LEARNING)
    fitted = fit_family(pool, labels, job).checkpoint
    drawn = [draw(fitted, np.full(16, label), count=16).mean(axis=(0, 1)) for label in (0, 1)]
    learned, real = drawn[0] - drawn[1], stripes[0] - stripes[1]
    assert (learned * real).sum() / (real * real).sum() > 0.1


def test_guidance_is_of_every_family_that_steps(of_family: Checkpoint) -> None:
    """The vae and the Gaussian predict no noise that could be weighted: an error."""
    if of_family.family == "vae":
        with pytest.raises(ValueError, match=r"^sample\.guidance must be 1 with model.family=vae"):
            draw(of_family, np.zeros(6, np.int64), guidance=2.0)
        return
    plain, guided = (draw(of_family, np.zeros(6, np.int64), guidance=w) for w in (1.0, 3.0))
    assert (plain != guided).any()
