"""Facts of Inception features, on a small random network of the published one's signature."""

import hashlib
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid import downloads_helper
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from PIL import Image
from torch import Tensor, nn

import model.features.inception
from model.config import MetricsConfig
from model.data.file_digests import hash_file
from model.features.extractors import (
    EXTRACTORS,
    FEATURE_BATCH,
    build_network,
    extract_features,
    extractor_label,
    weights_digest,
)
from model.features.inception import (
    INCEPTION_FILE,
    INCEPTION_SHA256,
    cached_path,
    load_inception,
    resize_clean,
)


class Layers(nn.Module):
    """(B, 3, 299, 299) to (B, D): the input's own mean, then a few random features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 13, 13)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4 * 23 * 23, width - 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        return torch.cat([x.mean(dim=[2, 3]), self.linear(y.flatten(1))], dim=1)


class StandIn(nn.Module):
    """Has `layers`, as the published file has: what clean-fid's wrapper calls."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = Layers(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def save_network(network: nn.Module, path: Path) -> str:
    """Write TorchScript, as the published file is; returns its path."""
    with warnings.catch_warnings():
        # New versions of torch warn of TorchScript, whose files this project has to read.
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        torch.jit.save(torch.jit.script(network.eval()), str(path))
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of the stand-in, under a name that is not the published one's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return save_network(StandIn(2048), tmp_path_factory.mktemp("weights") / "stand_in.pt")


@pytest.fixture(scope="module")
def config(weights: str) -> MetricsConfig:
    return MetricsConfig(extractor="inception", weights=weights)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (FEATURE_BATCH + 4, 3, 10, 10), dtype=np.uint8)


@pytest.fixture(scope="module")
def features(images: np.ndarray, config: MetricsConfig) -> np.ndarray:
    return extract_features(images, config)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache folder, and none of the networks that are loaded already."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build_network.cache_clear()
    return tmp_path / "cache" / "collapse-sweep"


def test_features_are_2048_float32_numbers_per_image(features):
    assert (features.shape, features.dtype) == ((FEATURE_BATCH + 4, 2048), np.float32)


@pytest.mark.parametrize("size", [8, 299, 320])
def test_images_are_resized_as_clean_fid_does(size):
    """Its own resizer on the 8-bit image; also where nothing changes size."""
    image = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)
    unit = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    expected = build_resizer("clean")(image)
    np.testing.assert_array_equal(resize_clean(unit)[0].permute(1, 2, 0).numpy(), expected)


def test_resizing_clips_what_the_filter_overshoots():
    """A bicubic filter leaves [0, 255] beside an edge; clean-fid clips, and rounds nothing."""
    edge = torch.cat([torch.zeros(1, 3, 8, 4), torch.ones(1, 3, 8, 4)], dim=3)
    resized = resize_clean(edge)
    assert (resized.min().item(), resized.max().item()) == (0, 255)
    assert not torch.equal(resized, resized.round())


def test_the_network_sees_pixels_minus_128_over_128(config):
    """The stand-in's first features are the means of its input's channels."""
    levels = np.array([0, 64, 255], np.uint8)
    constant = np.broadcast_to(levels[None, :, None, None], (1, 3, 8, 8)).copy()
    means = extract_features(constant, config)[0, :3]
    np.testing.assert_allclose(means, (levels.astype(np.float64) - 128) / 128, atol=1e-6)


