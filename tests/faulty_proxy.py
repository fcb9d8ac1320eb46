"""A proxy before an HTTP server, which fails on request: with answers of 500, or with none."""

import http.client
import http.server
import sys
import threading
import time
import urllib.parse
from types import TracebackType
from typing import Any, Self

HANG_SECONDS = 5.0


class _Server(http.server.ThreadingHTTPServer):
    """Says nothing of clients that leave."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FaultyProxy:
    """Passes requests on while `mode` is "well", not answer_500, drop, hang or lose_answer."""

    def __init__(self, endpoint: str) -> None:
        self.mode = "well"
        parts = urllib.parse.urlsplit(endpoint)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """One connection."""

            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

            def handle_request(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if proxy.mode == "hang":
                    time.sleep(HANG_SECONDS)
                if proxy.mode in ("drop", "hang"):
                    self.close_connection = True
                    return
                if proxy.mode == "answer_500":
                    self._answer(500, [], b"out of order")
                    return
                there = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
                try:
                    there.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = there.getresponse()
                    if proxy.mode == "lose_answer":
                        answer.read()
                        self.close_connection = True
                        return
                    self._answer(answer.status, answer.getheaders(), answer.read())
                finally:
                    there.close()

            def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                given = {name.lower() for name, _ in headers}
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(name, value)
                if "content-length" not in given:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_request  # noqa: N815

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
