"""Facts of the presets: each plans without its data, and is as long as the paper says."""

from pathlib import Path

import pytest
from every_family import NEEDS_DIFFUSERS

from model.training.length import ema_init_left
from sweep.commands.request import load_sweep_file
from sweep.config import SweepConfig, flatten, to_json, updated
from sweep.lineage.datasets import expected_card
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.nodes import NodePlan, unique_nodes
from sweep.presets.table import FAITHFUL_TRAINING, PRESETS, preset_of
from sweep.records import SweepRecord

WITH_UNET2D = ("families", "larger-model")


def plan(name: str) -> list[PlannedLineage]:
    return plan_sweep(preset_of(name), expected_card)


def first_node(name: str) -> NodePlan:
    return plan(name)[0].nodes[0]


def points(sweep: SweepConfig) -> list[tuple[float | None, int | None, int]]:
    return [(c.pool.alpha, c.train.epochs, c.seed) for _, c in sweep.points()]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=NEEDS_DIFFUSERS if name in WITH_UNET2D else ()) for name in PRESETS],
)
def test_a_preset_is_planned_without_its_data(name: str) -> None:
    """Every setting is checked, and nothing is downloaded."""
    assert all(lineage.nodes for lineage in plan(name))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_called_by_its_name_and_says_what_it_answers(name: str) -> None:
    """One sentence of at most a line."""
    sweep = preset_of(name)
    assert sweep.name == name
    assert sweep.description[-1] in ".?"
    assert len(sweep.description) < 120


def test_every_preset_has_a_recipe_in_the_guide() -> None:
    """A row of the table of questions; the quickstart is in the text."""
    guide = (Path(__file__).parents[1] / "docs" / "guide.md").read_text()
    rows = [line.split("|")[2] for line in guide.splitlines() if line.count("|") == 4]
    told = {name.strip() for cell in rows for name in cell.split(",")}
    assert set(PRESETS) - told == {"quickstart"}


@pytest.mark.parametrize("name", ["paper", "paper-literal", "paper-digits"])
def test_the_papers_grid_has_80_epochs_at_alpha_1_only(name: str) -> None:
    """Three seeds of four settings (arXiv:2303.01255)."""
    settings = [(0.5, 40), (1.0, 40), (2.0, 40), (1.0, 80)]
    expected = [(alpha, epochs, seed) for alpha, epochs in settings for seed in (0, 1, 2)]
    assert points(preset_of(name)) == expected


def test_the_paper_has_6551_images_and_1023_steps_an_epoch() -> None:
    """80 % of each official split (816 + 816 + 4919), 10 times over, in batches of 64."""
    node = first_node("paper")
    assert node.num_images == 816 + 816 + 4919
    assert node.num_steps == 40 * (6551 * 10 // 64) == 40 * 1023


def test_the_paper_read_literally_has_1020_images_and_640_steps() -> None:
    """40 epochs of 16 batches, the last of which is smaller."""
    node = first_node("paper-literal")
    assert (node.num_images, node.num_steps, node.images_seen) == (1020, 640, 40 * 1020)


def test_the_paper_read_literally_samples_from_weights_half_as_they_began() -> None:
    """0.999^640 = 0.527 of the average's second random start is left; of 40,920 steps nothing."""
    literal, paper = first_node("paper-literal"), first_node("paper")
    train = FAITHFUL_TRAINING
    assert round(ema_init_left(literal.num_steps, train), 3) == 0.527
    assert ema_init_left(paper.num_steps, train) < 1e-12


def test_the_papers_sweep_shares_six_first_models() -> None:
    """12 lineages of 4: each seed's three alphas share a V_1, and 80 epochs share nothing."""
    lineages = plan("paper")
    tree = unique_nodes(lineage.nodes for lineage in lineages)
    assert sum(len(lineage.nodes) for lineage in lineages) == 48
    assert len(tree) == 48 - 3 * 2


def test_the_quickstarts_alphas_share_the_first_model_of_each_seed() -> None:
    """Two alphas, three generations, three seeds."""
    tree = unique_nodes(lineage.nodes for lineage in plan("quickstart"))
    assert len(tree) == 3 * (1 + 2 * 2)


def test_a_misspelt_preset_is_an_error_with_a_suggestion() -> None:
    """And the list of all."""
    with pytest.raises(ValueError, match=r"larger-data or a .toml or .json.*mean 'quickstart'"):
        preset_of("quikstart")


def test_a_name_like_no_preset_is_an_error_that_says_where_they_are_listed() -> None:
    """There is nothing to suggest."""
    with pytest.raises(ValueError, match="`sweep presets` lists them"):
        preset_of("zzz")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_from_its_sweep_json(name: str, tmp_path: Path) -> None:
    """A run's own file is a sweep."""
    sweep = preset_of(name)
    SweepRecord(
        name=sweep.name,
        description=sweep.description,
        base=to_json(sweep.base),
        grids=[dict(grid) for grid in sweep.grids],
        resources=to_json(sweep.resources),
    ).save(tmp_path / "sweep.json")
    assert load_sweep_file(tmp_path / "sweep.json") == sweep


def test_the_papers_presets_differ_in_data_and_repetition_alone() -> None:
    """What is read differently, and what follows from it."""
    paper, literal = (dict(flatten(to_json(preset_of(n).base))) for n in ("paper", "paper-literal"))
    assert {name for name in paper if paper[name] != literal[name]} == {
        "data.split",
        "train.repetitions",
        "train.drop_last",
        "train.shuffle_window",
    }
    assert updated(preset_of("paper").base, {}) == preset_of("paper").base
