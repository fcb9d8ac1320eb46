"""Facts of the reasons that `sweep plan` gives for each model that is to be computed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bucket_store import store_of
from tiny_sweep import compute, finish, make_lineage, make_sweep, plan_in

from sweep.commands.plan import look_ahead
from sweep.config import SweepConfig
from sweep.finished import look_up
from sweep.results_folder import fill, write_sweep
from sweep.status.reasons import reasons_to_compute
from sweep.store.store import open_store

FOLLOWS = "follows a model that is to be computed"


@pytest.fixture
def reasons(capsys: pytest.CaptureFixture) -> Callable[..., list[list[str | None]]]:
    """The reason of each model of each lineage, as programs read them."""

    def plan(
        sweep: SweepConfig, *, out: Path | None = None, store: str | None = None
    ) -> list[list[str | None]]:
        lineages = look_ahead(sweep, out=out, store=store).to_json()["lineages"]
        return [[model["reason"] for model in lineage["models"]] for lineage in lineages]

    return plan


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A finished sweep of one lineage, V_1 and V_2."""
    return finish(tmp_path / "out", make_sweep())


def first_key(out: Path, generation: int = 1) -> str:
    return plan_in(make_sweep(), open_store(out))[0].nodes[generation - 1].key


def test_without_a_store_everything_is_new(reasons, tmp_path: Path) -> None:
    new = [["new: there is no store yet"] * 2]
    assert reasons(make_sweep()) == new
    assert reasons(make_sweep(), out=tmp_path / "none") == new


def test_what_is_finished_has_no_reason(reasons, out: Path) -> None:
    assert reasons(make_sweep(), out=out) == [[None, None]]


def test_a_longer_lineage_has_models_that_no_earlier_one_had(reasons, out: Path) -> None:
    longer = make_sweep(base=make_lineage(generations=4))
    assert reasons(longer, out=out) == [[None, None, "new: the store has no V_3", FOLLOWS]]


def test_other_settings_are_named_with_both_values(reasons, out: Path) -> None:
    """And the model after the first one that differs only follows."""
    other = make_sweep(base=make_lineage({"train.lr": 0.5, "train.steps": 8}))
    (found,) = reasons(other, store=str(out))
    same = make_lineage().train.lr
    assert found == [
        "new: the most similar V_1 in the store differs in "
        f"train.lr ({same}, now 0.5), train.steps (4, now 8)",
        FOLLOWS,
    ]


def test_another_alpha_differs_in_the_pool_only(reasons, out: Path) -> None:
    found = reasons(make_sweep(({"pool.alpha": [0.5, 2.0]},)), out=out)
    reason = "new: the most similar V_2 in the store differs in the pool"
    assert found == [[None, None], [None, reason]]


def test_another_data_set_is_named(reasons, out: Path) -> None:
    """Once it is prepared in the store its images are compared; before, the store lacks it."""
    other = make_sweep(base=make_lineage({"data.split_seed": 1}))
    assert reasons(other, store=str(out)) == [["new: the store lacks the data set digits", FOLLOWS]]
    plan_in(other, open_store(out))  # prepares it
    reason = "new: the most similar V_1 in the store differs in the data set"
    assert reasons(other, store=str(out)) == [[reason, FOLLOWS]]


def test_a_half_trained_model_is_told_with_its_step(reasons, tmp_path: Path) -> None:
    """A state is saved after 20 of 50 steps, and the training is interrupted at its step 40."""
    sweep = make_sweep(base=make_lineage({"train.steps": 50}))
    write_sweep(tmp_path, sweep, "sweep run tiny")

    def interrupt(position: dict) -> None:
        if position.get("step") == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(sweep.base, open_store(tmp_path), on_progress=interrupt, checkpoint_seconds=1e-9)
    files = sorted(tmp_path.rglob("*"))
    assert reasons(sweep, out=tmp_path) == [["half trained, 20 of 50 steps", FOLLOWS]]
    assert sorted(tmp_path.rglob("*")) == files


def test_a_model_in_work_is_told_with_its_process(reasons, out: Path) -> None:
    other = make_sweep(base=make_lineage({"train.lr": 0.5}))
    store = open_store(out)
    claim = store.claims.take(plan_in(other, store)[0].nodes[0].key)
    assert claim is not None
    with claim:
        (found,) = reasons(other, store=str(out))
    assert found[0].startswith(f"in work: process {os.getpid()} on ")


def test_a_withdrawn_model_is_called_damaged(reasons, out: Path) -> None:
    """V_1 was altered, and set aside by the process that noticed."""
    key, store = first_key(out), open_store(out)
    (out / "generations" / key / "pool.json").write_text("{}")
    assert store.nodes.withdraw(key)
    assert reasons(make_sweep(), out=out) == [["damaged: an earlier one was withdrawn", None]]


