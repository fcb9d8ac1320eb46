"""An attack on running processes of Ray, with all that lists of processes and sockets tell.

As a program it reads one line of JSON, becomes another user, and calls Ray's own methods at every
port, so that its imports need not be readable for that user. It prints what was answered.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

NOBODY = 65534
READING = (
    "InternalKVGcsService/InternalKVKeys",
    "NodeManagerService/GetNodeStats",
    "CoreWorkerService/GetCoreWorkerStats",
    "ObjectManagerService/Pull",
)
"""Methods that tell something; each of Ray's processes that listens has one of them."""
CHANGING = (
    "InternalKVGcsService/InternalKVPut",
    "JobInfoGcsService/AddJob",
    "ActorInfoGcsService/KillActorViaGcs",
    "NodeManagerService/RequestWorkerLease",
    "NodeManagerService/ShutdownRaylet",
    "CoreWorkerService/PushTask",
    "CoreWorkerService/KillActor",
    "CoreWorkerService/Exit",
    "ObjectManagerService/Push",
)
"""Methods that change or run something."""
PAGES = ("/", "/api/jobs/", "/get_or_create_runtime_env", "/metrics")
REFUSED = {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE", "401"}
"""Without the right token; unimplemented is what another of Ray's processes has, unavailable what
does not speak gRPC."""


def listening_ports(pids: set[int]) -> list[int]:
    """TCP ports on which the processes wait for connections."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:  # 0A: listening
                ports.add(int(local.rpartition(":")[2], 16))
    return sorted(ports)


def refused(answers: Mapping[str, Mapping[str, str]], *kinds: str) -> bool:
    """Whether every call was refused, and some of them for lack of the token."""
    codes = {code for kind in kinds for code in answers[kind].values()}
    return bool(codes & {"UNAUTHENTICATED", "401"}) and codes <= REFUSED


def call(address: str, method: str, token: str | None) -> str:
    """The status with which a method without arguments is answered."""
    metadata = None if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=5, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name  # ty: ignore[missing-attribute] - an error of a call has it
        return "OK"


def fetch(address: str, page: str) -> str:
    """The status with which a page is answered."""
    try:
        urllib.request.urlopen(f"http://{address}{page}", data=b"", timeout=5)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except Exception:
        return "UNAVAILABLE"
    return "OK"


def readable(path: str) -> bool:
    """Whether a file or folder shows anything."""
    try:
        return any(Path(path).iterdir()) if Path(path).is_dir() else Path(path).read_bytes() != b""
    except OSError:
        return False


def writable(folder: str) -> bool:
    """Whether a file can be planted in the folder."""
    try:
        Path(folder, "planted").write_bytes(b"x")
    except OSError:
        return False
    return True


def attack(
    ports: list[int],
    *,
    host: str = "127.0.0.1",
    tokens: Mapping[str, str] | None = None,
    methods: tuple[str, ...] = (*READING, *CHANGING),
    pages: tuple[str, ...] = PAGES,
    private: tuple[str, ...] = (),
    folders: tuple[str, ...] = (),
) -> dict[str, Any]:
    """What was answered to each call, and what could be read and written, as the present user."""
    answers = {
        name: {
            f"{port} {method}": call(f"{host}:{port}", method, token)
            for port in ports
            for method in methods
        }
        for name, token in {"no token": None, "wrong": "0" * 64, **(tokens or {})}.items()
    }
    answers["http"] = {
        f"{port} {page}": fetch(f"{host}:{port}", page) for port in ports for page in pages
    }
    return {
        "answers": answers,
        "readable": [path for path in private if readable(path)],
        "writable": [folder for folder in folders if writable(folder)],
    }


def become(uid: int) -> None:
    """Give up all rights but those of the user."""
    if uid != os.getuid():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


if __name__ == "__main__":
    call("127.0.0.1:1", "X/Y", None)  # loads all that is needed, before the user changes
    sys.stdout.write("ready" + "\n")
    sys.stdout.flush()
    known = json.loads(sys.stdin.readline())
    become(known.pop("uid"))
    sys.stdout.write(json.dumps(attack(**known)) + "\n")
