"""Measuring one node: features kept in the store, and the numbers of a metric specification.

Features are stored by source images and extractor, in blocks that match those of the streams. All
lineages share the features of a data set's parts.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model.blocks import SAMPLE_BATCH
from model.config import MetricsConfig
from model.data.datasets import Dataset
from model.features.extractors import extract_features, extractor_label, weights_digest
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.pixels import digest_images, find_copies, pixel_statistics
from model.metrics.table import measure, needed
from sweep.planning.keys import digest
from sweep.planning.measurements import MetricsPlan
from sweep.planning.pool import Segment
from sweep.records import DatasetCard, Json, MetricsRecord
from sweep.store.folder import CorruptError
from sweep.store.store import Store

FEATURES_VERSION = 1
"""Increase it whenever the same images and extractor would give different features."""


@dataclass(kw_only=True, slots=True)
class Measurement:
    """Measures the images of models that are trained on one data set."""

    card: DatasetCard
    data: Dataset
    store: Store
    device: str = "cpu"
    _parts: dict[str, np.ndarray] = field(default_factory=dict)
    """Features of the data set's parts, by key."""
    _real: dict[tuple[str, str | None, bool], RealFeatures] = field(default_factory=dict)
    """Real features by (extractor, digest of its weights, whether with training images)."""
    _train_digests: dict[int | None, frozenset[bytes]] = field(default_factory=dict)
    """Digests of the first n training images by n; None is all of them."""

    def measure(
        self,
        plan: MetricsPlan,
        images: np.ndarray,
        features: np.ndarray,
        *,
        generated_labels: np.ndarray | None = None,
        started: float,
    ) -> MetricsRecord:
        """Measure images under a specification.

        Args:
            plan: The specification.
            images: (N, C, H, W) measured images.
            features: (N, D) features of these images.
            generated_labels: (N,) classes that a conditional model was conditioned on.
            started: time.perf_counter() before images and features were fetched.
        """
        config = plan.config
        real = self.real(config)
        known = None if real.train is None else self.train_digests(plan.num_seen)
        comparison = Comparison(
            generated=features,
            real=real,
            generated_labels=generated_labels,
            exact_copies=None if known is None else find_copies(images, known),
            num_seen=plan.num_seen,
        )
        result = measure(comparison, config, pixels=pixel_statistics(images))
        return MetricsRecord(
            spec=plan.inputs,
            values=result.values,
            classes=result.classes,
            num_images=result.num_images,
            num_reference=result.num_reference,
            num_train=result.num_train,
            stream=next((s.source for s in plan.images if isinstance(s, Segment)), ""),
            images_sha256=array_digest(images),
            warnings=list(result.warnings),
            seconds=time.perf_counter() - started,
        )

    def lacking(self, plan: MetricsPlan, reason: str, *, started: float) -> MetricsRecord:
        """A record without numbers, for images that cannot be drawn."""
        return MetricsRecord(
            spec=plan.inputs,
            values={},
            num_images=0,
            num_reference=len(self.data.reference),
            stream="",
            images_sha256="",
            warnings=[reason],
            seconds=time.perf_counter() - started,
        )

    def real(self, config: MetricsConfig) -> RealFeatures:
        """The real features for all comparisons under an extractor, with their cached statistics.

        Training images are included only if the metrics need them, because extracting their
        features takes time and their presence changes the results (cas_real, num_train).
        """
        with_train = "train" in needed(config)
        key = extractor_label(config), weights_digest(config), with_train
        if key not in self._real:
            data = self.data
            self._real[key] = RealFeatures(
                reference=self.part("reference", data.reference, config),
                train=self.part("train", data.train, config) if with_train else None,
                reference_labels=None if data.labels is None else data.labels[data.reference],
                train_labels=None if data.labels is None else data.labels[data.train],
                class_names=data.class_names,
            )
        return self._real[key]

    def train_digests(self, num_seen: int | None) -> frozenset[bytes]:
        """Digests of the first `num_seen` training images (None: all), computed once for each."""
        if num_seen not in self._train_digests:
            images = self.data.images[self.data.train[:num_seen]]
            self._train_digests[num_seen] = digest_images(images)
        return self._train_digests[num_seen]

    def part(self, name: str, indices: np.ndarray, config: MetricsConfig) -> np.ndarray:
        """(M, D) features of the data set's images at `indices`, which also stay in memory."""
        source: Json = {"dataset": self.card.fingerprint, "part": name}
        key = features_key(source, config)
        if key not in self._parts:
            self._parts[key] = self.features(source, self.data.images[indices], config)
        return self._parts[key]

    def features(
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
            features = self.read(key, index)
            if features is None:
                part = images[start : start + block]
                features = extract_features(part, config, device=self.device)
                self.store.write_block(key, index, features, shelf="features")
            blocks.append(features)
        return np.concatenate(blocks)

    def lacks(self, source: Json, index: int, config: MetricsConfig) -> bool:
        """Whether the store lacks a block of features."""
        return not self.store.has_block(features_key(source, config), index, shelf="features")

    def extract_blocks(
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

    def read(self, key: str, index: int) -> np.ndarray | None:
        """A block of features, or None if there is none; a damaged block is deleted."""
        if not self.store.has_block(key, index, shelf="features"):
            return None
        try:
            return self.store.read_block(key, index, shelf="features")
        except FileNotFoundError:
            return None
        except CorruptError:
            self.store.discard_block(key, index, shelf="features")
            return None


def features_key(source: Json, config: MetricsConfig) -> str:
    """Key of the features that an extractor gives for some images."""
    extractor = {"label": extractor_label(config), "weights": weights_digest(config)}
    return digest({"version": FEATURES_VERSION, "images": source, "extractor": extractor})


def array_digest(images: np.ndarray) -> str:
    """SHA-256 (hex) of an array's shape, type and bytes."""
    head = f"{images.dtype.str} {images.shape}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(images).tobytes()).hexdigest()