def test_a_model_that_the_records_know_is_called_lost(reasons, out: Path) -> None:
    shutil.rmtree(out / "generations" / first_key(out, 2))
    ((first, second),) = reasons(make_sweep(), out=out)
    name = plan_in(make_sweep(), open_store(out))[0].id
    assert (first, second) == (None, f"lost: the record of {name} says that it was trained")


def test_a_bucket_tells_the_same_reasons(tmp_path: Path, monkeypatch) -> None:
    """V_1 is withdrawn, and another lineage differs in its learning rate."""
    store = store_of("bucket", tmp_path, monkeypatch)
    compute(make_lineage(), store)
    other = make_sweep(({"train.lr": [make_lineage().train.lr, 0.5]},))
    lineages = plan_in(other, store)
    key = lineages[0].nodes[0].key
    for entry in list(store.files.list(f"files/nodes/{key}/")):
        store.files.write(entry.path, b"damaged")
    assert store.nodes.withdraw(key)
    found = reasons_to_compute(lineages, look_up(store, lineages), store, None)
    assert found[key] == "damaged: an earlier one was withdrawn"
    assert lineages[0].nodes[1].key not in found
    key = lineages[1].nodes[0].key
    assert found[key] == "new: the store has no V_1"


def test_a_failed_lineage_tells_its_error(reasons, out: Path) -> None:
    longer = make_sweep(base=make_lineage(generations=3))
    lineages, store = plan_in(longer, open_store(out)), open_store(out)
    write_sweep(out, longer, "sweep run tiny", lineages=lineages)
    fill(out, lineages, store, errors={lineages[0].id: "the worker\nwas lost"})
    assert reasons(longer, out=out) == [[None, None, "failed: the worker was lost"]]


def test_what_follows_a_diverged_model_is_not_computed(reasons, tmp_path: Path, capsys) -> None:
    """A learning rate of 1e30 diverges at once."""
    diverging = make_sweep(base=make_lineage({"train.lr": 1e30, "train.steps": 40}))
    compute(diverging.base, open_store(tmp_path))
    (found,) = reasons(diverging, store=str(tmp_path))
    assert found == [None, "not computed: V_1 has diverged"]
    outlook = look_ahead(diverging, store=str(tmp_path))
    assert (outlook.facts["num_models_to_train"], outlook.facts["num_steps"]) == (0, 0)
    outlook.print()
    assert "1 done, 0 to train, 1 after a diverged one\n" in capsys.readouterr().out


def test_the_text_counts_each_reason_and_names_its_first_model(out: Path, capsys) -> None:
    look_ahead(make_sweep(({"pool.alpha": [0.5, 1.0, 2.0]},)), out=out).print()
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("to compute:") + 1
    text = " ".join(line.strip() for line in lines[start : lines.index("", start)])
    assert text.startswith(
        "2  new: the most similar V_2 in the store differs in the pool (the first is V_2 of grow-"
    )


SHOW = """
import os, pty, sys
os.environ.pop("COLUMNS", None)
sys.stdout.flush()
main, child = pty.openpty()
import fcntl, struct, termios
fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, int(sys.argv[1]), 0, 0))
import subprocess
process = subprocess.Popen(sys.argv[2:], stdin=child, stdout=child, stderr=subprocess.DEVNULL)
os.close(child)
while True:
    try:
        data = os.read(main, 65536)
    except OSError:
        break
    if not data:
        break
    sys.stdout.buffer.write(data)
sys.exit(process.wait())
"""
"""Runs a command in a terminal of so many columns, and prints what it shows."""


@pytest.mark.parametrize("preset", ["paper", "quickstart", "ensemble", "filters"])
@pytest.mark.parametrize("columns", [80, 100, None])
@pytest.mark.slow
def test_a_plan_fits_its_terminal(preset: str, columns: int | None, tmp_path: Path) -> None:
    """No line is wider, also with times and prices; a pipe counts as 100 columns."""
    sweep = Path(sys.executable).with_name("sweep")
    copy = shutil.copytree(
        Path(__file__).parents[1] / "experiments" / "quickstart", tmp_path / "done"
    )
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "USD"\n[price_per_hour]\n"cpu (x86_64)" = 0.1\n"A GPU" = 1\n')
    words = [sweep, "plan", preset, "--timings", copy, "--prices", prices, "--slots", "1", "4"]
    if preset == "quickstart":
        words += ["--out", copy, "--axis", "pool.alpha=0.25,0.5"]
    terminal = [] if columns is None else [sys.executable, "-c", SHOW, str(columns)]
    done = subprocess.run([*terminal, *map(str, words)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) > 15
    assert [line for line in lines if len(line) > (columns or 100)] == []
