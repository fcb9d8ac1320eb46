"""Cases of results folders: records, blocks and folders that are altered, damaged or gone."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from fuzz_case import Case, Rule, Step
from fuzz_checkpoints import altered_json
from fuzz_files import damaged, special

COMMANDS = (
    ("analysis", "check", "run"),
    ("analysis", "table", "run"),
    ("analysis", "table", "run", "--against", "V1"),
    ("analysis", "report", "run", "--out", "new.html"),
    ("analysis", "board", "run", "--out", "new"),
    ("analysis", "verdict", "run"),
    ("analysis", "ledger", "run", "--metric", "pixel_std", "--step", "low:alpha=0.5"),
    ("analysis", "figure", "run", "--out", "figures", "--kind", "curves"),
    ("analysis", "figure", "run", "--out", "figures", "--kind", "grids"),
    ("analysis", "figure", "run", "--out", "figures", "--kind", "real-share"),
    ("analysis", "figure", "run", "--out", "figures", "--kind", "shares"),
    ("analysis", "figure", "run", "--out", "figures", "--kind", "trees"),
    ("sweep", "status", "run"),
    ("sweep", "plan", "tiny.toml", "--out", "run"),
    ("sweep", "plan", "quickstart", "--timings", "run"),
    ("sweep", "plan", "run/sweep.json"),
    ("sweep", "clean", "run", "--dry-run"),
    ("sweep", "stop", "run"),
    ("sweep", "evaluate", "run", "--metrics.names", "fid", "--metrics.extractor", "pixels"),
    ("sweep", "run", "tiny.toml", "--out", "run"),
    ("model", "sample", "WEIGHTS", "--out", "new", "--num-images", "2"),
)
"""Commands that read a results folder; WEIGHTS stands for one of its models."""
UNSEEN = ("tensorboard", "tune", "figures", "hypotheses", "claims", "work", "features", "log")
"""Folders that no record describes, so that `analysis check` need not see a change there."""


def folder_cases(templates: Path, rng: random.Random) -> Iterator[Case]:
    """One change of a finished run for each case, and every command for each change."""
    run = templates / "run"
    weights = next(run.glob("generations/*/model.safetensors")).relative_to(templates).as_posix()
    for kind, steps, seen in changes(run, rng):
        for words in COMMANDS:
            found = tuple(weights if word == "WEIGHTS" else word for word in words)
            rule: Rule = "not ok" if words[1] == "check" and seen else "any"
            yield Case(
                words=found,
                kind=f"run: {kind}",
                rule=rule,
                steps=(("copy", "run", b"run"), ("copy", "tiny.toml", b"tiny.toml"), *steps),
            )


def changes(run: Path, rng: random.Random) -> Iterator[tuple[str, tuple[Step, ...], bool]]:
    """(what is wrong, steps, whether a check must see it)."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    groups: dict[str, list[Path]] = {}
    for path in files:
        parts = path.relative_to(run).parts
        groups.setdefault(f"{parts[0]}/{path.suffix}" if len(parts) > 1 else path.name, []).append(
            path
        )
    for group, members in groups.items():
        for path in rng.sample(members, min(3, len(members))):
            yield from of_file(path, run, group, rng)
    for folder in sorted(path for path in run.rglob("*") if path.is_dir()):
        name = folder.relative_to(run).as_posix()
        depth_one = "/" not in name or rng.random() < 0.2
        if depth_one:
            target = f"run/{name}"
            yield "folder gone", (("remove", target, b""),), must_miss(name)
            yield (
                "file for folder",
                (("remove", target, b""), ("file", target, b"x")),
                must_see(name),
            )
    for name in (
        "new.txt",
        "generations/zzqx/record.json",
        "lineages/zzqx.json",
        "lineages/a b.json",
    ):
        yield "file added", (("file", f"run/{name}", b"{}"),), False


def of_file(
    path: Path, run: Path, group: str, rng: random.Random
) -> Iterator[tuple[str, tuple[Step, ...], bool]]:
    """Changes of one file."""
    name = path.relative_to(run).as_posix()
    target, data, seen = f"run/{name}", path.read_bytes(), must_see(name)
    yield f"{group} gone", (("remove", target, b""),), must_miss(name)
    for step in special(target):
        yield f"{group} is a {step[0]}", (("remove", target, b""), step), seen
    for kind, bad in damaged(data, rng, 2):
        differs = seen and bad != data and not (path.suffix == ".json" and same(bad, data))
        yield f"{group} {kind}", (("file", target, bad),), differs
    if path.suffix == ".json" and data:
        for kind, altered in altered_json(json.loads(data), rng, 6):
            text = json.dumps(altered, indent=1, sort_keys=True).encode() + b"\n"
            yield f"{group} {kind}", (("file", target, text),), seen and not same(text, data)
    others = [p for p in path.parent.iterdir() if p.is_file() and p != path]
    if others:
        other = rng.choice(others)
        differs = seen and other.read_bytes() != data
        yield f"{group} exchanged", (("exchange", target, other.name.encode()),), differs


def same(one: bytes, other: bytes) -> bool:
    """Whether two files have the same JSON."""
    try:
        return json.loads(one) == json.loads(other)
    except (ValueError, RecursionError):
        return False


def must_see(name: str) -> bool:
    """Whether a file or folder is covered by a record."""
    return not name.startswith(UNSEEN)


def must_miss(name: str) -> bool:
    """Whether a check must see that a file or folder is gone: a run may have no floors."""
    is_floor = name.startswith("datasets/") and "/metrics" in name
    return must_see(name) and not is_floor
