"""Facts of members: how their words are read, and what each sees of the pool."""

from dataclasses import replace

import pytest
from tiny_sweep import CARD, make_lineage, make_sweep

from sweep.config import LineageConfig, to_json, updated
from sweep.planning.lineages import plan_sweep
from sweep.planning.members import Member, members_of
from sweep.planning.nodes import NodePlan, by_generation, plan_lineage
from sweep.planning.pool import only_real, pool_origins, pool_rows, pool_size

GAUSSIAN = {"model.family": "gaussian", "metrics.names": []}
SHARDS = {"ensemble": {"size": 3, "data": "shard"}}


def members(*words: str, **settings) -> tuple[Member, ...]:
    return members_of(make_lineage({"ensemble.members": list(words), **settings}))


def generations(**changes) -> list[list[NodePlan]]:
    """The nodes of a gaussian lineage, generation by generation."""
    return by_generation(plan_lineage(make_lineage(GAUSSIAN, **changes), CARD))


def error_of(call) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        call()
    return str(error.value)


def test_without_settings_a_generation_is_one_model_that_sees_all() -> None:
    """The lineage's own settings."""
    config = make_lineage()
    (member,) = members_of(config)
    assert (member.model, member.train, member.sample) == (
        config.model,
        config.train,
        config.sample,
    )
    assert (member.share, member.data) == (1, "all")


def test_size_alone_makes_members_alike() -> None:
    """Three of the same settings and the common kind of data."""
    found = members_of(make_lineage(SHARDS))
    assert [member.data for member in found] == ["shard"] * 3
    assert len({repr(member) for member in found}) == 1


def test_words_are_read_as_their_settings_are() -> None:
    """Numbers, lists, false, and text that looks like a number."""
    (member,) = members(
        "share=1.0 data=real model.widths=4,4 train.steps=7 train.drop_last=false "
        "filter.name=reward filter.candidates=4 filter.reward_class=1"
    )
    assert (member.share, member.data) == (1, "real")
    assert member.model.widths == (4, 4)
    assert (member.train.steps, member.train.drop_last) == (7, False)
    assert (member.filter.name, member.filter.candidates) == ("reward", 4)
    assert member.filter.reward_class == "1"


def test_a_member_keeps_what_it_does_not_set() -> None:
    """Of the lineage's settings."""
    first, second = members("", "train.lr=0.5")
    assert second.train == replace(first.train, lr=0.5)
    assert second.model == first.model


def test_setting_steps_clears_the_epochs() -> None:
    """As in a file of settings: the length of training is given once."""
    by_epochs = {"train.steps": None, "train.epochs": 3}
    first, second = members("", "train.steps=9", **by_epochs)
    assert (first.train.epochs, first.train.steps) == (3, None)
    assert (second.train.epochs, second.train.steps) == (None, 9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("shard", "ensemble.members[0] must be words like name=value, got 'shard'"),
        ("share=1 share=1", "ensemble.members[0] must set each name once, got 'share' twice"),
        (
            "model.family=vae model.family=flow",
            "ensemble.members[0] must set each name once, got 'model.family' twice",
        ),
        (
            "seed=3",
            "ensemble.members[0] must set share, data or a setting of model, train, sample, "
            "filter, got 'seed=3'",
        ),
        ("pool.alpha=3", "ensemble.members[0] must set share, data or a setting of model, train"),
        ("train=3", "ensemble.members[0] must set share, data or a setting of model, train"),
        ("share=-1", "ensemble.members[0] share must be a finite number of at least 0, got -1.0"),
        ("share=nan", "ensemble.members[0] share must be a finite number of at least 0, got nan"),
        ("share=inf", "ensemble.members[0] share must be a finite number of at least 0, got inf"),
        ("share=much", "ensemble.members[0] share must be a number, got 'much'"),
        (
            "data=shards",
            "ensemble.members[0] data must be one of all, shard, real, own, filtered, got "
            "'shards'; did you mean 'shard'?",
        ),
        ("train.step=3", "train.step is not a setting; did you mean train.steps?"),
        ("train.lr=fast", "train.lr must be a number, got 'fast'"),
        ("share=0", "ensemble.members must have shares that sum to 1, got 0.0"),
        ("share=2", "ensemble.members must have shares that sum to 1, got 2.0"),
    ],
)
def test_a_bad_word_is_one_line(words: str, message: str) -> None:
    """It names the member, or the setting."""
    found = error_of(lambda: members(words))
    assert found.startswith(message)
    assert "\n" not in found


