"""Terms of the error ledger of real lineages, against closed forms: each error is in its own row.

Pixels are independent and take two values, 0.5 - a and 0.5 + a, so that they lie in [0, 1], while
samples of their Gaussian do not.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from tiny_sweep import finish, make_lineage, make_sweep

from analysis.reading.results import load_results
from analysis.tables.ledger import Step, build_ledger
from model.config import ModelConfig, SampleConfig
from model.features.principal import HEAD_SHARE, MIDDLE_SHARE
from model.networks.sampler_gain import sampler_gain

SPREAD = np.linspace(0.49, 0.1, 16)
NUM_TRAIN = 6000
SEEDS = [0, 1, 2]
FINE, COARSE = 100, 5
BANDS = ("head", "middle", "tail")


def write_two_valued(path: Path) -> Path:
    """Images of 4x4 pixels, half as many for the reference as for training."""
    signs = np.random.default_rng(0).choice([-1, 1], (3 * NUM_TRAIN // 2, 1, 4, 4))
    np.savez(path, images=(0.5 + SPREAD.reshape(1, 1, 4, 4) * signs).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def terms(tmp_path_factory) -> dict[str, tuple[float, float, float]]:
    """The mean over seeds of each term of V_1, by band."""
    folder = tmp_path_factory.mktemp("ledger")
    changes = {
        "generations": 1,
        "data.name": "npz",
        "data.path": str(write_two_valued(folder / "images.npz")),
        "data.dtype": "float32",
        "data.image_size": 4,
        "data.reference_fraction": 1 / 3,
        "data.train_limit": None,
        "model.family": "exact-gaussian",
        "model.max_signal_rate": 0.999,
        "metrics.names": ["gain"],
        "metrics.num_images": NUM_TRAIN,
    }
    grids = (
        {"data.float_range": ["any"], "sample.steps": [FINE, COARSE], "seed": SEEDS},
        {"data.float_range": ["unit"], "sample.steps": [COARSE], "seed": SEEDS},
    )
    frame = load_results([finish(folder / "run", make_sweep(grids, make_lineage(changes)))])
    steps = (
        Step("fit", (f"steps={FINE}",)),
        Step("sampler", (f"steps={COARSE}", "float_range=any")),
        Step("clipping", ("float_range=unit",)),
    )
    metrics = [f"gain_{band}" for band in BANDS]
    summaries = [
        table.summary.set_index("term")["mean"].astype(float)
        for table in build_ledger(frame, metrics, steps, confidence=0.95)
    ]
    return {name: tuple(each[name] for each in summaries) for name in summaries[0].index}


def by_band(variances: np.ndarray) -> np.ndarray:
    """Sums of (16,) variances over the bands, over those of real images."""
    real = SPREAD**2
    explained = np.cumsum(real) / real.sum()
    stops = [int(np.searchsorted(explained, share)) + 1 for share in (HEAD_SHARE, MIDDLE_SHARE)]
    pairs = zip(np.split(variances, stops), np.split(real, stops), strict=True)
    return np.array([own.sum() / known.sum() for own, known in pairs])


def sampled(steps: int) -> np.ndarray:
    """(16,) variances of the samples of a Gaussian with the pixels' variances."""
    model = ModelConfig(family="exact-gaussian", max_signal_rate=0.999)
    real = SPREAD**2
    return real * sampler_gain(real / real.mean(), model, SampleConfig(steps=steps))


def clipped(variances: np.ndarray) -> np.ndarray:
    """Variances of normal numbers around 0.5 after they are clipped to [0, 1].

    With b = 0.5 / deviation, E[x^2; |x| < b] = 1 - 2 q(b) - 2 b p(b) for the density p and the tail
    q of a standard normal x, and each tail adds b^2.
    """
    b = 0.5 / np.sqrt(variances)
    inside = 1 - 2 * norm.sf(b) - 2 * b * norm.pdf(b)
    return variances * (inside + 2 * b**2 * norm.sf(b))


# The deviation of a mean over three seeds of a band's gain is at most 1 %: that of one direction's
# variance among 6,000 samples is 1.8 %, and the reference of 3,000 images is common to all arms.
CLOSE = 0.03


@pytest.mark.slow
def test_the_sampler_and_clipping_are_found_in_their_own_rows(terms) -> None:
    fine, coarse = by_band(sampled(FINE)), by_band(sampled(COARSE))
    after = by_band(clipped(sampled(COARSE)))
    assert terms["fit"] == pytest.approx(fine - 1, abs=CLOSE)
    assert terms["sampler"] == pytest.approx(coarse - fine, abs=CLOSE)
    assert terms["clipping"] == pytest.approx(after - coarse, abs=CLOSE)
    # Each of the two errors is much larger than what is allowed.
    assert np.abs(coarse - fine).min() > 3 * CLOSE
    assert np.abs(after - coarse)[0] > 3 * CLOSE


@pytest.mark.slow
def test_terms_of_real_lineages_add_up(terms) -> None:
    parts = np.sum([terms[name] for name in ("fit", "sampler", "clipping")], axis=0)
    np.testing.assert_allclose(parts, terms["total"], rtol=1e-12)
