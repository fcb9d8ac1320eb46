"""Data sets without files of the user: digits, crops of flower photographs, and synthetic images.

Each has a function that describes its contents, and one that loads its (N, C, S, S) pixels: uint8,
or float32 for data.dtype=float32, in [0, 1] except for synthetic images.
"""

import hashlib
import importlib.resources
import io

import numpy as np

from model.config import DataConfig
from model.data.reading import Contents, collect_pixels, decode_image, need_package, new_array
from model.errors import UsageError
from model.randomness import Purpose, generator, image_noise, sequence

DIGITS_CLASS_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Images of each digit in sklearn.datasets.load_digits (1797 in all)."""

GENERATED_IMAGES = 2000
"""Number of images of a generated data set if data.num_images is None."""
FLOWER_CROPS_SIDES = (72, 128)
"""Smallest and largest side of a crop, in pixels of the photograph."""
FLOWER_CROPS_SHA256 = {
    "flowers1": "1bf7eda0d4cb",
    "flowers2": "b3fdf0486719",
    "flowers3": "2b0c781e6d4b",
    "flowers4": "d74e1e3d354c",
    "flowers5": "c74b00a0655e",
    "flowers6": "735202575cdc",
    "flowers7": "0e384dd5f56f",
    "flowers8": "09b5399d735a",
    "flowers9": "f91a707d30de",
}
"""First 12 hex digits of the SHA-256 of each class's photograph in mvtb-data 1.6.1."""


CHUNK = 1024
"""Synthetic images drawn at once."""
SYNTHETIC_SIDE = 64
"""Largest side of synthetic images, whose directions are a matrix of side^4 numbers."""


def describe_digits(config: DataConfig) -> Contents:
    """Contents of scikit-learn's digits, without importing it."""
    return _digits(np.repeat(np.arange(10), DIGITS_CLASS_COUNTS))


def _digits(labels: np.ndarray) -> Contents:
    names = tuple("0123456789")
    return Contents(num_images=len(labels), channels=1, labels=labels, class_names=names)