def test_size_may_repeat_the_number_of_members_and_nothing_else() -> None:
    """Two members are two models."""
    two = {"ensemble.members": ["", "data=real"]}
    assert len(members_of(make_lineage({**two, "ensemble.size": 2}))) == 2
    assert error_of(lambda: make_lineage({**two, "ensemble.size": 3})) == (
        "ensemble.size must be left out, or 2 as ensemble.members lists, got 3"
    )


def test_members_are_checked_as_a_lineage_is() -> None:
    """A network of five widths does not halve 8 pixels four times."""
    found = error_of(lambda: members("model.widths=4,4,4,4,4"))
    assert found.startswith("data.image_size must be divisible by 16")


def test_a_members_family_must_exist() -> None:
    """Before anything runs."""
    sweep = make_sweep(({},), make_lineage({"ensemble.members": ["model.family=gausian"]}))
    found = error_of(lambda: plan_sweep(sweep, lambda data: CARD))
    assert found.endswith("did you mean 'gaussian'?")


def test_members_come_back_from_json() -> None:
    """A results folder holds their words."""
    config = make_lineage({"ensemble.members": ["share=0.5 data=own", "share=0.5"]})
    assert updated(LineageConfig(), to_json(config)) == config


def test_members_have_keys_of_their_own() -> None:
    """Of the same settings and pool, but with other random numbers."""
    first, second = generations(ensemble={"size": 2})
    assert len({node.key for node in first + second}) == 4
    assert [node.member for node in first] == [0, 1]


def test_an_ensembles_first_member_begins_as_a_lineage_of_one() -> None:
    """V_1 is shared with it."""
    assert generations(ensemble={"size": 2})[0][0].key == generations()[0][0].key


def test_shards_of_the_first_pool_are_disjoint_and_together_the_pool() -> None:
    """40 images in parts of 14, 13 and 13."""
    first = generations(**SHARDS)[0]
    ranges = [(s.start, s.stop) for node in first for s in only_real(node.pool)]
    assert ranges == [(0, 14), (14, 27), (27, 40)]


def test_later_shards_hold_part_of_every_members_images() -> None:
    """20 new images of three members, of which each sees a third of each."""
    second = generations(**SHARDS)[1]
    assert sum(node.num_images for node in second) == 60
    for node in second:
        assert set(pool_rows(node.pool, None).members.tolist()) == {0, 1, 2}


def test_shares_are_given_for_all_members_or_for_none() -> None:
    """What is left over is nobody's guess."""
    config = make_lineage({"ensemble.members": ["share=0.5", ""]})
    assert error_of(lambda: members_of(config)) == (
        "ensemble.members must have a share each, or none of them, got 1 shares of 2 members"
    )


def test_new_images_are_shared_out_by_weight() -> None:
    """20 of 0.75, 0.25 and 0."""
    words = ["share=0.75", "share=0.25", "share=0"]
    first, _ = generations(ensemble={"members": words})
    assert [node.num_new for node in first] == [15, 5, 0]


def test_shares_are_taken_as_they_are_written() -> None:
    """0.1, 0.2 and 0.7 of 20, whose sum in binary numbers is not 1; and thirds of six digits."""
    first, _ = generations(ensemble={"members": ["share=0.1", "share=0.2", "share=0.7"]})
    assert [node.num_new for node in first] == [2, 4, 14]
    words = ["share=0.333333", "share=0.333333", "share=0.333334"]
    first, _ = generations(ensemble={"members": words})
    assert sum(node.num_new for node in first) == 20


