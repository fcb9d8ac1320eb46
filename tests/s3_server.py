"""An S3 server of this machine for tests: moto's, in a process of its own."""

import http.client
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    endpoint: str
    process: subprocess.Popen

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return ENVIRONMENT | {"AWS_ENDPOINT_URL": self.endpoint}

    def make_bucket(self, name: str) -> str:
        """Make a bucket; its URL."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")  # noqa: S310
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - our own server
        return f"s3://{name}"

    def delete_buckets(self) -> None:
        """Delete every bucket with all that is in it."""
        url = f"{self.endpoint}/moto-api/reset"
        request = urllib.request.Request(url, data=b"", method="POST")  # noqa: S310
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - our own server


@contextmanager
def running_server() -> Generator[Server]:
    """A server on a free port of loopback, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("moto_server")
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        yield Server(endpoint=f"http://127.0.0.1:{port}", process=process)
    finally:
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("HEAD", "/")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no S3 server answers on port {port}")
