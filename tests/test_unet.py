"""Facts of the network: its size and cost, its initial weights, its layers, the sizes it takes."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.config import ModelConfig
from model.networks.unet import ResidualBlock, UNet, VarianceEmbedding, load_weights

CLEAR_2022 = ModelConfig(stem_width=64, stem_skip=True, embedding_max_frequency=200.0)
"""The network of the Keras author's KID table (clear-diffusion-keras, July 2022)."""


def make_net(config: ModelConfig | None = None, *, channels: int = 3, seed: int = 0) -> UNet:
    generator = torch.Generator().manual_seed(seed)
    return UNet((channels, 8, 8), config or ModelConfig(), generator)


def count_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def convolutions(net: nn.Module) -> list[nn.Conv2d]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


def count_flops(config: ModelConfig, size: int, *, backward: bool = False) -> int:
    """Of one image's convolutions, a multiplication and an addition being 2."""
    net = make_net(config)
    with FlopCounterMode(display=False) as counter:
        predicted = net(torch.zeros(1, 3, size, size), torch.zeros(1, 1, 1, 1))
        if backward:
            predicted.sum().backward()
    return counter.get_total_flops()


def test_paper_network_has_1950627_parameters():
    """The count of the Keras example's layers: 14 blocks of widths 32 to 128, stem and head."""
    assert count_parameters(make_net()) == 1_950_627


def test_paper_network_has_2880_running_statistics():
    """A mean and a variance for each channel that enters one of the 14 BatchNorms."""
    entering = 64 + 32 + 32 + 64 + 64 + 96 + 96 + 128 + 224 + 192 + 160 + 128 + 96 + 64
    assert sum(b.numel() for b in make_net().state_dict().values()) - 1_950_627 == 2 * entering
    assert 2 * entering == 2880


def test_clear_2022_network_has_1961187_parameters():
    """More than the example: a stem of 64 (128 and 10,240), its 64 channels at the head (192)."""
    wider_stem, first_block, head = 32 * 3 + 32, 32 * 32 * (9 + 1), 64 * 3
    assert count_parameters(make_net(CLEAR_2022)) == 1_950_627 + wider_stem + first_block + head
    assert 1_950_627 + wider_stem + first_block + head == 1_961_187


def test_stem_skip_brings_the_image_features_without_the_embedding():
    """The head sees the last block's 32 channels and the stem's 64."""
    assert make_net(CLEAR_2022).head.in_channels == 32 + 64


@pytest.mark.parametrize(
    ("config", "size", "backward", "gigaflops"),
    [
        (ModelConfig(), 64, False, 2.2838),
        (ModelConfig(), 32, False, 0.57095),
        (ModelConfig(), 64, True, 6.8506),
        (ModelConfig(), 32, True, 1.7127),
        (CLEAR_2022, 64, False, 2.3700),
    ],
)
def test_network_costs_its_known_operations(config, size, backward, gigaflops):
    """GFLOP per image of the convolutions, as counted for the Keras example's layers."""
    assert count_flops(config, size, backward=backward) / 1e9 == pytest.approx(gigaflops, rel=3e-5)


def test_paper_network_has_40_convolutions():
    """A stem, a head, two in each of 14 blocks, and 10 projections."""
    blocks = [module for module in make_net().modules() if isinstance(module, ResidualBlock)]
    projected = [block for block in blocks if isinstance(block.shortcut, nn.Conv2d)]
    assert (len(blocks), len(projected), len(convolutions(make_net()))) == (14, 10, 40)


def test_blocks_have_one_batchnorm_without_scale_or_offset():
    """It has Keras' momentum of 0.99 (0.01 here) and epsilon of 1e-3, and nothing else is one."""
    net = make_net()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms == [m.norm for m in net.modules() if isinstance(m, ResidualBlock)]
    assert {(norm.affine, norm.momentum, norm.eps) for norm in norms} == {(False, 0.01, 1e-3)}


def test_block_is_norm_convolution_swish_convolution_beside_a_shortcut():
    """One 1x1 block by hand: x = 3, running mean 1 and variance 4 make the branch's input 1."""
    block = ResidualBlock(1, 1, ModelConfig(bn_eps=1e-12)).eval()
    centre = torch.zeros(1, 1, 3, 3)
    centre[..., 1, 1] = 1
    with torch.no_grad():
        block.load_state_dict(
            {
                "norm.running_mean": torch.tensor([1.0]),
                "norm.running_var": torch.tensor([4.0]),
                "conv1.weight": 2.0 * centre,
                "conv1.bias": torch.tensor([0.5]),
                "conv2.weight": 3.0 * centre,
                "conv2.bias": torch.tensor([-1.0]),
            },
            strict=False,
        )
        swish = 2.5 / (1 + math.exp(-2.5))
        assert block(torch.full((1, 1, 1, 1), 3.0)).item() == pytest.approx(3 + 3 * swish - 1)


