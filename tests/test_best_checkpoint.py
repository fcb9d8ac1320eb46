"""Facts of choosing weights by their images: a conditional model is asked for the same classes."""

from dataclasses import replace

import numpy as np
import pytest
from every_family import fit_family
from tiny_training import MODEL, SEED, draw_pool, make_job, make_train, new_stream

from model.best_checkpoint import validation_score
from model.checkpoint import Checkpoint
from model.config import MetricsConfig, SampleConfig
from model.metrics.table import RealImages, evaluate_images
from model.randomness import Purpose

SAMPLER = SampleConfig(steps=3)
METRICS = MetricsConfig(names=("kid",), extractor="pixels")
LABELS = np.array([2, 0, 2, 2, 1, 0, 1, 2])


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    model = replace(MODEL, conditional=True)
    job = make_job(make_train(), model=model, num_steps=20, num_classes=3)
    return fit_family(draw_pool(), np.arange(32) % 3, job).checkpoint


def test_conditional_score_is_the_kid_of_images_of_the_validation_images_classes(
    checkpoint: Checkpoint,
) -> None:
    """With noise of its own purpose."""
    validation = draw_pool(len(LABELS))
    score = validation_score(validation, SAMPLER, METRICS, seed=SEED, labels=LABELS)
    drawn = new_stream(checkpoint, SAMPLER, purpose=Purpose.VALIDATION).labelled(LABELS)
    found = evaluate_images(drawn, RealImages(reference=validation), METRICS)
    assert score(checkpoint) == found.values["kid/pixels"]


def test_conditional_score_needs_the_classes(checkpoint: Checkpoint) -> None:
    score = validation_score(draw_pool(8), SAMPLER, METRICS, seed=SEED)
    with pytest.raises(ValueError, match=r"^labels must be \(128,\) int64 for a conditional"):
        score(checkpoint)
