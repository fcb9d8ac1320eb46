"""Files of the command `model` appear whole or not at all."""

import pytest

from model.commands.files import StateFile, check_new, write_file, write_folder
from model.errors import UsageError


def break_off():
    yield "000000.png", b"an image"
    raise ValueError("the second image")


def test_a_folder_that_could_not_be_filled_does_not_appear(tmp_path):
    with pytest.raises(ValueError, match="the second image"):
        write_folder(tmp_path / "images", break_off())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_place_of_an_empty_one(tmp_path):
    (tmp_path / "images").mkdir()
    write_folder(tmp_path / "images", [("000000.png", b"an image")])
    assert (tmp_path / "images" / "000000.png").read_bytes() == b"an image"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    """And not the temporary one beside it."""
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(
        UsageError, match=rf"^{path} must be writable, got 'No such file or directory'$"
    ):
        write_file(path, b"")


def test_a_folder_with_files_is_not_new(tmp_path):
    write_file(tmp_path / "file", b"")
    with pytest.raises(ValueError, match="--out must be new or an empty folder"):
        check_new(tmp_path, folder=True)


def test_the_state_saved_last_is_loaded(tmp_path):
    """Tuples are lists in a file, and the same settings."""
    state = StateFile(tmp_path / "state", {"model.widths": (4, 8)})
    assert state.load() is None
    state.save(b"first\nline")
    state.save(b"second\nline")
    assert StateFile(tmp_path / "state", {"model.widths": (4, 8)}).load() == b"second\nline"


def test_a_state_of_other_settings_is_an_error_that_names_one(tmp_path):
    StateFile(tmp_path / "state", {"seed": 0, "train.lr": 0.1}).save(b"")
    with pytest.raises(ValueError, match=r"train.lr must be 0.1, .*, got 0.2; delete"):
        StateFile(tmp_path / "state", {"seed": 0, "train.lr": 0.2}).load()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"{" + data,
        lambda data: b'{"a":' * 100_000,
        lambda data: b"[]",
        lambda data: b"",
    ],
    ids=["cut", "longer", "one bit", "header", "deep", "a list", "empty"],
)
def test_a_damaged_state_is_an_error_that_names_it(damage, tmp_path):
    state = StateFile(tmp_path / "state", {"seed": 0})
    state.save(b"tensors")
    state.path.write_bytes(damage(state.path.read_bytes()))
    with pytest.raises(ValueError, match=r"state must be an intact saved training, got a damaged"):
        state.load()
