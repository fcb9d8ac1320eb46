"""What is measured on pixels, without features: statistics, and exact copies."""

import hashlib

import numpy as np

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
