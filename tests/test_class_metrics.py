"""Facts of the metrics of classes, against closed forms, through measure as everything calls it."""

from dataclasses import replace

import numpy as np
import pytest
from class_comparison import (
    ASKED,
    CLASSES,
    NAMES,
    compare,
    draw_features,
    evaluate,
    exchange,
    in_order,
    repeat_classes,
)
from scipy.spatial.distance import cdist

from model.metrics.comparison import Comparison
from model.metrics.distances import estimate_mmd2

# Which classes there are


def test_the_reference_itself_has_the_priors_classes():
    """Twenty deviations apart the probe is perfect: no distance, none lost, entropy log 6."""
    comparison = compare(repeat_classes([12] * 6))
    values = evaluate(comparison, "classes").values
    expected = {
        "probe_accuracy": 1,
        "class_tv": 0,
        "class_tv_held_out": 0,
        "class_entropy": np.log(6),
        "lost_classes": 0,
    }
    assert values == pytest.approx(expected, abs=1e-12)


def test_half_of_the_classes_missing_is_a_total_variation_of_one_half():
    """3 of 6 equal classes: 3 x |1/3 - 1/6| + 3 x |0 - 1/6|, halved."""
    found = evaluate(compare(repeat_classes([20, 0, 20, 0, 20, 0])), "classes")
    assert found.values["class_tv"] == pytest.approx(0.5, rel=1e-12)
    assert found.values["lost_classes"] == 3
    assert in_order(found.classes["class_share"]) == pytest.approx([1 / 3, 0] * 3, rel=1e-12)


def test_one_heavy_class_has_the_total_variation_and_entropy_of_its_share():
    """Share q = 0.75 of one class, the others equal: q - 1/K, and the entropy by its formula."""
    values = evaluate(compare(repeat_classes([75, 5, 5, 5, 5, 5])), "classes").values
    assert values["class_tv"] == pytest.approx(0.75 - 1 / 6, rel=1e-12)
    entropy = -0.75 * np.log(0.75) - 5 * 0.05 * np.log(0.05)
    assert values["class_entropy"] == pytest.approx(entropy, rel=1e-12)


def test_one_class_alone_has_no_entropy():
    values = evaluate(compare(repeat_classes([0, 9])), "classes").values
    assert (values["class_entropy"], values["lost_classes"]) == (0, 5)


def test_the_prior_is_the_share_of_the_references_labels():
    """Not of the classes' number: against 1/2, 1/4, 1/4, 0, 0, 0 equal shares are 1/2 away."""
    labels = repeat_classes([20, 10, 10])
    comparison = exchange(
        compare(repeat_classes([7] * 6)),
        reference=draw_features(labels),
        reference_labels=labels,
    )
    found = evaluate(comparison, "classes")
    assert found.values["class_tv"] == pytest.approx(0.5, rel=1e-12)
    assert found.classes["probe_recall"] == {"ant": 1, "bee": 1, "cat": 1}


def test_the_floor_is_the_distance_that_the_reference_itself_has():
    """Clouds that overlap: generated images equal to the reference are as far, and that is > 0."""
    comparison = compare(repeat_classes([12] * 6), distance=1)
    values = evaluate(replace(comparison, generated=comparison.real.reference), "classes").values
    assert values["class_tv"] == values["class_tv_held_out"] > 0


def test_the_probes_accuracy_by_class_averages_to_its_accuracy():
    """With as many images of each class; less than 1 where clouds overlap."""
    found = evaluate(compare(repeat_classes([9] * 6), distance=1), "classes")
    by_class = in_order(found.classes["probe_recall"])
    assert np.mean(by_class) == pytest.approx(found.values["probe_accuracy"], rel=1e-12)
    assert found.values["probe_accuracy"] < 1


def test_the_standard_error_of_the_total_variation_is_the_binomial_one():
    """One class of share q = 0.6 above its prior: tv = q - 1/6, and its error is that of q.

    The other five lie below their priors in every draw, so that the distance is linear in q; 2000
    draws tell the error to 2%.
    """
    values = evaluate(compare(repeat_classes([180] + [24] * 5)), "classes", bootstrap=2000).values
    assert values["class_tv_se"] == pytest.approx(np.sqrt(0.6 * 0.4 / 300), rel=0.08)


