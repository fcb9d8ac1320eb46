"""Small results folders for the tests of analysis, written with sweep.records' own dataclasses."""

import hashlib
import io
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from sweep.files import digest, dump_json, write_bytes
from sweep.records import (
    DatasetCard,
    LineageRecord,
    MetricsRecord,
    NodeRecord,
    SweepRecord,
)
from sweep.sealed import CHECKSUM
from sweep.specifications import spec_name

IMAGE_SIZE = 8
EXTRACTOR = "pixels"
SPEC = spec_name({"names": ["kid"]})
NUM_REAL = 100

Tiles = Callable[[int, float, int], np.ndarray]


def write_folder(
    out: Path,
    *,
    alphas: tuple[float | None, ...] = (0.5, 1.0),
    epochs: tuple[int, ...] = (40,),
    seeds: tuple[int, ...] = (0, 1, 2),
    splits: tuple[int, ...] = (),
    generations: int = 3,
    value: Callable[[float, int, int], float] = lambda alpha, seed, n: n + 0.1 * seed,
    extractor: str = EXTRACTOR,
    num_generated: int = 20,
    num_reference: int = 20,
    diverged: tuple[tuple[float, int, int], ...] = (),
    pending: tuple[tuple[float, int, int], ...] = (),
    tiles: Tiles | None = None,
    settings: dict | None = None,
    warnings: list[str] | None = None,
    classes: tuple[str, ...] = (),
) -> Path:
    """Write a results folder of the grow rule.

    Args:
        out: The folder.
        alphas: Values of pool.alpha.
        epochs: Values of train.epochs.
        seeds: Values of seed.
        splits: Values of data.split_seed, each of which adds a tenth of it to kid; without any,
            the records do not know it.
        generations: Length of every lineage.
        value: kid of (alpha, seed, generation).
        extractor: Feature extractor in the metrics' names.
        num_generated: Generated images measured.
        num_reference: Reference images measured against.
        diverged: (alpha, seed, generation) of the nodes that diverged; what follows is not there.
        pending: (alpha, seed, generation) of the first node of a lineage not computed yet.
        tiles: (64, S, S, C) uint8 preview images of (generation, alpha, seed); 0 is the real data.
        settings: More settings, nested, the same for every lineage.
        warnings: The metrics' warnings.
        classes: Class names. The shares of classes rise in proportion to 1, 2, 3 and so on.
    """
    tiles = tiles or flat_tiles
    axes = {"pool.alpha": list(alphas), "train.epochs": list(epochs), "seed": list(seeds)}
    axes |= {"data.split_seed": list(splits)} if splits else {}
    size = tiles(0, 0.0, 0).shape[1]
    SweepRecord(name="test", description="", base={}, grids=[axes]).save(out / "sweep.json")
    _write_dataset(out, tiles)
    for alpha, num_epochs, seed, split in product(alphas, epochs, seeds, splits or (None,)):
        stop = {n: "diverged" for a, s, n in diverged if (a, s) == (alpha, seed)}
        stop |= {n: "pending" for a, s, n in pending if (a, s) == (alpha, seed)}
        keys, status, num_done = [], "done", generations
        for n in range(1, generations + 1):
            rate = alpha or 0.0
            key = node_key(rate, num_epochs, seed, n, split)
            keys.append([key])
            if status != "done" or stop.get(n) == "pending":
                num_done, status = min(num_done, n - 1), ("running" if status == "done" else status)
                continue
            node_status = stop.get(n, "done")
            place = (rate, num_epochs, seed, n, split)
            _write_node(out, key, place, node_status, tiles(n, rate, seed), classes)
            if node_status == "diverged":
                status, num_done = "diverged", n
                continue
            numbers = {
                f"kid/{extractor}": value(rate, seed, n) + (split or 0) / 10,
                "pixel_std": 0.2 / n,
            }
            MetricsRecord(
                node=key,
                spec={"names": ["kid"]},
                values=numbers,
                classes=_class_metrics(classes, extractor, n) if classes else {},
                num_images=num_generated,
                num_reference=num_reference,
                stream="s" * 8,
                images_sha256="0" * 64,
                warnings=warnings or [],
            ).save(out / "generations" / key / "metrics" / f"{SPEC}.json")
        name = f"alpha-{alpha}-epochs-{num_epochs}-seed-{seed}"
        name += "" if split is None else f"-split-{split}"
        own_split = {} if split is None else {"split_seed": split}
        LineageRecord(
            id=name,
            axes={
                "pool.alpha": alpha,
                "train.epochs": num_epochs,
                "seed": seed,
                **{f"data.{name}": value for name, value in own_split.items()},
            },
            config={
                "data": {"name": "digits", "image_size": size, "path": None, **own_split},
                "train": {"epochs": num_epochs, "batch_size": 64},
                "pool": {"rule": "grow", "alpha": alpha},
                "metrics": {"extractor": extractor, "names": ["kid"]},
                "seed": seed,
                "generations": generations,
                **(settings or {}),
            },
            status=status,
            nodes=keys,
            num_done=num_done,
            dataset="data0",
            metrics_spec=SPEC,
        ).save(out / "lineages" / f"{name}.json")
    return out


