"""DDIM with a larger network that has attention: diffusers' UNet2DModel instead of our U-Net.

diffusers is optional, so it is imported inside the function that needs it. (The network of Ho,
Jain, Abbeel, arXiv:2006.11239.)
"""

import importlib
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.family_facts import check_package
from model.networks.ddim import DDIM
from model.networks.size import GROUPS, HEAD_CHANNELS, Shape, attends
from model.networks.unet import draw_weights, set_zero

TIME_SCALE = 1000.0
"""Time steps of the network's embedding per unit of noise variance."""


class DiffusersUNet(nn.Module):
    """A UNet2DModel with the inputs and output of our UNet."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, variance: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict noise; inputs and output are those of UNet.forward."""
        times = TIME_SCALE * variance.flatten()
        return self.network(noisy, times, class_labels=labels, return_dict=False)[0]


def new_diffusers_unet(
    shape: Shape, config: ModelConfig, generator: torch.Generator | None, num_classes: int = 0
) -> nn.Module:
    """Build a UNet2DModel with model.widths, model.block_depth and model.init.

    The vectors of classes are added to the embedding of the noise variance.

    Args:
        shape: (C, H, W) of the images.
        config: Settings; those of BatchNorm, stem and embedding have no effect.
        generator: CPU generator of the initial weights; None leaves them undefined.
        num_classes: 0 makes an unconditional network.

    Raises:
        UsageError: diffusers is not installed.
    """
    check_package(config.family)
    UNet2DModel = importlib.import_module("diffusers.models.unets.unet_2d").UNet2DModel
    channels, height, _ = shape
    attention = [attends(height >> level) for level in range(len(config.widths))]
    # On the meta device, layers do not draw from the global generator, which must stay untouched.
    with torch.device("meta"):
        network = UNet2DModel(
            sample_size=height,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=config.widths,
            layers_per_block=config.block_depth,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]),
            norm_num_groups=math.gcd(GROUPS, *config.widths),
            attention_head_dim=math.gcd(HEAD_CHANNELS, *config.widths),
            # The additional embedding is that of "no class".
            num_class_embeds=num_classes + 1 if num_classes else None,
        )
    network.to_empty(device="cpu")
    draw_weights(network, config.init, generator)
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.reset_parameters()  # ones and zeros
        elif not isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
            # Layers that another version of diffusers adds would stay uninitialised.
            assert not list(module.parameters(recurse=False)), type(module)
    set_zero(network.conv_out)
    return DiffusersUNet(network)


UNET2D = replace(DDIM, new_network=new_diffusers_unet)
