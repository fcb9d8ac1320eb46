"""One known error at a time in the ledger of real lineages: it is in its own row, in no other one.

Neighbouring arms differ in the sampler, in the number of images, in what fits them, in clipping and
in rounding. All differences but one are too small to be seen. Pixels are independent and have two
values each, as many grey levels above the middle of the range as below.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from tiny_sweep import finish, folder_in_memory, make_lineage, make_sweep

from analysis.reading.results import load_results
from analysis.tables.ledger import Step, build_ledger
from model.commands.plugins import load_plugins
from model.config import ModelConfig, SampleConfig
from model.features.principal import HEAD_SHARE, MIDDLE_SHARE
from model.networks.sampler_gain import sampler_gain
from sweep.planning.plugins import TABLES

SEEDS = 10
NUM_TRAIN, NUM_REFERENCE = 1500, 1000
ENOUGH, FEW = 1000, 3
LEARNED = 0.8
"""Share of the variance that a badly trained network has learned."""
FAMILIES = f'''"""Stand-ins for networks that have learned a share of the variance."""
from dataclasses import replace

from model.exact.family import describe_gaussian
from model.families import exact_family
from model.family_facts import FAMILY_FACTS as KNOWN


def learned(share):
    def describe(rows):
        known = describe_gaussian(rows)
        return {{**known, "factor": known["factor"] * share**0.5}}

    return exact_family(describe)


facts = replace(KNOWN["exact-gaussian"], version="1")
FAMILY_FACTS = {{"trained": facts, "untrained": facts}}
FAMILIES = {{"trained": learned(1.0), "untrained": learned({LEARNED})}}
'''
FINE, COARSE = ("edm", 60), ("ddim", 5)
"""Processes and steps of samplers."""
SMALL = 0.001
"""More than the errors that stay: of fine steps, of many images, and of rounding, which adds a
twelfth of a grey level's square."""
BANDS = ("head", "middle", "tail")
TERMS = ("sampler", "finite sample", "approximation", "clipping", "rounding")


def grey_levels(head: float, middle: float, tail: float) -> np.ndarray:
    """(16,) grey levels between a pixel's values and their mean."""
    return np.repeat([head, middle, tail], [4, 8, 4])


LEVELS = {
    "clipping": grey_levels(124.5, 70.5, 49.5),
    "rounding": grey_levels(4.5, 2.5, 1.5),
}
"""Of pixels that come near the ends of the range, or that have few grey levels."""
USUAL = grey_levels(28.5, 15.5, 11.5)


def write_images(folder: Path, levels: np.ndarray) -> None:
    """The same images as 8-bit numbers and as floats."""
    shape = (NUM_TRAIN + NUM_REFERENCE, 1, 4, 4)
    signs = np.random.default_rng(0).choice([-1, 1], shape)
    images = 127.5 + levels.reshape(1, 1, 4, 4) * signs
    np.savez(folder / "bytes.npz", images=images.astype(np.uint8))
    np.savez(folder / "floats.npz", images=(images / 255).astype(np.float32))


def arms(folder: Path, error: str) -> dict[str, dict[str, object]]:
    """The settings of each arm, by the name of its term."""
    process, steps = COARSE if error == "sampler" else FINE
    settings: dict[str, object] = {
        "data.path": str(folder / "floats.npz"),
        "data.dtype": "float32",
        "data.float_range": "any",
        "model.family": "exact-gaussian",
        "model.process": process,
        "sample.steps": steps,
        "pool.initial_images": NUM_TRAIN,
    }
    changes: tuple[dict[str, object], ...] = (
        {},
        {"pool.initial_images": FEW if error == "finite sample" else ENOUGH},
        {"model.family": "untrained" if error == "approximation" else "trained"},
        {"data.float_range": "unit"},
        {
            "data.path": str(folder / "bytes.npz"),
            "data.dtype": "uint8",
            "data.float_range": "any",
        },
    )
    found = {}
    for term, change in zip(TERMS, changes, strict=True):
        settings = settings | change
        found[term] = settings
    return found


