"""Records: dataclasses in JSON files, sealed by a checksum so that an altered one is no result."""

import functools
import gc
import hashlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from sweep.files import (
    DamagedError,
    Json,
    RecordError,
    digest,
    dump_json,
    parse_json,
    read_json,
    read_regular,
    write_bytes,
)

SCHEMA_VERSION = 1

CHECKSUM = "checksum"
"""Name of the field that holds the digest of a record's other fields; older records lack it."""
SEAL = f'"{CHECKSUM}":"'.encode()
DIGITS = 64

R = TypeVar("R", bound="Record")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Base of every record: its schema version, and conversion to and from JSON."""

    schema: int = SCHEMA_VERSION

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record; raises RecordError if it is missing, damaged or of another schema."""
        record = load_as_written(cls, str(path))
        return cls.of_json(read_json(path), path) if record is None else record

    @classmethod
    def of_bytes(cls, data: bytes, source: object) -> Self:
        """Parse the content of a record's file; raises RecordError as `load`."""
        record = as_written(cls, data)
        return cls.of_json(parse_json(data, source), source) if record is None else record

    @classmethod
    def of_json(cls, data: Json, source: object) -> Self:
        """Convert a JSON object to a record; raises RecordError, naming the source, as `load`."""
        if data.get("schema") != SCHEMA_VERSION:
            raise RecordError(
                f"{source} must have schema version {SCHEMA_VERSION}, got {data.get('schema')!r}; "
                "read it with the version of collapse-sweep that wrote it"
            )
        fields = {name: value for name, value in data.items() if name != CHECKSUM}
        if CHECKSUM in data and data[CHECKSUM] != digest(fields):
            raise DamagedError(
                f"{source} must match its {CHECKSUM}, got an altered record; restore it from a "
                f"copy, or delete its line {CHECKSUM!r} if you changed it on purpose"
            )
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise DamagedError(f"{source} must be a {cls.__name__}: {error}") from None

    def to_bytes(self) -> bytes:
        """The record as the content of its file."""
        fields = asdict(self)
        return dump_json({**fields, CHECKSUM: digest(fields)})

    def save(self, path: Path) -> None:
        """Write the record atomically: a reader sees the old file or the new one, never a part."""
        write_bytes(path, self.to_bytes())


def as_written(kind: type[R], data: bytes) -> R | None:
    """The record in a file whose bytes are as `Record.to_bytes` wrote them, or None.

    Without its spaces and its checksum, such a file is the text whose digest the checksum is, so
    no JSON needs to be encoded to verify it. `Record.of_json` decides about all other bytes: those
    of an older version or an editor, and damaged ones.
    """
    try:
        text = msgspec.json.format(data, indent=-1)
        start = text.find(SEAL)
        middle = start + len(SEAL)
        end = middle + DIGITS
        fields = hashlib.sha256(text[:start])
        fields.update(memoryview(text)[end + len('",') :])
        if start < 0 or fields.hexdigest().encode() != text[middle:end]:
            return None
        record = _decoder(kind).decode(text)
    except (ValueError, RecursionError):
        return None
    return record if record.schema == SCHEMA_VERSION and b'"schema":' in text else None


def load_as_written(kind: type[R], path: str) -> R | None:
    """The record in a file that is as it was written; None if not, or if it cannot be read."""
    with suppress(OSError):
        return as_written(kind, read_regular(path))
    return None


@contextmanager
def many_objects() -> Generator[None]:
    """Make many objects without garbage collections, each of which goes through all of them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@functools.cache
def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    return msgspec.json.Decoder(kind)
