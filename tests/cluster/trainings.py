"""Watches a store, and writes which processes train which model, until it gets SIGTERM.

python trainings.py STORE > trainings.json     {key of a model: [host and process, ...]}
"""

import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def holders(store: Path) -> dict[str, str]:
    """The process that is in the middle of each model's training, by the model's key."""
    found = {}
    for path in store.glob("claims/*/*.json"):
        with suppress(OSError, ValueError):  # released meanwhile, or empty
            claim = json.loads(path.read_text())
            if claim["progress"].get("stage") == "train":
                found[path.parent.name] = f"{claim['host']} {claim['pid']}"
    return found


def main(store: str) -> None:
    """Collect the holders of each key."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    seen: dict[str, set[str]] = {}
    try:
        while True:
            for key, holder in holders(Path(store)).items():
                seen.setdefault(key, set()).add(holder)
            time.sleep(0.2)
    finally:
        json.dump({key: sorted(found) for key, found in seen.items()}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
