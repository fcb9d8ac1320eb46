"""Cases of files: sweep files, prices, images and arrays, damaged by rule."""

import codecs
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fuzz_case import Case, Rule, Step
from PIL import Image

TOML = 'name = "mine"\n[base.pool]\nalpha = 1\n[base.train]\nsteps = 3\n[[grids]]\nseed = [0, 1]\n'
JSON = '{"base": {"pool": {"alpha": 1}}, "grids": [{"seed": [0, 1]}]}'
PRICES = 'currency = "USD"\n[price_per_hour]\n"A10G" = 1.5\n'


def damaged(data: bytes, rng: random.Random, count: int = 8) -> Iterator[tuple[str, bytes]]:
    """Bytes that are cut, flipped, emptied, repeated or overwritten at random places."""
    if not data:
        yield "more bytes", b"x"
        return
    yield "empty", b""
    yield "twice", data * 2
    yield "zeros", bytes(len(data))
    yield "more bytes", data + rng.randbytes(64)
    for _ in range(count):
        at = rng.randrange(len(data))
        yield "cut", data[:at]
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        yield "flipped", bytes(flipped)
        start = rng.randrange(len(data))
        yield "overwritten", data[:start] + rng.randbytes(8) + data[start + 8 :]
        yield "inserted", data[:at] + rng.randbytes(3) + data[at:]


def texts(text: str, rng: random.Random) -> Iterator[tuple[str, bytes, Rule]]:
    """A text file in other encodings, and with other contents than text."""
    data = text.encode()
    yield "UTF-8 with a mark", codecs.BOM_UTF8 + data, "accept"
    yield "CRLF", data.replace(b"\n", b"\r\n"), "accept"
    for encoding in ("utf-16", "utf-32", "utf-16-le", "utf-16-be"):
        yield encoding, text.encode(encoding), "refuse"
    yield "Latin-1", data.replace(b"mine", b"caf\xe9").replace(b"USD", b"\xa3"), "any"
    yield "NUL", data + b"\0", "refuse"
    yield "random bytes", rng.randbytes(2000), "refuse"
    for kind, bad in damaged(data, rng):
        yield kind, bad, "any"


NESTED = (
    ("deep arrays", "x = " + "[" * 2989, "refuse"),
    ("deep closed arrays", "base = " + "[" * 2000 + "]" * 2000, "refuse"),
    ("deep tables", "[" + ".".join("a" * 3000) + "]", "refuse"),
    ("deep inline tables", "x = " + "{a = " * 3000 + "1" + "}" * 3000, "refuse"),
    ("deep key", ".".join("a" * 20_000) + " = 1", "refuse"),
    ("many lines", "\n".join(f"k{n} = 1" for n in range(2989)), "refuse"),
    ("huge integer", "[base]\nseed = 0x" + "f" * 100_000, "refuse"),
    ("many digits", "[base]\nseed = " + "9" * 100_000, "refuse"),
    ("date", "name = 2020-01-01", "refuse"),
    ("times", "[base]\nseed = 10:00:00", "refuse"),
    ("impossible date", "name = 2020-13-41", "refuse"),
    ("name is empty", 'name = ""', "refuse"),
    ("name is a list", "name = []", "refuse"),
    ("description is a list", "description = [1]", "refuse"),
    ("no points", "grids = []", "refuse"),
    ("empty axis", "[[grids]]\nseed = []", "refuse"),
    ("value twice", "[[grids]]\nseed = [1, 1]", "refuse"),
    ("zero twice", "[base.pool]\nalpha = 1\n[[grids]]\n'pool.alpha' = [0.0, -0.0]", "refuse"),
    ("axis of a group", "[[grids]]\ntrain = [1]", "refuse"),
    ("axis without a name", "[[grids]]\n'' = [1]", "refuse"),
    ("axis of dots", "[[grids]]\n'..' = [1]", "refuse"),
    ("axis of a wrong group", "[[grids]]\n'seed.x' = [1]", "refuse"),
    ("unknown table", "[zzqx]\na = 1", "refuse"),
    ("too many points", "[[grids]]\n" + "\n".join(
        f"{name} = {list(range(1, 101))}" for name in ("seed", "'sample.steps'", "'train.epochs'")
    ), "refuse"),
)  # fmt: skip
OBJECTS = (
    ("key twice", '{"base": {"seed": 1, "seed": 2}}', "refuse"),
    ("table twice", '{"base": {"seed": 1}, "base": {"seed": 1}}', "refuse"),
    ("deep", '{"base": ' + "[" * 100_000, "refuse"),
    ("deep objects", '{"a":' * 50_000 + "1" + "}" * 50_000, "refuse"),
    ("NaN", '{"base": {"train": {"lr": NaN}}}', "refuse"),
    ("Infinity", '{"base": {"train": {"lr": -Infinity}}}', "refuse"),
    ("many digits", '{"base": {"seed": ' + "9" * 100_000 + "}}", "refuse"),
    ("long fraction", '{"base": {"train": {"lr": 0.' + "1" * 400 + "}}}", "refuse"),
    ("lone surrogate", '{"name": "\\ud800"}', "refuse"),
    ("NUL in a name", '{"name": "a\\u0000b"}', "refuse"),
    ("newline in a name", '{"name": "a\\nb"}', "refuse"),
    ("escape in a class", '{"base": {"pool": {"focal_classes": ["\\u001b[31m"]}}}', "refuse"),
    ("list", "[]", "refuse"),
    ("null", "null", "refuse"),
    ("number", "1", "refuse"),
    ("string", '"base"', "refuse"),
    ("schema alone", '{"schema": 1}', "refuse"),
    ("schema of another type", '{"schema": [1]}', "refuse"),
    ("schema of the future", '{"schema": 99, "name": "x"}', "refuse"),
)


