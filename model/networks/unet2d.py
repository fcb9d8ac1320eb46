"""DDIM with a larger network that has attention: diffusers' UNet2DModel instead of our U-Net.

diffusers is optional, so it is imported inside the function that needs it. (The network of Ho,
Jain, Abbeel, arXiv:2006.11239.)
"""

import importlib
import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.errors import UsageError
from model.family_facts import check_package
from model.networks.ddim import DDIM
from model.networks.size import Shape, unet2d_arguments
from model.networks.unet import draw_weights, set_zero

TIME_SCALE = 1000.0
"""Time steps of the network's embedding per unit of noise variance."""
NO_WEIGHTS = {"sample_size", "num_train_timesteps"}
"""Settings of UNet2DModel that do not change its output."""


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
    # On the meta device, layers do not draw from the global generator, which must stay untouched.
    with torch.device("meta"):
        network = UNet2DModel(sample_size=shape[1], **unet2d_arguments(shape, config, num_classes))
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


def folder_weights(
    data: bytes, config: dict[str, Any], model: ModelConfig, shape: Shape, num_classes: int
) -> dict[str, Tensor]:
    """The weights of a UNet2DModel that diffusers has saved, named as those of our network.

    Args:
        data: The file of weights.
        config: The file of its settings.
        model: Settings of our network, which must be the same network.
        shape: (C, H, W) of the images.
        num_classes: 0 for an unconditional network.

    Raises:
        UsageError: The weights are damaged, or a setting differs.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    network: Any = new_diffusers_unet(shape, model, None, num_classes).network
    own = dict(network.config)
    for name in sorted(own.keys() - NO_WEIGHTS):
        its, ours = json.loads(json.dumps([config.get(name, own[name]), own[name]]))
        if its != ours and not name.startswith("_"):
            raise UsageError(
                f"{name} of the UNet2DModel in train.initial_checkpoint must be {ours!r}, as "
                f"family unet2d has it, got {its!r}"
            )
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UsageError(
            f"train.initial_checkpoint must have whole weights, got damaged ones ({error})"
        ) from None
    return {f"network.{name}": tensor.float() for name, tensor in tensors.items()}


UNET2D = replace(DDIM, new_network=new_diffusers_unet)
