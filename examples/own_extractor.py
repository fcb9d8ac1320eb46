"""A plug-in with a feature extractor: the mean of each 2x2 block of pixels.

sweep run quickstart --import examples/own_extractor.py --metrics.extractor blocks \
    --out runs/blocks
"""

from typing import TYPE_CHECKING

from model.features.extractors import ExtractFunction, Extractor

if TYPE_CHECKING:
    from torch import Tensor


def keep(images: "Tensor", resolution: int) -> "Tensor":
    """Return the images unchanged."""
    return images


def build_blocks(weights: str | None, sha256: str | None, device: str) -> ExtractFunction:
    """Average pixels over blocks; there are no weights to load."""
    from torch.nn.functional import avg_pool2d

    return lambda images: avg_pool2d(images, 2).flatten(1)


EXTRACTORS = {
    "blocks": Extractor(
        prepare=keep, build=build_blocks, version="1", has_network=False, takes_any_range=True
    )
}
