"""The saved state of an unfinished training: its name in the scratch of a store, and its head.

A state begins with a line of JSON: the environments in which the training has run so far. States of
earlier versions lack this line. A safetensors file follows.
"""

import json

STATE = "training.safetensors"
"""Name of a training's saved state in scratch."""
HEAD = b'{"environments":'
"""How a saved state begins."""


def saved_step(data: bytes) -> int | None:
    """The number of steps after which a state was saved; None if it does not say so."""
    state = data.partition(b"\n")[2] if data.startswith(HEAD) else data
    try:
        length = int.from_bytes(state[:8], "little")
        settings = json.loads(json.loads(state[8 : 8 + length])["__metadata__"]["settings"])
        return int(settings["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
