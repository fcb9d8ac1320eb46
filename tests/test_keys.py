"""Facts of keys: what is in them, what is not, and that they stay what they are."""

import hashlib
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import pytest
from tiny_sweep import CARD, make_lineage

from model.config import ModelConfig, SampleConfig, TrainConfig
from model.family_facts import FAMILY_FACTS
from sweep.config import LineageConfig
from sweep.files import digest
from sweep.planning.keys import canonical, node_inputs, stream_key
from sweep.planning.nodes import NodePlan, plan_lineage

GOLDEN_NODE = "23f4e9adec9b246adc178730324a32db93137da1e5e98c7fb4a08f8d9ab0354d"
GOLDEN_STREAM = "932f2dc28315a3d85ace8a43a033efdb39fb5c5214d8f22970f779b59db7c69e"
GOLDEN_SECOND = "f3670fea653013ab6e2a973256c48a34580bae29a36b7eb97852e9e4869d34bc"
PAIRS: dict[str, Any] = {
    "family": "flow",
    "bandwidth": 0.5,
    "max_signal_rate": 0.9,
    "min_signal_rate": 0.03,
    "stochasticity": 0.5,
    "multistep": 2,
    "initial_sha256": "0" * 64,
}
"""Other values, where the rule below makes one that is not allowed."""


def nodes(config: LineageConfig) -> list[NodePlan]:
    return plan_lineage(config, CARD)


def other(config: Any, name: str) -> Any:
    """Another allowed value of a field."""
    value = getattr(config, name)
    hint = get_type_hints(type(config))[name]
    if name in PAIRS:
        return PAIRS[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        choices = [choice for choice in get_args(hint) if choice not in (value, "auto")]
        return choices[0] if choices else value + "x"
    if isinstance(value, tuple):
        return (*value, 8)
    if isinstance(value, float):
        return value / 2
    return 7 if value is None else value + 2


def train_inputs(train: TrainConfig, model: ModelConfig, **changes: Any) -> str:
    given: Any = {
        "recipe": "[]",
        "num_steps": 1,
        "seed": 0,
        "generation": 1,
        "member": 0,
        **changes,
    }
    return node_inputs(model=model, train=train, **(given | changes))


def test_a_digest_is_the_sha256_of_canonical_json() -> None:
    """Sorted names, no spaces, the shortest float that reads back the same."""
    text = b'{"a":[0.1,null,true],"b":"x"}'
    assert digest({"b": "x", "a": (0.1, None, True)}) == hashlib.sha256(text).hexdigest()


def test_a_digest_does_not_depend_on_the_order_of_names() -> None:
    """Nor, so, on the order in which fields are declared."""
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


def test_nan_is_in_no_key() -> None:
    """It would not be JSON."""
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_the_keys_of_a_lineage_are_what_they_were() -> None:
    """Golden: where this fails, every store in the world is recomputed; see NUMERICS_VERSION."""
    first, second = nodes(make_lineage())
    assert (first.key, first.stream, second.key) == (GOLDEN_NODE, GOLDEN_STREAM, GOLDEN_SECOND)


def test_a_family_whose_numerics_changed_has_keys_of_its_own_version() -> None:
    """Those of the others stay."""
    edm = nodes(make_lineage({"model.family": "edm"}))[0].inputs
    assert edm["family_numerics"] == FAMILY_FACTS["edm"].version == 2
    assert "family_numerics" not in nodes(make_lineage())[0].inputs


def test_a_node_key_is_the_hash_of_what_config_json_holds() -> None:
    """So that anybody can check it."""
    node = nodes(make_lineage())[1]
    assert digest(node.inputs) == node.key


def test_a_stream_key_is_the_hash_of_node_and_sampler() -> None:
    """Written out."""
    text = b'{"node":"k","sample":{"clip":false,"steps":2}}'
    assert stream_key("k", SampleConfig(steps=2)) == hashlib.sha256(text).hexdigest()


def in_keys(kind) -> list[str]:
    """Names of the fields that can change a result."""
    return [f.name for f in fields(kind) if f.metadata.get("in_key", True)]


@pytest.mark.parametrize("name", in_keys(ModelConfig))
def test_every_field_of_the_network_is_in_the_key(name: str) -> None:
    """Two values, two keys."""
    model = ModelConfig()
    changed = replace(model, **{name: other(model, name)})
    assert train_inputs(TrainConfig(), model) != train_inputs(TrainConfig(), changed)


@pytest.mark.parametrize("name", in_keys(TrainConfig))
def test_every_field_of_the_training_is_in_the_key(name: str) -> None:
    """Two values, two keys, whatever the number of steps comes to."""
    train = TrainConfig()
    if name in ("steps", "images"):
        train = replace(train, epochs=None, **{name: 5})
    if name == "initial_sha256":
        train = replace(train, initial_checkpoint="base.safetensors", initial_sha256="1" * 64)
    changed = replace(train, **{name: other(train, name)})
    assert train_inputs(train, ModelConfig()) != train_inputs(changed, ModelConfig())


@pytest.mark.parametrize("name", in_keys(SampleConfig))
def test_every_field_of_the_sampler_is_in_the_streams_key(name: str) -> None:
    """Two samplers, two streams of one node."""
    sample = SampleConfig()
    changed = replace(sample, **{name: other(sample, name)})
    assert stream_key("k", sample) != stream_key("k", changed)


@pytest.mark.parametrize(
    "name", ["recipe", "num_steps", "seed", "generation", "member", "selection"]
)
def test_recipe_steps_seed_generation_and_member_are_in_the_key(name: str) -> None:
    """As is what selects a checkpoint."""
    inputs = train_inputs(TrainConfig(), ModelConfig())
    value = {"recipe": '[{"start":0}]', "selection": {"metrics": {}}}.get(name, 9)
    assert train_inputs(TrainConfig(), ModelConfig(), **{name: value}) != inputs


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("metrics.names", ["fid"]),
        ("metrics.extractor", "efficientnet-lite0"),
        ("metrics.resolution", 32),
        ("metrics.num_images", 8),
        ("metrics.sample_steps", 9),
        ("generations", 5),
        ("pool.alpha", 2.0),
        ("pool.focal_classes", ["one"]),
        ("sample.steps", 9),
    ],
)
def test_metrics_generations_pool_and_sampler_are_not_in_the_first_nodes_key(dotted, value) -> None:
    """V_1 is one for all of them."""
    assert nodes(make_lineage({dotted: value}))[0].key == nodes(make_lineage())[0].key


