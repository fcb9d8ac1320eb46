"""Data sets in a store: the driver loads and splits each once, and every trial reads the result.

A missing download is therefore an error before anything starts, and workers need neither the
original files nor the network.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.config import DataConfig
from model.data.datasets import Dataset, dataset_key, describe, load_dataset
from model.errors import MissingFileError, UsageError
from model.images import encode_png, tile, to_bytes
from sweep.records import DatasetCard
from sweep.store.arrays import dump_arrays, map_array, read_arrays
from sweep.store.folder import CorruptError
from sweep.store.store import Store

PREVIEW_IMAGES = 64
"""Images of a preview.png, tiled in rows of 8."""

IMAGES = "images.npy"
"""All images, in a file that trials map into memory because it may be larger than memory."""

INDICES = ("train", "reference", "validation")
"""Arrays with the indices of the images in each part of the split."""

ATTEMPTS = 3
"""Attempts to map a cached file before another process deletes it."""

KnownData = Mapping[DataConfig, str]
"""Keys of prepared data sets by their settings."""
FindCard = Callable[[DataConfig], DatasetCard]

ARRAYS = "arrays.npz"
"""Labels and the split's indices; in data sets of earlier versions also the images."""


def expected_card(config: DataConfig) -> DatasetCard:
    """The card of a data set before it is loaded; its fingerprint is None.

    Raises:
        ValueError, FileNotFoundError: The settings do not fit, or data.path is missing.
    """
    card = _card(dataset_key(config), describe(config))
    return replace(card, train_labels=labels_of_counts(card.train_class_counts))


def _card(key: str, data: Dataset) -> DatasetCard:
    """A card without what only the pixels and the order of the labels tell."""
    return DatasetCard(
        key=key,
        fingerprint=None,
        name=data.name,
        shape=list(data.shape),
        dtype=str(data.images.dtype),
        class_names=list(data.class_names),
        num_classes=data.num_classes,
        num_train=len(data.train),
        num_reference=len(data.reference),
        num_validation=len(data.validation),
        train_class_counts=list(data.class_counts(data.train) or ()),
        reference_class_counts=list(data.class_counts(data.reference) or ()),
        bounded=data.bounded,
    )


def loaded_card(key: str, data: Dataset) -> DatasetCard:
    """The card of a data set that is loaded."""
    reference = data.images[data.reference if len(data.reference) else data.train]
    return replace(
        _card(key, data),
        fingerprint=data.fingerprint,
        train_labels=[] if data.labels is None else data.labels[data.train].tolist(),
        pixel_std=float(reference.std(axis=0, dtype=np.float64).mean() / scale_of(reference)),
    )


def finder_that_loads(find_card: FindCard, loaded: dict[str, Dataset]) -> FindCard:
    """Find cards as `find_card` does, but load data sets that are not prepared, for theirs.

    Args:
        find_card: A finder.
        loaded: What was loaded is kept here, by key.
    """

    def find(config: DataConfig) -> DatasetCard:
        card = find_card(config)
        if card.fingerprint is None:
            if card.key not in loaded:
                loaded[card.key] = load_dataset(config)
            card = loaded_card(card.key, loaded[card.key])
        return card

    return find


def labels_of_counts(counts: Sequence[int]) -> list[int]:
    """Labels with the given counts per class, spread evenly because their order is unknown."""
    labels = np.repeat(np.arange(len(counts)), counts)
    ranks = np.concatenate([(np.arange(n) + 0.5) / n for n in counts if n] or [np.empty(0)])
    return labels[np.argsort(ranks, kind="stable")].tolist()


def find_card(config: DataConfig, store: Store | None) -> DatasetCard:
    """The card of the prepared data set if the store has it, else the expected card."""
    if store is not None and store.datasets.has(key := dataset_key(config)):
        return store.datasets.read(key)
    return expected_card(config)


def prepare_dataset(
    config: DataConfig, store: Store, known: DatasetCard | None = None
) -> DatasetCard:
    """Load and publish a data set unless the store has it, and return its card.

    Args:
        config: The data set.
        store: Where it is published.
        known: Its card in a plan, which may be that of a copy with another key.

    Raises:
        ValueError, FileNotFoundError: As in model.data.datasets.load_dataset.
        UsageError: The prepared data are damaged, and the files hold other data now.
        StoreError: The store cannot be written to.
    """
    key = dataset_key(config) if known is None else known.key
    if store.datasets.has(key) and store.datasets.damaged_files(key):
        store.datasets.withdraw(key)
    if not store.datasets.has(key):
        data = load_dataset(config)
        if known is not None and known.fingerprint is not None:
            check_same_data(config, known, data, store.location)
        card = loaded_card(key, data)
        indices = {name: getattr(data, name) for name in INDICES}
        labels = {} if data.labels is None else {"labels": data.labels}
        preview = preview_png(data.images[data.train[:PREVIEW_IMAGES]], preview_limits(data))
        files = {
            IMAGES: dump_images(data.images),
            ARRAYS: dump_arrays(**indices, **labels),
            "preview.png": preview,
        }
        store.datasets.publish(key, files, card)
    return store.datasets.read(key)


