"""Writes the pinned fixture anew, by the commands that users give.

    PYTHONPATH=tests uv run --extra all python -m pinned.write

The fixture says that a later version opens what an earlier one wrote: it must not be written again
for a test to pass. Where a key, a format or a number changes on purpose, the changelog says so, and
whoever writes it again looks at the difference in expected/.

It holds three sweeps, all on tiny networks and digits:

    main         families, pool rules, classes, an ensemble, filters, two metric specifications
    null         a store inside the results folder, and a lineage that diverges
    unfinished   a conditional model with a filter, killed in the training of V_2: it has left a
                 checkpoint and the claims of dead processes

main and unfinished were run twice, with a folder and with a bucket as store; so are
fixture.tar.xz's folder/ (results and stores), bucket/ (results) and objects/ (the bucket, in which
empty claims are free ones). Left out are figures, TensorBoard files, Ray's own files and main's
features, which nothing reads where all numbers are there.

What nothing reads is made neutral: host and boot in claims and in the names of checkpoints, and
`platform` in the environment of records.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pinned.commands import (
    BUCKET_RUNS,
    EXPECTED,
    METRICS,
    RUNS,
    URL,
    below,
    download,
    environment,
    lineages,
    list_objects,
    pack,
    program,
    published,
    published_in_bucket,
    run,
    tables,
    unpack,
    upload,
    write_archive,
)
from running_sweep import MARK, kill, marked_processes, wait_for
from s3_server import running_server

HOST = "pinned-host"
BOOT = "00000000-0000-0000-0000-000000000000 pid:[0]"
OWNER = re.compile(re.escape(socket.gethostname()) + "-([0-9]+-[0-9a-f]{8})")
"""A process in a claim, and in the path of a checkpoint: host, process id, random digits."""
LEFT_OUT = re.compile(
    r"(.*/)?(figures|tensorboard|tune|cache)/.*|store/features/.*|.*\.tmp|[a-z]+\.toml"
)


def main() -> None:
    """Run the sweeps, and write fixture.tar.xz and expected/."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        files = {**write_folders(work / "folder"), **write_bucket(work / "bucket")}
        files = dict(neutral(path, data) for path, data in files.items())
        check_neutral(files, work)
        write_archive(files)
        shutil.rmtree(EXPECTED, ignore_errors=True)
        EXPECTED.mkdir()
        write_expected(files, work / "again")


def write_folders(folder: Path) -> dict[str, bytes]:
    """Run the sweeps with folders as stores."""
    unpack({}, folder)
    succeed("sweep", *RUNS["main"], cwd=folder)
    succeed("sweep", "evaluate", "main", "--store", "store", *METRICS, cwd=folder)
    succeed("sweep", *RUNS["main"], cwd=folder)  # notes the evaluation in the store
    succeed("sweep", *RUNS["null"], cwd=folder, code=1)
    own = folder / "unfinished"

    def checkpoints() -> list[str]:
        paths = own.glob(f"work/{second_key(own)}/*/training.safetensors.*")
        return sorted((p.relative_to(own).as_posix() for p in paths), key=checkpoint_number)

    run_and_kill(RUNS["unfinished"], checkpoints, cwd=folder)
    for path in checkpoints()[:-1]:  # one is enough
        (own / path).unlink()
    return {f"folder/{path}": data for path, data in kept(pack(folder)).items()}


def write_bucket(folder: Path) -> dict[str, bytes]:
    """Run the sweeps with a bucket as store."""
    unpack({}, folder)
    own = folder / "unfinished"
    with running_server() as server:
        upload(server, {})
        more = server.environment
        succeed("sweep", *BUCKET_RUNS["main"], cwd=folder, more=more)
        succeed("sweep", "evaluate", "main", "--store", URL, *METRICS, cwd=folder, more=more)
        succeed("sweep", *BUCKET_RUNS["main"], cwd=folder, more=more)  # notes the evaluation
        features = [path for path in list_objects(server) if path.startswith("features/")]

        def checkpoints() -> list[str]:
            paths = [p for p in list_objects(server) if p.startswith(f"scratch/{second_key(own)}/")]
            return sorted(paths, key=checkpoint_number)

        run_and_kill(BUCKET_RUNS["unfinished"], checkpoints, cwd=folder, more=more)
        objects = download(server)
        for path in (*features, *checkpoints()[:-1]):
            del objects[path]
    found = {f"bucket/{path}": data for path, data in kept(pack(folder)).items()}
    return found | {f"objects/{path}": data for path, data in objects.items()}


