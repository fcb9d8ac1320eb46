"""Compare the time and memory of our metrics with clean-fid's, and time feature extraction.

    PYTHONPATH=. python benchmarks/metrics.py --num-images 5000 --dimensions 2048 --threads 2
    PYTHONPATH=. python benchmarks/metrics.py --skip-clean-fid --device cuda --json metrics.json
    PYTHONPATH=. python benchmarks/metrics.py --threads 1 --peers clean-fid torch-fidelity

On the same features of `--num-images` generated and as many reference images, the script times our
FID, KID on all images, precision, recall, density and coverage (model.metrics.table.measure), and
clean-fid's FID and KID (its functions of features, with the default of 100 subsets of 1000). It
then extracts features of a data set's images with EfficientNet-Lite0 in fp32 and in bf16, and
reports how bf16 changes the FID. Each part runs in a separate process, so each peak of resident
memory is that of one part. With --peers it only compares, metric by metric, our CPU time with that
of the named packages, by turns (benchmarks/metric_peers.py). Without it, if clean-fid is not
installed, the rest is measured. Other load on the machine makes all times except these ratios
worthless, so the load average is printed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.metric_peers import MODULES, compare_times, find_missing, print_ratios

OURS = ("fid", "kid", "precision", "recall", "density", "coverage")
PACKAGES = ("numpy", "scipy", "torch", "clean-fid", "torch-fidelity")
LEAST_SECONDS = 3.0
"""Feature extraction is repeated for at least this long, after one warm-up pass."""


def draw_features(num_images: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw generated and reference (N, D) float32 features, like those of a last ReLU layer.

    They are correlated through a spectrum that decays by a factor of 100, and slightly shifted.
    """
    rng = np.random.default_rng(0)
    spectrum = np.logspace(0, -2, dimensions, dtype=np.float32)[:, None]
    mix = spectrum * rng.normal(size=(dimensions, dimensions)).astype(np.float32)
    x, y = (
        rng.normal(size=(num_images, dimensions)).astype(np.float32) @ mix / np.float32(8)
        for _ in range(2)
    )
    return np.maximum(x + np.float32(0.05), 0), np.maximum(y, 0)


def peak_memory() -> int:
    """Peak resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time one call of `measure` with all of OURS."""
    from model.config import MetricsConfig
    from model.metrics.comparison import Comparison, RealFeatures
    from model.metrics.table import measure

    x, y = draw_features(arguments.num_images, arguments.dimensions)
    config = MetricsConfig(names=OURS, extractor="pixels")
    started = time.perf_counter()
    evaluation = measure(Comparison(generated=x, real=RealFeatures(reference=y)), config)
    seconds = time.perf_counter() - started
    values = {name.split("/")[0]: value for name, value in evaluation.values.items()}
    return {"seconds": seconds, "peak_bytes": peak_memory(), "values": values}


