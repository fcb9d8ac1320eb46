"""Facts of filters that ask a probe: closed forms of the choice, and what the probe needs."""

import numpy as np
import pytest
from filtering import draw, draw_real, keep
from scipy.special import softmax
from scipy.stats import hypergeom

from model.config import FilterConfig
from model.features.probe import fit_probe
from model.filters.probed import choose
from model.filters.table import check_reward_class

# confidence


def test_confidence_is_the_largest_probability_of_the_probe():
    candidates, (real, labels) = draw(30), draw_real()
    probabilities = fit_probe(real, labels, num_classes=2).probabilities(candidates).max(axis=1)
    kept = keep("confidence", candidates, 10, real, real_labels=labels)
    np.testing.assert_array_equal(kept.scores, probabilities)
    assert sorted(probabilities[kept.indices]) == sorted(probabilities)[-10:]


def test_confidence_of_an_asked_class_is_its_probability():
    candidates, (real, labels) = draw(30), draw_real()
    asked = np.repeat([0, 1], 15)
    probabilities = fit_probe(real, labels, num_classes=2).probabilities(candidates)
    kept = keep("confidence", candidates, 10, real, real_labels=labels, labels=asked)
    np.testing.assert_array_equal(kept.scores, probabilities[np.arange(30), asked])


def test_probabilities_that_round_to_one_are_ranked_by_their_odds():
    """Along the line through both means, ever farther beyond one of them."""
    real, labels = draw_real()
    direction = np.ones(3)
    candidates = np.array([30, 50, 20, 40])[:, None] * direction
    kept = keep("confidence", candidates, 2, real, real_labels=labels)
    assert (kept.scores == 1).all()
    assert kept.indices.tolist() == [1, 3]


def test_log_odds_are_those_of_the_probabilities():
    candidates, (real, labels) = draw(30), draw_real()
    probe = fit_probe(real, labels, num_classes=2)
    p = probe.probabilities(candidates)[:, 1]
    odds = probe.log_odds(candidates, np.ones(30, np.int64))
    np.testing.assert_allclose(odds, np.log(p / (1 - p)), rtol=1e-7)


# reward


def test_a_choice_has_the_probability_of_the_softmax():
    """Rewards 0, 0.1 and 0.3 at temperature 0.2, 20,000 times; within 4.5 binomial errors."""
    rewards = np.array([0, 0.1, 0.3])
    chosen = choose(np.tile(rewards, (20_000, 1)), 0.2, np.random.default_rng(0))
    shares, expected = np.bincount(chosen, minlength=3) / 20_000, softmax(rewards / 0.2)
    assert (np.abs(shares - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 20_000)).all()


@pytest.mark.parametrize("temperature", [1e-9, 1e-320])
def test_at_temperature_zero_the_best_is_chosen(temperature):
    rewards = np.random.default_rng(1).random((500, 4))
    chosen = choose(rewards, temperature, np.random.default_rng(0))
    np.testing.assert_array_equal(chosen, rewards.argmax(axis=1))


def test_at_temperature_zero_equals_are_chosen_at_random():
    """Two of three are best: half each of 4000, within 4.5 binomial errors."""
    chosen = choose(np.tile([1.0, 0, 1], (4000, 1)), 1e-320, np.random.default_rng(0))
    counts = np.bincount(chosen, minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] - 2000) < 4.5 * np.sqrt(1000)


def two_points(num_good: int, num_bad: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates at the means of two well separated classes, and the real images of both.

    The probe's probability of class b is 1 at the good ones and 0 at the bad ones, to 1e-12.
    """
    labels = np.arange(60) % 2
    real = draw(60, seed=3) + 20 * labels[:, None]
    means = np.stack([real[labels == c].mean(axis=0) for c in range(2)])
    return means[np.repeat([1, 0], [num_good, num_bad])], real, labels


@pytest.mark.parametrize("temperature", [0.5, 2])
def test_the_better_of_two_rewards_is_chosen_as_often_as_the_softmax_says(temperature):
    """A group of 4 of 30 good and 90 bad ones has j good ones by the hypergeometric law.

    One of them is chosen with probability j w / (j w + 4 - j), w = exp(1 / temperature). 300 draws
    of 30 groups; their errors are at most binomial, since groups draw without replacement.
    """
    points, real, labels = two_points(30, 90)
    j = np.arange(5)
    weight = np.exp(1 / temperature)
    law = hypergeom(120, 30, 4).pmf(j)
    expected = (law * j * weight / (j * weight + 4 - j)).sum()
    good = [
        keep(
            "reward",
            points,
            30,
            real,
            real_labels=labels,
            reward_class="b",
            temperature=temperature,
            seed=seed,
        ).indices
        < 30
        for seed in range(300)
    ]
    assert abs(np.mean(good) - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 9000)


def test_every_candidate_is_offered_once_where_groups_use_up_all():
    """The only good one of 120 is then always offered, and wins at temperature 0."""
    points, real, labels = two_points(1, 119)
    for seed in range(20):
        kept = keep(
            "reward",
            points,
            30,
            real,
            real_labels=labels,
            reward_class="b",
            temperature=1e-9,
            seed=seed,
        )
        assert 0 in kept.indices


def test_the_reward_of_a_class_is_its_probability():
    candidates, (real, labels) = draw(30), draw_real()
    probabilities = fit_probe(real, labels, num_classes=2).probabilities(candidates)
    kept = keep("reward", candidates, 5, real, real_labels=labels, reward_class="b")
    np.testing.assert_array_equal(kept.scores, probabilities[:, 1])


@pytest.mark.parametrize("labels", [None, np.repeat([0, 1], 15)])
def test_without_a_class_the_reward_is_the_confidence(labels):
    candidates = draw(30)
    rewards = keep("reward", candidates, 5, labels=labels).scores
    confidence = keep("confidence", candidates, 5, labels=labels).scores
    np.testing.assert_array_equal(rewards, confidence)


def test_reward_needs_all_groups_filled():
    message = r"^candidates must be at least filter.choices=4 for each of 3 kept, got 11; raise"
    with pytest.raises(ValueError, match=message):
        keep("reward", draw(11), 3)


# what is refused


def test_a_misspelt_reward_class_has_a_suggestion():
    config = FilterConfig(name="reward", reward_class="dasy")
    message = "^filter.reward_class must be one of daisy, rose, got 'dasy'; did you mean 'daisy'"
    with pytest.raises(ValueError, match=message):
        check_reward_class(config, ("daisy", "rose"))


@pytest.mark.parametrize("name", ["confidence", "reward"])
def test_a_probe_needs_classes(name):
    message = f"^real_labels must be given with filter.name={name}, got None; choose another"
    with pytest.raises(ValueError, match=message):
        keep(name, draw(9), 1, draw(9))


@pytest.mark.parametrize("name", ["confidence", "reward"])
def test_a_probe_needs_images_of_every_class(name):
    message = (
        "^a probe's images must include every class, got none of b; "
        "give more images, or choose another filter.name$"
    )
    with pytest.raises(ValueError, match=message):
        keep(name, draw(9), 1, draw(9), real_labels=np.zeros(9, np.int64))


@pytest.mark.parametrize("name", ["confidence", "reward"])
def test_asked_classes_that_do_not_exist_are_refused(name):
    with pytest.raises(ValueError, match=r"^labels must be in \[0, 2\), .* got 2$"):
        keep(name, draw(9), 1, labels=np.full(9, 2))