def test_without_resamples_there_are_no_standard_errors():
    labels = repeat_classes([9] * 6)
    found = evaluate(compare(labels, asked=labels), *CLASSES, *ASKED)
    assert [key for key in found.values if key.endswith("_se")] == []


# KID by class


def test_kid_by_class_is_the_kid_of_each_class():
    """The estimate on the class' images alone; the summary is its largest and its mean."""
    labels = repeat_classes([8, 9, 10, 11, 12, 13])
    comparison = compare(labels)
    found = evaluate(comparison, "class_kid")
    expected = [
        estimate_mmd2(
            comparison.generated[labels == c], comparison.real.reference[12 * c : 12 * (c + 1)]
        )[0]
        for c in range(6)
    ]
    assert in_order(found.classes["class_kid"]) == pytest.approx(expected, rel=1e-12)
    assert found.values == pytest.approx(
        {
            "probe_accuracy": 1,
            "worst_class_kid": max(expected),
            "mean_class_kid": np.mean(expected),
            "num_classes_measured": 6,
        },
        rel=1e-12,
    )


def test_a_class_of_fewer_than_two_images_has_no_kid():
    """Neither has one that the reference has once; the others, one of two images too, do."""
    comparison = compare(repeat_classes([2, 1, 0, 9, 9, 9]))
    keep = np.ones(72, dtype=bool)
    keep[37:48] = False  # all but one dog
    real = comparison.real
    assert real.reference_labels is not None
    comparison = exchange(
        comparison,
        reference=real.reference[keep],
        reference_labels=real.reference_labels[keep],
    )
    found = evaluate(comparison, "class_kid")
    assert list(found.classes["class_kid"]) == ["ant", "elk", "fox"]
    assert found.values["num_classes_measured"] == 3
    assert found.values["worst_class_kid"] == max(found.classes["class_kid"].values())


def test_where_no_class_has_a_kid_it_is_left_out_with_a_warning():
    found = evaluate(compare(repeat_classes([1] * 6)), "class_kid")
    assert found.values == {"probe_accuracy": 1, "num_classes_measured": 0}
    assert [w.split()[0] for w in found.warnings] == [
        "worst_class_kid/pixels",
        "mean_class_kid/pixels",
    ]


def test_the_class_that_is_made_badly_is_the_worst():
    """One of six is moved by three deviations, too little to be taken for another class."""
    labels = repeat_classes([12] * 6)
    comparison = compare(labels)
    moved = comparison.generated + 3 * (labels == 4)[:, None]
    found = evaluate(replace(comparison, generated=moved), "class_kid", "class_recall")
    by_class = found.classes["class_kid"]
    assert by_class["elk"] == max(by_class.values()) == found.values["worst_class_kid"]
    assert found.classes["class_recall"]["elk"] == found.values["worst_class_recall"] < 0.5


# Recall by class


def brute_force_recall(generated: np.ndarray, reference: np.ndarray, nearest_k: int) -> float:
    """By definition: strictly nearer to a generated image than its k-th neighbour, itself apart."""
    radii = [
        np.sort(np.delete(row, i))[nearest_k - 1]
        for i, row in enumerate(cdist(generated, generated))
    ]
    return float(np.mean([(row < radii).any() for row in cdist(reference, generated)]))


def test_recall_by_class_is_its_definition():
    """Of each class' images alone, whatever their numbers."""
    labels = repeat_classes([6, 7, 9, 12, 20, 30])
    comparison = compare(labels)
    found = evaluate(comparison, "class_recall")
    expected = [
        brute_force_recall(
            comparison.generated[labels == c], comparison.real.reference[12 * c : 12 * (c + 1)], 5
        )
        for c in range(6)
    ]
    assert in_order(found.classes["class_recall"]) == expected
    assert found.values == {"probe_accuracy": 1, "worst_class_recall": min(expected)}
    assert 0 < min(expected) < max(expected)


def test_a_generator_of_the_reference_itself_recalls_every_class():
    comparison = compare(repeat_classes([12] * 6))
    found = evaluate(replace(comparison, generated=comparison.real.reference), "class_recall")
    assert in_order(found.classes["class_recall"]) == [1] * 6


