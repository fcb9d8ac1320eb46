"""One generative model: train it on images, draw samples from it, evaluate them.

In Python or a notebook, on arrays:

    import model
    checkpoint = model.train(images)
    samples = model.sample(checkpoint, 360)
    numbers = model.evaluate(samples, real_images).values
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from model.checkpoint import Checkpoint
    from model.config import MetricsConfig, ModelConfig, SampleConfig, TrainConfig
    from model.metrics.table import Evaluation

__all__ = ["evaluate", "sample", "train"]


def train(
    images: "np.ndarray",
    labels: "np.ndarray | None" = None,
    *,
    model: "ModelConfig | None" = None,
    train: "TrainConfig | None" = None,
    class_names: Sequence[str] = (),
    bounded: bool = True,
    seed: int = 0,
    device: str = "cpu",
) -> "Checkpoint":
    """Train a model on images: V_1 of a lineage with the same training images, settings and seed.

    Args:
        images: (N, C, S, S) uint8, or float32.
        labels: (N,) int64 classes, for a conditional model.
        model: The model family and its network; by default the paper's.
        train: How it is trained; by default 40 epochs.
        class_names: A name for each class; by default their numbers.
        bounded: Whether float32 pixels are confined to [0, 1], as 8-bit pixels are.
        seed: Seed of initial weights, batches and noise.
        device: cpu or cuda. On a CPU, torch's number of threads may change the last bits.

    Returns:
        The trained model. `to_bytes()` makes a .safetensors file of it, for `model sample`.

    Raises:
        UsageError: Images, labels or settings do not fit each other.
        Diverged: The loss is not finite.
    """
    from model.commands.train import fit_images
    from model.config import ModelConfig, TrainConfig

    return fit_images(
        images,
        labels,
        model=model or ModelConfig(),
        train=train or TrainConfig(),
        class_names=tuple(class_names),
        bounded=bounded,
        seed=seed,
        device=device,
    )


def sample(
    checkpoint: "Checkpoint",
    num_images: int,
    *,
    labels: "np.ndarray | None" = None,
    sample: "SampleConfig | None" = None,
    seed: int = 0,
    device: str = "cpu",
) -> "np.ndarray":
    """Draw images from a trained model: those that a lineage with this seed draws from its V_1.

    Image i does not depend on how many images are drawn.

    Args:
        checkpoint: What `train` returns.
        num_images: N.
        labels: (N,) int64 classes to draw from a conditional model; by default all in turn.
        sample: The sampler.
        seed: Seed of the noise.
        device: cpu or cuda.

    Returns:
        (N, C, S, S) of the training images' dtype.

    Raises:
        UsageError: The labels do not fit the model.
        Diverged: The images are not finite, or all are the same.
    """
    from model.commands.sample import draw_images
    from model.config import SampleConfig

    config = sample or SampleConfig()
    return draw_images(checkpoint, num_images, labels, config, seed=seed, device=device)


def evaluate(
    generated: "np.ndarray",
    reference: "np.ndarray",
    *,
    metrics: "MetricsConfig | None" = None,
    train: "np.ndarray | None" = None,
    generated_labels: "np.ndarray | None" = None,
    reference_labels: "np.ndarray | None" = None,
    train_labels: "np.ndarray | None" = None,
    class_names: Sequence[str] = (),
    device: str = "cpu",
) -> "Evaluation":
    """Compare generated images with real ones, as `model evaluate` does.

    Args:
        generated: (N, C, S, S) images.
        reference: (M, C, S, S) held-out real images of the same type.
        metrics: Metrics and extractor; by default KID and FID of EfficientNet-Lite0 features.
        train: (K, C, S, S) training images, which some metrics need.
        generated_labels: (N,) int64 classes that the images were asked to be of.
        reference_labels: (M,) int64 classes.
        train_labels: (K,) int64 classes.
        class_names: A name for each class.
        device: Where the extractor's network runs.

    Returns:
        Numbers by name (`values`), by class and by direction, and warnings.

    Raises:
        UsageError: The arrays do not fit each other, or a metric needs one that is missing.
        FileNotFoundError: The extractor's weights do not exist.
    """
    from model.config import MetricsConfig
    from model.metrics.table import RealImages, evaluate_images

    real = RealImages(
        reference=reference,
        reference_labels=reference_labels,
        train=train,
        train_labels=train_labels,
        class_names=tuple(class_names),
    )
    config = metrics or MetricsConfig()
    return evaluate_images(
        generated, real, config, generated_labels=generated_labels, device=device
    )
