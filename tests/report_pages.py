"""Reads the report's page in tests, as a browser's parser would."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from results_folder import rewrite

HOSTILE = "<script>alert(1)</script>"


@dataclass
class Parsed(HTMLParser):
    """The elements and texts of a page."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    style: str = ""
    text: str = ""
    """Text outside of scripts and styles."""

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""

    def __hash__(self) -> int:
        return id(self)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.style += data
        else:
            self.text += data

    @property
    def data(self) -> dict:
        """The numbers behind the charts."""
        names = [attrs.get("id") for tag, attrs in self.tags if tag == "script"]
        return json.loads(self.scripts[names.index("data")])


def parse(path: Path) -> Parsed:
    """Parse a page."""
    parsed = Parsed()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


def make_hostile(out: Path) -> Path:
    """Give a results folder's sweep, classes and values of settings the name of a script."""
    rewrite(out / "sweep.json", name=HOSTILE, description=HOSTILE, commands=[HOSTILE])
    for number, path in enumerate(sorted((out / "lineages").glob("*.json"))):
        record = json.loads(path.read_text())
        value = HOSTILE if number % 2 else '<img src=x onerror="alert(1)"> ]]> --> %{text} $x$'
        config = record["config"] | {"model": {"family": value}}
        rewrite(path, config=config, axes=record["axes"] | {"model.family": value})
    return out