def text_cases(rng: random.Random) -> Iterator[Case]:
    """Sweep files and prices."""
    plan = ("sweep", "plan")
    for name, text in (("mine.toml", TOML), ("mine.json", JSON), ("prices.toml", PRICES)):
        words = (*plan, "quickstart", "--prices", name) if text is PRICES else (*plan, name)
        for kind, data, rule in texts(text, rng):
            yield Case(
                words=words,
                kind=f"text: {kind}",
                rule=rule,
                names=(name,),
                steps=(("file", name, data),),
            )
        for step in special(name):
            yield Case(words=words, kind=f"text: {step[0]}", rule="refuse", steps=(step,))
    for suffix, table in (("toml", NESTED), ("json", OBJECTS)):
        for kind, text, rule in table:
            name = f"mine.{suffix}"
            steps: tuple[Step, ...] = (("file", name, with_alpha(text, suffix).encode()),)
            yield Case(
                words=(*plan, name),
                kind=f"{suffix}: {kind}",
                rule=rule,
                names=(name, "grids"),
                steps=steps,
            )
    for value in ("nan", "inf", "-1", "'1'", "[1]", "1e400", "true"):
        data = f"[price_per_hour]\na = {value}\n".encode()
        yield Case(
            words=(*plan, "quickstart", "--prices", "p.toml"),
            kind="price",
            rule="refuse",
            names=("p.toml",),
            steps=(("file", "p.toml", data),),
        )


def with_alpha(text: str, suffix: str) -> str:
    """A sweep file that lacks nothing, so that only what is wrong with it can be refused."""
    if text.startswith('{"base": {'):
        return text.replace('{"base": {', '{"base": {"pool": {"alpha": 1}, ', 1)
    if text.startswith('{"name"'):
        return text.replace("{", '{"base": {"pool": {"alpha": 1}}, ', 1)
    is_whole = suffix == "json" or "[base.pool]" in text
    return text if is_whole else f"{text}\n[base.pool]\nalpha = 1\n"


def special(name: str) -> Iterator[Step]:
    """Things that are not files, under a file's name."""
    yield "folder", name, b""
    yield "pipe", name, b""
    yield "link", name, name.encode()
    yield "link", name, b"/dev/zero"
    yield "link", name, b"/dev/null"


DATA_COMMANDS = (
    ("sweep", "plan", "quickstart"),
    ("model", "train", "--out", "new.safetensors", "--model.family", "gaussian"),
)


