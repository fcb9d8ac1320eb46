"""Facts of requests: how a preset or a file, overrides and axes become a sweep, or an error."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.commands.command_line import parse
from sweep.__main__ import PROGRAM, Plan
from sweep.commands.request import load_sweep_file, with_axis
from sweep.config import SweepConfig
from sweep.presets.table import PRESETS, preset_of
from sweep.results_folder import check_place, write_sweep

TOML = """
name = "mine"
description = "My own."
[[grids]]
"pool.alpha" = [0.5, 1]
seed = [0, 1]
[base.pool]
alpha = 1
[base.train]
steps = 30
[resources]
max_concurrent = 2
"""


def request(*words: str, name: str = "quickstart") -> SweepConfig:
    args, default = Plan.prepare([name, *words])
    return parse(Plan, args, prog="sweep plan", description="", default=default).sweep()


def alphas(sweep: SweepConfig) -> list[float | None]:
    return [config.pool.alpha for _, config in sweep.points()]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def error_of(function, *args) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        function(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_preset_alone_is_itself() -> None:
    """Its defaults are the flags' defaults."""
    assert request() == preset_of("quickstart")


def test_a_flag_overrides_the_presets_setting() -> None:
    """And no other."""
    sweep = request("--train.batch-size", "8")
    assert sweep.base.train.batch_size == 8
    assert sweep.base.model == preset_of("quickstart").base.model


def test_a_resource_is_a_flag_too() -> None:
    """How a sweep runs."""
    assert request("--resources.max-concurrent", "3").resources.max_concurrent == 3


def test_an_axis_replaces_the_presets_axis() -> None:
    """In every grid; the paper's second grid stays apart by its 80 epochs."""
    sweep = request("--axis", "pool.alpha=0.25,1", name="paper")
    assert {(c.pool.alpha, c.train.epochs) for _, c in sweep.points()} == {
        (0.25, 40),
        (1.0, 40),
        (0.25, 80),
        (1.0, 80),
    }


def points(sweep: SweepConfig) -> set[tuple[str, float | None]]:
    return {(config.pool.rule, config.pool.alpha) for _, config in sweep.points()}


def test_a_rule_without_alpha_leaves_out_the_presets_alphas(capsys) -> None:
    """The quickstart grows at alpha 0.5 and 2; a note says what is left out."""
    assert points(request("--pool.rule", "replace")) == {("replace", None)}
    note = "note: pool.alpha is left out with pool.rule=replace, which does not use it\n"
    assert capsys.readouterr().err == note
    both = request("--axis", "pool.rule=grow,replace,accumulate")
    assert points(both) == {
        ("grow", 0.5),
        ("grow", 2.0),
        ("replace", None),
        ("accumulate", None),
    }
    assert len(both.points()) == 3 * 4


def test_an_alpha_that_the_user_names_is_never_left_out(capsys) -> None:
    """A rule that does not use it is an error, when it is planned."""
    assert points(request("--axis", "pool.alpha=1", "--pool.rule", "mix")) == {("mix", 1.0)}
    named = request("--axis", "pool.alpha=1", "--pool.rule", "replace")
    assert points(named) == {("replace", 1.0)}
    assert capsys.readouterr().err == ""


def test_grids_that_an_axis_makes_equal_are_one() -> None:
    """The paper's two grids differ in alpha and epochs only."""
    sweep = request("--axis", "pool.alpha=1", "--axis", "train.epochs=2", name="paper")
    assert len(sweep.grids) == 1


def test_axes_are_multiplied() -> None:
    """Each option adds one."""
    sweep = request("--axis", "pool.alpha=1,2", "--axis", "seed=0,1,2")
    assert len(sweep.points()) == 6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--trian.lr 1", "Perhaps you meant: --train.lr FLOAT"),
        ("--train.lr fast", "--train.lr: the value must be a number, got 'fast'"),
    ],
)
def test_a_flag_that_cannot_be_read_is_a_box(words: str, told: str, capsys) -> None:
    """With tyro's suggestion."""
    with pytest.raises(SystemExit) as stop:
        request(*words.split())
    assert stop.value.code == 2
    assert told in " ".join(capsys.readouterr().err.replace("\u2502", "").split())


