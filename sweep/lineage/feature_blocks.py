"""Features of images in the store, in blocks that match those of the streams.

They are stored by source images and extractor. All lineages share the features of a data set's
parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model.blocks import SAMPLE_BATCH
from model.config import MetricsConfig
from model.data.datasets import Dataset
from model.features.extractors import extract_features, extractor_label, weights_digest
from sweep.files import Json, digest
from sweep.records import DatasetCard
from sweep.store.store import Store

FEATURES_VERSION = 1
"""Increase it whenever the same images and extractor would give different features."""


@dataclass(kw_only=True, slots=True)
class FeatureBlocks:
    """Reads features from the store; extracts and stores those that are missing."""

    card: DatasetCard
    data: Dataset
    store: Store
    device: str = "cpu"
    _parts: dict[str, np.ndarray] = field(default_factory=dict)
    """Features of the data set's parts, by key."""

    def of_part(self, name: str, indices: np.ndarray, config: MetricsConfig) -> np.ndarray:
        """(M, D) features of the data set's images at `indices`, which also stay in memory."""
        source: Json = {"dataset": self.card.fingerprint, "part": name}
        key = features_key(source, config)
        if key not in self._parts:
            self._parts[key] = self.read(source, self.data.images[indices], config)
        return self._parts[key]

    def read(
        self,
        source: Json,
        images: np.ndarray,
        config: MetricsConfig,
        *,
        block: int = SAMPLE_BATCH,
        first: int = 0,
    ) -> np.ndarray:
        """(N, D) float32 features of images, block by block; missing blocks are extracted.

        Args:
            source: Identity of the images, as JSON.
            images: (N, C, H, W) in whole blocks; the last block may be smaller.
            config: The extractor.
            block: Images per block.
            first: Number of the first block.
        """
        key = features_key(source, config)
        blocks = []
        for index, start in enumerate(range(0, len(images), block), start=first):
            features = self.store.sound_block(key, index, shelf="features")
            if features is None:
                part = images[start : start + block]
                features = extract_features(part, config, device=self.device)
                self.store.write_block(key, index, features, shelf="features")
            blocks.append(features)
        return np.concatenate(blocks)

    def lacks(self, source: Json, index: int, config: MetricsConfig) -> bool:
        """Whether the store lacks a block of features."""
        return not self.store.has_block(features_key(source, config), index, shelf="features")

    def extract(
        self, blocks: Sequence[tuple[Json, int, np.ndarray]], config: MetricsConfig
    ) -> None:
        """Extract and store the features of several blocks, given as (source, number, images)."""
        if not blocks:
            return
        images = np.concatenate([part for _, _, part in blocks])
        features = extract_features(images, config, device=self.device)
        start = 0
        for source, index, part in blocks:
            block = features[start : start + len(part)]
            self.store.write_block(features_key(source, config), index, block, shelf="features")
            start += len(part)


def features_key(source: Json, config: MetricsConfig) -> str:
    """Key of the features that an extractor gives for some images."""
    extractor = {"label": extractor_label(config), "weights": weights_digest(config)}
    return digest({"version": FEATURES_VERSION, "images": source, "extractor": extractor})