def load_digits(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Load scikit-learn's 8x8 digits; their 17 levels of grey become round(level * 255 / 16).

    This is the file that its load_digits reads. The import of sklearn takes several seconds.
    """
    folder = need_package("sklearn", "scikit-learn", config)
    table = np.loadtxt(folder / "datasets" / "data" / "digits.csv.gz", np.int64, delimiter=",")
    grey = np.rint(table[:, :-1].reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
    contents = _digits(table[:, -1])
    return collect_pixels(grey, contents, config), contents


def describe_flower_crops(config: DataConfig) -> Contents:
    """Contents of the flower crops: image i is a crop of photograph i modulo 9."""
    count = GENERATED_IMAGES if config.num_images is None else config.num_images
    names = tuple(FLOWER_CROPS_SHA256)
    if count < len(names):
        raise UsageError(
            f"data.num_images must be at least 9, one for each photograph, got {count}"
        )
    labels = np.arange(count) % len(names)
    return Contents(num_images=count, channels=3, labels=labels, class_names=names)


def load_flower_crops(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Random square crops, half of them mirrored, of nine photographs of flowers (mvtb-data).

    Crop j of a photograph depends only on data.split_seed and j, so that a larger data set begins
    with the images of a smaller one.
    """
    contents = describe_flower_crops(config)
    photographs = [read_flower_photograph(name, config) for name in FLOWER_CROPS_SHA256]
    per_class = -(-contents.num_images // len(photographs))
    random = []
    for label in range(len(photographs)):
        bits = np.random.Philox(sequence((config.split_seed,), Purpose.SPLIT, label))
        random.append(bits.random_raw(4 * per_class).reshape(per_class, 4))
    crops = (
        crop_flower(photographs[i % 9], *(int(word) for word in random[i % 9][i // 9]))
        for i in range(contents.num_images)
    )
    return collect_pixels(crops, contents, config), contents


def crop_flower(photograph: np.ndarray, side: int, top: int, left: int, flip: int) -> np.ndarray:
    """Square crop of an (H, W, 3) photograph, determined by four random 64-bit words."""
    height, width = photograph.shape[:2]
    smallest, largest = FLOWER_CROPS_SIDES
    side = smallest + _below(side, largest - smallest + 1)
    top, left = _below(top, height - side + 1), _below(left, width - side + 1)
    crop = photograph[top : top + side, left : left + side]
    return crop[:, ::-1] if _below(flip, 2) else crop


def _below(word: int, limit: int) -> int:
    """Map a random 64-bit word to 0 ... limit - 1 (uniform up to 2^-64 * limit)."""
    return word * limit >> 64


def read_flower_photograph(name: str, config: DataConfig) -> np.ndarray:
    """Read the (H, W, 3) uint8 photograph of a class of flower-crops.

    Raises:
        UsageError: The package mvtb-data is missing or has another version.
    """
    need_package("mvtbdata", "mvtb-data", config)
    data = (importlib.resources.files("mvtbdata") / "images" / f"{name}.png").read_bytes()
    file, expected = f"{name}.png of mvtb-data", FLOWER_CROPS_SHA256[name]
    digest = hashlib.sha256(data).hexdigest()[:12]
    if digest != expected:
        raise UsageError(
            f"{file} must hash to {expected}, got {digest!r}; install mvtb-data==1.6.1"
        )
    return decode_image(io.BytesIO(data), 3, name=file)


def describe_synthetic(config: DataConfig) -> Contents:
    """Contents of the synthetic images: image i is of class i modulo data.num_classes."""
    if config.dtype != "float32":
        raise UsageError(
            "data.dtype must be float32 with data.name=synthetic, whose pixels are unbounded, got "
            f"{config.dtype!r}; set --data.dtype float32"
        )
    if config.image_size > SYNTHETIC_SIDE:
        raise UsageError(
            f"data.image_size must be at most {SYNTHETIC_SIDE} with data.name=synthetic, got "
            f"{config.image_size}"
        )
    if config.separation is not None and config.num_classes is None:
        raise UsageError(
            "data.separation must be None without data.num_classes, got "
            f"{config.separation}; set --data.num-classes"
        )
    count = GENERATED_IMAGES if config.num_images is None else config.num_images
    if config.num_classes is None:
        return Contents(num_images=count, channels=1, bounded=False)
    if count < config.num_classes:
        raise UsageError(
            f"data.num_images must be at least the {config.num_classes} classes, got {count}"
        )
    return Contents(
        num_images=count,
        channels=1,
        labels=np.arange(count) % config.num_classes,
        class_names=tuple(map(str, range(config.num_classes))),
        bounded=False,
    )


def load_synthetic(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Draw images of the density of `synthetic_density`; data.split_seed is the seed."""
    contents = describe_synthetic(config)
    means, factor = synthetic_density(config)
    N, S = contents.num_images, config.image_size
    pixels = new_array((N, 1, S, S), np.dtype(np.float32), f"images of data.image_size={S}")
    labels = np.zeros(N, np.int64) if contents.labels is None else contents.labels
    for start in range(0, N, CHUNK):
        indices = range(start, min(start + CHUNK, N))
        noise = image_noise((config.split_seed,), Purpose.DATA, indices, (S * S,))
        rows = means[labels[indices.start : indices.stop]] + noise.astype(np.float64) @ factor
        pixels[indices.start : indices.stop] = rows.reshape(-1, 1, S, S)
    return pixels, contents


def synthetic_density(config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """The density of synthetic images, from which `load_synthetic` draws.

    A class is a Gaussian. Its principal directions are products of cosines, from low to high
    frequencies, with variances proportional to k^-data.spectrum and a mean of 1 per pixel. The
    means of the classes are drawn from a Gaussian whose deviations are data.separation times as
    large; without classes, the mean is 0.

    Returns:
        Means (K, D) and the factor A (D, D) of all covariances A^T A, both float64.
    """
    S = config.image_size
    k = np.arange(S)
    cosines = np.cos(np.pi * k[:, None] * (k + 0.5) / S) * np.sqrt(2 / S)
    cosines[0] /= np.sqrt(2)
    basis = np.einsum("ij,kl->ikjl", cosines, cosines).reshape(S * S, S * S)
    order = np.argsort(np.add.outer(k**2, k**2).ravel(), kind="stable")
    spectrum = 1.0 if config.spectrum is None else config.spectrum
    variances = np.arange(1.0, S * S + 1) ** -spectrum
    factor = np.sqrt(variances * S * S / variances.sum())[:, None] * basis[order]
    if config.num_classes is None:
        return np.zeros((1, S * S)), factor
    separation = 1.0 if config.separation is None else config.separation
    drawn = generator((config.split_seed,), Purpose.DATA).standard_normal(
        (config.num_classes, S * S)
    )
    return separation * drawn @ factor, factor