def test_an_axis_takes_names_numbers_truth_and_none() -> None:
    """As the setting's type asks."""
    sweep = preset_of("quickstart")
    words = ("train.loss=mae,mse", "train.hflip=true,False", "data.train_limit=none,50")
    for word in words:
        sweep = with_axis(sweep, word)
    (grid,) = sweep.grids
    assert grid["train.loss"] == ["mae", "mse"]
    assert grid["train.hflip"] == [True, False]
    assert grid["data.train_limit"] == [None, 50]


def test_values_of_an_axis_that_are_lists_stand_in_brackets() -> None:
    """Of numbers, or of words that may look like numbers; empty where a setting may be."""
    sweep = preset_of("concentration")
    for word in ("model.widths=[16, 32],[8]", "pool.focal_classes=[1],[2,3]", "metrics.names=[]"):
        sweep = with_axis(sweep, word)
    (grid,) = sweep.grids
    assert grid["model.widths"] == [[16, 32], [8]]
    assert grid["pool.focal_classes"] == [["1"], ["2", "3"]]
    assert grid["metrics.names"] == [[]]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("pool.alpha", "--axis must be NAME=VALUE,VALUE,..., got 'pool.alpha'"),
        ("pool.alpha=", "--axis must be NAME=VALUE,VALUE,..., got 'pool.alpha='"),
        ("pool.alhpa=1", "pool.alhpa is not a setting; did you mean pool.alpha?"),
        ("pool=1", "pool is not a setting"),
        ("pool.alpha=-1", "pool.alpha must be a finite number of at least 0, got -1.0"),
        ("pool.alpha=nan", "pool.alpha must be a finite number of at least 0, got nan"),
        ("pool.alpha=1,inf", "pool.alpha must be a finite number of at least 0, got inf"),
        ("pool.alpha=one", "pool.alpha must be a number, got 'one'"),
        ("pool.alpha={[]}", "pool.alpha must be a number, got '{[]}'"),
        ("seed=1e999", "seed must be a whole number, got inf"),
        ("seed=nan", "seed must be a whole number, got nan"),
        (
            "model.widths=16,32",
            "model.widths must have each of its lists in brackets, got '16'; write --axis",
        ),
        ("model.widths=[16,3.5]", "model.widths must be a whole number, got 3.5"),
        ("model.widths=[a]", "model.widths must be a whole number, got 'a'"),
        ("generations=0", "generations must be at least 1, got 0"),
        ("seed=1,1.0", "axis seed must have each value once, got 1 twice"),
        ("pool.alpha=1_0", "pool.alpha must be a number, got '1_0'"),
        ("train.loss=maee", "train.loss must be one of mae, mse, got 'maee'; did you mean 'mae'?"),
    ],
)
def test_a_wrong_axis_is_an_error_that_names_it(word: str, message: str) -> None:
    """One line."""
    assert message in error_of(request, "--axis", word)


def test_a_flag_that_an_axis_overrides_is_an_error() -> None:
    """It would have no effect; the message says what does."""
    assert error_of(request, "--pool.alpha", "4") == (
        "pool.alpha is an axis of this sweep, so --pool.alpha has no effect; "
        "use --axis pool.alpha=4.0"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--train.lr", "nan"), "train.lr must be a finite number above 0, got nan"),
        (("--generations", "0"), "generations must be at least 1, got 0"),
    ],
)
def test_a_wrong_flag_is_one_line(words: tuple[str, ...], message: str) -> None:
    """It names the flag or the setting."""
    assert message in error_of(request, *words)


def test_a_toml_file_is_a_sweep(tmp_path: Path) -> None:
    """With the same fields; train.steps there unsets the epochs."""
    sweep = load_sweep_file(write(tmp_path / "mine.toml", TOML))
    assert (sweep.name, sweep.description, sweep.resources.max_concurrent) == (
        "mine",
        "My own.",
        2,
    )
    assert (sweep.base.train.steps, sweep.base.train.epochs) == (30, None)
    assert alphas(sweep) == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_as_a_file_is_the_same_sweep(name: str, tmp_path: Path, capsys) -> None:
    """`sweep presets NAME > my.toml` is where a user begins to edit."""
    assert PROGRAM.run(["presets", name]) == 0
    path = write(tmp_path / "my.toml", capsys.readouterr().out)
    sweep, preset = load_sweep_file(path), preset_of(name)
    assert replace(sweep, grids=()) == replace(preset, grids=())
    points, wanted = ([config for _, config in each.points()] for each in (sweep, preset))
    assert points == wanted


