"""Facts of the settings: their help, their way to JSON and back, their errors, a sweep's points."""

import ast
import json
import math
from dataclasses import FrozenInstanceError, fields, is_dataclass
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_sweep import make_lineage, make_sweep

from model.config import (
    DataConfig,
    FilterConfig,
    MetricsConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    restored_model,
    stored_settings,
)
from model.errors import UsageError
from model.family_facts import FAMILY_FACTS, FamilyFacts, check_conditional, check_guidance
from model.networks.size import gaussian_size
from sweep.config import (
    EnsembleConfig,
    LineageConfig,
    PoolConfig,
    ResourcesConfig,
    SweepConfig,
    flatten,
    to_json,
    unflatten,
    updated,
)
from sweep.presets.table import PRESETS, preset_of
from sweep.results_folder import EXTENDABLE

ROOT = Path(__file__).parents[1]
CLASSES = {
    "model": (DataConfig, ModelConfig, TrainConfig, SampleConfig, MetricsConfig),
    "sweep": (PoolConfig, LineageConfig, ResourcesConfig),
}
EVERY = (*CLASSES["model"], FilterConfig, *CLASSES["sweep"], EnsembleConfig)
LEAVES = dict(flatten(to_json(make_lineage())))


def helps(package: str) -> dict[str, dict[str, str | None]]:
    """For each class of a package's config.py, the string under each field."""
    tree = ast.parse((ROOT / package / "config.py").read_text())
    found: dict[str, dict[str, str | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line, following in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    value = following.value if isinstance(following, ast.Expr) else None
                    text = value.value if isinstance(value, ast.Constant) else None
                    found.setdefault(node.name, {})[line.target.id] = text  # ty: ignore
    return found


@pytest.mark.parametrize("package", CLASSES)
def test_every_field_has_one_line_of_help_under_it(package: str) -> None:
    """What stands under a field becomes its text in --help."""
    texts = helps(package)
    for kind in CLASSES[package]:
        for f in fields(kind):
            text = texts[kind.__name__][f.name]
            assert text, f"{kind.__name__}.{f.name}"
            assert "\n" not in text, f"{kind.__name__}.{f.name}"


@pytest.mark.parametrize("name", PRESETS)
def test_settings_come_back_from_json_as_they_were(name: str) -> None:
    """A sweep.json holds the very settings."""
    base = preset_of(name).base
    assert updated(LineageConfig(), json.loads(json.dumps(to_json(base)))) == base


@given(
    alpha=st.just(0.0) | st.floats(1e-30, 100),
    seed=st.integers(0, 2**63 - 1),
    widths=st.lists(st.integers(1, 512), min_size=1, max_size=4),
    names=st.lists(st.sampled_from(["kid", "fid"]), max_size=2),
    limit=st.none() | st.integers(1, 10**6),
)
def test_any_allowed_values_come_back_from_json(alpha, seed, widths, names, limit) -> None:
    """Floats, large integers, tuples and None survive the way to a file."""
    config = make_lineage(
        {
            "pool.alpha": alpha,
            "seed": seed,
            "model.widths": widths,
            "metrics.names": names,
            "data.train_limit": limit,
        }
    )
    assert updated(LineageConfig(), json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("kind", [*CLASSES["model"], *CLASSES["sweep"], SweepConfig])
def test_settings_cannot_be_changed_in_place(kind) -> None:
    """A configuration that was checked stays as it was checked."""
    config = make_sweep() if kind is SweepConfig else kind()
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(kind)[0].name, None)


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("pool.alhpa", "pool.alhpa is not a setting; did you mean pool.alpha?"),
        ("seeed", "seeed is not a setting; did you mean seed?"),
        (
            "sample.zzz",
            "sample.zzz is not a setting; sample has steps, clip, stochasticity, multistep, "
            "denoise_last, guidance, command, command_seconds",
        ),
    ],
)
def test_an_unknown_setting_is_an_error_with_a_way_out(dotted: str, message: str) -> None:
    """The nearest name, or all of them."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        updated(LineageConfig(), unflatten({dotted: 1}))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("seed", "1", "seed must be a whole number, got '1'"),
        ("seed", 1.5, "seed must be a whole number, got 1.5"),
        ("seed", True, "seed must be a whole number, got True"),
        ("seed", None, "seed must be a whole number, got None"),
        ("seed", -1, "seed must be at least 0, got -1"),
        ("generations", 0, "generations must be at least 1, got 0"),
        ("train.lr", "fast", "train.lr must be a number, got 'fast'"),
        ("train.hflip", 1, "train.hflip must be true or false, got 1"),
        ("data.name", 3, "data.name must be a string, got 3"),
        ("data.split", "keras", "did you mean 'keras_80_20'?"),
        ("model.widths", ["4"], "model.widths must be a whole number, got '4'"),
        ("model.latent_dim", 0, "model.latent_dim must be at least 1, got 0"),
        ("model.likelihood_scale", 0, "model.likelihood_scale must be a finite number above 0"),
        ("model.widths", [], "model.widths must be one or more positive numbers, got ()"),
        ("train", 3, "train must be a table of settings, got 3"),
        ("pool.alpha", -0.5, "pool.alpha must be a finite number of at least 0, got -0.5"),
        ("pool.concentration", 2, "pool.concentration must be in [0, 1], got 2.0"),
        ("train.steps", 5, "train must have only one of epochs, steps and images"),
        ("data.image_size", 12, "data.image_size must be divisible by 8"),
        ("train.select", "best_kid", "data.validation_fraction must be above 0"),
    ],
)
def test_a_value_that_is_not_allowed_names_its_setting(dotted, value, message) -> None:
    """Of a wrong type, out of range, or at odds with another setting."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        updated(LineageConfig(), unflatten({dotted: value}))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        (dotted, value)
        for dotted, default in LEAVES.items()
        for value in (math.nan, math.inf, -math.inf, 10**400)
        if type(default) is float or (type(default) is int and isinstance(value, float))
    ],
)
def test_no_number_may_be_nan_infinite_or_beyond_a_float(dotted: str, value: float) -> None:
    """Every numeric setting refuses them with a ValueError that names its group at least.

    A whole number may have 400 digits, as a seed does no harm with them.
    """
    with pytest.raises(ValueError, match=dotted.split(".")[0]):
        updated(make_lineage(), unflatten({dotted: value}))


