"""Facts of the example programs: each trains, draws and trains again, as its docstring says."""

import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from own_program import leftovers
from tiny_sweep import make_lineage, make_run

from sweep.lineage.sample_streams import read_weights
from sweep.store.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("programs")]

EXAMPLES = Path(__file__).parents[1] / "examples"
PACKAGES = {"diffusers": "diffusers", "keras": "keras"}
"""The optional package that an example needs."""
WEIGHTS = {
    "gaussian": "gaussian.npz",
    "torchrun": "state.pt",
    "diffusers": "diffusion_pytorch_model.safetensors",
    "keras": "net.weights.h5",
}
"""A file that each program writes in training."""


def settings_of(example: Path) -> dict[str, object]:
    """The settings in the command of an example's docstring."""
    text = example.read_text().split('"""')[1].replace("\\\n", " ")
    text = text.replace("{seed} 300", "{seed} 20")  # steps of the diffusers example
    words = shlex.split(text.partition("sweep run quickstart ")[2].partition("\n")[0])
    settings: dict[str, object] = {}
    for word, value in zip(words, [*words[1:], "--"], strict=True):
        name = word.removeprefix("--").replace("-", "_")
        if "." in name and word.startswith("--"):
            settings[name] = True if value.startswith("--") else value
    settings["model.program"] = [str(example)]
    return settings


@pytest.mark.parametrize("name", WEIGHTS)
def test_an_example_trains_draws_and_trains_again(name, tmp_path, monkeypatch) -> None:
    """Its second model trains on images that its first has drawn."""
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is optional")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    config = make_lineage(settings_of(EXAMPLES / f"command_{name}.py"))
    run = make_run(config, open_store(tmp_path / "store"))
    generations = list(run.generations())
    assert [each.node.status for each in generations] == ["done", "done"]
    assert generations[1].node.origins == {"0": 40, "1": 20}
    for node in run.nodes:
        assert f"ema.file/{WEIGHTS[name]}" in read_weights(run.store, node).tensors
    assert all(each.metrics[0].values for each in generations)
    assert leftovers(tmp_path) == []


TRAIN = "python command_gaussian.py train {images} {out}"
SAMPLE = "python command_gaussian.py sample {model} {out} {num_images} {seed}"
SETTINGS = ("--model.family", "command", "--model.program", "command_gaussian.py")
COMMANDS = {
    f"model train --out g.safetensors {shlex.join(SETTINGS)} --train.command": TRAIN,
    "model sample g.safetensors --out drawn --num-images 20 --sample.command": SAMPLE,
    f"sweep run quickstart --out run {shlex.join(SETTINGS)} --metrics.extractor pixels --axis "
    f"pool.alpha=1 --axis seed=0 --train.command '{TRAIN}' --sample.command": SAMPLE,
    "sweep evaluate run --metrics.names precision --metrics.extractor": "pixels",
}
"""Command lines, each with its last word. Later ones need the results of earlier ones."""


@pytest.mark.ray
def test_every_command_that_runs_a_program_needs_the_permission(tmp_path, monkeypatch) -> None:
    """No command runs it because a settings file, a checkpoint or a record names it."""
    monkeypatch.chdir(tmp_path)
    bin_folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    shutil.copy(EXAMPLES / "command_gaussian.py", tmp_path)
    for start, last in COMMANDS.items():
        words = [*shlex.split(start), last]
        words[0] = str(bin_folder / words[0])
        refused = subprocess.run(words, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert refused.stderr.startswith("error: --allow-command must be given to run the program")
        done = subprocess.run(
            [*words, "--allow-command"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 20
