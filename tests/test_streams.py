"""Facts of class streams: an image depends on its class and number, not on what else is drawn."""

from dataclasses import replace

import numpy as np
import pytest
from every_family import sample_family
from tiny_training import MODEL, SEED, draw_pool, make_job, make_train, new_stream

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH, num_class_blocks
from model.checkpoint import Checkpoint
from model.config import ModelConfig, SampleConfig
from model.families import FAMILIES
from model.job import Diverged
from model.randomness import Purpose, image_noise
from model.streams import labels_in_turn

NUM_CLASSES = 10
LABELS = np.arange(40) % NUM_CLASSES
BLOCKS = [(label, block) for block in range(2) for label in range(NUM_CLASSES)]


def fit(model: ModelConfig, *, dtype: str = "float32", images: np.ndarray | None = None):
    pool = draw_pool(40) if images is None else images
    if dtype == "float32":
        pool = (pool / 255).astype(np.float32)
    job = make_job(
        make_train(), model=model, num_steps=40, num_classes=NUM_CLASSES, bounded=dtype == "uint8"
    )
    return FAMILIES[model.family].fit(pool, LABELS, job).checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """A network that draws floats, so that all bits are compared."""
    return fit(replace(MODEL, conditional=True))


def draw(
    checkpoint: Checkpoint, blocks: list[tuple[int, int]], *, guidance: float = 1.0
) -> dict[tuple[int, int], np.ndarray]:
    config = SampleConfig(steps=3, guidance=guidance)
    return dict(new_stream(checkpoint, config).class_blocks(blocks))


@pytest.fixture(scope="module", params=[1.0, 2.0], ids=["plain", "guided"])
def every(request, checkpoint: Checkpoint) -> tuple[float, dict[tuple[int, int], np.ndarray]]:
    """Guidance and twenty blocks: two full network calls and half a one."""
    return request.param, draw(checkpoint, BLOCKS, guidance=request.param)


def test_a_network_call_holds_whole_blocks() -> None:
    assert SAMPLE_BATCH % CLASS_BLOCK == 0


@pytest.mark.parametrize(("count", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2)])
def test_blocks_hold_16_images(count: int, blocks: int) -> None:
    assert num_class_blocks(count) == blocks


def test_blocks_come_in_the_order_asked_for(every) -> None:
    _, found = every
    assert list(found) == BLOCKS
    assert {images.shape for images in found.values()} == {(CLASS_BLOCK, 1, 8, 8)}


@pytest.mark.parametrize("pair", [(0, 0), (7, 0), (8, 0), (9, 1)])
def test_a_block_is_bit_equal_alone(checkpoint: Checkpoint, every, pair) -> None:
    """Of the first, the last slot of the first call, the first of the next, and a padded one."""
    guidance, found = every
    alone = draw(checkpoint, [pair], guidance=guidance)
    np.testing.assert_array_equal(alone[pair], found[pair])


def test_blocks_are_bit_equal_in_another_order(checkpoint: Checkpoint, every) -> None:
    """Reversed, each lies in another slot and beside others."""
    guidance, found = every
    for pair, images in draw(checkpoint, BLOCKS[::-1], guidance=guidance).items():
        np.testing.assert_array_equal(images, found[pair])


@pytest.mark.parametrize("slot", range(8))
def test_a_block_is_bit_equal_in_each_slot(checkpoint: Checkpoint, every, slot: int) -> None:
    guidance, found = every
    others = [pair for pair in BLOCKS if pair != (3, 1)][:7]
    blocks = [*others[:slot], (3, 1), *others[slot:]]
    np.testing.assert_array_equal(draw(checkpoint, blocks, guidance=guidance)[3, 1], found[3, 1])


def test_noise_of_a_block_is_that_of_its_class_and_numbers(checkpoint: Checkpoint) -> None:
    """Block 1 of class 3 is images 16 to 31 of its stream."""
    noise = image_noise(SEED, Purpose.SAMPLE, range(16, 32), (1, 8, 8), label=3)
    labels = np.full(16, 3)
    expected = sample_family(checkpoint, noise, SampleConfig(steps=3), labels=labels)
    np.testing.assert_array_equal(draw(checkpoint, [(3, 1)])[3, 1], expected)


def test_gaussian_blocks_are_bit_equal_alone() -> None:
    null = fit(ModelConfig(family="gaussian", conditional=True))
    found = draw(null, BLOCKS)
    np.testing.assert_array_equal(draw(null, [(9, 1)])[9, 1], found[9, 1])


def test_a_class_whose_images_are_all_the_same_has_diverged() -> None:
    """Of which the error names the class; the others' images are drawn before it."""
    pool = draw_pool(40)
    pool[LABELS == 4] = 7
    null = fit(ModelConfig(family="gaussian", conditional=True), images=pool)
    blocks = new_stream(null, SampleConfig()).class_blocks([(0, 0), (4, 0)])
    assert next(blocks)[0] == (0, 0)
    with pytest.raises(Diverged, match="all samples of class 4 are the same image"):
        next(blocks)


def test_unconditional_model_has_no_class_streams() -> None:
    with pytest.raises(ValueError, match=r"^labels must be None for an unconditional model"):
        draw(fit(MODEL), [(0, 0)])


# Images of given labels


def test_labelled_images_are_the_first_of_their_classes(checkpoint: Checkpoint, every) -> None:
    """In their order: the k-th of class c is image k of its stream."""
    guidance, found = every
    labels = np.array([5, 0, 5, *[2] * 18, 0])
    config = SampleConfig(steps=3, guidance=guidance)
    drawn = new_stream(checkpoint, config).labelled(labels)
    np.testing.assert_array_equal(drawn[[0, 2]], found[5, 0][:2])
    np.testing.assert_array_equal(drawn[[1, 21]], found[0, 0][:2])
    np.testing.assert_array_equal(drawn[3:21], np.concatenate([found[2, 0], found[2, 1]])[:18])


def test_labels_in_turn_have_equal_shares() -> None:
    assert labels_in_turn([4, 1, 7], 5).tolist() == [4, 1, 7, 4, 1]
    assert labels_in_turn([4, 1, 7], 2).dtype == np.int64
