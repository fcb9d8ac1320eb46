"""Facts of prepared data: what a plan expects is what is prepared, and what is read is what was."""

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_sweep import write_noise

from model.config import DataConfig
from model.data.datasets import Dataset, load_dataset
from model.errors import UsageError
from sweep.lineage.datasets import (
    ARRAYS,
    IMAGES,
    dump_arrays,
    expected_card,
    find_card,
    load_prepared,
    prepare_dataset,
    preview_limits,
    preview_png,
)
from sweep.records import DatasetCard
from sweep.store.folder import CorruptError, Folder
from sweep.store.store import Store, open_store

DIGITS = DataConfig(train_limit=50, validation_fraction=0.1)
LEARNED = ("train_labels", "fingerprint", "pixel_std", "files")
"""What only preparing tells."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def floats(tmp_path: Path) -> DataConfig:
    """An .npz of unbounded floats without labels or reference."""
    path = write_noise(tmp_path / "noise.npz", num_images=20, shape=(1, 8, 8))
    return DataConfig(name="npz", path=str(path), dtype="float32", split="all")


def known(card: DatasetCard) -> dict:
    return {name: value for name, value in asdict(card).items() if name not in LEARNED}


def test_what_is_expected_of_digits_is_what_is_prepared(store: Store) -> None:
    """But for what the pixels tell."""
    assert known(expected_card(DIGITS)) == known(prepare_dataset(DIGITS, store))


def test_what_is_expected_of_float_images_is_what_is_prepared(store, tmp_path) -> None:
    """Not bounded, no labels."""
    config = floats(tmp_path)
    card = expected_card(config)
    assert known(card) == known(prepare_dataset(config, store))
    assert not card.bounded


@pytest.mark.parametrize("of_floats", [False, True])
def test_prepared_data_are_the_loaded_ones(of_floats: bool, store, tmp_path) -> None:
    """Array for array, and so of the same fingerprint."""
    config = floats(tmp_path) if of_floats else DIGITS
    card = prepare_dataset(config, store)
    read, loaded = load_prepared(card, store), load_dataset(config)
    for name in ("images", "labels", "train", "reference", "validation"):
        first, second = getattr(read, name), getattr(loaded, name)
        assert (first is None) == (second is None)
        assert first is None or (first.dtype == second.dtype and (first == second).all())
    assert read.fingerprint == loaded.fingerprint == card.fingerprint


def test_a_card_knows_the_references_pixel_deviation(store: Store) -> None:
    """In [0, 1] units for 8-bit data."""
    data = load_dataset(DIGITS)
    expected = (data.images[data.reference].astype(float) / 255).std(axis=0).mean()
    assert prepare_dataset(DIGITS, store).pixel_std == pytest.approx(expected)


def test_without_a_reference_the_deviation_is_the_train_images(store, tmp_path) -> None:
    """In their own units for floats."""
    config = floats(tmp_path)
    data = load_dataset(config)
    expected = data.images[data.train].astype(float).std(axis=0).mean()
    assert prepare_dataset(config, store).pixel_std == pytest.approx(expected)


def test_a_card_is_expected_until_it_is_found(store: Store) -> None:
    """Its fingerprint, and so every key, is known once prepared."""
    assert find_card(DIGITS, None) == find_card(DIGITS, store) == expected_card(DIGITS)
    card = prepare_dataset(DIGITS, store)
    assert find_card(DIGITS, store) == card
    assert card.fingerprint is not None


def test_what_is_prepared_is_not_prepared_again(store: Store) -> None:
    """The file stays the same one."""
    card = prepare_dataset(DIGITS, store)
    path = Path(store.location) / "datasets" / card.key / ARRAYS
    before = path.stat()
    assert prepare_dataset(DIGITS, store) == card
    assert path.stat().st_ino == before.st_ino


def test_prepared_data_need_no_files_of_the_users(store: Store, tmp_path: Path) -> None:
    """A trial on another machine has the store alone."""
    card = prepare_dataset(floats(tmp_path), store)
    (tmp_path / "noise.npz").unlink()
    assert len(load_prepared(card, store).images) == 20


@pytest.mark.parametrize("name", [IMAGES, ARRAYS, "preview.png", "card.json"])
def test_damaged_data_are_prepared_again(name: str, store: Store) -> None:
    """Whichever file is cut short, the next preparation is whole."""
    card = prepare_dataset(DIGITS, store)
    path = Path(store.location) / "datasets" / card.key / name
    path.write_bytes(path.read_bytes()[:-7])
    assert prepare_dataset(DIGITS, store) == card
    assert store.datasets.damaged_files(card.key) == []


@pytest.mark.parametrize("name", [IMAGES, ARRAYS])
def test_damaged_data_are_not_read(name: str, store: Store) -> None:
    """The error names the file."""
    card = prepare_dataset(DIGITS, store)
    path = Path(store.location) / "datasets" / card.key / name
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(CorruptError, match=name):
        load_prepared(card, store)


def test_images_are_mapped_and_not_to_be_written(store: Store) -> None:
    """Trials of one machine share the pages of one file."""
    images = load_prepared(prepare_dataset(DIGITS, store), store).images
    assert isinstance(images.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_images_that_leave_the_cache_before_they_are_mapped_are_fetched_again(tmp_path) -> None:
    """Another trial needs the room; a cache that never holds them is an error."""

    class FullCache(Folder):
        num_lost = 2

        def locate(self, path: str, digest: str) -> Path | None:
            FullCache.num_lost -= 1
            return super().locate(path, digest) if self.num_lost < 0 else tmp_path / "gone"

    store = Store(FullCache(tmp_path / "store"))
    card = prepare_dataset(DataConfig(name="digits"), store)
    assert len(load_prepared(card, store).images) == card.num_train + card.num_reference
    FullCache.num_lost = 3
    with pytest.raises(UsageError, match=r"raise --resources\.cache-gigabytes"):
        load_prepared(card, store)


def test_data_prepared_as_one_file_are_read(store: Store) -> None:
    """As earlier versions prepared them: the images among the other arrays."""
    card, data = prepare_dataset(DIGITS, store), load_dataset(DIGITS)
    names = ("images", "labels", "train", "reference", "validation")
    arrays = dump_arrays(**{name: getattr(data, name) for name in names})
    old = open_store(Path(store.location).parent / "old")
    old.datasets.publish(card.key, {ARRAYS: arrays}, card)
    assert load_prepared(card, old).fingerprint == card.fingerprint


def test_a_missing_path_is_an_error_before_anything_is_written(store, tmp_path) -> None:
    """It names the field."""
    config = DataConfig(name="npz", path=str(tmp_path / "none.npz"))
    with pytest.raises(FileNotFoundError, match=r"data\.path"):
        prepare_dataset(config, store)
    assert not Path(store.location).exists()


def test_a_preview_is_the_first_train_images_in_rows_of_eight(store: Store) -> None:
    """50 digits of 8x8 are 7 rows, the last of which is not full."""
    card = prepare_dataset(DIGITS, store)
    png = store.datasets.read_file(card.key, "preview.png")
    data = load_dataset(DIGITS)
    sheet = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert sheet.shape == (7 * 8, 8 * 8)
    assert (sheet[8:16, 16:24] == data.images[data.train[8 + 2], 0]).all()


def test_float_images_are_shown_within_three_deviations() -> None:
    """As they have no black or white of their own: 1 -+ 3 x 2 here."""
    images = np.array([-1.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    every = np.arange(2)
    data = Dataset(
        name="x",
        images=images,
        labels=None,
        class_names=(),
        train=every,
        reference=every[:0],
        validation=every[:0],
        bounded=False,
    )
    assert preview_limits(data) == (-5.0, 7.0)
    sheet = Image.open(io.BytesIO(preview_png(images, preview_limits(data)))).convert("L")
    assert np.asarray(sheet)[0, :2].tolist() == [85, 170]  # -1 is a third of the way, 3 two