@pytest.mark.parametrize("dotted", ["checkpoint_seconds", "lease_seconds", "max_concurrent"])
def test_resources_must_be_finite_and_positive(dotted: str) -> None:
    """Time and places of a trial."""
    for value in (math.nan, math.inf, 0):
        with pytest.raises(ValueError, match=f"resources.{dotted}"):
            updated(ResourcesConfig(), {dotted: value}, "resources.")


def test_whole_floats_and_single_values_are_taken_for_what_they_mean() -> None:
    """2.0 is a whole number, and one width a tuple."""
    config = make_lineage({"seed": 2.0, "model.widths": 4})
    assert (config.seed, config.model.widths) == (2, (4,))


def test_none_as_a_word_unsets_what_may_be_unset() -> None:
    """As flags and TOML have no None."""
    assert make_lineage({"pool.alpha": "None"}).pool.alpha is None


def test_nesting_inverts_flattening() -> None:
    """For every setting of a lineage."""
    assert unflatten(LEAVES) == to_json(make_lineage())


def test_a_sweep_is_the_union_of_its_grids_without_repeats() -> None:
    """The paper's: three alphas at 40 steps, and 80 steps at alpha 1 only."""
    sweep = make_sweep(
        (
            {"pool.alpha": [0.5, 1.0, 2.0], "train.steps": [40]},
            {"pool.alpha": [1.0], "train.steps": [40, 80]},
        )
    )
    assert [axes for axes, _ in sweep.points()] == [
        {"pool.alpha": 0.5, "train.steps": 40},
        {"pool.alpha": 1.0, "train.steps": 40},
        {"pool.alpha": 2.0, "train.steps": 40},
        {"pool.alpha": 1.0, "train.steps": 80},
    ]


def test_a_point_holds_every_axis_of_the_sweep() -> None:
    """A grid that leaves an axis to the base has the base's value there."""
    sweep = make_sweep(({"seed": [1]}, {"pool.alpha": [2]}))
    assert [axes for axes, _ in sweep.points()] == [
        {"seed": 1, "pool.alpha": 0.5},
        {"seed": 0, "pool.alpha": 2.0},
    ]


def test_a_whole_number_in_python_is_the_same_setting_as_its_float() -> None:
    """So that a sweep written in Python has the keys of its own sweep.json."""
    made = SweepConfig(name="x", description="", base=LineageConfig(pool=PoolConfig(alpha=1)))
    ((_, config),) = made.points()
    assert repr(config.pool.alpha) == "1.0"


def test_a_grid_is_checked_point_by_point() -> None:
    """The error names the axis."""
    with pytest.raises(ValueError, match=r"pool.alpha must be a finite number .*, got -1"):
        make_sweep(({"pool.alpha": [1.0, -1]},)).points()


def test_an_axis_is_a_setting() -> None:
    """Neither a name within a setting nor a group of settings."""
    for axis in ("seed.alpha", "train"):
        with pytest.raises(ValueError, match=rf"^{axis} is not a setting"):
            make_sweep(({"seed": [1], axis: [1]},)).points()


@pytest.mark.parametrize("name", EXTENDABLE)
def test_what_may_be_extended_is_a_setting(name: str) -> None:
    """A misspelt name would allow nothing."""
    assert not is_dataclass(attrgetter(name)(make_lineage()))


