"""Drives a headless Chromium through the pipe of the DevTools protocol, without a driver program.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, each ended by a null byte.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Names of the program."""
SECONDS = 60
"""How long an answer may take."""
KEYS = {"Enter": 13, "Tab": 9, "End": 35, "Home": 36, " ": 32} | {
    f"Arrow{name}": code for name, code in (("Left", 37), ("Up", 38), ("Right", 39), ("Down", 40))
}
"""Name of a key -> its code."""


def find_chromium() -> str | None:
    """Path of the program; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page of a browser, with everything that it has requested and complained about."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._rest, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        """Events of the page, oldest first."""

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, path: Path, *, width: int, height: int = 900, dark: bool = False) -> float:
        """Open a file in a window of a size; returns the seconds until everything was drawn."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Performance.enable", timeDomain="threadTicks")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        start = time.monotonic()
        self.send("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())
        self.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        return time.monotonic() - start

    def thread_seconds(self) -> float:
        """CPU time of the page's main thread, in which it is read, run and laid out."""
        metrics = self.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "ThreadTime")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, which may be a promise."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{found}.scrollIntoView({{behavior: 'instant', block: 'center'}})")
        rect = f"{found}.getBoundingClientRect()"
        x, y = self.evaluate(f"(({{x, y, width, height}}) => [x + width/2, y + height/2])({rect})")
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **where)

    def press(self, key: str) -> None:
        """Press a key on the element that has the focus."""
        text = {"Enter": "\r", " ": " "}.get(key)
        more = {"text": text} if text else {}
        code: dict[str, Any] = {"key": key, "code": "Space" if key == " " else key}
        code["windowsVirtualKeyCode"] = KEYS[key]
        self.send(
            "Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **code, **more
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        clip = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            box = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            clip = {"clip": box, "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", **clip)["data"]))

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and blocked content."""
        found = []
        for event in self.events:
            params, method = event.get("params", {}), event.get("method")
            if method == "Log.entryAdded" and params["entry"]["level"] != "verbose":
                found.append(params["entry"]["text"])
            if method == "Runtime.consoleAPICalled":
                found.append(json.dumps(params["args"]))
            if method in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"):
                found.append(json.dumps(params))
        return found

    def requests(self) -> list[str]:
        """Addresses of everything requested, except what is inside the page."""
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        urls = [event["params"]["request"]["url"] for event in sent]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._reader], [], [], SECONDS)[0], "Chromium does not answer"
            data = os.read(self._reader, 2**20)
            assert data, "Chromium has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextmanager
def browser(program: str, profile: Path) -> Generator[Page]:
    """Run Chromium, and end it with the block."""
    from_us, to_us = os.pipe(), os.pipe()
    words = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")
    words += ("--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}")
    script = f'exec "$@" 3<&{from_us[0]} 4>&{to_us[1]}'  # the descriptors that it expects
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", program, *words],
        pass_fds=(from_us[0], to_us[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for descriptor in (from_us[0], to_us[1]):
        os.close(descriptor)
    page = Page(to_us[0], from_us[1])
    try:
        yield page
    finally:
        page._session = None
        page.send("Browser.close")
        for descriptor in (to_us[0], from_us[1]):
            os.close(descriptor)
        process.wait(SECONDS)
