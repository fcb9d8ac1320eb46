"""Facts of the metrics of images that were asked to be of a class, against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from class_comparison import compare, evaluate, exchange, in_order, repeat_classes

# Classes that were asked for


def test_kid_and_recall_by_class_take_the_classes_asked_for():
    """Asked for a bee, made an ant: the bees are bad, and no probe is asked."""
    asked = repeat_classes([12] * 6)
    found = evaluate(
        compare(np.where(asked == 1, 0, asked), asked=asked), "class_kid", "class_recall"
    )
    by_class = found.classes["class_kid"]
    assert by_class["bee"] > 100 * np.abs(by_class["ant"])
    assert found.classes["class_recall"]["bee"] == 0
    assert "probe_accuracy" not in found.values


def test_conditional_accuracy_is_the_share_made_as_asked():
    """3 of 12 bees asked for are ants instead: 69 of 72, and 3 quarters of the bees."""
    asked = repeat_classes([12] * 6)
    made = asked.copy()
    made[12:15] = 0
    found = evaluate(compare(made, asked=asked), "conditional_accuracy")
    assert found.values == {"probe_accuracy": 1, "conditional_accuracy": 69 / 72}
    assert in_order(found.classes["class_accuracy"]) == [1, 0.75, 1, 1, 1, 1]


def test_classes_never_asked_for_have_no_accuracy():
    asked = repeat_classes([12, 12])
    found = evaluate(compare(asked, asked=asked), "conditional_accuracy")
    assert found.classes["class_accuracy"] == {"ant": 1, "bee": 1}


def test_the_standard_error_of_conditional_accuracy_is_the_binomial_one():
    """270 of 300 are right; 2000 draws tell the error to 2%."""
    asked = repeat_classes([50] * 6)
    made = asked.copy()
    made[50:80] = 0
    values = evaluate(compare(made, asked=asked), "conditional_accuracy", bootstrap=2000).values
    assert values["conditional_accuracy_se"] == pytest.approx(np.sqrt(0.9 * 0.1 / 300), rel=0.08)


# Classification accuracy score


def test_the_score_of_real_images_is_their_own_probes_accuracy():
    """Generated images equal to the training images: cas is cas_real is probe_accuracy."""
    comparison = compare(repeat_classes([20] * 6), distance=2)
    real = comparison.real
    comparison = replace(comparison, generated=real.train, generated_labels=real.train_labels)
    found = evaluate(comparison, "cas", "classes")
    values = found.values
    assert values["cas"] == values["cas_real"] == values["probe_accuracy"]
    assert found.classes["class_cas"] == found.classes["probe_recall"]
    assert 0.5 < values["cas"] < 1


def test_the_score_of_shuffled_labels_is_chance():
    """1 in 6, within 4 binomial errors of 72 images."""
    labels = repeat_classes([100] * 6)
    asked = np.random.default_rng(0).permutation(labels)
    values = evaluate(compare(labels, asked=asked, distance=1), "cas").values
    assert abs(values["cas"] - 1 / 6) < 4 * np.sqrt(1 / 6 * 5 / 6 / 72)


def test_the_score_of_classes_renamed_in_a_circle_is_zero():
    """What is called a bee is an ant, and so on: a probe of these is always wrong."""
    labels = repeat_classes([20] * 6)
    values = evaluate(compare(labels, asked=(labels + 1) % 6), "cas").values
    assert values["cas"] == 0


def test_classes_never_asked_for_score_zero():
    """Half of the reference's classes: a score of one half."""
    labels = repeat_classes([0, 20, 0, 20, 0, 20])
    found = evaluate(compare(labels, asked=labels), "cas")
    assert in_order(found.classes["class_cas"]) == [0, 1, 0, 1, 0, 1]
    assert found.values["cas"] == 0.5


def test_the_score_needs_no_training_images():
    """Then there is no ceiling beside it."""
    labels = repeat_classes([20] * 6)
    comparison = exchange(compare(labels, asked=labels), train=None)
    assert evaluate(comparison, "cas").values == {"cas": 1}


def test_the_standard_error_of_the_score_is_the_binomial_one():
    """Half of the 72 reference images are right; 2000 draws tell the error to 2%."""
    labels = repeat_classes([0, 20, 0, 20, 0, 20])
    values = evaluate(compare(labels, asked=labels), "cas", bootstrap=2000).values
    assert values["cas_se"] == pytest.approx(np.sqrt(0.5 * 0.5 / 72), rel=0.08)


def test_a_classifier_of_images_of_one_class_always_says_it():
    """So that the score is that class's share of the reference: 12 of 72 images."""
    labels = np.zeros(20, dtype=np.int64)
    values = evaluate(compare(labels, asked=labels), "cas").values
    assert values["cas"] == pytest.approx(12 / 72)