def preview_limits(data: Dataset) -> tuple[float, float]:
    """Pixel values shown as black and white: the range, or the mean -+ 3 standard deviations."""
    if data.bounded:
        return 0.0, 1.0
    images = data.images[data.train]
    mean, std = float(images.mean(dtype=np.float64)), float(images.std(dtype=np.float64))
    return mean - 3 * (std or 1.0), mean + 3 * (std or 1.0)


def preview_png(images: np.ndarray, limits: tuple[float, float]) -> bytes:
    """(N, C, H, W) images as a PNG sheet in rows of 8, without gaps."""
    return encode_png(tile(to_bytes(images, limits=limits), 8))


def scale_of(images: np.ndarray) -> float:
    """Divisor that brings pixel values to unit scale."""
    return 255.0 if images.dtype == np.uint8 else 1.0


def dump_images(images: np.ndarray) -> memoryview:
    """An array as the bytes of an .npy file, which are not copied a second time."""
    file = io.BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getbuffer()


def load_prepared(card: DatasetCard, store: Store) -> Dataset:
    """A prepared data set. Its images are a read-only memory map shared by the machine's trials.

    Raises:
        CorruptError: A file is damaged.
    """
    source = f"{ARRAYS} of data set {card.key}"
    arrays = read_arrays(store.datasets.read_file(card.key, ARRAYS), source)
    if lacking := [name for name in INDICES if name not in arrays]:
        raise CorruptError(f"{source} must hold {', '.join(lacking)}, got none")
    images = arrays["images"] if "images" in arrays else map_images(card.key, store)
    return Dataset(
        name=card.name,
        images=images,
        labels=arrays.get("labels"),
        class_names=tuple(card.class_names),
        train=arrays["train"],
        reference=arrays["reference"],
        validation=arrays["validation"],
        bounded=card.bounded,
    )


def map_images(key: str, store: Store) -> np.ndarray:
    """The images of a data set, memory-mapped so that pages are read on demand.

    Raises:
        UsageError: The cache is too small: the file was repeatedly evicted before it was mapped.
    """
    for _ in range(ATTEMPTS):
        path = store.datasets.locate(key, IMAGES)
        with suppress(FileNotFoundError):  # the file may be deleted once it is mapped
            return map_array(path)
    raise UsageError(
        f"{path} must stay in the cache until it is read, got a cache that is too small; "
        "raise --resources.cache-gigabytes"
    )


def finder_of_recorded(store: Store, recorded: KnownData) -> FindCard:
    """A function that finds the cards of a sweep in its store, without looking at the user's files.

    It raises UsageError if the store lacks a data set that the sweep has used.
    """

    def find(config: DataConfig) -> DatasetCard:
        if config not in recorded:
            return find_card(config, store)
        if not store.datasets.has(key := recorded[config]):
            raise UsageError(
                f"{store.location} must hold the sweep's data set {config.name}, got no {key}; "
                "run the same sweep command again, or pass the --store of the run"
            )
        return store.datasets.read(key)

    return find


def finder_for_plan(
    store: Store | None, recorded: KnownData, *, out: Path | None, paths_vary: bool
) -> FindCard:
    """A function that finds the cards of a sweep that is planned or run, perhaps again.

    Args:
        store: Its store, if there is one.
        recorded: Keys of the data sets with which the results folder was begun.
        out: The results folder.
        paths_vary: Whether data.path is an axis, so that a new path is a new data set.

    The function raises UsageError if a data set is not the one with which the folder was begun. If
    the user's files are gone, it finds the data set in the store.
    """

    def find(config: DataConfig) -> DatasetCard:
        begun = same_settings(config, recorded, with_path=paths_vary)
        cards = [store.datasets.read(key) for key in begun if store and store.datasets.has(key)]
        try:
            card = find_card(config, store)
        except MissingFileError as error:
            if config not in recorded or not cards:
                raise
            warnings.warn(f"{error}; the data set in the store is used", stacklevel=1)
            return cards[0]
        if not cards or card.key in begun:
            return card
        data = load_dataset(config) if card.fingerprint is None else None
        fingerprint = card.fingerprint if data is None else data.fingerprint
        for other in cards:
            if other.fingerprint == fingerprint:
                return other
        raise another_data_set(config, cards[0], fingerprint, out)

    return find


def same_settings(config: DataConfig, recorded: KnownData, *, with_path: bool) -> list[str]:
    """Keys of the recorded data sets with these settings; `with_path`: and with this path."""
    if config in recorded or with_path:
        return [recorded[config]] if config in recorded else []
    anywhere = replace(config, path=None)
    return [key for each, key in recorded.items() if replace(each, path=None) == anywhere]


def check_same_data(config: DataConfig, card: DatasetCard, data: Dataset, place: object) -> None:
    """Raise UsageError unless loaded data are those of a card."""
    if data.fingerprint != card.fingerprint:
        raise another_data_set(config, card, data.fingerprint, place)


def another_data_set(
    config: DataConfig, card: DatasetCard, fingerprint: str | None, place: object
) -> UsageError:
    """The error for data that are not those with which a results folder was begun."""
    return UsageError(
        f"data.path must hold the data set with which {place} was begun (fingerprint "
        f"{str(card.fingerprint)[:12]}), got {config.path!r} with another one (fingerprint "
        f"{str(fingerprint)[:12]}); use another --out, or restore the files"
    )
