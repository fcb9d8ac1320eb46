"""Thousands of malformed inputs for every command, and how each ended.

    python tests/fuzz/campaign.py --seed 3
    python tests/fuzz/campaign.py --code ../older-checkout --only 'npz|checkpoint'

Cases are derived from the settings and commands of the code that this file belongs to; --code runs
them against another checkout. Prints the counts by command, and each failure with its command line.
"""

import argparse
import json
import os
import pickle
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import numpy as np  # noqa: E402 - found only with the path above
from fuzz_case import Case  # noqa: E402
from fuzz_checkpoints import checkpoint_cases  # noqa: E402
from fuzz_files import array_cases, image_cases, npz, text_cases  # noqa: E402
from fuzz_folders import folder_cases  # noqa: E402
from fuzz_settings import setting_cases  # noqa: E402
from fuzz_words import (  # noqa: E402
    HYPOTHESIS,
    environment_cases,
    option_cases,
    place_cases,
    store_cases,
    structure_cases,
    valid_cases,
)
from judge import BAD, judge, table  # noqa: E402
from PIL import Image  # noqa: E402

TINY = """
[base]
generations = 2
[base.data]
train_limit = 40
[base.model]
widths = [4, 8]
block_depth = 1
stem_width = 4
embedding_dim = 4
[base.train]
steps = 3
batch_size = 8
[base.sample]
steps = 2
[base.metrics]
names = ["kid"]
extractor = "pixels"
num_images = 16
[[grids]]
"pool.alpha" = [0.5, 1.0]
seed = [0, 1]
"""
NETWORK = (
    *("--train.epochs", "None", "--train.steps", "2", "--train.batch-size", "8"),
    *("--model.widths", "4", "8", "--model.block-depth", "1", "--model.stem-width", "4"),
    *("--model.embedding-dim", "4", "--data.train-limit", "40"),
)
QUOTAS = {
    "settings": 800,
    "options": 350,
    "structure": 180,
    "environment": 100,
    "texts": 180,
    "images": 180,
    "arrays": 200,
    "checkpoints": 180,
    "folders": 450,
}
"""Number of cases of each source, chosen at random; all of a smaller source."""


