"""How many times as long as ours the metrics of other programs take, on the same features.

benchmarks/metrics.py runs it with --peers. The programs take turns, each round gives one ratio of
CPU seconds, and the result is their median. So other load on the machine changes the ratios little.
"""

import importlib.util
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

MODULES = {"clean-fid": "cleanfid.fid", "torch-fidelity": "torch_fidelity"}
"""Modules of the packages that can be compared with."""
NEAREST_K = 3
"""Neighbours of precision and recall: torch-fidelity's default."""

Work = Callable[[np.ndarray, np.ndarray], dict[str, float]]
"""Numbers of (N, D) generated and (M, D) reference features."""


def find_missing(peers: list[str]) -> list[str]:
    """The packages that are not installed."""
    return [
        peer for peer in peers if importlib.util.find_spec(MODULES[peer].partition(".")[0]) is None
    ]


def ours(*names: str) -> Work:
    """Our metrics of these names, as an evaluation computes them."""
    from model.config import MetricsConfig
    from model.metrics.comparison import Comparison, RealFeatures
    from model.metrics.table import measure

    config = MetricsConfig(names=names, extractor="pixels", nearest_k=NEAREST_K)

    def compute(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        values = measure(Comparison(generated=x, real=RealFeatures(reference=y)), config).values
        return {name: values[f"{name}/pixels"] for name in names}

    return compute


def clean_fid(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """clean-fid's FID."""
    from cleanfid.fid import frechet_distance

    moments = [moment for z in (x, y) for moment in (z.mean(axis=0), np.cov(z, rowvar=False))]
    with warnings.catch_warnings():  # SciPy 1.17 warns of sqrtm(disp=)
        warnings.simplefilter("ignore", DeprecationWarning)
        return {"fid": float(frechet_distance(*moments))}


def clean_kid(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """clean-fid's KID of one subset of all images."""
    from cleanfid.fid import kernel_distance

    return {"kid": float(kernel_distance(x, y, num_subsets=1, max_subset_size=len(x)))}


def fidelity_fid(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """torch-fidelity's FID."""
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)]
    return {"fid": fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]}


def fidelity_kid(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """torch-fidelity's KID of one subset of all images."""
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    kernel = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_coef0": 1}
    found = kid_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        kid_subsets=1,
        kid_subset_size=len(x),
        kid_kernel_poly_gamma=None,
        rng_seed=0,
        verbose=False,
        **kernel,
    )
    return {"kid": found["kernel_inception_distance_mean"]}


def fidelity_precision_recall(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """torch-fidelity's precision and recall."""
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        prc_neighborhood=NEAREST_K,
        prc_batch_size=10000,
        save_cpu_ram=False,
        verbose=False,
    )
    return {name: found[name] for name in ("precision", "recall")}


PEERS: dict[str, dict[str, Work]] = {
    "fid": {"clean-fid": clean_fid, "torch-fidelity": fidelity_fid},
    "kid": {"clean-fid": clean_kid, "torch-fidelity": fidelity_kid},
    "precision recall": {"torch-fidelity": fidelity_precision_recall},
}
"""Metrics of one call, and who computes them."""


def compare_times(
    x: np.ndarray, y: np.ndarray, peers: list[str], *, rounds: int
) -> dict[str, dict[str, Any]]:
    """Time our metrics and the peers', by turns.

    Returns:
        By metrics and program: the median of the CPU seconds, the median of their ratios to ours,
        and the values.
    """
    results: dict[str, dict[str, Any]] = {}
    for metrics, works in PEERS.items():
        chosen = {"ours": ours(*metrics.split())}
        chosen |= {peer: works[peer] for peer in peers if peer in works}
        seconds: dict[str, list[float]] = {program: [] for program in chosen}
        values = {}
        for work in chosen.values():  # import and prepare what is not timed
            work(x[:64, :16], y[:64, :16])
        for _ in range(rounds):
            for program, work in chosen.items():
                started = time.process_time()
                values[program] = work(x, y)
                seconds[program].append(time.process_time() - started)
        results[metrics] = {
            program: {
                "cpu_seconds": median(times),
                "ratio": median(b / a for a, b in zip(seconds["ours"], times, strict=True)),
                "values": values[program],
            }
            for program, times in seconds.items()
        }
    return results


def print_ratios(results: dict[str, dict[str, Any]]) -> None:
    """Print one line per metric and program."""
    for metrics, programs in results.items():
        for program, found in programs.items():
            values = ", ".join(f"{name} {value:.9g}" for name, value in found["values"].items())
            print(
                f"{metrics}, {program}: {found['cpu_seconds']:.2f} s of CPU, "
                f"{found['ratio']:.2f} times ours ({values})"
            )
