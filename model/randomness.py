"""Random numbers as functions of fixed integers; global generator state is neither read nor set.

A seed is a tuple of integers (lineage seed, generation, member); a purpose separates the uses of
one seed. The noise of image i comes from a counter-based generator whose counter contains i, so it
does not depend on how many images are drawn or in which order.
"""

from enum import IntEnum

import numpy as np

Seed = tuple[int, ...]


class Purpose(IntEnum):
    """What random numbers are used for; the values never change, because results depend on them."""

    INIT = 1
    EMA_INIT = 2
    SHUFFLE = 3
    STEP = 4
    SAMPLE = 5
    PREVIEW = 6
    VALIDATION = 7
    SPLIT = 8
    POOL = 9
    MEASURE = 10
    DATA = 11


def sequence(seed: Seed, purpose: Purpose, *extra: int) -> np.random.SeedSequence:
    """SeedSequence of (seed, purpose, extra), with lengths included to rule out collisions."""
    return np.random.SeedSequence((len(seed), *seed, int(purpose), len(extra), *extra))


def integer_seed(seed: Seed, purpose: Purpose, *extra: int) -> int:
    """A 63-bit integer for torch.Generator.manual_seed."""
    high, low = sequence(seed, purpose, *extra).generate_state(2, np.uint32)
    return (int(high) << 32 | int(low)) >> 1


def generator(seed: Seed, purpose: Purpose, *extra: int) -> np.random.Generator:
    """A numpy generator (Philox) for (seed, purpose, extra)."""
    return np.random.Generator(np.random.Philox(sequence(seed, purpose, *extra)))


def image_noise(
    seed: Seed,
    purpose: Purpose,
    indices: range,
    shape: tuple[int, ...],
    *,
    label: int | None = None,
) -> np.ndarray:
    """Standard normal noise of the stream's images `indices`.

    Args:
        seed: (lineage seed, generation, member); previews leave out the generation.
        purpose: SAMPLE, PREVIEW, VALIDATION, MEASURE or DATA.
        indices: Numbers of the images in their stream.
        shape: Shape of one image's noise, (C, H, W).
        label: Class of the stream, or None.

    Returns:
        (len(indices), *shape) float32.
    """
    key = sequence(seed, purpose, 0 if label is None else label + 1).generate_state(2, np.uint64)
    noise = np.empty((len(indices), *shape), np.float32)
    for row, index in enumerate(indices):
        bits = np.random.Philox(key=key, counter=np.array([0, 0, index, 0], np.uint64))
        np.random.Generator(bits).standard_normal(dtype=np.float32, out=noise[row])
    return noise
