"""Resolves a pool's manifest to its images, classes and features, and makes its selections.

A selection is made once and stored together with the scores it is based on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH
from model.config import FilterConfig, MetricsConfig
from model.data.datasets import Dataset
from model.errors import UsageError
from model.features.probe import Probe, fit_probe
from model.filters.candidates import Candidates
from model.filters.table import FILTERS, select
from model.job import Diverged
from model.randomness import Purpose, generator
from sweep.config import key_defaults, restored
from sweep.files import Json, digest
from sweep.lineage.feature_blocks import FeatureBlocks
from sweep.lineage.sample_streams import Streams
from sweep.planning.keys import block_size, blocks_with, store_key
from sweep.planning.pool import (
    RANDOM,
    Pool,
    Segment,
    Selected,
    Source,
    first_images,
    pool_from_recipe,
    pool_recipe,
    pool_rows,
    pool_size,
    random_positions,
)
from sweep.records import PROBE, DatasetCard
from sweep.store.store import Store

MAY_LACK = ("threshold-decay", "near-duplicates")
"""Filters that may reject too many of a collapsed model's candidates, however many there are."""
SELECTIONS_VERSION = 1
"""Increase it whenever the same candidates and settings would give a different selection."""


@dataclass(kw_only=True, slots=True)
class Sources:
    """The images that the pools of a lineage refer to."""

    card: DatasetCard
    data: Dataset
    store: Store
    streams: Streams
    feature_blocks: FeatureBlocks
    weights: Mapping[str, str]
    """Weights files that the settings name, by SHA-256, or by the extractor's name if they hold its
    published weights."""
    _probes: dict[str, Probe] = field(default_factory=dict)

    def images(self, pool: Pool) -> np.ndarray:
        """(N, C, H, W) images of a pool, in order; missing parts of streams are drawn.

        Raises:
            Diverged: A model's images are not finite, or too few are of a class that is needed.
        """
        self.fill(pool)
        images = self._empty(pool_size(pool))
        stop = 0
        for source in pool:
            start, stop = stop, stop + len(source)
            self._copy(source, images[start:stop])
        return images

    def fill(self, pool: Pool) -> None:
        """Draw the missing images of a pool, except those a probe examines; classes share calls."""
        ranges: dict[str, dict[int | None, range]] = {}
        for segment in own_segments(pool):
            by_class = ranges.setdefault(segment.source, {})
            images = by_class.get(segment.label, range(segment.start, segment.stop))
            by_class[segment.label] = range(
                min(images.start, segment.start), max(images.stop, segment.stop)
            )
        for stream, by_class in ranges.items():
            self.streams.fill(stream, by_class)

    def _empty(self, count: int) -> np.ndarray:
        return np.empty((count, *self.data.images.shape[1:]), self.data.images.dtype)

    def _copy(self, source: Source, into: np.ndarray) -> None:
        """Write the images of one source into an array, without a second copy of them all."""
        if isinstance(source, Selected):
            kept = self.choose(source)[source.start : source.stop]
            into[:] = self.images(first_images(source.of, int(kept.max()) + 1))[kept]
        elif source.kind == "real":
            numbers = self.data.train[source.start : source.stop]
            # With the default mode, "raise", numpy would buffer the result.
            np.take(self.data.images, numbers, axis=0, out=into, mode="clip")
        else:
            images = range(source.start, source.stop)
            self.streams.copy(source.source, source.label, images, into)

    def stream_images(self, segment: Segment) -> np.ndarray:
        """The images of a segment of a stream."""
        images = self._empty(len(segment))
        self._copy(segment, images)
        return images

    def labels(self, pool: Pool) -> np.ndarray:
        """(N,) int64 classes of a pool's images; -1 if unknown."""
        labels = None if self.data.labels is None else self.data.labels[self.data.train]
        return pool_rows(pool, labels, self.choose).labels

    def features(self, pool: Pool, config: MetricsConfig) -> np.ndarray:
        """(N, D) float32 features of a pool's images; those of streams are kept in the store."""
        self.fill_features(pool, config)
        return np.concatenate([self.source_features(source, config) for source in pool])

    def fill_features(self, pool: Pool, config: MetricsConfig) -> None:
        """Extract all missing features of a pool's class streams at once.

        Extractors pad batches to one size, and the small blocks of a single class would leave most
        of a batch empty.
        """
        self.fill(pool)
        blocks = {
            (store_key(segment.source, segment.label), block): replace(
                segment, start=block * CLASS_BLOCK, stop=(block + 1) * CLASS_BLOCK
            )
            for segment in own_segments(pool)
            if segment.label is not None
            for block in blocks_with(segment.label, range(segment.start, segment.stop))
        }
        missing = [
            ({"stream": key}, block, self.stream_images(blocks[key, block]))
            for key, block in sorted(blocks)
            if self.feature_blocks.lacks({"stream": key}, block, config)
        ]
        self.feature_blocks.extract(missing, config)

    def source_features(self, source: Source, config: MetricsConfig) -> np.ndarray:
        """The features of one source."""
        if isinstance(source, Selected):
            kept = self.choose(source)[source.start : source.stop]
            return self.features(first_images(source.of, int(kept.max()) + 1), config)[kept]
        if source.kind == "real":
            part = self.feature_blocks.of_part("train", self.data.train, config)
            return part[source.start : source.stop]
        size = block_size(source.label)
        blocks = blocks_with(source.label, range(source.start, source.stop))
        first = blocks.start * size
        images = self.stream_images(replace(source, start=first, stop=blocks.stop * size))
        key: Json = {"stream": store_key(source.source, source.label)}
        whole = self.feature_blocks.read(key, images, config, block=size, first=blocks.start)
        return whole[source.start - first : source.stop - first]

    def choose(self, selected: Selected) -> np.ndarray:
        """Positions among its candidates that a selection keeps, (keep,) int64, distinct."""
        if selected.by["name"] == RANDOM:
            return random_positions(selected)
        return self.selection(selected)[0]

    def selection(self, selected: Selected) -> tuple[np.ndarray, np.ndarray]:
        """Positions that a selection keeps, and the scores of the candidates that were examined.

        They are computed once and then read from the store.
        """
        key = selection_key(selected)
        kept = self.store.sound_block(key, 0, shelf="selections")
        scores = self.store.sound_block(key, 1, shelf="selections")
        if kept is None or scores is None:
            by_class = selected.by["name"] == PROBE
            kept, scores = (self.find_class if by_class else self.filter)(selected)
            self.store.write_block(key, 0, kept, shelf="selections")
            self.store.write_block(key, 1, scores, shelf="selections")
        return kept, scores

    def filter(self, selected: Selected) -> tuple[np.ndarray, np.ndarray]:
        """Positions that a filter keeps, and the scores of all candidates."""
        by, own = selected.by, self.own_candidates(selected)
        config, count = filter_config(by), len(own)
        entry = FILTERS[config.name]
        real = pool_from_recipe(by["real"])
        features, real_features = np.empty((count, 0), np.float32), np.empty((0, 0), np.float32)
        if entry.needs_features:
            features = self.features(selected.of, self.judge(selected))[own]
        real_labels = self.known_labels(real)
        if entry.needs_real:
            real_features = self.features(real, self.judge(selected))
            if selected.label is not None and not entry.needs_labels:
                # Compare within the class.
                real_features = real_features[real_labels == selected.label]
        labels = None if selected.label is None else np.full(count, selected.label, np.int64)
        candidates = Candidates(
            features=features,
            keep=selected.keep,
            real=real_features,
            real_labels=real_labels if entry.needs_labels else None,
            labels=labels,
            num_classes=self.card.num_classes,
            class_names=self.card.class_names,
            rng=generator(tuple(by["seed"]), Purpose.POOL),
            config=config,
        )
        try:
            selection = select(candidates)
        except UsageError as error:
            if config.name not in MAY_LACK:
                raise
            # The settings were checked before, so the images must be too similar.
            raise Diverged(str(error)) from None
        return own[selection.indices], selection.scores

    def own_candidates(self, selected: Selected) -> np.ndarray:
        """Positions of a filter's candidates: of all, or of those of its class if it has one."""
        if selected.label is None:
            return np.arange(pool_size(selected.of))
        return np.flatnonzero(self.labels(selected.of) == selected.label)

    def find_class(self, selected: Selected) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the first images that the probe assigns to a class, and the scores.

        The scores are the probabilities of the class, for every image that was examined.

        Raises:
            Diverged: Too few of all candidates are of the class, because the model has lost it.
        """
        (stream,) = selected.of
        assert isinstance(stream, Segment)
        probe, judge, label = self.probe(selected), self.judge(selected), selected.by["class"]
        examined, kept, scores = 0, np.empty(0, np.int64), np.empty(0)
        while len(kept) < selected.keep:
            if examined >= stream.stop:
                raise Diverged(
                    f"V_{stream.generation} made {len(kept)} images of class "
                    f"{self.card.class_name(label)} in {stream.stop:,} draws, but {selected.keep} "
                    "were needed (pool.draws_per_image)"
                )
            stop = min(examined + SAMPLE_BATCH, stream.stop)
            batch = replace(stream, start=examined, stop=stop)
            probabilities = probe.probabilities(self.features((batch,), judge))
            of_class = np.flatnonzero(probabilities.argmax(axis=1) == label)
            kept = np.concatenate([kept, examined + of_class])
            scores = np.concatenate([scores, probabilities[:, label]])
            examined = stop
        return kept[: selected.keep], scores

    def probe(self, selected: Selected) -> Probe:
        """The classifier fitted to a selection's real images; fitted once."""
        inputs = {k: v for k, v in selected.by.items() if k not in ("class", "name", "seed")}
        key = digest(inputs)
        if key not in self._probes:
            real = pool_from_recipe(selected.by["real"])
            labels = self.known_labels(real)
            assert labels is not None
            self._probes[key] = fit_probe(
                self.features(real, self.judge(selected)),
                labels,
                num_classes=self.card.num_classes,
                class_names=self.card.class_names,
            )
        return self._probes[key]

    def judge(self, selected: Selected) -> MetricsConfig:
        """The extractor of a selection."""
        by = selected.by
        return MetricsConfig(
            names=(),
            extractor=by["extractor"],
            weights=(
                self.weights[by["weights"]]
                if "weights" in by
                else self.weights.get(by["extractor"])
            ),
            resolution=by["resolution"],
            precision=by["precision"],
        )

    def known_labels(self, pool: Pool) -> np.ndarray | None:
        """(N,) classes of real images, or None if the data have none."""
        return None if self.data.labels is None else self.labels(pool)


def filter_config(by: Json) -> FilterConfig:
    """A filter's settings from a recipe, which omits those at their frozen `key_default`."""
    config = FilterConfig()
    settings = {name: by[name] for name in key_defaults(config) if name in by and name != "weights"}
    return restored(config, settings, "filter.")


def own_segments(pool: Pool) -> Iterator[Segment]:
    """The segments of streams in a pool, except those that a probe searches for a class."""
    for source in pool:
        if isinstance(source, Selected):
            yield from own_segments(source.of) if source.by["name"] != PROBE else ()
        elif source.kind == "synthetic":
            yield source


def selection_key(selected: Selected) -> str:
    """Key under which a selection is stored, independent of the part of it that is used."""
    whole = replace(selected, start=0, stop=selected.keep)
    return digest({"version": SELECTIONS_VERSION, "selection": pool_recipe((whole,))})
