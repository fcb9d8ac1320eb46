"""The table of an evaluation's numbers."""

from model.commands.evaluate import table_lines
from model.metrics.table import Evaluation


def test_a_standard_error_without_its_metric_keeps_its_row():
    """Where the metric itself was left out for not being finite."""
    found = Evaluation(values={"kid_se/pixels": 0.5}, warnings=[], num_images=2, num_reference=3)
    assert table_lines(found)[1].split() == ["kid_se/pixels", "0.5", "-", "2", "3"]


def test_training_images_are_told_where_they_are_used():
    """Kid and pixel_mean know no training images."""
    found = Evaluation(
        values={"pixel_mean": 0.5, "kid/pixels": 0.5, "memorized/pixels": 0.25},
        warnings=[],
        num_images=20,
        num_reference=30,
        num_train=1234,
    )
    head, *rows = [line.split() for line in table_lines(found)]
    assert head[-1] == "train"
    assert [row[-1] for row in rows] == ["-", "-", "1,234"]


def test_classes_are_a_second_table_in_their_order():
    """Classes by metrics, a class without a number of one has a dash, without any no row."""
    found = Evaluation(
        values={"kid/pixels": 0.5},
        classes={
            "class_share/pixels": {"b": 0.25, "a": 0.75},
            "class_kid/pixels": {"a": 0.125},
            "class_recall/pixels": {},
        },
        warnings=[],
        num_images=20,
        num_reference=30,
    )
    lines = table_lines(found, ("b", "never", "a"))
    assert lines[2] == ""
    assert [line.split() for line in lines[3:]] == [
        ["class", "class_share/pixels", "class_kid/pixels"],
        ["b", "0.25", "-"],
        ["a", "0.75", "0.125"],
    ]