# Classes


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that cannot be conditional."""
    monkeypatch.setitem(
        FAMILY_FACTS, "other", FamilyFacts(size=gaussian_size, version=1, conditional=False)
    )


@pytest.mark.usefixtures("other")
def test_a_family_that_cannot_be_conditional_names_those_that_can() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        check_conditional(ModelConfig(family="other", conditional=True))
    assert str(error.value) == (
        "model.family must be one of ddim, flow, edm, vae, unet2d, gaussian, exact-mixture, "
        "exact-empirical with model.conditional, got 'other'; set model.conditional to False"
    )


@pytest.mark.usefixtures("other")
def test_whether_a_family_can_be_conditional_is_checked_with_the_other_settings() -> None:
    with pytest.raises(
        ValueError, match=r"^model\.family must be one of ddim, flow, edm, vae, unet2d, gaussian"
    ):
        updated(LineageConfig(), unflatten({"model": {"family": "other", "conditional": True}}))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "sample.guidance must be 1 with an unconditional model, got 2.0; set model.condition"),
        (
            {"conditional": True, "label_dropout": 0.0},
            "sample.guidance must be 1 with model.label_dropout=0, which trains no unconditional",
        ),
        (
            {"family": "gaussian", "conditional": True},
            "sample.guidance must be 1 with model.family=gaussian, got 2.0; families with "
            "guidance: ddim",
        ),
    ],
)
@pytest.mark.parametrize("guidance", [2.0, 0.0])
def test_guidance_needs_a_model_with_both_halves(model: dict, message: str, guidance) -> None:
    """0 is the unconditional half."""
    sample = SampleConfig(guidance=guidance)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        check_guidance(ModelConfig(**model), sample)
    assert str(error.value).startswith(message.replace("2.0", str(guidance)))


def test_guidance_of_a_conditional_network_is_allowed() -> None:
    check_guidance(ModelConfig(conditional=True), SampleConfig(guidance=2.0))


@pytest.mark.parametrize(
    "model", [ModelConfig(), ModelConfig(widths=(4, 8), conditional=True, label_dropout=0.5)]
)
def test_settings_come_back_from_a_checkpoint_as_they_were(model: ModelConfig) -> None:
    """Through JSON, which knows no tuples."""
    assert restored_model(json.loads(json.dumps(stored_settings(model)))) == model


@pytest.mark.parametrize(
    ("dotted", "value", "rule"),
    [
        ("train.steps", 10**15, "be at most 1,000,000,000,000"),
        ("train.lr", 1e300, r"be at most 1e\+30"),
        ("pool.alpha", 1e-320, "not be closer to 0 than 1e-30"),
        ("generations", 10**9, "be at most 10,000"),
        ("ensemble.size", 10**6, "be at most 1,000"),
        ("ensemble.members", ["model.family=ddim"] * 10**6, "have at most 1,000 items"),
        ("model.block_depth", 99_999, "be at most 1,000"),
        ("model.widths", [10**9], "be at most 65,536"),
        ("model.widths", [8] * 14, "be at most 13 numbers"),
        ("data.image_size", 10**6, "be at most 4,096"),
        ("data.num_images", 10**15, "be at most 10,000,000"),
        ("metrics.num_images", 10**15, "be at most 10,000,000"),
        ("metrics.bootstrap", 10**9, "be at most 1,000,000"),
        ("metrics.kid_num_subsets", 10**9, "be at most 1,000,000"),
        ("filter.reward_class", "a\nb", "be UTF-8 text without control characters"),
    ],
)
def test_what_no_machine_can_use_is_an_error_that_names_the_field(dotted, value, rule) -> None:
    """Any field has such a limit; these are some."""
    with pytest.raises(UsageError, match=f"^{dotted} must {rule}, "):
        make_lineage({"train.epochs": None, dotted: value})


@pytest.mark.parametrize("kind", EVERY)
def test_every_number_has_a_limit(kind) -> None:
    """No field takes what is beyond the integers of a file or column."""
    for f in fields(kind):
        if "int" in str(f.type) or "float" in str(f.type):
            value = 1e31 if "float" in str(f.type) else 10**30
            value = (value,) if "tuple" in str(f.type) else value
            others = {"epochs": None} if f.name in ("steps", "images") else {}
            with pytest.raises(UsageError):
                kind(**{f.name: value} | (others if kind is TrainConfig else {}))


@pytest.mark.parametrize("kind", EVERY)
def test_no_whole_number_is_negative(kind) -> None:
    """Each counts something or is a seed."""
    for f in fields(kind):
        if "int" in str(f.type) and "tuple" not in str(f.type):
            with pytest.raises(UsageError):
                kind(**{f.name: -20})


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, 1e-320])
def test_a_share_of_a_machine_is_a_finite_number_above_0(value) -> None:
    for name in ("cpus_per_trial", "gpus_per_trial"):
        with pytest.raises(UsageError, match=f"^resources.{name} must be a finite number"):
            ResourcesConfig(**{name: value})
