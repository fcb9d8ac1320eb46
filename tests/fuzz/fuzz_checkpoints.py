"""Cases of checkpoints with damaged bytes and altered headers, and JSON altered by rule."""

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

from fuzz_case import Case, Rule
from fuzz_files import TOML, damaged, special
from fuzz_settings import to_toml


def checkpoint_cases(templates: Path, rng: random.Random) -> Iterator[Case]:
    """Checkpoints with damaged bytes, altered headers and settings of other types."""
    name = "checkpoint.safetensors"
    good = (templates / name).read_bytes()
    size = struct.unpack("<Q", good[:8])[0]
    header, tensors = json.loads(good[8 : 8 + size]), good[8 + size :]
    words = ("model", "sample", name, "--out", "new", "--num-images", "2")
    for kind, data in damaged(good, rng, 25):
        rule: Rule = "any" if data == good else "refuse"
        yield checkpoint_case(words, kind, rule, data)
    for length in (0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1):
        data = struct.pack("<Q", length) + good[8:]
        yield checkpoint_case(words, f"header length {length}", "refuse", data)
    for kind, altered in altered_json(header, rng, 60):
        text = json.dumps(altered).encode()
        yield checkpoint_case(
            words, f"header: {kind}", "refuse", struct.pack("<Q", len(text)) + text + tensors
        )
    metadata = header["__metadata__"]
    for key, value in metadata.items():
        try:
            nested = json.loads(value)
        except ValueError:
            continue
        for kind, altered in altered_json(nested, rng, 60):
            changed = header | {"__metadata__": metadata | {key: json.dumps(altered)}}
            text = json.dumps(changed).encode()
            data = struct.pack("<Q", len(text)) + text + tensors
            yield checkpoint_case(words, f"metadata: {kind}", "refuse", data)
    yield checkpoint_case(words, "TOML", "refuse", TOML.encode())
    yield checkpoint_case(words, "pickle", "refuse", b"\x80\x04}\x94.")
    yield checkpoint_case(words, "settings", "refuse", to_toml({"a": 1}).encode())
    for step in special(name):
        yield Case(words=words, kind=f"checkpoint: a {step[0]}", rule="refuse", steps=(step,))


def checkpoint_case(words: tuple[str, ...], kind: str, rule: Rule, data: bytes) -> Case:
    """One damaged checkpoint."""
    name = "checkpoint.safetensors"
    return Case(
        words=words,
        kind=f"checkpoint: {kind}",
        rule=rule,
        names=(name,),
        steps=(("file", name, data),),
    )


VALUES: tuple[object, ...] = (None, True, -1, 0, 1.5, 10**30, "zzqx", "", [], {}, [[]], "x" * 5000)
"""Values that take the place of others in JSON."""


def altered_json(data: object, rng: random.Random, count: int) -> Iterator[tuple[str, object]]:
    """JSON in which one value at a time is replaced, or one key removed, added or renamed."""
    paths = list(walk(data, ()))
    for _ in range(count):
        path, old = rng.choice(paths)
        value = rng.choice(VALUES)
        if json.dumps(value) == json.dumps(old):
            continue
        yield f"{type(old).__name__} becomes {type(value).__name__}", replaced(data, path, value)
    for path, old in rng.sample(paths, min(len(paths), count // 4)):
        if isinstance(old, dict) and old:
            name = rng.choice(list(old))
            yield "key removed", replaced(data, path, {k: v for k, v in old.items() if k != name})
            yield "key added", replaced(data, path, old | {"zzqx": 1})


def walk(data: object, path: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], object]]:
    """Every value in JSON with its path."""
    yield path, data
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data if isinstance(data, list) else ())
    )
    for key, value in items:
        yield from walk(value, (*path, key))


def replaced(data: object, path: tuple[object, ...], value: object) -> object:
    """JSON with the value at a path replaced."""
    if not path:
        return value
    key, *rest = path
    if isinstance(data, dict):
        return data | {key: replaced(data[key], tuple(rest), value)}
    assert isinstance(data, list)
    return [replaced(each, tuple(rest), value) if n == key else each for n, each in enumerate(data)]
