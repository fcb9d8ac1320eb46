"""Compares two stores: the same models, with the same weights bit for bit and the same metrics.

python compare.py STORE OTHER
"""

import hashlib
import json
import sys
from pathlib import Path


def contents(store: Path) -> dict[str, tuple[str, list[dict]]]:
    """Each finished node's hash of weights, and its metrics' values."""
    found = {}
    for record in sorted(store.glob("generations/*/record.json")):
        node = record.parent
        weights = hashlib.sha256((node / "model.safetensors").read_bytes()).hexdigest()
        metrics = sorted(node.glob("metrics/*.json"))
        found[node.name] = (weights, [json.loads(path.read_text())["values"] for path in metrics])
    return found


def main(store: str, other: str) -> str | None:
    """What differs, in a line; None where nothing does."""
    ours, theirs = contents(Path(store)), contents(Path(other))
    if not ours or ours.keys() != theirs.keys():
        return f"both stores must hold the same models, got {len(ours)} and {len(theirs)}"
    differing = [key for key in ours if ours[key] != theirs[key]]
    if differing:
        return f"models must be equal bit for bit, got {len(differing)} of {len(ours)} that differ"
    sys.stdout.write(f"{len(ours)} models are equal bit for bit, with their metrics\n")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
