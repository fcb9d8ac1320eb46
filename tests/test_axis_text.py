"""Text of an axis: any name of a class comes through unchanged, and split values are joined."""

import json
import shlex
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sweep import CARD, make_lineage, make_sweep

from analysis.reading.labels import Labels, spell
from model.commands.values import parse_value, parse_word, spelled, split_values, split_words
from model.errors import UsageError, check_class_names, class_key
from sweep.commands.presets import sweep_toml
from sweep.commands.request import check_axis_words, load_sweep_file, with_axis
from sweep.config import SweepConfig
from sweep.planning.lineages import lineage_id
from sweep.planning.members import members_of
from sweep.results_folder import write_sweep

FOCAL, REWARD = "pool.focal_classes", "filter.reward_class"
PLAIN = st.characters(exclude_categories=("C",), codec="utf-8").filter(str.isprintable)


def is_allowed(name: str) -> bool:
    """Whether a class may have the name."""
    try:
        check_class_names("names", [name])
    except UsageError:
        return False
    return True


NAMES = st.text(PLAIN | st.sampled_from(" ,[]\"\\=#'"), max_size=8).filter(is_allowed)
SEVERAL = st.lists(NAMES, min_size=2, max_size=4, unique_by=class_key)


def lists_of(names: list[str]) -> list[list[str]]:
    """Values of pool.focal_classes with these names: each one, all, and none."""
    return [*([name] for name in names), list(names), []]


def swept(names: list[str]) -> SweepConfig:
    """A sweep over the names, by --axis."""
    values = ",".join(map(spelled, lists_of(names)))
    return with_axis(make_sweep(), f"{FOCAL}={values}")


@given(SEVERAL)
def test_lists_of_names_come_through_an_axis(names: list[str]) -> None:
    """With spaces around the commas too."""
    assert swept(names).grids == ({FOCAL: lists_of(names)},)
    spaced = " , ".join(f"[ {' , '.join(map(spelled, x))} ]" for x in lists_of(names))
    assert with_axis(make_sweep(), f"{FOCAL}={spaced}") == swept(names)


@given(SEVERAL)
def test_single_names_come_through_an_axis(names: list[str]) -> None:
    """Except none, which means that there is no value."""
    names = [name for name in names if name.lower() != "none"]
    if names:
        word = f"{REWARD}={','.join(map(spelled, names))}"
        assert with_axis(make_sweep(), word).grids == ({REWARD: names},)


@settings(max_examples=25)
@given(names=SEVERAL)
def test_names_come_through_files(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """sweep.json, and a preset's TOML."""
    sweep = swept(names)
    folder = tmp_path_factory.mktemp("sweep")
    write_sweep(folder, sweep, "sweep run")
    (folder / "sweep.toml").write_text(sweep_toml(sweep))
    for name in ("sweep.json", "sweep.toml"):
        assert load_sweep_file(folder / name).grids == sweep.grids
        assert load_sweep_file(folder / name).base == sweep.base


@given(SEVERAL)
def test_each_name_has_a_lineage_and_a_label_of_its_own(names: list[str]) -> None:
    """Two names never have the same id, nor look the same in a table."""
    card = replace(CARD, class_names=names, num_classes=len(names))
    points = swept(names).points()
    assert len({lineage_id(config, card) for _, config in points}) == len(names) + 2
    frame = pd.DataFrame(
        {FOCAL: pd.Series(spell([axes[FOCAL] for axes, _ in points]), dtype=object)}
    )
    labels = Labels(frame)
    assert len({labels.name(FOCAL, value) for value in frame[FOCAL]}) == len(names) + 2


@given(NAMES)
def test_a_name_comes_through_a_member(name: str) -> None:
    """In ensemble.members, where spaces separate settings."""
    if name.lower() == "none":
        return
    quoted = json.dumps(name, ensure_ascii=False)
    text = f"share=1 {REWARD}={quoted} filter.name=reward"
    assert split_words(text)[1] == f"{REWARD}={quoted}"
    (member,) = members_of(make_lineage({"ensemble.members": [text]}))
    assert member.filter.reward_class == name


@given(st.text(PLAIN, max_size=20))
def test_text_is_split_into_parts_that_join_to_it(text: str) -> None:
    """Nothing is lost, whatever the quotes and brackets are."""
    assert ",".join(split_values(text)) == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ('["a]",b],[c]', ['["a]",b]', "[c]"]),
        ('5",6"', ['5"', '6"']),
        ('"a,b', ['"a', "b"]),
        (r'"\",",b', [r'"\","', "b"]),
        ("a[b,c],d", ["a[b,c]", "d"]),
        ("a[,b", ["a[", "b"]),
        ("[],[a]", ["[]", "[a]"]),
    ],
)
def test_commas_in_quotes_and_brackets_do_not_separate(text: str, parts: list[str]) -> None:
    """A quote begins a JSON string only where a value begins."""
    assert split_values(text) == parts


@pytest.mark.parametrize(
    ("word", "hint", "message"),
    [
        ('"a', str | None, "x must be a JSON string if it begins with a double quote, got '\"a'; "),
        ('"a"b', str | None, "x must be a JSON string if it begins with a double quote, got "),
        ('["a"b]', tuple[str, ...], "x must be a JSON string if it begins with a double quote, "),
        ('"none"', str | None, "x must not be 'none', which means no value; name a class by its "),
        ('"3"', int, "x must be a whole number, got '3'"),
    ],
)
def test_wrong_quotes_are_an_error(word: str, hint, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_value(word, hint, "x")
    assert str(error.value).startswith(message)


def test_a_flag_is_one_value_and_has_no_quotes_of_its_own() -> None:
    """The shell has removed its quotes."""
    assert parse_word('"a"', str | None, "x") == '"a"'


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--axis sample.steps 5 20", "--axis sample.steps=5,20"),
        ("--axis sample.steps=5 20 --seed 3", "--axis sample.steps=5,20"),
        ("--axis sample.steps=5, 20", "--axis sample.steps=5,20"),
        ("--axis sample.steps = 5,20", "--axis sample.steps=5,20"),
        ("--axis=seed 1 2", "--axis seed=1,2"),
        ("--axis train.lr -1 -.5", "--axis train.lr=-1,-.5"),
        ("--axis model.widths=[4, 8],[16]", "--axis 'model.widths=[4,8],[16]'"),
        ("--axis seed=1,2 sample.steps=5 20", "--axis seed=1,2 --axis sample.steps=5,20"),
        ("--axis seed=1 --axis sample.steps 5 20", "--axis sample.steps=5,20"),
    ],
)
def test_an_axis_of_several_words_is_written_as_one(words: str, meant: str) -> None:
    with pytest.raises(UsageError, match=r"--axis must be NAME=VALUE,VALUE,\.\.\., got") as error:
        check_axis_words(words.split())
    assert str(error.value).partition("; ")[2] == f"write {meant}"
    check_axis_words(shlex.split(meant))


@pytest.mark.parametrize("words", ["--axis", "--axis seed=1,2 --quiet", "--seed 1 2", "seed 1"])
def test_other_words_are_not_of_an_axis(words: str) -> None:
    check_axis_words(words.split())
