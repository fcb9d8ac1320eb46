"""Tiny data sets, each in the format in which torchvision reads the real one, and a server."""

import json
import pickle
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image
from scipy.io import savemat

from model.data.torchvision_table import CELEBA_ATTRIBUTES, TORCHVISION_SETS

SIDE = {"cifar10": 32, "cifar100": 32, "svhn": 32, "stl10": 96}
"""Image sides that a format does not let one choose; the others are written at 28."""


def draw(num_images: int, side: int, channels: int, seed: int) -> np.ndarray:
    """(N, side, side, C) uint8 images, each of one random colour: JPEG hardly changes them."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (num_images, 1, 1, channels), np.uint8)
    return np.broadcast_to(colours, (num_images, side, side, channels)).copy()


def save(path: Path, pixels: np.ndarray) -> None:
    """An image file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=100)


def write_cifar(folder: Path, parts: list[tuple[np.ndarray, list[int]]], key: str) -> None:
    """Pickled dictionaries of rows: all reds, then greens, then blues of an image."""
    names = ["data_batch_1", "test_batch"] if key == "labels" else ["train", "test"]
    folder.mkdir(parents=True)
    for name, (images, labels) in zip(names, parts, strict=True):
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        (folder / name).write_bytes(pickle.dumps({"data": rows, key: labels}))
    for number in range(2, 6) if key == "labels" else []:
        empty = {"data": np.empty((0, 3072), np.uint8), "labels": []}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(empty))


def write_cifar10(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """Five batches, of which all but the first are empty, and the test batch."""
    folder = root / "cifar-10-batches-py"
    write_cifar(folder, parts, "labels")
    names = list(TORCHVISION_SETS["cifar10"].class_names)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))


def write_cifar100(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """One file for each split; 100 made-up names."""
    folder = root / "cifar-100-python"
    write_cifar(folder, parts, "fine_labels")
    names = [f"class{number}" for number in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))


def write_idx(root: Path, parts: list[tuple[np.ndarray, list[int]]], reader: str) -> None:
    """Big-endian headers: magic number (type 8, dimensions), then the sizes."""
    folder = root / reader / "raw"
    folder.mkdir(parents=True)
    for name, (images, labels) in zip(("train", "t10k"), parts, strict=True):
        sizes = np.array(images.shape[:3], ">i4").tobytes()
        head = bytes([0, 0, 8, 3]) + sizes
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = bytes([0, 0, 8, 1]) + np.array([len(labels)], ">i4").tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + bytes(labels))


def write_svhn(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """(H, W, C, N) arrays; the digit 0 has label 10."""
    for name, (images, labels) in zip(("train", "test"), parts, strict=True):
        y = np.array([[label or 10] for label in labels], np.uint8)
        savemat(root / f"{name}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": y})


def write_stl10(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """Columns before rows, classes from 1."""
    folder = root / "stl10_binary"
    folder.mkdir()
    for name, (images, labels) in zip(("train", "test"), parts, strict=True):
        (folder / f"{name}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes(label + 1 for label in labels))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    names = TORCHVISION_SETS["stl10"].class_names
    (folder / "class_names.txt").write_text("\n".join(names))


def write_celeba(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """Class 1 smiles; all other attributes are absent. One line for each image in each list."""
    folder = root / "celeba"
    lines: dict[str, list[str]] = {"attr": [], "partition": []}
    for part, (images, labels) in enumerate(parts):
        for image, label in zip(images, labels, strict=True):
            name = f"{len(lines['attr']) + 1:06d}.jpg"
            save(folder / "img_align_celeba" / name, image)
            signs = ["1" if label and a == "Smiling" else "-1" for a in CELEBA_ATTRIBUTES]
            lines["attr"].append(" ".join([name, *signs]))
            lines["partition"].append(f"{name} {part}")
    names = [line.split()[0] for line in lines["attr"]]
    texts = {
        "list_attr_celeba.txt": [str(len(names)), " ".join(CELEBA_ATTRIBUTES), *lines["attr"]],
        "list_eval_partition.txt": lines["partition"],
        "identity_CelebA.txt": [f"{name} 1" for name in names],
        "list_bbox_celeba.txt": [str(len(names)), "id x y", *(f"{name} 1 2" for name in names)],
        "list_landmarks_align_celeba.txt": ["0", "x y", *(f"{name} 1 2" for name in names)],
    }
    for name, text in texts.items():
        (folder / name).write_text("\n".join(text) + "\n")


def write_food101(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """101 made-up classes, all but those used being empty."""
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for name, (images, labels) in zip(("train", "test"), parts, strict=True):
        listed: dict[str, list[str]] = {f"dish{number:03d}": [] for number in range(101)}
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            listed[f"dish{label:03d}"].append(f"dish{label:03d}/{name}{i}")
            save(folder / "images" / f"dish{label:03d}" / f"{name}{i}.jpg", image)
        (folder / "meta" / f"{name}.json").write_text(json.dumps(listed))


def write_eurosat(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """Ten class folders; those that are not used must not be there."""
    ((images, labels),) = parts
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = TORCHVISION_SETS["eurosat"].class_names[label]
        save(root / "eurosat" / "2750" / name / f"{name}_{i}.jpg", image)


def write_pets(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """Lines of image, class, species and breed, classes from 1; breed37_1 is of the last class."""
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for name, (images, labels) in zip(("trainval", "test"), parts, strict=True):
        lines = []
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            lines.append(f"breed{label + 1}_{name}{i} {label + 1} 1 1\n")
            save(folder / "images" / f"breed{label + 1}_{name}{i}.jpg", image)
        (folder / "annotations" / f"{name}.txt").write_text("".join(lines))


def write_gtsrb(root: Path, parts: list[tuple[np.ndarray, list[int]]]) -> None:
    """Training images in folders by class, test images in one with a table of classes."""
    folder = root / "gtsrb"
    (images, labels), (others, answers) = parts
    for number in range(43):
        (folder / "GTSRB" / "Training" / f"{number:05d}").mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        save(folder / "GTSRB" / "Training" / f"{label:05d}" / f"{i:05d}.ppm", image)
    rows = ["Filename;ClassId"]
    for i, (image, label) in enumerate(zip(others, answers, strict=True)):
        save(folder / "GTSRB" / "Final_Test" / "Images" / f"{i:05d}.ppm", image)
        rows.append(f"{i:05d}.ppm;{label}")
    (folder / "GT-final_test.csv").write_text("\n".join(rows))


Writer = Callable[[Path, list[tuple[np.ndarray, list[int]]]], None]

WRITERS: dict[str, Writer] = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "mnist": lambda root, parts: write_idx(root, parts, "MNIST"),
    "fashion-mnist": lambda root, parts: write_idx(root, parts, "FashionMNIST"),
    "kmnist": lambda root, parts: write_idx(root, parts, "KMNIST"),
    "svhn": write_svhn,
    "stl10": write_stl10,
    "celeba": write_celeba,
    "food101": write_food101,
    "eurosat": write_eurosat,
    "oxford-iiit-pet": write_pets,
    "gtsrb": write_gtsrb,
}
"""Writer of each data set's (N, H, W, C) uint8 images and classes, split by split."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without logging."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Generator[str]:
    """The address of a server of a folder's files."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
