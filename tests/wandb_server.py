"""A server on this machine that answers wandb's requests and keeps the rows of each run.

The requests are those in core/api/graphql of github.com/wandb/wandb; a row is kept at the line to
which wandb's file stream writes it, so that a line that is written twice has its last content.
"""

import gzip
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HISTORY = "wandb-history.jsonl"


@dataclass(kw_only=True)
class WandbServer:
    """What was uploaded."""

    url: str = ""
    runs: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    """Run -> line -> row."""
    project: str = ""
    """The project of the last run."""
    paths: set[str] = field(default_factory=set)
    """Paths of all requests."""
    is_silent: bool = False
    """Whether it accepts rows and does not answer."""

    def rows(self, run: str) -> list[dict[str, Any]]:
        """The history of a run; names that begin with an underscore are wandb's own."""
        lines = self.runs[run]
        return [lines[line] for line in sorted(lines)]

    def answer(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        variables = request.get("variables", {})
        match request.get("operationName"):
            case "RunResumeStatus":
                known = variables["name"] in self.runs
                bucket = self.bucket(variables["name"]) if known else None
                return {"data": {"model": {"id": "m", "name": "p", "bucket": bucket}}}
            case "UpsertBucket":
                run = variables["name"]
                self.project = variables["project"]
                self.runs.setdefault(run, {})
                return {"data": {"upsertBucket": {"inserted": True, "bucket": self.bucket(run)}}}
            case "CreateRunFiles":
                files = {"runID": "r", "uploadHeaders": [], "files": []}
                return {"data": {"createRunFiles": files}}
        if path.endswith("/file_stream"):
            run = path.split("/")[-2]
            part = request.get("files", {}).get(HISTORY, {"offset": 0, "content": []})
            for line, text in enumerate(part["content"], start=part["offset"]):
                self.runs[run][line] = json.loads(text)
        return {"data": {}}

    def bucket(self, run: str) -> dict[str, Any]:
        """A run as the server describes it."""
        lines = self.runs[run]
        last = [json.dumps(lines[max(lines)])] if lines else []
        return {
            "id": run,
            "name": run,
            "displayName": run,
            "project": {"id": "p", "name": self.project, "entity": {"id": "e", "name": "e"}},
            "historyLineCount": len(lines),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps(last),
            "eventsTail": "[]",
            "summaryMetrics": "{}",
            "config": "{}",
            "wandbConfig": '{"t": 1}',
        }


@contextmanager
def wandb_server() -> Generator[WandbServer]:
    """Serve on a free port of this machine."""
    kept, released = WandbServer(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            kept.paths.add(self.path)
            if kept.is_silent and self.path.endswith("/file_stream"):
                released.wait()
            is_json = self.headers["Content-Type"] == "application/json"
            request = json.loads(body) if is_json and body else {}
            answer = json.dumps(kept.answer(self.path, request)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield kept
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()