def image_cases(templates: Path, rng: random.Random) -> Iterator[Case]:
    """Folders of images with one bad member, for training, planning and measuring."""
    some = sorted(path.relative_to(templates) for path in (templates / "images").rglob("*.png"))
    target = str(some[len(some) // 2])
    good = (templates / target).read_bytes()
    changes: list[tuple[str, tuple[Step, ...], Rule]] = []
    for kind, data in damaged(good, rng, 4):
        rule: Rule = "refuse" if kind in ("empty", "zeros") else "any"
        changes.append((kind, (("file", target, data),), rule))
    gone: Step = ("remove", target, b"")
    for step in special(target):
        # One warning names what cannot be read, such as a link to nothing.
        rule = "any" if step[2] == target.encode() else "refuse"
        changes.append((f"a {step[0]}", (gone, step), rule))
    changes += [(kind, (("file", target, data),), "any") for kind, data in bad_images()]
    for kind, name in (
        ("newline in a class", "images/a\nb/0.png"),
        ("escape in a class", "images/\x1b[31m/0.png"),
        ("class that is not UTF-8", "images/caf\udce9/0.png"),
        ("class with a bar", "images/a|b/0.png"),
        ("long class", f"images/{'n' * 250}/0.png"),
        ("nested", "images/a/b/c/0.png"),
        ("beside classes", "images/0.png"),
        ("text file", "images/a/readme.txt"),
        ("hidden", "images/.hidden/0.png"),
        ("other suffix", "images/a/0.webp"),
    ):
        changes.append((kind, (("file", name, good),), "any"))
    changes.append(("empty class", (("folder", "images/empty", b""),), "any"))
    changes.append(("no images", (("remove", "images", b""), ("folder", "images", b"")), "refuse"))
    for kind, steps, rule in changes:
        for start in DATA_COMMANDS:
            words = (*start, "--data.name", "folder", "--data.path", "images")
            # A plan need not decode pixels.
            expected = "any" if start[1] == "plan" and rule == "refuse" else rule
            yield data_case(
                words, f"folder: {kind}", expected, ("copy", "images", b"images"), steps
            )
        measure = ("model", "evaluate", "--images", "images", "--metrics.extractor", "pixels")
        yield data_case(measure, f"folder: {kind}", rule, ("copy", "images", b"images"), steps)


def data_case(
    words: tuple[str, ...], kind: str, rule: Rule, copy: Step, steps: tuple[Step, ...]
) -> Case:
    """A case of data; paths in `steps` are relative to its folder."""
    return Case(words=words, kind=kind, rule=rule, steps=(copy, *steps))


def bad_images() -> Iterator[tuple[str, bytes]]:
    """Image files of unusual kinds, or with a header that lies."""
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"):
        for suffix in ("png", "tiff", "jpeg", "gif"):
            buffer = io.BytesIO()
            try:
                Image.new(mode, (8, 8)).save(buffer, format=suffix)
            except (OSError, ValueError, KeyError):
                continue
            yield f"{mode} {suffix}", buffer.getvalue()
    for width, height in ((2**31 - 1, 2**31 - 1), (100_000, 100_000), (0, 0), (1, 1), (60_000, 1)):
        yield f"PNG of {width}x{height}", png(width, height, b"")
    yield "bomb", png(30_000, 30_000, zlib.compress(bytes(30_001 * 30_000 // 8), 1))


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG file with any size in its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 1 if pixels else 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", pixels or zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def npz(**arrays: object) -> bytes:
    """The bytes of an .npz file."""
    return zipped({f"{name}.npy": npy(np.asarray(array)) for name, array in arrays.items()})


def bad_arrays(rng: random.Random) -> Iterator[tuple[str, bytes, Rule]]:
    """(what is wrong, bytes, what must happen) of .npz files."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    good = npz(images=images, labels=np.arange(40) % 2)
    for kind, data in damaged(good, rng, 6):
        yield kind, data, "refuse" if kind in ("empty", "zeros") else "any"
    yield "no images", npz(pictures=images), "refuse"
    for dtype in ("complex64", "U3", "S3", "datetime64[s]", "object", "bool", "float16", "int64"):
        with np.errstate(all="ignore"):
            yield f"images of {dtype}", npz(images=images.astype(dtype)), "any"
    for shape in (
        (0, 8, 8, 1),
        (40,),
        (40, 8),
        (40, 64),
        (40, 8, 8, 2),
        (40, 8, 4, 1),
        (1, 8, 8, 1),
    ):
        yield f"images of shape {len(shape)}", npz(images=np.zeros(shape, np.uint8)), "any"
    for value in (np.nan, np.inf, -np.inf, 1e38, -5.0):
        floats = images.astype(np.float32) / 255
        floats[3, 2, 1] = value
        rule: Rule = "any" if abs(value) < 1e37 else "refuse"
        yield f"pixel {value}", npz(images=floats), rule if value != 1e38 else "any"
    for kind, labels in (
        ("too few", np.zeros(3, int)),
        ("negative", np.full(40, -1)),
        ("huge", np.array([0, 10**7, 2 * 10**7] * 13 + [0])),
        ("beyond int64", np.full(40, 2**63, np.uint64)),
        ("fractions", np.full(40, 0.5)),
        ("nan", np.full(40, np.nan)),
        ("strings", np.full(40, "a")),
        ("objects", np.array([None] * 40)),
        ("two-dimensional", np.zeros((40, 2), int)),
    ):
        rule = "any" if kind in ("strings", "huge") else "refuse"
        yield f"labels: {kind}", npz(images=images, labels=labels), rule
    labels = np.arange(40) % 2
    for kind, names in (
        ("too few", ["a"]),
        ("twice", ["a", "a"]),
        ("empty", ["", "b"]),
        ("control", ["a\n", "b"]),
        ("escape", ["\x1b[31m", "b"]),
        ("numbers", [1, 2]),
        ("objects", [None, {}]),
        ("long", ["x" * 5000, "b"]),
    ):
        array = np.array(names, object if kind == "objects" else None)
        yield f"class names: {kind}", npz(images=images, labels=labels, class_names=array), "any"
    for kind, shape in (
        ("2^40", (2**40, 8, 8, 1)),
        ("2^70", (2**70, 8)),
        ("negative", (-4, 8, 8, 1)),
    ):
        yield f"header of {kind}", lying(shape), "refuse"
    yield "member bomb", member_bomb(), "refuse"
    yield "member outside", zipped({"../images.npy": npy(images)}), "refuse"
    yield "member twice", npz(images=images) + npz(images=images), "any"
    yield "not an array", zipped({"images.npy": b"not an array"}), "refuse"


def npy(array: np.ndarray) -> bytes:
    """The bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """The bytes of a .zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def lying(shape: tuple[int, ...]) -> bytes:
    """An .npz file whose header announces an array that is not there."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return zipped(
        {"images.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)}
    )


def member_bomb() -> bytes:
    """An .npz file of a megabyte whose images take many gigabytes."""
    shape = (2**30, 8, 1, 1)
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
        for _ in range(64):
            member.write(bytes(2**20))
    return buffer.getvalue()


def array_cases(rng: random.Random) -> Iterator[Case]:
    """.npz files, for training, planning and measuring."""
    for kind, data, rule in bad_arrays(rng):
        for start in DATA_COMMANDS:
            words = (*start, "--data.name", "npz", "--data.path", "data.npz")
            pixels = kind.startswith(("pixel", "labels"))
            expected: Rule = "any" if start[1] == "plan" and pixels else rule
            if "pixel" in kind:
                words = (*words, "--data.dtype", "float32")
            yield Case(
                words=words,
                kind=f"npz: {kind}",
                rule=expected,
                steps=(("file", "data.npz", data),),
            )
        words = ("model", "evaluate", "--images", "data.npz", "--metrics.extractor", "pixels")
        yield Case(words=words, kind=f"npz: {kind}", steps=(("file", "data.npz", data),))
    for step in special("data.npz"):
        for start in DATA_COMMANDS:
            words = (*start, "--data.name", "npz", "--data.path", "data.npz")
            yield Case(words=words, kind=f"npz: a {step[0]}", rule="refuse", steps=(step,))
