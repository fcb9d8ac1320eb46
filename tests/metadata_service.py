"""Servers that answer as the metadata services of EC2 and GCE do, as far as spot notices go.

As a program, for a machine of tests/cluster: python metadata_service.py ADDRESS PORT serves EC2's,
with a notice that is two minutes away.
"""

import json
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Cloud:
    """A metadata service that can be switched off and on, and gives notice when told to."""

    notice: str | None = None

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._handler = handler
        self._address = address
        self._server: ThreadingHTTPServer | None = None
        self.port = port
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self._address}:{self.port}"

    def start(self) -> None:
        self._server = ThreadingHTTPServer((self._address, self.port), self._handler)
        self._server.cloud = self  # ty: ignore[missing-attribute]
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Handler(BaseHTTPRequestHandler):
    """What both services share."""

    def answer(self, status: int, text: str = "", tag: str | None = None) -> None:
        self.send_response(status)
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(text.encode())

    @property
    def cloud(self) -> Cloud:
        return self.server.cloud  # ty: ignore[missing-attribute]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class Ec2(Handler):
    """IMDSv2: a token first, whose lifetime is asked for; without it 401; no notice is 404."""

    def do_PUT(self) -> None:
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "0")
        known = self.path == "/latest/api/token" and 1 <= int(ttl) <= 21600
        self.answer(200, "token-1") if known else self.answer(400)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "token-1":
            return self.answer(401)
        if self.path == "/latest/meta-data/events/recommendations/rebalance":
            return self.answer(200, '{"noticeTime": "2026-01-01T00:00:00Z"}')
        if self.path != "/latest/meta-data/spot/instance-action" or self.cloud.notice is None:
            return self.answer(404)
        return self.answer(200, self.cloud.notice)


class Gce(Handler):
    """GCE: Metadata-Flavor or 403; a request waits while the value has the tag that it names."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.headers.get("Metadata-Flavor") != "Google":
            return self.answer(403)
        if url.path != "/computeMetadata/v1/instance/preempted":
            return self.answer(404)
        until = time.monotonic() + float(query.get("timeout_sec", 0))
        while query.get("wait_for_change") == "true" and time.monotonic() < until:
            if query.get("last_etag") != self.tag():
                break
            time.sleep(0.01)
        return self.answer(200, self.cloud.notice or "FALSE", self.tag())

    def tag(self) -> str:
        return "b" if self.cloud.notice else "a"


def in_seconds(seconds: float) -> str:
    """EC2's notice of an interruption so many seconds from now."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return json.dumps({"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")})


if __name__ == "__main__":
    cloud = Cloud(Ec2, sys.argv[1], int(sys.argv[2]))
    cloud.notice = in_seconds(120)
    threading.Event().wait()
