"""Facts of checkpoints: what is saved is read again; damage is one error that names its file."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint import Checkpoint


def make_checkpoint(**tensors: torch.Tensor) -> Checkpoint:
    settings = {"family": "ddim", "shape": [3, 8, 8], "model": {"widths": [8, 16]}, "rate": 0.1}
    weights = {"ema.weight": torch.arange(6.0).view(2, 3), "raw.weight": torch.ones(4)}
    return Checkpoint(tensors=weights | tensors, settings=settings)


DATA = make_checkpoint().to_bytes()
HEADER = 8 + int.from_bytes(DATA[:8], "little")


def test_tensors_and_settings_come_back():
    saved = make_checkpoint()
    read = Checkpoint.from_bytes(saved.to_bytes())
    assert read.settings == saved.settings
    assert read.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(read.tensors[name], saved.tensors[name]) for name in saved.tensors)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_types_come_back(dtype):
    """Also of a tensor without axes, as an optimiser's step is."""
    step = torch.tensor(7, dtype=dtype)
    read = Checkpoint.from_bytes(make_checkpoint(step=step).to_bytes()).tensors["step"]
    assert (read.dtype, read.shape, read.item()) == (dtype, (), 7)


def test_layout_in_memory_does_not_matter():
    """Networks lie channels-last, files do not."""
    plain = torch.arange(24.0).view(1, 2, 3, 4)
    turned = plain.to(memory_format=torch.channels_last)
    assert make_checkpoint(x=turned).to_bytes() == make_checkpoint(x=plain).to_bytes()
    assert make_checkpoint(x=turned).digest() == make_checkpoint(x=plain).digest()


def test_same_checkpoint_is_the_same_bytes():
    assert make_checkpoint().to_bytes() == DATA


def test_family_and_shape_are_read_from_the_settings():
    assert (make_checkpoint().family, make_checkpoint().shape) == ("ddim", (3, 8, 8))


# Digest


@pytest.mark.parametrize(
    "changed",
    [
        {"raw.weight": torch.tensor([1.0, 1.0, 1.0, 1.0000001])},
        {"raw.weight": torch.ones(2, 2)},
        {"raw.weight": torch.ones(4, dtype=torch.float64)},
        {"raw.bias": torch.ones(4)},
    ],
)
def test_digest_tells_values_shapes_types_and_names_apart(changed):
    assert make_checkpoint(**changed).digest() != make_checkpoint().digest()


def test_digest_of_a_prefix_leaves_the_others_out():
    changed = make_checkpoint(**{"raw.weight": torch.zeros(4)})
    assert changed.digest("ema.") == make_checkpoint().digest("ema.")


def test_digest_survives_a_file():
    assert Checkpoint.from_bytes(DATA).digest() == make_checkpoint().digest()


def test_digest_ignores_the_order_of_names():
    tensors = make_checkpoint().tensors
    turned = Checkpoint(tensors=dict(reversed(tensors.items())))
    assert turned.digest() == make_checkpoint().digest()


# Damage


@pytest.mark.parametrize("length", [0, 4, 8, HEADER - 1, HEADER, len(DATA) - 1])
def test_file_cut_short_is_one_error_that_names_it(length):
    with pytest.raises(ValueError, match=r"^V_1 must be a complete checkpoint of ours, got "):
        Checkpoint.from_bytes(DATA[:length], source="V_1")


def test_file_with_more_at_its_end_is_an_error():
    with pytest.raises(ValueError, match="must be a complete checkpoint of ours"):
        Checkpoint.from_bytes(DATA + b"\0")


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_any_damaged_byte_is_an_error_or_leaves_no_checksum(position, change):
    """Where the checksum's own name is damaged, it is an unknown setting, and that is warned of."""
    damaged = bytearray(DATA)
    damaged[position] ^= change
    with pytest.raises((ValueError, UserWarning), match=r"^V_1 (must|has no checksum)"):
        Checkpoint.from_bytes(bytes(damaged), source="V_1")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_error(data):
    with pytest.raises(ValueError, match="must be a complete checkpoint of ours"):
        Checkpoint.from_bytes(data)


def test_pickle_is_refused_and_not_run():
    """A pickle that would raise another error when loaded."""

    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    with pytest.raises(ValueError, match="must be a complete checkpoint of ours"):
        Checkpoint.from_bytes(pickle.dumps(Bomb()))


def test_file_without_our_settings_is_refused():
    """Of another program."""
    from safetensors.torch import save

    with pytest.raises(ValueError, match="must be a complete checkpoint of ours"):
        Checkpoint.from_bytes(save({"weight": torch.ones(2)}))