@pytest.mark.parametrize("dotted", ["metrics.extractor", "generations"])
def test_metrics_and_length_are_in_no_nodes_key(dotted: str) -> None:
    """A longer lineage begins with the shorter one."""
    value = 5 if dotted == "generations" else "efficientnet-lite0"
    changed = make_lineage({dotted: value})
    assert attrgetter(dotted)(changed) != attrgetter(dotted)(make_lineage())
    assert [n.key for n in nodes(changed)[:2]] == [n.key for n in nodes(make_lineage())]


def test_where_a_metric_selects_weights_it_and_its_sampler_are_in_the_key() -> None:
    """Two samplers choose different epochs, so they must not share a node."""
    card = replace(CARD, num_validation=10)
    selecting = {"train.select": "best_kid", "data.validation_fraction": 0.1}
    changes = [{}, {"sample.steps": 9}, {"metrics.sample_steps": 9}]
    keys = {plan_lineage(make_lineage({**selecting, **c}), card)[0].key for c in changes}
    assert len(keys) == 2
    others = [{"metrics.names": ["fid"]}, {"metrics.num_images": 8}]
    assert {plan_lineage(make_lineage({**selecting, **c}), card)[0].key for c in others} < keys


def test_auto_is_refused_in_a_key() -> None:
    """It would be another number on another machine."""
    with pytest.raises(ValueError, match=r"train.precision must be resolved"):
        train_inputs(TrainConfig(precision="auto"), ModelConfig())


@dataclass(frozen=True)
class Old:
    size: int = 1


@dataclass(frozen=True)
class New:
    """Old, and two fields that came later."""

    size: int = 1
    mode: str = field(default="new", metadata={"key_default": "old"})
    log: int = field(default=1, metadata={"in_key": False})


def test_a_later_field_at_its_key_default_leaves_old_keys_alone() -> None:
    """Which is how the code behaved before, not what users get today."""
    assert digest(canonical(New(mode="old"))) == digest(canonical(Old()))


def test_a_later_field_at_the_users_default_is_in_the_key() -> None:
    """The default may move; the key default never does."""
    assert canonical(New()) == {"size": 1, "mode": "new"}


def test_a_field_that_changes_no_number_is_in_no_key() -> None:
    """in_key is False."""
    assert digest(canonical(New(log=5))) == digest(canonical(New(log=1)))