def test_keras_weights_fill_the_glorot_interval():
    """Uniform in +-sqrt(6 / (fan in + fan out)), in each convolution but the head."""
    for convolution in convolutions(make_net())[:-1]:
        width, channels, h, w = convolution.weight.shape
        bound = math.sqrt(6 / ((width + channels) * h * w))
        largest = convolution.weight.abs().max().item()
        assert 0.9 * bound < largest <= bound


def test_torch_weights_fill_torchs_interval():
    """Uniform in +-1 / sqrt(fan in), biases too."""
    for convolution in convolutions(make_net(ModelConfig(init="torch")))[:-1]:
        bound = 1 / math.sqrt(convolution.weight[0].numel())
        assert 0.9 * bound < convolution.weight.abs().max().item() <= bound
        assert convolution.bias is not None
        assert 0 < convolution.bias.abs().max().item() <= bound


def test_keras_biases_start_at_zero():
    biases = [p for name, p in make_net().named_parameters() if name.endswith("bias")]
    assert len(biases) == 40
    assert not any(bias.any() for bias in biases)


@pytest.mark.parametrize("init", ["keras_glorot", "torch"])
def test_untrained_network_predicts_zero(init):
    """The head starts at zero, so that the first loss is that of no prediction."""
    net = make_net(ModelConfig(init=init))
    noisy = torch.randn(2, 3, 8, 8, generator=torch.Generator())
    assert not net(noisy, torch.ones(2, 1, 1, 1)).any()


def test_same_generator_gives_the_same_weights():
    first, second, other = make_net(), make_net(), make_net(seed=1)
    assert torch.equal(first.stem.weight, second.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)


def test_making_a_network_leaves_global_random_numbers_alone():
    before = torch.get_rng_state()
    make_net()
    assert torch.equal(torch.get_rng_state(), before)


def test_embedding_is_sines_then_cosines_of_log_spaced_frequencies():
    """The formula in float64; a float32 angle is right to two units in its last place."""
    variance = np.linspace(0, 1, 11)
    frequencies = np.exp(np.linspace(np.log(1), np.log(1000), 16))
    angles = 2 * np.pi * frequencies * variance[:, None]
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    embedding = VarianceEmbedding(32, 1000.0)(torch.tensor(variance).float().view(-1, 1, 1, 1))
    error = np.abs(embedding.flatten(1).numpy() - expected)
    assert (error <= np.tile(angles, 2) * 2 * 2**-23 + 1e-6).all()


def test_embedding_stays_in_float32_under_autocast():
    """In bfloat16 an angle of 6283 would be off by whole turns."""
    variance = torch.full((1, 1, 1, 1), 0.3)
    embedding = VarianceEmbedding(32, 1000.0)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = embedding(variance)
    assert torch.equal(under_autocast, embedding(variance))


def test_embedding_is_the_same_at_every_pixel():
    """With a stem of zeros and no padding, all pixels of the first block's input agree."""
    net = make_net(ModelConfig(widths=(4, 4)))
    seen = []
    first = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    first.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    net(torch.zeros(2, 3, 8, 8), torch.rand(2, 1, 1, 1, generator=torch.Generator()))
    assert torch.equal(seen[0], seen[0][:, :, :1, :1].expand_as(seen[0]))


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 32), (3, 128)])
def test_noise_has_the_shape_of_the_images(channels, size):
    """From 8x8 grey, whose bottleneck is one pixel, to 128x128 colour."""
    net = make_net(channels=channels).eval()
    with torch.inference_mode():
        noise = net(torch.zeros(2, channels, size, size), torch.ones(2, 1, 1, 1))
    assert noise.shape == (2, channels, size, size)


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match="weights must be those of this network"):
        load_weights(make_net(), make_net(CLEAR_2022).state_dict(), source="V_1")


def test_weights_are_copied_into_the_network():
    net, other = make_net(seed=0), make_net(seed=1)
    load_weights(net, other.state_dict(), source="V_1")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
