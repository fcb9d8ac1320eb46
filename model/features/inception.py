"""The Inception-v3 of FID: clean-fid's resizer and network, and the download of its weights.

Parmar et al., arXiv:2104.11222: Pillow's bicubic filter on float channels, then the TorchScript
file that StyleGAN2-ADA published. torch and cleanfid are imported inside the functions.
"""

import importlib
import os
import tempfile
import warnings
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.errors import MissingFileError, UsageError, check_sha256, one_line

if TYPE_CHECKING:
    from torch import Tensor

INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""Digest of the published file; k-diffusion pins the same one (k_diffusion/evaluation.py)."""
INCEPTION_SIZE = 299
"""Side in pixels of the network's input."""


def resize_clean(images: "Tensor") -> "Tensor":
    """Resize as clean-fid does, each image and channel separately, on the CPU.

    Args:
        images: (B, 3, H, W) float32 in [0, 1].

    Returns:
        (B, 3, 299, 299) float32 in [0, 255], on the device of `images`.
    """
    import torch

    resize = _cleanfid("resize").build_resizer("clean")
    pixels = (images * 255).permute(0, 2, 3, 1).cpu().numpy()
    with warnings.catch_warnings():
        # clean-fid passes the mode of its float channels, which Pillow 11.3 and 12 deprecate.
        warnings.filterwarnings("ignore", "'mode' parameter is deprecated", DeprecationWarning)
        resized = np.stack([resize(image) for image in pixels])
    return torch.from_numpy(resized).permute(0, 3, 1, 2).contiguous().to(images.device)


def load_inception(
    weights: str | None, sha256: str | None, device: str
) -> Callable[["Tensor"], "Tensor"]:
    """Load the network, which maps (B, 3, 299, 299) float32 in [0, 255] to (B, 2048).

    Args:
        weights: File of the weights; None takes the published ones from the user's cache folder,
            where they are downloaded once.
        sha256: Expected digest of the file, verified before the file is parsed.
        device: Where the network runs.

    Raises:
        UsageError: The checksum differs, the file holds another network, or clean-fid is not
            installed.
        FileNotFoundError: The weights do not exist and cannot be downloaded.
    """
    import torch

    wrapper = _cleanfid("inception_torchscript").InceptionV3W
    path = ensure_published() if weights is None else Path(weights).expanduser()
    data = path.read_bytes()
    way_out = "delete it" if weights is None else "do not change it while it is in use"
    check_sha256(data, sha256, name=str(path), way_out=way_out)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The wrapper takes a folder and expects a fixed file name in it. Writing the verified
        # bytes there ensures that nothing else is loaded.
        (Path(folder) / INCEPTION_FILE).write_bytes(data)
        # torch deprecates TorchScript, but the published network is in this format.
        warnings.filterwarnings("ignore", "`torch.jit.load` is")
        try:
            network = wrapper(folder, download=False).to(device).eval().requires_grad_(False)
            with torch.inference_mode(), torch.jit.optimized_execution(False):
                network(torch.zeros(1, 3, INCEPTION_SIZE, INCEPTION_SIZE, device=device))
        except (RuntimeError, AttributeError) as error:
            raise UsageError(
                "metrics.weights must be a TorchScript Inception (its `layers` give 2048 numbers), "
                f"got {str(path)!r} ({last_sentence(error)}); leave metrics.weights out for the "
                "published one"
            ) from None

    def extract(images: "Tensor") -> "Tensor":
        # The optimiser rewrites the graph after some calls, so a row would depend on the call.
        with torch.jit.optimized_execution(False):
            return network(images)

    return extract


def cached_path() -> Path:
    """Path of the published weights in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "collapse-sweep" / INCEPTION_FILE


def ensure_published() -> Path:
    """The cached file of the published weights, downloaded if it does not exist.

    A verified download is renamed into place, so that no other process sees part of it.

    Raises:
        FileNotFoundError: It cannot be downloaded.
        UsageError: The download has another checksum.
    """
    path = cached_path()
    if path.exists():
        return path
    download = _cleanfid("downloads_helper").check_download_inception
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="download-") as folder:
            file = Path(download(folder))
            way_out = "pass --metrics.weights PATH of the published file"
            check_sha256(file.read_bytes(), INCEPTION_SHA256, name="the download", way_out=way_out)
            file.replace(path)
    except (OSError, HTTPException) as error:
        raise MissingFileError(
            f"metrics.weights must be a file if {INCEPTION_FILE} cannot be downloaded, got None "
            f"and {type(error).__name__} ({one_line(error)}); pass --metrics.weights PATH, or use "
            "metrics.extractor efficientnet-lite0, which works offline"
        ) from None
    return path


def last_sentence(error: Exception) -> str:
    """The message of a TorchScript error: the last line, which follows a trace of its code."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].split(". ")[0]


def _cleanfid(module: str) -> Any:
    """Import a module of clean-fid; raises UsageError if it is not installed."""
    try:
        return importlib.import_module(f"cleanfid.{module}")
    except ModuleNotFoundError:
        raise UsageError(
            "metrics.extractor inception needs the package clean-fid; install collapse-sweep[all]"
        ) from None