def rewrite(path: Path, **changes: object) -> None:
    """Change fields of a record, with a checksum that agrees, as a stranger could."""
    record = json.loads(path.read_text()) | changes
    record.pop(CHECKSUM, None)
    path.write_bytes(dump_json({**record, CHECKSUM: digest(record)}))


def node_key(
    alpha: float, epochs: int, seed: int, generation: int, split: int | None = None
) -> str:
    """Key of a node; the first generation does not depend on alpha."""
    return digest(node_inputs(alpha, epochs, seed, generation, split))


def node_inputs(
    alpha: float, epochs: int, seed: int, generation: int, split: int | None = None
) -> dict[str, list]:
    """What a node's key is the digest of."""
    return {"place": [0.0 if generation == 1 else alpha, epochs, seed, generation, split]}


def flat_tiles(generation: int, alpha: float, seed: int) -> np.ndarray:
    """64 grey tiles of one shade each: 3 i + generation for tile i."""
    shades = (3 * np.arange(64) + generation).astype(np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (64, IMAGE_SIZE, IMAGE_SIZE, 1))


def encode_preview(tiles: np.ndarray) -> bytes:
    """Lay (N, S, S, C) uint8 tiles out in rows of 8 without padding, as PNG."""
    N, S, _, C = tiles.shape
    sheet = tiles.reshape(N // 8, 8, S, S, C).transpose(0, 2, 1, 3, 4).reshape(N // 8 * S, 8 * S, C)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sheet.squeeze())).save(buffer, format="png")
    return buffer.getvalue()


def _class_metrics(classes: tuple[str, ...], extractor: str, n: int) -> dict:
    weights = dict(zip(classes, range(1, len(classes) + 1), strict=True))
    return {
        f"class_share/{extractor}": {c: w / sum(weights.values()) for c, w in weights.items()},
        f"class_kid/{extractor}": {c: w * n - 1.5 for c, w in weights.items()},
    }


def _write_dataset(out: Path, tiles: Tiles) -> None:
    real = tiles(0, 0.0, 0)
    write_bytes(out / "datasets" / "data0" / "preview.png", encode_preview(real))
    DatasetCard(
        key="data0",
        fingerprint="f" * 64,
        name="digits",
        shape=[real.shape[3], *real.shape[1:3]],
        dtype="uint8",
        class_names=[],
        num_train=NUM_REAL,
        num_reference=20,
        num_validation=0,
    ).save(out / "datasets" / "data0" / "card.json")


def _write_node(
    out: Path,
    key: str,
    place: tuple[float, int, int, int, int | None],
    status: str,
    tiles: np.ndarray,
    classes: tuple[str, ...],
) -> None:
    alpha, epochs, seed, generation, split = place
    folder = out / "generations" / key
    if folder.exists():
        return
    contents = {
        "preview.png": encode_preview(tiles),
        "config.json": dump_json(node_inputs(alpha, epochs, seed, generation, split)),
        "model.safetensors": f"weights of {key}".encode(),
    }
    origins, size = {"0": NUM_REAL}, NUM_REAL
    for n in range(1, generation):
        origins[str(n)] = round(alpha * size)
        size += origins[str(n)]
    for name, data in contents.items():
        write_bytes(folder / name, data)
    NodeRecord(
        key=key,
        status=status,
        seed=seed,
        generation=generation,
        member=0,
        family="ddim",
        num_images=size,
        origins=origins,
        class_counts={c: len(range(i, size, len(classes))) for i, c in enumerate(classes)},
        num_steps=size // 64 * epochs,
        images_seen=size // 64 * 64 * epochs,
        views_per_image=float(epochs),
        ema_init_left=0.0,
        final_loss=0.25 / generation,
        seconds=1.5,
        images_per_second=1000.0,
        device="cpu",
        num_threads=1,
        precision="fp32",
        weights_sha256="0" * 64,
        files={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    ).save(folder / "record.json")
