"""Errors that a user can mend, and what makes one of a file that cannot be read or written."""

import errno
import os
from pathlib import Path

import pytest

from model.errors import (
    MissingFileError,
    OneLineError,
    UsageError,
    check_at_least,
    reading,
    user_path,
    writing,
)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EISDIR, errno.EIO])
def test_a_file_that_cannot_be_read_is_told_with_the_systems_reason(code: int) -> None:
    """Which is never that it is damaged."""
    reason = os.strerror(code)
    with (
        pytest.raises(UsageError, match=f"^x must be readable, got '{reason}'$"),
        reading(Path("x")),
    ):
        raise OSError(code, reason, "x")


def test_a_file_that_does_not_exist_is_a_missing_file() -> None:
    message = r"^x must exist, got no such file$"
    with pytest.raises(MissingFileError, match=message), reading(Path("x")):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def test_a_named_pipe_is_not_read(tmp_path: Path) -> None:
    """Nobody may ever write into it."""
    os.mkfifo(tmp_path / "x")
    message = r"x must be a file, got a named pipe$"
    with pytest.raises(UsageError, match=message), reading(tmp_path / "x"):
        pass


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" * 5000, "(5,002 characters) (File name too long)"),
        ("a\0b", "null byte"),
        ("~no-such-user/x", "Could not determine home directory"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_a_path_that_the_system_cannot_look_for_is_one_line(
    text: str, reason: str, tmp_path: Path, monkeypatch
) -> None:
    """It repeats at most 200 characters."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(UsageError, match=r"^x must be a readable path, got '") as error:
        user_path("x", text)
    assert reason in str(error.value)
    assert len(str(error.value)) < 300


def test_a_path_need_not_exist(tmp_path: Path) -> None:
    """Nor the folders above it; ~ is the home folder."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "a" / "b", tmp_path / "file" / "b"):
        assert user_path("x", str(path)) == path
    assert user_path("x", "~/no such folder") == Path.home() / "no such folder"


def test_a_device_is_no_path_of_a_file() -> None:
    message = "^x must be a file or folder, got '/dev/zero', a device$"
    with pytest.raises(UsageError, match=message):
        user_path("x", "/dev/zero")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT])
def test_a_file_that_cannot_be_written_is_told_with_the_systems_reason(code: int) -> None:
    """A full disk among them."""
    reason = os.strerror(code)
    with (
        pytest.raises(UsageError, match=f"^x must be writable, got '{reason}'$"),
        writing(Path("x")),
    ):
        raise OSError(code, reason, "y")


def test_an_error_that_is_one_line_already_stays_as_it_is() -> None:
    with pytest.raises(MissingFileError, match=r"^y must exist$"), writing(Path("x")):
        raise MissingFileError("y must exist")


def test_a_mistake_in_the_code_stays_as_it_is() -> None:
    with pytest.raises(ValueError, match=r"^a bug$") as raised, writing(Path("x")):
        raise ValueError("a bug")
    assert not isinstance(raised.value, OneLineError)


def test_none_is_at_least_anything() -> None:
    check_at_least("x", None, 3)


@pytest.mark.parametrize("value", [2, -1, float("nan")])
def test_less_is_an_error(value: float) -> None:
    with pytest.raises(UsageError, match=rf"^x must be at least 3, got {value}$"):
        check_at_least("x", value, 3)
