"""A TensorBoard of its own for a test, and what its HTTP API answers."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from running_sweep import wait_for

Ask = Callable[..., Any]
"""Returns the JSON answer of a plugin to a GET, or to a POST if there is a body."""


def answer(request: urllib.request.Request) -> tuple[Any] | None:
    """What a server answers; None if its list of runs grew while it was reading it."""
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 (this machine)
            return (json.load(response),)
    except urllib.error.HTTPError as err:
        if err.code == 500:
            return None
        raise


@contextmanager
def serving(folder: Path, *options: str) -> Generator[Ask]:
    """Serve a folder of event files, and yield a function that asks the server's plugins."""
    program = Path(sys.executable).with_name("tensorboard")
    command = [program, "--logdir", folder, "--port", "0", "--load_fast", "false", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        ready = next(line for line in lines if "http://" in line)
        server = "http://" + ready.split("http://")[1].split("/")[0]

        def ask(what: str, data: object = None) -> Any:
            body = None if data is None else json.dumps(data).encode()
            headers = {"Content-Type": "application/json"}
            url = f"{server}/data/plugin/{what}"
            request = urllib.request.Request(url, body, headers)  # noqa: S310 (this machine)
            return wait_for(lambda: answer(request), url)[0]

        yield ask
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
