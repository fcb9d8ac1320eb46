"""The pinned sweeps: their commands, files and buckets, through the command line and HTTP alone.

Must import none of model, sweep and analysis: every module of theirs may move or change its name.
"""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from s3_server import Server

HERE = Path(__file__).parent
ARCHIVE = HERE / "fixture.tar.xz"
EXPECTED = HERE / "expected"

BUCKET = "pinned"
URL = f"s3://{BUCKET}/prefix"

RUNS = {
    "main": ("run", "main.toml", "--out", "main", "--store", "store"),
    "null": ("run", "null.toml", "--out", "null"),
    "unfinished": ("run", "unfinished.toml", "--out", "unfinished"),
}
"""Commands of the sweeps whose store is a folder: beside the results, and in them."""
BUCKET_RUNS = {
    "main": ("run", "main.toml", "--out", "main", "--store", URL),
    "unfinished": ("run", "unfinished.toml", "--out", "unfinished", "--store", URL),
}
"""Commands of the same sweeps with a bucket as store."""
METRICS = (
    *("--metrics.names", "recall", "memorization", "--metrics.num-images", "16"),
    *("--metrics.extractor", "random-conv", "--metrics.resolution", "32"),
    *("--metrics.nearest-k", "3"),
)
"""The second way in which the models of main are measured."""

HEADERS = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=testing/20240101/us-east-1/s3/aws4_request",
    "Content-Type": "application/octet-stream",
}
"""Without the first, of which it checks no signature, moto keeps objects to itself; without the
second it takes them for a form's fields."""

TABLES = {
    "main": {"tidy": ("--tidy",)},
    "null": {"tidy": ("--tidy",), "classes": ("--tidy", "--classes")},
}
"""Tables of a sweep by name, as words of `analysis table`."""

OBJECT = re.compile(r"<Key>prefix/([^<]*)</Key>.*?<ETag>(.*?)</ETag>", re.DOTALL)
"""An object in a bucket's listing: its path below the prefix, and the hash of its content."""

SHELVES = ("datasets", "features", "generations", "selections", "streams")
"""Folders of a store that hold what was published."""
BUCKET_SHELVES = ("records", "files", "metrics", "features", "selections", "streams")
"""The same of a bucket."""
LINEAGE = (
    *("axes", "dataset", "evaluation_specs", "member_specs", "metrics_spec", "mixture_specs"),
    *("nodes", "num_done", "status"),
)
"""Fields of a lineage's record that name keys, or say how many of them are done."""

AGE_SECONDS = 86_400.0
"""Age of unpacked files: a claim among them is stale, and a file that is written again shows."""


def environment(cwd: Path) -> dict[str, str]:
    """What a command sees: the CPU, one thread, and a cache inside its own working directory."""
    own = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cwd / "cache")}
    return {**os.environ, **own}


def program(name: str) -> Path:
    """A console command of this environment."""
    return Path(sys.executable).with_name(name)


def run(
    name: str, *words: str, cwd: Path, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a console command in a folder, with more in its environment, to its end."""
    return subprocess.run(
        [program(name), *words],
        cwd=cwd,
        env={**environment(cwd), **(more or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def tables(out: str, *, cwd: Path) -> dict[str, str]:
    """All numbers of a results folder with all their digits: csv tables by name."""
    found = {}
    for kind, words in TABLES[out].items():
        table = run("analysis", "table", out, *words, cwd=cwd)
        assert table.returncode == 0, table.stderr
        found[f"{out}-{kind}.csv"] = table.stdout
    return found


def read_archive() -> dict[str, bytes]:
    """The fixture's files: below folder/ and bucket/ results, below objects/ a bucket's content."""
    with tarfile.open(ARCHIVE) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive]
        return {name: file.read() for name, file in members if file is not None}


def write_archive(files: dict[str, bytes]) -> None:
    """Write the fixture; equal files make equal bytes."""
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def below(files: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    """The files below a prefix, by the rest of their path."""
    return {p.removeprefix(prefix): data for p, data in files.items() if p.startswith(prefix)}


def unpack(files: dict[str, bytes], folder: Path) -> None:
    """Write files of a certain age into a folder, and the settings of the sweeps beside them."""
    settings = {path.name: path.read_bytes() for path in HERE.glob("*.toml")}
    then = time.time() - AGE_SECONDS
    for name, data in {**settings, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (then, then))


def pack(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their paths in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


FLOORS = re.compile(r"(datasets/\w+/metrics|metrics/[0-9a-f]{16}|features/\w+)/[^/]+")
"""Floors, which earlier versions did not measure, and features, which they may need."""


def without_floors(found: Iterable[str], expected: Container[str]) -> list[str]:
    """Paths without those that are there because of floors."""
    return [path for path in found if path in expected or not FLOORS.fullmatch(path)]


def published(store: Path) -> list[str]:
    """Paths of all that a store in a folder has published."""
    return [path for path in pack(store) if path.split("/")[0] in SHELVES]


def published_in_bucket(paths: Iterable[str]) -> list[str]:
    """Those of a bucket, without the hash of its content in the name of a file.

    A machine of another kind computes other contents under the same keys.
    """
    chosen = [path for path in paths if path.split("/")[0] in BUCKET_SHELVES]
    return sorted(re.sub(r"^(files/.*/)[0-9a-f]{16}-", r"\1", path) for path in chosen)


def lineages(out: Path) -> dict[str, Any]:
    """The keys of every lineage of a results folder, by the lineage's name."""
    records = {path.stem: json.loads(path.read_text()) for path in out.glob("lineages/*.json")}
    return {name: {k: record[k] for k in LINEAGE} for name, record in sorted(records.items())}


def list_objects(server: Server) -> dict[str, str]:
    """Path below the prefix and content hash of every object of the bucket."""
    found: dict[str, str] = {}
    query = {"list-type": "2", "prefix": "prefix/"}
    while True:
        text = _ask(server, f"?{urllib.parse.urlencode(query)}").decode()
        found |= dict(OBJECT.findall(text))
        more = re.search(r"<NextContinuationToken>(.*?)</NextContinuationToken>", text)
        if more is None:
            return found
        query["continuation-token"] = more[1]


def download(server: Server) -> dict[str, bytes]:
    """Every object of the bucket, by its path below the prefix."""
    return {path: _ask(server, f"/prefix/{path}") for path in list_objects(server)}


def upload(server: Server, objects: dict[str, bytes]) -> None:
    """Make the bucket, with objects at their paths below the prefix."""
    server.make_bucket(BUCKET)
    for path, data in objects.items():
        _ask(server, f"/prefix/{path}", method="PUT", data=data)


def _ask(server: Server, path: str, *, method: str = "GET", data: bytes | None = None) -> bytes:
    url = f"{server.endpoint}/{BUCKET}{path}"
    request = urllib.request.Request(url, method=method, data=data, headers=HEADERS)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
        return answer.read()