def test_a_printed_file_is_printed_alike(tmp_path: Path, capsys) -> None:
    """With names that TOML must quote, resources, and a setting of None."""
    text = TOML.replace("mine", r"\"quoted\" \u00fc")
    text = text.replace("steps = 30", 'images = 30\nepochs = "none"')
    path = write(tmp_path / "own.toml", text)
    assert PROGRAM.run(["presets", str(path)]) == 0
    again = write(tmp_path / "again.toml", capsys.readouterr().out)
    assert load_sweep_file(again) == load_sweep_file(path)
    assert "max_concurrent = 2" in again.read_text()


def test_an_empty_file_is_one_lineage_named_after_it(tmp_path: Path) -> None:
    """All defaults; alpha is still to be given."""
    sweep = load_sweep_file(write(tmp_path / "mine.toml", ""))
    assert (sweep.name, len(sweep.points())) == ("mine", 1)


def test_a_json_file_has_the_same_fields(tmp_path: Path) -> None:
    """As a TOML file."""
    text = '{"base": {"pool": {"alpha": 2}}, "grids": [{"seed": [3]}]}'
    sweep = load_sweep_file(write(tmp_path / "mine.json", text))
    assert [(c.seed, c.pool.alpha) for _, c in sweep.points()] == [(3, 2.0)]


def test_a_runs_own_sweep_json_is_a_sweep(tmp_path: Path) -> None:
    """Read by the same command."""
    write_sweep(tmp_path, preset_of("quickstart"), "sweep run quickstart")
    assert request(name=str(tmp_path / "sweep.json")) == preset_of("quickstart")