def measure(folder: Path, error: str) -> pd.DataFrame:
    """Mean and half-width of the 99.9 % interval of V_1's terms, by term and band."""
    write_images(folder, LEVELS.get(error, USUAL))
    (folder / "stand_ins.py").write_text(FAMILIES)
    load_plugins([str(folder / "stand_ins.py")], TABLES)
    base = {
        "generations": 1,
        "data.name": "npz",
        "data.image_size": 4,
        "data.reference_fraction": NUM_REFERENCE / (NUM_TRAIN + NUM_REFERENCE),
        "data.train_limit": None,
        "metrics.names": ["gain"],
        "metrics.num_images": 500,
    }
    settings = arms(folder, error)
    grids = tuple(
        {name: [value] for name, value in {**own, "seed": n, "data.split_seed": n}.items()}
        for own in settings.values()
        for n in range(SEEDS)
    )
    first = base | settings["sampler"]
    frame = load_results([finish(folder / "run", make_sweep(grids, make_lineage(first)))])
    varying = [name for name in settings["sampler"] if name in frame]
    steps = [
        Step(term, tuple(f"{name}={own[name]}" for name in varying))
        for term, own in settings.items()
    ]
    tables = build_ledger(frame, [f"gain_{band}" for band in BANDS], steps, confidence=0.999)
    parts = [table.summary.assign(band=b) for b, table in zip(BANDS, tables, strict=True)]
    return pd.concat(parts).set_index(["term", "band"])[["mean", "half_width"]].astype(float)


def by_band(variances: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Sums of (16,) variances over the bands, over those of real images."""
    explained = np.cumsum(real) / real.sum()
    stops = [int(np.searchsorted(explained, share)) + 1 for share in (HEAD_SHARE, MIDDLE_SHARE)]
    pairs = zip(np.split(variances, stops), np.split(real, stops), strict=True)
    return np.array([own.sum() / known.sum() for own, known in pairs])


def sampled(real: np.ndarray) -> np.ndarray:
    process, steps = COARSE
    model = ModelConfig(family="exact-gaussian", process=process)
    return real * sampler_gain(real / real.mean(), model, SampleConfig(steps=steps))


def on_values(real: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Variances of normal numbers around 0 that are replaced by the value between two edges."""
    shares = np.diff(norm.cdf(edges / np.sqrt(real)[:, None]), axis=1)
    return shares @ values**2


def clipped(real: np.ndarray) -> np.ndarray:
    """Of normal numbers that are clipped to 127.5 grey levels above and below their mean."""
    edges = np.linspace(-127.5, 127.5, 100_001)
    values = np.concatenate([[-127.5], (edges[1:] + edges[:-1]) / 2, [127.5]])
    return on_values(real, values, np.concatenate([[-np.inf], edges, [np.inf]]))


def rounded(real: np.ndarray) -> np.ndarray:
    """Of normal numbers whose mean is half way between two grey levels."""
    edges = np.arange(-127.0, 128.0)
    values = np.concatenate([edges - 0.5, [127.5]])
    return on_values(real, values, np.concatenate([[-np.inf], edges, [np.inf]]))


def expected(error: str) -> np.ndarray:
    """The term of an error by band."""
    real = LEVELS.get(error, USUAL) ** 2
    after = {
        "sampler": sampled(real),
        "finite sample": real * (1 - 1 / FEW),
        "approximation": real * LEARNED,
        "clipping": clipped(real),
        "rounding": rounded(real),
    }
    return by_band(after[error], real) - 1


@pytest.mark.slow
@pytest.mark.usefixtures("plugins_forgotten")
@pytest.mark.parametrize("error", TERMS)
def test_one_error_is_found_in_its_own_row(error: str) -> None:
    """Its interval has the closed form and, in some band, not 0; those of all others have 0."""
    with folder_in_memory() as folder:
        terms = measure(folder, error)
    means, most = terms["mean"], terms["half_width"] + SMALL
    assert (np.abs(means.loc[error] - expected(error)) < most.loc[error]).all()
    assert (np.abs(means.loc[error]) > most.loc[error]).any()
    for other in set(TERMS) - {error}:
        assert (np.abs(means.loc[other]) < most.loc[other]).all(), other
    sums = np.sum([means.loc[term] for term in TERMS], axis=0)
    np.testing.assert_allclose(sums, means.loc["total"], rtol=1e-9)
