"""Table of the data sets that torchvision reads: what is known without their files.

It lists their names, files, official splits with sizes, channels and classes. torchvision is not
imported.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from model.data.splits import TEST, TRAIN, VALIDATION


def words(text: str) -> tuple[str, ...]:
    """Split a list of names that contain no spaces."""
    return tuple(text.split())


CELEBA_ATTRIBUTES = words(
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
    "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee "
    "Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard "
    "Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair "
    "Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie "
    "Young"
)
"""Values of data.attribute, in CelebA's order."""


class Split(NamedTuple):
    """One official split of a data set."""

    part: int
    """TRAIN, VALIDATION or TEST."""
    arguments: dict[str, Any]
    """Arguments of its torchvision class."""
    num_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchvisionSet:
    """A data set that torchvision reads: what is known without its files."""

    reader: str
    """Name of its class in torchvision.datasets."""
    folder: str = ""
    """Folder of its files below the root; empty for the root itself."""
    files: tuple[str, ...]
    """Files and folders that must be in `folder`. The first is the folder of the image files, if
    torchvision opens these itself."""
    splits: tuple[Split, ...]
    channels: int = 3
    class_names: tuple[str, ...] = ()
    """Empty if the names are known only from the files, or the classes depend on data.attribute."""
    unnamed_classes: int = 0
    """Number of classes whose names are known only from the files."""
    takes_loader: bool = False
    """Whether its torchvision class takes a function that reads an image file."""

    @property
    def is_idx(self) -> bool:
        """Whether its files are those of MNIST's format, which are often distributed as .gz."""
        return self.files == IDX_FILES

    @property
    def num_classes(self) -> int:
        """0 if the classes depend on data.attribute."""
        return len(self.class_names) or self.unnamed_classes

    @property
    def parts(self) -> tuple[int, ...]:
        """Its official splits; empty if there is only one."""
        return tuple(split.part for split in self.splits) if len(self.splits) > 1 else ()

    @property
    def contents(self) -> str:
        """Description of the folder and files that data.path must hold, for errors."""
        *most, last = self.files
        listed = f"{', '.join(most)} and {last}" if most else last
        return f"{self.folder} (with {listed})" if self.folder else listed


DIGIT_NAMES = tuple("0123456789")
IDX_FILES = tuple(
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
)
BY_FLAG = ({"train": True}, {"train": False})
BY_NAME = ({"split": "train"}, {"split": "test"})


def _train_test(arguments: tuple[dict[str, Any], ...], *sizes: int) -> tuple[Split, ...]:
    return tuple(map(Split, (TRAIN, TEST), arguments, sizes))


def _train_validation_test(validation: str, *sizes: int) -> tuple[Split, ...]:
    arguments = ({"split": name} for name in ("train", validation, "test"))
    return tuple(map(Split, (TRAIN, VALIDATION, TEST), arguments, sizes))


def _mnist(reader: str, class_names: tuple[str, ...]) -> TorchvisionSet:
    return TorchvisionSet(
        reader=reader,
        folder=f"{reader}/raw",
        files=IDX_FILES,
        splits=_train_test(BY_FLAG, 60_000, 10_000),
        channels=1,
        class_names=class_names,
    )


TORCHVISION_SETS: dict[str, TorchvisionSet] = {
    "flowers102": TorchvisionSet(
        reader="Flowers102",
        folder="flowers-102",
        files=("jpg", "imagelabels.mat", "setid.mat"),
        splits=_train_validation_test("val", 1020, 1020, 6149),
        unnamed_classes=102,
        takes_loader=True,
    ),
    "cifar10": TorchvisionSet(
        reader="CIFAR10",
        folder="cifar-10-batches-py",
        files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        splits=_train_test(BY_FLAG, 50_000, 10_000),
        class_names=words("airplane automobile bird cat deer dog frog horse ship truck"),
    ),
    "cifar100": TorchvisionSet(
        reader="CIFAR100",
        folder="cifar-100-python",
        files=("train", "test", "meta"),
        splits=_train_test(BY_FLAG, 50_000, 10_000),
        unnamed_classes=100,
    ),
    "mnist": _mnist("MNIST", DIGIT_NAMES),
    "fashion-mnist": _mnist(
        "FashionMNIST",
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "kmnist": _mnist("KMNIST", words("o ki su tsu na ha ma ya re wo")),
    "svhn": TorchvisionSet(
        reader="SVHN",
        files=("train_32x32.mat", "test_32x32.mat"),
        splits=_train_test(BY_NAME, 73_257, 26_032),
        class_names=DIGIT_NAMES,
    ),
    "stl10": TorchvisionSet(
        reader="STL10",
        folder="stl10_binary",
        files=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"),
        splits=_train_test(BY_NAME, 5_000, 8_000),
        class_names=words("airplane bird car cat deer dog horse monkey ship truck"),
    ),
    "celeba": TorchvisionSet(
        reader="CelebA",
        folder="celeba",
        files=(
            *("img_align_celeba", "list_attr_celeba.txt", "identity_CelebA.txt"),
            *("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt", "list_eval_partition.txt"),
        ),
        splits=_train_validation_test("valid", 162_770, 19_867, 19_962),
    ),
    "food101": TorchvisionSet(
        reader="Food101",
        folder="food-101",
        files=("meta", "images"),
        splits=_train_test(BY_NAME, 75_750, 25_250),
        unnamed_classes=101,
        takes_loader=True,
    ),
    "eurosat": TorchvisionSet(
        reader="EuroSAT",
        folder="eurosat",
        files=("2750",),
        splits=(Split(TRAIN, {}, 27_000),),
        class_names=words(
            "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop "
            "Residential River SeaLake"
        ),
        takes_loader=True,
    ),
    "oxford-iiit-pet": TorchvisionSet(
        reader="OxfordIIITPet",
        folder="oxford-iiit-pet",
        files=("images", "annotations"),
        splits=_train_test(({"split": "trainval"}, {"split": "test"}), 3_680, 3_669),
        unnamed_classes=37,
    ),
    "gtsrb": TorchvisionSet(
        reader="GTSRB",
        folder="gtsrb",
        files=("GTSRB", "GT-final_test.csv"),
        splits=_train_test(BY_NAME, 26_640, 12_630),
        class_names=tuple(str(number) for number in range(43)),
    ),
}
"""Data sets by data.name. To add one, add an entry here."""
