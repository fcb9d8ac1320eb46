"""JSON and TOML files: read with one-line errors, digested, and written atomically and durably."""

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from model.errors import MissingFileError, OneLineError, UsageError, reading

REPLACE = "delete it and run the same sweep command again"
"""What to do about a damaged file that a run writes again."""

Json = dict[str, Any]


class RecordError(OneLineError, ValueError):
    """A file of a results folder is missing, damaged or of another version."""


class DamagedError(RecordError):
    """A file of a results folder is cut, altered, in the wrong place or foreign."""


def read_json(path: Path, *, way_out: str = REPLACE) -> Json:
    """Read a JSON object; raises RecordError naming the file if it is missing or damaged.

    A file that cannot be opened is not reported as damaged.
    """
    try:
        with reading(path):
            return parse_json(path.read_bytes(), path, way_out=way_out)
    except MissingFileError:
        raise RecordError(f"{path} must exist; is its folder the --out of a sweep run?") from None


def read_regular(path: str) -> bytes:
    """The content of a regular file, with as few system calls as possible.

    Raises:
        OSError: It cannot be read, or is not a regular file. No pipe is waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
            raise OSError(number, os.strerror(number), path)
        data = os.read(descriptor, status.st_size)
        while len(data) < status.st_size and (part := os.read(descriptor, status.st_size)):
            data += part
        return data
    finally:
        os.close(descriptor)


encoded = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
"""Returns data as canonical JSON: sorted names, no spaces, shortest floats."""


def encoded_object(members: Mapping[str, str]) -> str:
    """The canonical JSON of an object whose members are given as canonical JSON."""
    return "{" + ",".join([f'"{name}":{members[name]}' for name in sorted(members)]) + "}"


def digest(data: Any) -> str:
    """SHA-256 (hex) of `data` as canonical JSON."""
    return text_digest(encoded(data))


def text_digest(text: str) -> str:
    """SHA-256 (hex) of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def parse_json(text: bytes, source: object, *, way_out: str = REPLACE) -> Json:
    """Parse a file's bytes as a JSON object; raises DamagedError, naming the source, on failure."""
    import msgspec

    try:
        data = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(
            f"{source} must be a whole JSON file, got a damaged one ({error}); {way_out}"
        ) from None
    if not isinstance(data, dict):
        raise DamagedError(f"{source} must hold a JSON object, got {type(data).__name__}")
    return data


def dump_json(data: Json) -> bytes:
    """JSON as this project writes it: indented, sorted, newline at the end; NaN is an error."""
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file atomically (a reader sees the old file or the new one) and durably."""
    write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file atomically and durably from an iterable of parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write_durably(temporary, parts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file that survives a power failure; until then, a reader may see a part of it."""
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def complete(base: Mapping[str, Any]) -> Json:
    """A file's base settings; train.epochs becomes None if train.steps or train.images is set.

    Raises:
        UsageError: They are not a table.
    """
    if not isinstance(base, Mapping):
        raise UsageError(f"base must be a table of settings, got {base!r}")
    data = {k: dict(v) if isinstance(v, Mapping) else v for k, v in base.items()}
    train = data.get("train")
    if isinstance(train, dict) and "epochs" not in train and {"steps", "images"} & set(train):
        train["epochs"] = None
    return data
