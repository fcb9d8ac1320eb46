"""Measuring one node: the numbers of a metric specification."""

import hashlib
import time
from dataclasses import dataclass, field

import numpy as np

from model.config import MetricsConfig
from model.data.datasets import Dataset
from model.features.extractors import extractor_label, weights_digest
from model.features.principal import Directions, principal_directions
from model.images import encode_png, tile, to_bytes
from model.metrics.comparison import Comparison, RealFeatures, TrainedOn
from model.metrics.pixels import digest_images, find_copies, pixel_statistics
from model.metrics.table import measure, needed
from sweep.lineage.datasets import preview_limits
from sweep.lineage.feature_blocks import FeatureBlocks
from sweep.nearest import NearestImages
from sweep.planning.measurements import MetricsPlan
from sweep.planning.pool import Segment
from sweep.records import MetricsRecord


@dataclass(kw_only=True, slots=True)
class Measurement:
    """Measures the images of models that are trained on one data set."""

    data: Dataset
    features: FeatureBlocks
    _real: dict[tuple[str, str | None, bool], RealFeatures] = field(default_factory=dict)
    """Real features by (extractor, digest of its weights, whether with training images)."""
    _train_digests: dict[int | None, frozenset[bytes]] = field(default_factory=dict)
    """Digests of the first n training images by n; None is all of them."""
    _directions: Directions | None = None

    def measure(
        self,
        plan: MetricsPlan,
        images: np.ndarray,
        features: np.ndarray,
        *,
        generated_labels: np.ndarray | None = None,
        pool: TrainedOn | None = None,
        started: float,
    ) -> MetricsRecord:
        """Measure images under a specification.

        Args:
            plan: The specification.
            images: (N, C, H, W) measured images.
            features: (N, D) features of these images.
            generated_labels: (N,) classes that a conditional model was conditioned on.
            pool: Features of the model's pool, if a metric compares with it.
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
            pool=pool,
            pixels=images.reshape(len(images), -1),
            directions=self.directions() if "directions" in needed(config) else None,
        )
        result = measure(comparison, config, pixels=pixel_statistics(images))
        return MetricsRecord(
            spec=plan.inputs,
            values=result.values,
            classes=result.classes,
            directions=result.directions,
            nearest=nearest_images(comparison) if "nearest" in config.names else None,
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
                reference=self.features.of_part("reference", data.reference, config),
                train=self.features.of_part("train", data.train, config) if with_train else None,
                reference_labels=None if data.labels is None else data.labels[data.reference],
                train_labels=None if data.labels is None else data.labels[data.train],
                class_names=data.class_names,
            )
        return self._real[key]

    def directions(self) -> Directions:
        """Principal directions of all training images, found once."""
        if self._directions is None:
            train, reference = (
                self.data.images[part] for part in (self.data.train, self.data.reference)
            )
            self._directions = principal_directions(train, reference)
        return self._directions

    def sheet(self, nearest: NearestImages, images: np.ndarray) -> bytes:
        """A PNG of samples in one row and their nearest training images below, without gaps.

        Args:
            nearest: Which images it shows.
            images: (N, C, H, W) measured images.
        """
        real = self.data.images[self.data.train[np.array(nearest.train).T.ravel()]]
        shown = np.concatenate([images[nearest.samples], real])
        limits = preview_limits(self.data)
        return encode_png(tile(to_bytes(shown, limits=limits), len(nearest.samples)))

    def train_digests(self, num_seen: int | None) -> frozenset[bytes]:
        """Digests of the first `num_seen` training images (None: all), computed once for each."""
        if num_seen not in self._train_digests:
            images = self.data.images[self.data.train[:num_seen]]
            self._train_digests[num_seen] = digest_images(images)
        return self._train_digests[num_seen]


def nearest_images(comparison: Comparison) -> NearestImages:
    """The part of a record that says which training images are nearest to which samples."""
    closest = comparison.closest
    return NearestImages(
        samples=closest.samples.tolist(),
        num_closest=closest.num_closest,
        train=closest.train.tolist(),
        distances=closest.distances.tolist(),
    )


def array_digest(images: np.ndarray) -> str:
    """SHA-256 (hex) of an array's shape, type and bytes."""
    head = f"{images.dtype.str} {images.shape}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(images).tobytes()).hexdigest()
