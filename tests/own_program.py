"""A program that counts the images it trains on and draws noise, as the model of tiny lineages."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tiny_sweep import make_lineage, make_run, make_sweep, plan

from model.checkpoint import Checkpoint
from model.programs.files import READ
from sweep.lineage.run import LineageRun
from sweep.planning.nodes import NodePlan
from sweep.store.store import open_store

PROGRAM = '''
"""Counts the images that it trains on, and draws noise."""
import sys
from pathlib import Path
import numpy as np

what, place, out, number, seed = sys.argv[1:]
out = Path(out)
if what == "train":
    (out / "deep").mkdir(exist_ok=True)
    (out / "deep" / "count.txt").write_text(str(len(list(Path(place).rglob("*.png")))))
else:
    rng = np.random.default_rng(int(seed))
    np.save(out / "images.npy", rng.integers(0, 256, (int(number), 8, 8), np.uint8))
'''
RUN = f"{sys.executable} program.py"
TWO = {
    "train.command": f"{RUN} train {{images}} {{out}} 0 {{seed}}",
    "sample.command": f"{RUN} draw {{model}} {{out}} {{num_images}} {{seed}}",
}
ONE = {"train.command": f"{RUN} both {{images}} {{out}} {{num_images}} {{seed}}"}


def program(folder: Path, commands: Mapping[str, str] = TWO, code: str = PROGRAM) -> dict[str, Any]:
    """Settings of a lineage of a program, which is written into the folder."""
    path = folder / "program.py"
    path.write_text(code)
    READ.clear()
    return {"model.family": "command", "model.program": [str(path)], **commands}


def nodes(settings: Mapping[str, Any], **more: Any) -> list[NodePlan]:
    (lineage,) = plan(make_sweep(base=make_lineage({**settings, **more})))
    return lineage.nodes


def noise(seed: int, count: int) -> np.ndarray:
    """The images that the program draws."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), np.uint8)


def trained_on(checkpoint: Checkpoint) -> int:
    """Number of images that the program has counted."""
    return int(bytes(checkpoint.tensors["ema.file/deep/count.txt"].numpy()))


def leftovers(tmp_path: Path) -> list[Path]:
    """Folders of runs that did not succeed."""
    return list((tmp_path / "cache/collapse-sweep/programs").iterdir())


def run_of(folder: Path, settings: Mapping[str, Any]) -> LineageRun:
    """A lineage with a store in the folder."""
    return make_run(make_lineage(settings), open_store(folder / "store"))