def clean_environment() -> dict[str, str]:
    """The environment of the code under test: one thread, no window, no Ray of anybody else."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY", "AWS"))
    }
    return kept | {
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "COLUMNS": "80",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def program(code: Path, words: Iterable[str], folder: Path) -> None:
    """Run a command of the code under test to its end."""
    name, *args = words
    text = f"import sys; sys.argv[0] = {name!r}; from {name}.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", text, *args],
        cwd=folder,
        env=clean_environment() | {"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name} {args} ended with {done.returncode}: {done.stderr}"


def make_templates(code: Path, folder: Path) -> None:
    """A finished run, a checkpoint, and images, made by the code under test."""
    (folder / "tiny.toml").write_text(TINY)
    program(code, ("sweep", "run", "tiny.toml", "--out", "run"), folder)
    if (code / "sweep" / "commands" / "preregister.py").exists():  # not in earlier versions
        words = ("--name", "more", "--post-hoc", *HYPOTHESIS, "--contrast", "pool.alpha=1")
        words = (*words, "--generation", "2")
        program(code, ("sweep", "preregister", "tiny.toml", "--out", "run", *words), folder)
    shutil.rmtree(folder / "run" / "tune")  # Ray's own files, which nothing reads
    program(code, ("model", "train", "--out", "checkpoint.safetensors", *NETWORK), folder)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    for number, each in enumerate(pixels):
        for path in (folder / "images" / "ab"[number % 2], folder / "flat"):
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(each).save(path / f"{number}.png")
    (folder / "data.npz").write_bytes(npz(images=pixels[..., None]))


def sources(templates: Path, rng: random.Random) -> dict[str, list[Case]]:
    """All cases, by source."""
    return {
        "settings": list(setting_cases()),
        "options": [*option_cases(), *store_cases(), *place_cases()],
        "structure": list(structure_cases(rng)),
        "environment": list(environment_cases(ROOT)),
        "texts": list(text_cases(rng)),
        "images": list(image_cases(templates, rng)),
        "arrays": list(array_cases(rng)),
        "checkpoints": list(checkpoint_cases(templates, rng)),
        "folders": list(folder_cases(templates, rng)),
    }


def chosen(cases: list[Case], count: int, rng: random.Random) -> Iterator[Case]:
    """Some cases: one of each command and kind in turn, so that no kind crowds out another."""
    kinds: dict[tuple[str, str], list[Case]] = {}
    for case in rng.sample(cases, len(cases)):
        kinds.setdefault((case.command, case.kind), []).append(case)
    queues = rng.sample(list(kinds.values()), len(kinds))
    while count > 0 and queues:
        for queue in queues[:count]:
            yield queue.pop()
        count -= len(queues)
        queues = [queue for queue in queues if queue]


def make_cases(templates: Path, seed: int, only: str = "") -> list[Case]:
    """The cases of a seed."""
    rng = random.Random(seed)
    cases = list(valid_cases())
    for name, found in sources(templates, rng).items():
        cases += chosen(found, QUOTAS[name], rng)
    return [case for case in cases if re.search(only, f"{case.command}: {case.kind}")]


def run_cases(cases: list[Case], code: Path, folder: Path) -> list[dict[str, Any]]:
    """The outcomes of the cases, in order."""
    paths = {name: folder / name for name in ("cases", "work", "home", "outcomes")}
    for name in ("work", "home"):
        paths[name].mkdir()
    paths["cases"].write_bytes(pickle.dumps(cases))
    command = [sys.executable, "-P", str(HERE / "forked_runs.py"), str(code), str(paths["cases"])]
    command += [str(folder / "templates"), str(paths["work"]), str(paths["outcomes"])]
    subprocess.run(
        command,
        cwd=folder,
        env=clean_environment() | {"HOME": str(paths["home"]), "PYTHONPATH": str(HERE)},
        check=True,
    )
    return [json.loads(line) for line in paths["outcomes"].read_text().splitlines()]


def report(case: Case, word: str, outcome: Mapping[str, Any]) -> str:
    """A failure in a few lines."""
    words = shlex.join(w if len(w) <= 120 else w[:120] + "..." for w in case.words[:30])
    files = ", ".join(f"{what} {name}" for what, name, _ in case.steps if what != "copy")
    ended = f"code {outcome['code']}, {outcome['seconds']:.1f} s"
    said = outcome["stderr"].strip() or outcome["stdout"].strip()
    tail = "\n    ".join(line[:200] for line in said.splitlines()[-3:])
    changed = f"\n    changed: {outcome['changed'][:3]}" if outcome["changed"] else ""
    return f"{word}: {case.kind}: {words}  [{files}] ({ended}){changed}\n    {tail}"


def campaign(
    seed: int, *, code: Path = ROOT, only: str = "", keep: Path | None = None
) -> list[str]:
    """Run the cases of a seed, print the counts, and return the failures."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        templates = folder / "templates"
        templates.mkdir()
        make_templates(code, templates)
        cases = make_cases(templates, seed, only)
        outcomes = run_cases(cases, code, folder)
    words = [judge(case, outcome) for case, outcome in zip(cases, outcomes, strict=True)]
    pairs = list(zip(cases, words, outcomes, strict=True))
    failures = [report(case, word, outcome) for case, word, outcome in pairs if word in BAD]
    if keep is not None:
        keep.write_bytes(pickle.dumps(pairs))
    sys.stdout.write(f"seed {seed}: {len(cases)} cases\n{table(zip(cases, words, strict=True))}\n")
    return failures


def main() -> int:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--code", type=Path, default=ROOT)
    parser.add_argument("--only", default="", help="regular expression of `command: kind`")
    parser.add_argument("--keep", type=Path, help="file for all cases and outcomes (a pickle)")
    options = parser.parse_args()
    failures = campaign(
        options.seed, code=options.code.resolve(), only=options.only, keep=options.keep
    )
    sys.stdout.write("".join(f"\n{failure}\n" for failure in failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