def test_features_are_those_of_clean_fid(images, features, weights, tmp_path):
    """PNG files through clean-fid's own data set, resizer and wrapper of the same network."""
    from cleanfid.fid import get_folder_features

    (tmp_path / INCEPTION_FILE).write_bytes(Path(weights).read_bytes())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.load`", FutureWarning)  # as in our code
        wrapper = InceptionV3W(str(tmp_path), download=False).eval()
    for i, image in enumerate(images[:6]):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{i}.png")
    found = get_folder_features(
        str(tmp_path),
        wrapper,
        num_workers=0,
        batch_size=6,
        device=torch.device("cpu"),
        mode="clean",
        verbose=False,
    )
    np.testing.assert_allclose(features[:6], found, rtol=1e-5, atol=1e-6)


def test_8_bit_levels_reach_the_network_exactly():
    """Divided by 255 and multiplied again, in float32: all 256 levels come back."""
    levels = torch.arange(256, dtype=torch.float32)
    column = (levels / 255).view(256, 1, 1, 1).expand(256, 3, 1, 1)
    resized = resize_clean(column[::15])
    assert torch.equal(resized[:, 0, 0, 0], levels[::15])


def test_float_images_are_not_rounded_to_8_bits(config):
    between = np.full((1, 3, 8, 8), 100.5 / 255, np.float32)
    mean = extract_features(between, config)[0, 0]
    np.testing.assert_allclose(mean, (100.5 - 128) / 128, atol=1e-6)


def test_a_grey_image_has_the_features_of_its_colour_copy(images, config):
    grey = images[:2, :1]
    np.testing.assert_array_equal(
        extract_features(grey, config), extract_features(np.repeat(grey, 3, axis=1), config)
    )


def test_a_row_does_not_depend_on_how_many_images_there_are(images, features, config):
    np.testing.assert_array_equal(extract_features(images[:3], config), features[:3])


def test_a_row_does_not_depend_on_order_and_neighbours(images, features, config):
    reversed_ones = extract_features(images[::-1].copy(), config)
    np.testing.assert_array_equal(reversed_ones[::-1], features)


def test_a_row_does_not_depend_on_how_often_the_network_has_run(images, features, config):
    """TorchScript rewrites a graph after its first calls, unless it is told not to."""
    for _ in range(4):
        np.testing.assert_array_equal(extract_features(images[:2], config), features[:2])


@pytest.mark.slow
def test_a_row_does_not_depend_on_the_process(images, features, weights, tmp_path):
    code = (
        "import sys, numpy\n"
        "from model.config import MetricsConfig\n"
        "from model.features.extractors import extract_features\n"
        "config = MetricsConfig(extractor='inception', weights=sys.argv[1])\n"
        "images = numpy.load(sys.argv[2])\n"
        "numpy.save(sys.argv[3], extract_features(images, config))\n"
    )
    np.save(tmp_path / "images.npy", images[30:34])
    paths = [weights, str(tmp_path / "images.npy"), str(tmp_path / "features.npy")]
    repository = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=repository)
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), features[30:34])


def test_bf16_changes_the_features_a_little(images, features, config):
    """TorchScript under autocast: the network is really run in bfloat16 (2^-9 per rounding)."""
    rough = extract_features(images[:4], replace(config, precision="bf16"))
    error = np.linalg.norm(rough - features[:4]) / np.linalg.norm(features[:4])
    assert rough.dtype == np.float32
    assert 2**-12 < error < 0.05


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_floats_outside_the_unit_range_are_refused(value, config):
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\], got .*pixels"):
        extract_features(np.full((1, 3, 8, 8), value, np.float32), config)


def test_two_channels_are_refused(config):
    with pytest.raises(ValueError, match="images must have 1 or 3 channels, got 2"):
        extract_features(np.zeros((1, 2, 8, 8), np.uint8), config)


def test_the_label_of_other_weights_carries_their_digest(weights, config):
    digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    assert weights_digest(config) == digest
    assert extractor_label(config) == f"inception-{digest[:8]}"
    assert extractor_label(replace(config, precision="bf16")) == f"inception-{digest[:8]}-bf16"


def test_the_resolution_is_not_in_the_label_and_has_no_effect(images, features, config):
    finer = replace(config, resolution=96)
    assert extractor_label(finer) == extractor_label(config)
    np.testing.assert_array_equal(extract_features(images[:2], finer), features[:2])


def test_the_published_weights_are_no_other_weights_wherever_they_lie(weights, monkeypatch):
    """A given file of the published checksum has the label of the cached one."""
    digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    published = replace(EXTRACTORS["inception"], published_sha256=digest)
    monkeypatch.setitem(EXTRACTORS, "inception", published)
    assert extractor_label(MetricsConfig(extractor="inception", weights=weights)) == "inception"


def test_the_published_checksum_is_what_the_label_compares():
    assert EXTRACTORS["inception"].published_sha256 == INCEPTION_SHA256


def test_missing_weights_are_named(tmp_path):
    config = MetricsConfig(extractor="inception", weights=str(tmp_path / "none.pt"))
    with pytest.raises(FileNotFoundError, match=r"^metrics.weights must be a file .*none.pt'; l.*"):
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), config)


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04 garbage"])
def test_a_file_that_is_no_network_is_a_one_line_error(data, tmp_path):
    path = tmp_path / "garbage.pt"
    path.write_bytes(data)
    config = MetricsConfig(extractor="inception", weights=str(path))
    with pytest.raises(ValueError, match=r"^metrics.weights must be a TorchScript Inc") as error:
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), config)
    assert_one_line(error.value)


def test_a_network_of_another_width_is_a_one_line_error(tmp_path):
    path = save_network(StandIn(64), tmp_path / "narrow.pt")
    config = MetricsConfig(extractor="inception", weights=path)
    with pytest.raises(ValueError, match=r"^metrics.weights must be a TorchScript Inc") as error:
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), config)
    assert_one_line(error.value)


def test_a_network_without_layers_is_a_one_line_error(tmp_path):
    path = save_network(nn.Conv2d(3, 4, 1), tmp_path / "other.pt")
    config = MetricsConfig(extractor="inception", weights=path)
    with pytest.raises(ValueError, match=r"^metrics.weights must be a TorchScript Inc") as error:
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), config)
    assert_one_line(error.value)


def test_a_file_that_changed_after_it_was_hashed_is_refused(weights):
    """What is parsed is what the label names."""
    with pytest.raises(
        ValueError, match=r"stand_in.pt must have SHA-256 0{64}, got .*; do not change it"
    ):
        load_inception(weights, "0" * 64, "cpu")


def test_weights_are_downloaded_once_to_the_cache(cache, images, features, weights, monkeypatch):
    """From clean-fid's address by clean-fid's function; nothing else is left in the folder."""
    digest = publish(weights, monkeypatch)
    config = MetricsConfig(extractor="inception")
    np.testing.assert_array_equal(extract_features(images[:2], config), features[:2])
    assert [path.name for path in cache.iterdir()] == [INCEPTION_FILE]
    assert hash_file(cached_path(), size=0, mtime_ns=0) == digest
    monkeypatch.setattr(downloads_helper, "inception_url", "file:///nowhere")
    build_network.cache_clear()
    np.testing.assert_array_equal(extract_features(images[:2], config), features[:2])


def test_another_download_than_the_published_one_is_refused(cache, weights, monkeypatch):
    """Before any of it is parsed, and it does not stay in the cache."""
    monkeypatch.setattr(downloads_helper, "inception_url", Path(weights).as_uri())
    with pytest.raises(ValueError, match=r"the download must have SHA-256 f58cb9b6.*, got .*; pas"):
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), MetricsConfig(extractor="inception"))
    assert list(cache.iterdir()) == []


def test_a_damaged_cached_file_is_refused(cache):
    cache.mkdir(parents=True)
    (cache / INCEPTION_FILE).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"2015-12-05.pt must have SHA-256 f58cb9b6.*; delete it$"):
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), MetricsConfig(extractor="inception"))


def test_without_a_connection_the_ways_out_are_named(cache, monkeypatch, tmp_path):
    """One line: a file of the weights, or an extractor that needs no download."""
    monkeypatch.setattr(downloads_helper, "inception_url", (tmp_path / "nowhere").as_uri())
    with pytest.raises(FileNotFoundError, match=r"^metrics.weights must be a file if") as error:
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), MetricsConfig(extractor="inception"))
    assert_one_line(error.value)
    assert "pass --metrics.weights PATH, or use metrics.extractor efficientnet-lite0" in str(
        error.value
    )


def test_a_cache_folder_that_cannot_be_made_is_a_one_line_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    build_network.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"^metrics.weights must be .*; pass --metrics"):
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), MetricsConfig(extractor="inception"))


def test_an_absent_clean_fid_is_named_with_the_extra(config, monkeypatch):
    build_network.cache_clear()
    monkeypatch.setitem(sys.modules, "cleanfid.inception_torchscript", None)
    with pytest.raises(ValueError, match=r"needs the package clean-fid; install collapse-sweep\[a"):
        extract_features(np.zeros((1, 3, 8, 8), np.uint8), config)


@pytest.mark.network
def test_the_published_weights_can_be_had(cache):
    """From clean-fid's address, with the checksum that is pinned; 2048 numbers, none negative."""
    images = np.zeros((1, 3, 8, 8), np.uint8)
    features = extract_features(images, MetricsConfig(extractor="inception"))
    assert features.shape == (1, 2048)
    assert features.min() >= 0


def publish(weights: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a file the published one, at a local address; returns its checksum."""
    digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    monkeypatch.setattr(downloads_helper, "inception_url", Path(weights).as_uri())
    monkeypatch.setattr(model.features.inception, "INCEPTION_SHA256", digest)
    published = replace(EXTRACTORS["inception"], published_sha256=digest)
    monkeypatch.setitem(EXTRACTORS, "inception", published)
    return digest


def assert_one_line(error: Exception) -> None:
    """No line break, no traceback of the C++ below."""
    assert "\n" not in str(error)
    assert len(str(error)) < 500