def write_expected(files: dict[str, bytes], folder: Path) -> None:
    """Write the tables of what is finished, and the keys of all, the killed sweeps' completed."""
    keys: dict[str, Any] = {}
    for layout in ("folder", "bucket"):
        unpack(below(files, f"{layout}/"), folder / layout)
        for out in ("main", "null") if layout == "folder" else ("main",):
            keys[f"{layout}/{out}"] = lineages(folder / layout / out)
            for name, text in tables(out, cwd=folder / layout).items():
                (EXPECTED / f"{layout}-{name}").write_text(text)
    keys["folder/null/published"] = published(folder / "folder" / "null")
    succeed("sweep", *RUNS["unfinished"], cwd=folder / "folder")
    keys["folder/unfinished"] = lineages(folder / "folder" / "unfinished")
    keys["folder/unfinished/published"] = published(folder / "folder" / "unfinished")
    with running_server() as server:
        upload(server, below(files, "objects/"))
        succeed("sweep", *BUCKET_RUNS["unfinished"], cwd=folder / "bucket", more=server.environment)
        keys["bucket/unfinished"] = lineages(folder / "bucket" / "unfinished")
        added = list_objects(server).keys() - below(files, "objects/").keys()
        keys["bucket/unfinished/published"] = published_in_bucket(added)
    (EXPECTED / "keys.json").write_text(json.dumps(keys, indent=1, sort_keys=True) + "\n")


def succeed(
    name: str, *words: str, cwd: Path, code: int = 0, more: Mapping[str, str] | None = None
) -> None:
    """Run a command that must end with a code."""
    done = run(name, *words, cwd=cwd, more=more)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stderr}"
    print(" ".join((name, *words)))  # noqa: T201 - how far it is


def run_and_kill(
    words: tuple[str, ...],
    checkpoints: Callable[[], list[str]],
    *,
    cwd: Path,
    more: Mapping[str, str] | None = None,
) -> None:
    """Run a sweep and kill all its processes once V_2 has saved its third checkpoint."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [program("sweep"), *words],
        cwd=cwd,
        env={**environment(cwd), **(more or {}), MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: any(checkpoint_number(p) >= 3 for p in checkpoints()), "a checkpoint")
    finally:
        wait_for(lambda: not kill(marked_processes(mark)), "the end of all processes")
        process.wait()


def second_key(out: Path) -> str:
    """Key of V_2 of a results folder's only lineage; a dash before the run has named it."""
    nodes = [lineage["nodes"] for lineage in lineages(out).values()]
    return nodes[0][1][0] if nodes else "-"


def checkpoint_number(path: str) -> int:
    """Number of a checkpoint, by its path in a folder or a bucket."""
    found = re.search(r"/training\.safetensors\.([0-9]+)", path)
    return int(found[1]) if found else 0


def kept(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that belong into the fixture."""
    return {path: data for path, data in files.items() if not LEFT_OUT.fullmatch(path)}


def neutral(path: str, data: bytes) -> tuple[str, bytes]:
    """A file without what tells of this machine."""
    if path.startswith(("folder/unfinished/work/", "objects/scratch/")):
        path = OWNER.sub(rf"{HOST}-\1", path)
    if path.endswith(".json") and data:
        content = json.loads(data)
        found = without_machine(content)
        if found != content:  # as all records are written
            data = (json.dumps(found, indent=1, sort_keys=True) + "\n").encode()
    return path, data


def without_machine(value: Any) -> Any:
    """A JSON value with the names of this machine replaced."""
    if isinstance(value, list):
        return [without_machine(item) for item in value]
    if not isinstance(value, dict):
        return value
    fixed = {"host": HOST, "machine": BOOT, "platform": "Linux"}
    found = {name: fixed.get(name, without_machine(item)) for name, item in value.items()}
    if "owner" in found:
        found["owner"] = OWNER.sub(rf"{HOST}-\1", found["owner"])
    return found


def check_neutral(files: dict[str, bytes], work: Path) -> None:
    """Fail where a file or its name tells of this machine."""
    names = [str(work), str(Path.cwd()), str(Path.home()), os.uname().release]
    boot = Path("/proc/sys/kernel/random/boot_id")
    names += [boot.read_text().strip()] if boot.exists() else []
    host = socket.gethostname()  # may be so short that arrays hold it by chance
    for path, data in files.items():
        text = path.encode() + (data if path.endswith(".json") else b"")
        found = [name for name in names if name.encode() in path.encode() + data]
        found += [name for name in (f'"{host}"', f"{host}-") if name.encode() in text]
        assert found == [], f"{path} holds {found}"


if __name__ == "__main__":
    main()