def measure_clean_fid(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time clean-fid's FID and KID; if that is impossible, `missing` says why."""
    try:
        from cleanfid.fid import frechet_distance, kernel_distance
    except ImportError as error:
        return {"missing": str(error)}
    x, y = draw_features(arguments.num_images, arguments.dimensions)
    np.random.seed(0)  # noqa: NPY002  # clean-fid draws its subsets from it
    started = time.perf_counter()
    moments = [moment for z in (x, y) for moment in (z.mean(axis=0), np.cov(z, rowvar=False))]
    try:
        fid = float(frechet_distance(*moments))
    except TypeError as error:  # SciPy 1.18 has no sqrtm(disp=)
        return {"missing": f"its frechet_distance fails with this SciPy: {error}"}
    fid_done = time.perf_counter()
    kid = kernel_distance(x, y)
    done = time.perf_counter()
    return {
        "seconds": done - started,
        "fid_seconds": fid_done - started,
        "kid_seconds": done - fid_done,
        "peak_bytes": peak_memory(),
        "values": {"fid": fid, "kid": kid},
    }


def measure_extraction(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the extraction of a data set's features in fp32 and bf16, and compare the features."""
    import torch

    from model.config import DataConfig, MetricsConfig
    from model.data.datasets import load_dataset
    from model.features.extractors import extract_features
    from model.metrics.distances import frechet_distance, gaussian_statistics

    torch.set_num_threads(arguments.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    size = 8 if arguments.dataset == "digits" else 32
    data = load_dataset(DataConfig(name=arguments.dataset, image_size=size))
    images = data.images[: arguments.extracted_images]
    half = len(images) // 2
    speeds, features, fids = {}, {}, {}
    for precision in ("fp32", "bf16"):
        config = MetricsConfig(precision=precision)

        def extract(config: MetricsConfig = config) -> np.ndarray:
            return extract_features(images, config, device=arguments.device)

        features[precision] = extract()
        speeds[precision] = len(images) / time_call(extract)
        statistics = [gaussian_statistics(x) for x in np.split(features[precision], [half])]
        fids[precision] = frechet_distance(*statistics)
    statistics = [gaussian_statistics(x) for x in features.values()]
    difference = np.linalg.norm(features["bf16"] - features["fp32"])
    return {
        "dataset": arguments.dataset,
        "num_images": len(images),
        "device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "cpu",
        "images_per_second": speeds,
        "fid_of_halves": fids,
        "fid_between_precisions": frechet_distance(*statistics),
        "relative_feature_error": float(difference / np.linalg.norm(features["fp32"])),
    }


def measure_peers(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare our times with those of --peers."""
    x, y = draw_features(arguments.num_images, arguments.dimensions)
    return compare_times(x, y, arguments.peers, rounds=arguments.rounds)


def time_call(call: Callable[[], object]) -> float:
    """Seconds of the fastest call within LEAST_SECONDS; its result must be on the CPU."""
    ends, best = time.perf_counter() + LEAST_SECONDS, float("inf")
    while True:
        started = time.perf_counter()
        call()
        done = time.perf_counter()
        best = min(best, done - started)
        if done >= ends:
            return best


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "ours": measure_ours,
    "clean-fid": measure_clean_fid,
    "extraction": measure_extraction,
    "peers": measure_peers,
}


def run_part(part: str, threads: int) -> dict[str, Any]:
    """Run one part of this script in a separate process, with the same command line."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(variables, str(threads))
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-images", type=int, default=5000, help="images per set of features")
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file of the result")
    parser.add_argument("--skip-clean-fid", action="store_true")
    parser.add_argument("--skip-extraction", action="store_true")
    parser.add_argument("--device", default="cpu", help="device of the extraction: cpu or cuda")
    parser.add_argument("--dataset", default="digits", choices=("digits", "flower-crops"))
    parser.add_argument("--extracted-images", type=int, default=1024, help="maximum number")
    parser.add_argument(
        "--peers", nargs="+", choices=MODULES, default=[], help="packages to compare with"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of --peers")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if missing := find_missing(arguments.peers):
        parser.error(f"--peers must be installed, got {missing[0]}; uv pip install {missing[0]}")
    return arguments


def find_versions() -> dict[str, str | None]:
    """Versions of the packages that affect the numbers; None if a package is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def print_distances(results: dict[str, dict[str, Any]]) -> None:
    """Print our seconds and memory, clean-fid's, and the ratio of times."""
    ours, theirs = results["ours"], results.get("clean-fid", {"missing": "--skip-clean-fid"})
    print(f"ours, {', '.join(OURS)}: {ours['seconds']:.2f} s, {ours['peak_bytes'] / 2**30:.2f} GiB")
    if "missing" in theirs:
        print(f"clean-fid was not measured: {theirs['missing']}")
        return
    print(
        f"clean-fid, fid, kid: {theirs['seconds']:.2f} s ({theirs['fid_seconds']:.2f} + "
        f"{theirs['kid_seconds']:.2f}), {theirs['peak_bytes'] / 2**30:.2f} GiB"
    )
    print(f"clean-fid takes {theirs['seconds'] / ours['seconds']:.1f} times as long")
    for name, value in theirs["values"].items():
        print(f"{name}: {ours['values'][name]:.9g}, clean-fid {value:.9g}")


def print_extraction(numbers: dict[str, Any]) -> None:
    """Print the images per second in both precisions, and the effect of bf16."""
    speeds, fids = numbers["images_per_second"], numbers["fid_of_halves"]
    images = f"{numbers['num_images']} of {numbers['dataset']}"
    print(f"efficientnet-lite0 on {numbers['device']}, {images}:")
    for precision, speed in speeds.items():
        print(f"  {precision}: {speed:.1f} images/s, FID of two halves {fids[precision]:.6g}")
    print(
        f"  bf16 / fp32: {speeds['bf16'] / speeds['fp32']:.2f} times the speed, FID changes by "
        f"{fids['bf16'] / fids['fp32'] - 1:+.2e}, features by "
        f"{numbers['relative_feature_error']:.1e}; FID between both "
        f"{numbers['fid_between_precisions']:.3g}"
    )


def main() -> int:
    """Run all parts, print and write."""
    arguments = parse_arguments()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments)))
        return 0
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    versions = find_versions()
    print(
        f"{arguments.num_images} and {arguments.num_images} x {arguments.dimensions} float32, "
        f"{arguments.threads} threads, load average {load}, {versions}"
    )
    skipped = {"clean-fid": arguments.skip_clean_fid, "extraction": arguments.skip_extraction}
    if arguments.peers:
        parts = ["peers"]
    else:
        parts = [part for part in PARTS if part != "peers" and not skipped.get(part)]
    results = {part: run_part(part, arguments.threads) for part in parts}
    if "peers" in results:
        print_ratios(results["peers"])
    if "ours" in results:
        print_distances(results)
    if "extraction" in results:
        print_extraction(results["extraction"])
    if arguments.json:
        header = {
            "date": datetime.now(UTC).date().isoformat(),
            "threads": arguments.threads,
            "num_images": arguments.num_images,
            "dimensions": arguments.dimensions,
            "load_average": load,
            "versions": versions,
        }
        arguments.json.write_text(json.dumps(header | results, indent=1) + "\n")
        print(f"written to {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