def test_members_of_own_data_see_real_images_and_their_own() -> None:
    """Not the others'."""
    second = generations(ensemble={"size": 2, "data": "own"})[1]
    for node in second:
        rows = pool_rows(node.pool, None)
        assert pool_origins(node.pool) == {"0": 40, "1": 10}
        assert set(rows.members[rows.generations > 0].tolist()) == {node.member}


def test_members_of_real_data_see_no_samples() -> None:
    """In any generation."""
    words = ["data=real", "data=all"]
    for real, everything in generations(ensemble={"members": words}, generations=3):
        assert set(pool_origins(real.pool)) == {"0"}
        assert real.num_images == 40
        assert everything.num_images >= 40


@pytest.mark.parametrize(("data", "member"), [("real", 0), ("own", 1)])
def test_a_member_that_sees_nothing_is_an_error_of_the_plan(data: str, member: int) -> None:
    """After replacing, no real image is left; and a member of share 0 has made none."""
    words = ["data=real", ""] if data == "real" else ["share=1", "share=0 data=own"]
    settings = {"pool.rule": "replace", "pool.alpha": None, "ensemble.members": words}
    config = make_lineage({**GAUSSIAN, **settings})
    assert error_of(lambda: plan_lineage(config, CARD)) == (
        f"ensemble.data must leave member {member} some images in generation 2, got {data!r}; "
        "the pool has none of these"
    )


@pytest.mark.parametrize("data", ["own", "real"])
def test_own_and_real_data_do_not_go_with_subsamples(data: str) -> None:
    """What a random subset of all images is made of only its positions tell."""
    settings = {"pool.rule": "subsample", "pool.alpha": None, "ensemble.data": data}
    config = make_lineage({**GAUSSIAN, **settings, "ensemble.size": 2})
    assert error_of(lambda: plan_lineage(config, CARD)) == (
        "ensemble.data must be all, shard or filtered with pool.rule=subsample, which mixes all "
        f"images, got {data!r}"
    )


FILTERED = "data=filtered filter.name=random filter.candidates=2"


def test_filtered_members_see_part_of_the_pool() -> None:
    """Half of 40 and of 60 images, by filter.candidates."""
    first, second = generations(ensemble={"members": ["", FILTERED]})
    assert [node.num_images for node in first] == [40, 20]
    assert [node.num_images for node in second] == [60, 30]


def test_a_filter_of_the_pool_keeps_all_new_images() -> None:
    """Its member adds as many as it is asked for, and the first of its stream."""
    first, _ = generations(ensemble={"members": ["", FILTERED]})
    assert [node.num_new for node in first] == [10, 10]
    assert [node.num_drawn for node in first] == [10, 10]
    assert pool_size(first[1].new) == 10


def test_a_filter_of_new_images_draws_more_than_it_keeps() -> None:
    """Twice as many."""
    words = ["", "filter.name=random filter.candidates=2"]
    first, second = generations(ensemble={"members": words})
    assert [node.num_new for node in first] == [10, 10]
    assert [node.num_drawn for node in first] == [10, 20]
    assert [node.num_images for node in second] == [60, 60]


def test_filtered_data_need_a_filter() -> None:
    """There is nothing to keep without one."""
    config = make_lineage({**GAUSSIAN, "ensemble.data": "filtered"})
    assert error_of(lambda: plan_lineage(config, CARD)) == (
        "filter.name must be set with ensemble.data=filtered, which is what the filter keeps of "
        "the pool, got 'none'"
    )


def test_a_pools_real_images_are_no_near_duplicates_of_themselves() -> None:
    """A filter that would drop them all is refused."""
    words = "data=filtered filter.name=near-duplicates filter.candidates=2"
    config = make_lineage({**GAUSSIAN, "ensemble.members": [words]})
    assert error_of(lambda: plan_lineage(config, CARD)).startswith(
        "filter.name must not be near-duplicates with ensemble.data=filtered, because real images"
    )