def test_flags_and_axes_go_with_a_file_as_with_a_preset(tmp_path: Path) -> None:
    """Its settings are their defaults."""
    path = write(tmp_path / "mine.toml", TOML)
    sweep = request("--train.steps", "7", "--axis", "pool.alpha=3", name=str(path))
    assert (sweep.base.train.steps, alphas(sweep)) == (7, [3.0, 3.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base = 3", "base must be a table of settings, got 3"),
        ("resources = 3", "resources must be a table of settings, got 3"),
        ("[base]\ntrain = 3", "train must be a table of settings, got 3"),
        ("grid = []", "grid is not a setting; did you mean grids?"),
        ("grids = []", "grids must be a list of tables of axis = [values], got []"),
        ("grids = 3", "grids must be a list of tables of axis = [values], got 3"),
        ("[[grids]]\nseed = 3", "grids must be a list of tables of axis = [values]"),
        ("[[grids]]\nseed = []", "grids must be a list of tables of axis = [values]"),
        ('[[grids]]\n"sead" = [3]', "sead is not a setting; did you mean seed?"),
        ("[base.train]\nlrr = 1", "train.lrr is not a setting; did you mean train.lr?"),
        ("[base.train]\nlr = '1'", "train.lr must be a number, got '1'"),
        ("[base.train]\nlr = nan", "train.lr must be a finite number above 0, got nan"),
        ("[base]\nseed = inf", "seed must be a whole number, got inf"),
        (
            "[resources]\ncpus = 1",
            "resources.cpus is not a setting; did you mean resources.num_cpus?",
        ),
        ("name = ", "must be TOML"),
        ("name = '\xff'", "must be UTF-8, got byte 0xff in line 1; save it as UTF-8"),
        ("name = ''", "name must not be empty"),
        ("name = 3", "name must be a string, got 3"),
        ('name = "a\\u001bb"', "name must be UTF-8 text without control characters"),
        ('[base.pool]\nfocal_classes = ["a\\u0000"]', "pool.focal_classes must be UTF-8 text"),
        ("[[grids]]\nseed = [1, 2, 1]", "axis seed must have each value once, got 1 twice"),
        ("[[grids]]\n'pool.alpha' = [0.0, -0.0]", "pool.alpha must have each value once, got 0.0"),
        ("[base.train]\nlr = 0." + "1" * 400, "a number must have at most 40 characters, got"),
        ("[base]\nseed = 0x" + "f" * 5000, "seed must be a whole number, got one that is too long"),
        ("[base]\nseed = 1" + "0" * 5000, "must be TOML: Exceeds the limit"),
        (".".join("a" * 20_000) + " = 1", "must be TOML, got values nested too deeply to read"),
        ("name = " + "[" * 3000, "must be TOML, got values nested too deeply to read"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_file_and_setting(text, message, tmp_path) -> None:
    """One line."""
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("latin-1"))
    found = error_of(load_sweep_file, path)
    assert message in found
    assert str(path) in found


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_missing_file_is_an_error_that_names_it(suffix: str, tmp_path: Path) -> None:
    """Rather than a preset of that name."""
    path = tmp_path / f"none{suffix}"
    assert str(path) in error_of(load_sweep_file, path)


def test_a_truncated_json_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """As of a full disk."""
    path = write(tmp_path / "sweep.json", '{"schema": 1, "na')
    found = error_of(load_sweep_file, path)
    assert f"{path} must be JSON: " in found
    assert "delete" not in found


def test_a_file_with_the_byte_order_mark_of_windows_is_read(tmp_path: Path) -> None:
    """Notepad writes it, and CRLF."""
    for name, text in (("a.toml", TOML), ("a.json", '{"base": {"pool": {"alpha": 2}}}')):
        plain, marked = tmp_path / name, tmp_path / "marked" / name
        marked.parent.mkdir(exist_ok=True)
        plain.write_text(text)
        marked.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        assert load_sweep_file(marked) == load_sweep_file(plain)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "must be UTF-8, got the byte order mark of UTF-16; save it as UTF-8"),
        ("utf-32", "must be UTF-8, got the byte order mark of UTF-32; save it as UTF-8"),
        ("utf-16-le", "must be UTF-8 text, got a NUL in line 1; if it is UTF-16, save it as UTF-8"),
    ],
)
@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_file_in_another_encoding_is_an_error_that_names_it(
    encoding: str, message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(TOML.strip().encode(encoding))
    assert error_of(load_sweep_file, path) == f"{path} {message}"


def test_a_key_twice_in_a_json_file_is_an_error(tmp_path: Path) -> None:
    """As it is in TOML; one of the values would be lost."""
    path = write(tmp_path / "mine.json", '{"base": {"seed": 1, "seed": 2}}')
    assert (
        error_of(load_sweep_file, path) == f"{path}: each key must be there once, got 'seed' twice"
    )


def test_an_axis_twice_is_an_error() -> None:
    """The first would be lost."""
    found = error_of(request, "--axis", "seed=0", "--axis", "seed=1")
    assert found == "--axis must be given once for each setting, got 'seed' 2 times; " + (
        "write all values in one --axis"
    )


def test_a_wrong_value_of_a_files_grid_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    """Every lineage is built when the request is read."""
    path = write(tmp_path / "mine.toml", "[[grids]]\nseed = [0, -1]\n[base.pool]\nalpha = 1")
    assert "seed must be at least 0, got -1" in error_of(lambda: request(name=str(path)))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("run/inside", "--out must not be inside the results folder "),
        ("new/../run/a/b", "--out must not be inside the results folder "),
        ("images", "--out must not be in the folder of the data "),
        ("images/x", "--out must not be in the folder of the data "),
    ],
)
def test_a_results_folder_is_in_no_other_folder_of_results_or_data(out, message, tmp_path) -> None:
    """It would become a part of it."""
    for name in ("run", "images"):
        (tmp_path / name).mkdir()
    write_sweep(tmp_path / "run", preset_of("quickstart"), "sweep run quickstart")
    sweep = request("--data.name", "folder", "--data.path", str(tmp_path / "images"))
    check_place(tmp_path / "new", sweep)
    check_place(tmp_path / "run", sweep)
    assert error_of(check_place, tmp_path / out, sweep).startswith(message)


def test_an_axis_of_data_counts_as_data_too(tmp_path: Path) -> None:
    sweep = with_axis(preset_of("quickstart"), f"data.path={tmp_path},{tmp_path / 'x'}")
    assert "must not be in the folder of the data" in error_of(check_place, tmp_path / "y", sweep)
