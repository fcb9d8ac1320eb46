"""Hypotheses that are written down before a sweep, and what its models say about them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from results_folder import rewrite
from running_sweep import write_sweep
from tiny_sweep import finish

from analysis.__main__ import PROGRAM as ANALYSIS
from analysis.reading.hypotheses import load_hypotheses
from analysis.reading.results import load_results
from sweep.__main__ import PROGRAM as SWEEP
from sweep.commands.request import load_sweep_file
from sweep.records import HYPOTHESES, HypothesisRecord
from sweep.results_folder import check_out

SMALL: dict[str, Any] = {
    "base__model__family": "gaussian",
    "base__train__steps": 1,
    "base__data__train_limit": 40,
    "base__metrics__num_images": 16,
}
MORE = {
    "--name": "more-alpha",
    "--hypothesis": "More new images do more damage",
    "--contrast": "pool.alpha=2",
    "--against": "pool.alpha=0.5",
    "--expected": "greater",
    "--generation": "2",
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    path = write_sweep(folder, (0.5, 2.0), **SMALL)
    text = path.read_text() + "seed = [0, 1, 2]\n"
    path.write_text(text)
    return path


def preregister(recipe: Path, out: Path, *flags: str, **changes: str) -> int:
    words = {**MORE, **{f"--{name}": value for name, value in changes.items()}}
    pairs = [word for pair in words.items() for word in pair]
    return SWEEP.run(["preregister", str(recipe), "--out", str(out), *pairs, *flags])


def verdict(out: Path, capsys, *, code: int = 0) -> str:
    capsys.readouterr()
    assert ANALYSIS.run(["verdict", str(out)]) == code
    return capsys.readouterr().out


def test_a_hypothesis_is_written_before_its_models_and_decided_by_them(recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert preregister(recipe, out) == 0
    assert "more-alpha: 3 pairs" in capsys.readouterr().out
    check_out(out)  # a run may begin in this folder
    assert "undecided: 0 of 3 pairs have numbers" in verdict(out, capsys, code=1)

    finish(out, load_sweep_file(recipe))
    text = verdict(out, capsys)
    assert "seed 0: not" not in text
    assert "kid/pixels of V_2, pool.alpha=2 minus pool.alpha=0.5: expected above 0" in text
    assert "preregistered, written " in text
    assert any(word in text for word in ("  supported: ", "  refuted: ", "  undecided: "))
    assert "(3) (95% t interval), p " in text


@pytest.mark.parametrize("against", ["sample.steps=2", "V1"])
def test_samplers_may_differ_between_the_setting_and_its_control(against, tmp_path, capsys):
    """The number of each is that of its own sampler, also of a V_1 that both samplers share."""
    exact = SMALL | {"base__model__family": "exact-gaussian"}
    recipe, out = write_sweep(tmp_path, (1.0,), **exact), tmp_path / "run"
    recipe.write_text(f'{recipe.read_text()}"sample.steps" = [2, 9]\nseed = [0, 1, 2]\n')
    assert preregister(recipe, out, contrast="sample.steps=9", against=against) == 0
    finish(out, load_sweep_file(recipe))
    (tested,) = load_hypotheses(out)
    kid = load_results([out]).set_index(["sample.steps", "generation", "seed"])["kid/pixels"]
    rows = kid.sort_index()
    control = rows[2, 2] if against != "V1" else rows[9, 1]
    expected = {(seed, 0): rows[9, 2][seed] - control[seed] for seed in range(3)}
    assert tested.differences == pytest.approx(expected)
    assert tested.missing == []


def test_a_hypothesis_after_its_models_is_refused_or_marked(recipe, tmp_path, capsys):
    out = finish(tmp_path / "run", load_sweep_file(recipe))
    assert preregister(recipe, out) == 2
    message = "--contrast must be about models that do not exist yet, got 6 of 6 that do"
    assert message in capsys.readouterr().err
    assert not (out / HYPOTHESES).exists()

    assert preregister(recipe, out, "--post-hoc") == 0
    assert "post hoc, written " in verdict(out, capsys)


def test_a_hypothesis_about_generations_to_come_may_follow_the_first_ones(recipe, tmp_path, capsys):
    """V_1 of another seed has no part in it."""
    sweep = load_sweep_file(recipe)
    shorter = replace(sweep, grids=({"pool.alpha": [0.5], "seed": [0]},))
    out = finish(tmp_path / "run", shorter)
    assert preregister(recipe, out, against="V1", contrast="pool.alpha=2") == 2
    assert "got 1 of 6 that do" in capsys.readouterr().err


def test_numbers_are_not_shown_before_all_pairs_have_them(recipe, tmp_path, capsys):
    """Whoever stops when the interval pleases would be wrong more often than said."""
    out = tmp_path / "run"
    assert preregister(recipe, out) == 0
    sweep = load_sweep_file(recipe)
    finish(out, replace(sweep, grids=({"pool.alpha": [0.5, 2.0], "seed": [0, 1]},)))
    text = verdict(out, capsys, code=1)
    assert "undecided: 2 of 3 pairs have numbers" in text
    assert "interval" not in text
    assert "without a number: seed 2: not trained" in text


def test_a_hypothesis_is_never_replaced(recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert preregister(recipe, out) == 0
    before = (out / HYPOTHESES / "more-alpha.json").read_bytes()
    assert preregister(recipe, out, expected="smaller") == 2
    assert "--name must be new, got 'more-alpha'" in capsys.readouterr().err
    assert (out / HYPOTHESES / "more-alpha.json").read_bytes() == before


def test_an_altered_hypothesis_is_found(recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert preregister(recipe, out) == 0
    path = out / HYPOTHESES / "more-alpha.json"
    path.write_text(path.read_text().replace('"greater"', '"smaller"'))
    capsys.readouterr()
    assert ANALYSIS.run(["verdict", str(out)]) == 2
    assert "must match its checksum, got an altered record" in capsys.readouterr().err


def test_other_models_are_not_taken_for_those_of_the_hypothesis(recipe, tmp_path, capsys):
    """The keys of a record are hashes of all that can change its models."""
    out = tmp_path / "run"
    assert preregister(recipe, out) == 0
    longer = write_sweep(recipe.parent, (0.5, 2.0), **SMALL, base__train__batch_size=8)
    longer.write_text(longer.read_text() + "seed = [0, 1, 2]\n")
    finish(out, load_sweep_file(longer))
    assert "undecided: 0 of 3 pairs" in verdict(out, capsys, code=1)


def test_a_pair_that_diverged_is_named_and_left_out(recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert preregister(recipe, out) == 0
    finish(out, load_sweep_file(recipe))
    (record,) = (each.record for each in load_hypotheses(out))
    rewrite(out / "generations" / record.pairs[1].arm / "record.json", status="diverged")
    text = verdict(out, capsys)
    assert "without a number: seed 1: diverged" in text
    assert "(2) (95% t interval)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrast": "pool.alpha=3"}, "--contrast must be settings of the sweep, got 'pool.alpha"),
        ({"contrast": "seed=1"}, "--contrast must name one setting, got several that differ in"),
        ({"contrast": "alpha"}, "--contrast must be AXIS=VALUE, got 'alpha'"),
        ({"against": "pool.alpha=9"}, "--against must be settings of the sweep"),
        ({"generation": "7"}, "--contrast must have at least two seeds with different models"),
        ({"generation": "1"}, "--contrast must have at least two seeds with different models"),
        ({"metric": "fid"}, "--metric must be one of kid, got 'fid'"),
        ({"margin": "-1"}, "--margin must be a finite number of at least 0, got -1.0"),
        ({"expected": "equal"}, "--margin must be above 0 with --expected equal"),
        ({"confidence": "95"}, "--confidence must be in (0, 1), got 95.0"),
        ({"name": "../x"}, "--name must be at most 64 letters"),
        ({"hypothesis": " "}, "--hypothesis must say what is expected"),
    ],
)
def test_what_could_not_be_decided_is_one_line(changes, message, recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert preregister(recipe, out, **changes) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not out.exists()


def test_a_folder_without_hypotheses_is_one_line(tmp_path, capsys):
    assert ANALYSIS.run(["verdict", str(tmp_path)]) == 2
    assert "`sweep preregister` writes one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expected", "words"),
    [("smaller", "below -0.75"), ("equal", "between -0.75 and 0.75"), ("greater", "above 0.75")],
)
def test_a_verdict_says_where_the_difference_was_expected(
    expected, words, recipe, tmp_path, capsys
):
    out = tmp_path / "run"
    assert preregister(recipe, out, margin="0.75", expected=expected) == 0
    assert ANALYSIS.run(["verdict", str(out)]) == 1
    assert f"expected {words}\n" in capsys.readouterr().out


def test_every_field_of_a_record_is_read_back(recipe, tmp_path):
    out = tmp_path / "run"
    assert preregister(recipe, out, margin="0.25", expected="equal") == 0
    record = HypothesisRecord.load(out / HYPOTHESES / "more-alpha.json")
    assert (record.margin, record.expected, record.against) == (0.25, "equal", ["pool.alpha=0.5"])
    assert [pair.seed for pair in record.pairs] == [0, 1, 2]
