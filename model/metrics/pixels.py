"""What is measured on pixels, without features: statistics, variance gain, and exact copies."""

import hashlib

import numpy as np

from model.config import MetricsConfig
from model.features.principal import LEAST_SHARE, MOST_DIRECTIONS
from model.metrics.comparison import Comparison, Numbers
from model.metrics.standard_errors import average_error

DIGEST_BYTES = 16
PIXEL_CHUNK = 4096


def digest_images(images: np.ndarray) -> frozenset[bytes]:
    """Digests of (K, C, H, W) images for find_copies: 16 bytes for each distinct image."""
    return frozenset(_digest(image) for image in images)


def find_copies(images: np.ndarray, known: frozenset[bytes]) -> np.ndarray:
    """Find the images that equal a known one in every pixel.

    Args:
        images: (N, C, H, W), of the known images' shape and type.
        known: Result of digest_images on the known images.

    Returns:
        (N,) bool.
    """
    return np.array([_digest(image) in known for image in images])


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_BYTES).digest()


def pixel_statistics(images: np.ndarray) -> dict[str, float]:
    """Mean of all pixels, and the mean over pixels of their standard deviation over images.

    Args:
        images: (N, C, H, W) uint8, or float32.

    Returns:
        pixel_mean and pixel_std (population), in [0, 1] units for 8-bit images.
    """
    flat = images.reshape(len(images), -1)
    scale = 255 if images.dtype == np.uint8 else 1
    mean_sum = std_sum = 0.0
    for start in range(0, flat.shape[1], PIXEL_CHUNK):
        pixels = flat[:, start : start + PIXEL_CHUNK].astype(np.float64)
        mean_sum += pixels.mean(axis=0).sum()
        std_sum += pixels.std(axis=0).sum()
    num_pixels = flat.shape[1] * scale
    return {"pixel_mean": float(mean_sum / num_pixels), "pixel_std": float(std_sum / num_pixels)}


def compute_gain(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """Variance gain: variance of the generated images divided by that of the reference.

    Both are taken along the principal directions of the real training images. As neither set of
    images is the one that the directions were fitted to, the ratio is about 1 for fresh real images
    in every direction. The variance of K training images along their own directions is larger in
    the head of the spectrum and smaller in its tail: with variances l_1, l_2, ..., by about
    1 + (2 / K) sum_{j != k} l_j / (l_k - l_j) in direction k (from the expansion of sample
    eigenvalues by Lawley, Biometrika 43, 1956).

    Returns:
        gain_head, gain_middle, gain_tail: Ratio of the variances that are summed over a band of
            directions. The head is the fewest leading directions with half of the training images'
            variance, the middle the next ones up to 90%, and the tail all other dimensions. A band
            with less than 1e-4 of the real variance is left out.
        gain_head_se and so on: Standard errors over draws of both sets, with the directions held
            fixed.
        gain_train_head and so on: The same ratios for the training images, on average that of a
            model that reproduces their distribution exactly. They differ from 1 because the
            directions were fitted to these images, and as two sets of images differ.
        gain, gain_se, gain_train: (P,) numbers of each direction, at most 64. Directions are left
            out from the first one on that has less than 1e-4 of the training images' or the
            reference's variance.
        variance_share: (P,) share of the training images' variance.
    """
    directions, pixels = comparison.directions, comparison.pixels
    assert directions is not None
    assert pixels is not None
    generated, real = directions.squares(pixels), directions.reference_squares
    numbers: Numbers = {}
    of_bands = _ratios(generated.by_band, real.by_band, comparison.strata)
    known = _variances(real.by_band)
    for band, ratio, error, train, variance in zip(
        ("head", "middle", "tail"), *of_bands, directions.of_train, known, strict=True
    ):
        if variance > LEAST_SHARE * known.sum():
            numbers |= {f"gain_{band}": ratio, f"gain_{band}_se": error}
            numbers[f"gain_train_{band}"] = train / variance
    known, shares = _variances(real.by_direction), directions.variances / (directions.total or 1.0)
    total = _variances(real.by_band).sum()
    is_zero = (shares <= LEAST_SHARE) | (known <= LEAST_SHARE * total)
    P = min(int(np.argmax(is_zero)) if is_zero.any() else len(known), MOST_DIRECTIONS)
    if P:
        ratios, errors = _ratios(
            generated.by_direction[:, :P], real.by_direction[:, :P], comparison.strata
        )
        numbers |= {"gain": ratios, "gain_se": errors}
        numbers["gain_train"] = directions.variances[:P] / known[:P]
        numbers["variance_share"] = shares[:P]
    return numbers


def _variances(squares: np.ndarray) -> np.ndarray:
    return squares.sum(axis=0) / (len(squares) - 1)


def _ratios(
    generated: np.ndarray, real: np.ndarray, strata: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of the variances in (N, P) and (M, P) squares, and their errors (delta method)."""
    N, mean_real = len(generated), real.mean(axis=0)
    error, error_real = (
        np.array([average_error(column, rows) for column in squares.T])
        for squares, rows in zip((generated, real), strata, strict=True)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _variances(generated) / _variances(real)
        own = error * N / (N - 1) / _variances(real)
        return ratios, np.hypot(own, ratios * error_real / mean_real)