def test_a_lost_class_has_recall_zero():
    found = evaluate(compare(repeat_classes([20, 0, 20, 0, 20, 0])), "class_recall")
    assert in_order(found.classes["class_recall"])[1::2] == [0, 0, 0]
    assert found.values["worst_class_recall"] == 0


def test_a_class_of_nearest_k_images_has_recall_zero():
    """Five copies of real images have no fifth neighbour; six have one, and find themselves."""
    comparison = compare(repeat_classes([12] * 6))
    kept = np.concatenate([comparison.real.reference[:5], comparison.real.reference[12:18]])
    found = evaluate(replace(comparison, generated=kept), "class_recall")
    by_class = in_order(found.classes["class_recall"])
    assert by_class[0] == 0
    assert by_class[1] >= 6 / 12


def test_a_class_that_the_reference_lacks_has_no_recall():
    """There is nothing to recall, and the worst is among the others."""
    labels = repeat_classes([12] * 5)
    comparison = exchange(
        compare(repeat_classes([12] * 5)), reference=draw_features(labels), reference_labels=labels
    )
    found = evaluate(replace(comparison, generated=comparison.real.reference), "class_recall")
    assert found.classes["class_recall"] == dict.fromkeys(NAMES[:5], 1)
    assert found.values["worst_class_recall"] == 1


# All of them


@pytest.fixture
def overlapping() -> Comparison:
    """A conditional model's images that the probe often takes for others."""
    asked = repeat_classes([8, 9, 10, 11, 12, 13])
    return compare(np.roll(asked, 5), asked=asked, distance=2)


def test_the_order_of_the_images_does_not_matter(overlapping):
    """But for the rounding of sums; the resamples of standard errors neither."""
    rng = np.random.default_rng(0)
    shuffled = overlapping
    for name in ("generated", "reference", "train"):
        side = overlapping if name == "generated" else overlapping.real
        order = rng.permutation(len(getattr(side, name)))
        parts = {part: getattr(side, part)[order] for part in (name, f"{name}_labels")}
        shuffled = exchange(shuffled, **parts)
    before = evaluate(overlapping, *CLASSES, *ASKED, bootstrap=20)
    after = evaluate(shuffled, *CLASSES, *ASKED, bootstrap=20)
    assert after.values == pytest.approx(before.values, rel=1e-9)
    for name, numbers in before.classes.items():
        assert after.classes[name] == pytest.approx(numbers, rel=1e-9), name


def test_numbers_are_the_same_bits_every_time(overlapping):
    first, second = (
        evaluate(exchange(overlapping), *CLASSES, *ASKED, bootstrap=20) for _ in range(2)
    )
    assert first == second


def test_the_global_random_state_is_left_alone(overlapping):
    before = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    evaluate(overlapping, *CLASSES, *ASKED, bootstrap=20)
    after = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    assert after == before


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *[(name, part) for name in CLASSES for part in ("train", "train_labels")],
        *[(name, "reference_labels") for name in (*CLASSES, *ASKED)],
        *[("conditional_accuracy", part) for part in ("train", "generated_labels")],
        ("cas", "generated_labels"),
    ],
)
def test_what_a_metric_needs_is_asked_for(overlapping, name, part):
    """One line that names the metric."""
    with pytest.raises(
        ValueError, match=rf"metrics.names must not have '{name}' without .*; leave"
    ):
        evaluate(exchange(overlapping, **{part: None}), name)


def test_a_class_without_training_images_is_named(overlapping):
    real = overlapping.real
    comparison = exchange(overlapping, train=real.train[20:], train_labels=real.train_labels[20:])
    with pytest.raises(ValueError, match="must include every class, got none of ant;"):
        evaluate(comparison, "classes")


@pytest.mark.parametrize("part", ["generated_labels", "reference_labels"])
def test_labels_outside_the_classes_are_refused(overlapping, part):
    count = len(overlapping.generated if part == "generated_labels" else overlapping.real.reference)
    labels = np.full(count, 6)
    with pytest.raises(ValueError, match=rf"{part} must be in \[0, 6\), .*, got 6"):
        evaluate(exchange(overlapping, **{part: labels}), "classes")
