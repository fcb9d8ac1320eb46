r"""A program for the family `command`: a training loop on diffusers' classes, at toy size.

sweep run quickstart --model.family command --model.program examples/command_diffusers.py \
  --train.command "python command_diffusers.py train {images} {out} {seed} 300 {init}" \
  --sample.command "python command_diffusers.py sample {model} {out} {seed} {num_images}" \
  --train.start continue --allow-command --out runs/diffusers

With --train.start continue, each model is fine-tuned from the one before; leave it out to train
each from scratch.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image
from torch import Tensor
from torch.nn.functional import mse_loss

BATCH, SAMPLER_STEPS = 32, 10


def read_images(folder: str) -> Tensor:
    """(N, C, H, W) float32 in [-1, 1]."""
    paths = sorted(Path(folder).rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path), np.float32) for path in paths])
    images = torch.from_numpy(pixels.reshape(*pixels.shape[:3], -1)).permute(0, 3, 1, 2)
    return images / 127.5 - 1


def train(images: str, out: str, seed: str, steps: str, init: str) -> None:
    """Train a network to predict noise, from scratch or from an earlier model, and save it."""
    pixels = read_images(images)
    torch.manual_seed(int(seed))
    if init:
        net = UNet2DModel.from_pretrained(init)
    else:
        net = UNet2DModel(
            sample_size=pixels.shape[-1],
            in_channels=pixels.shape[1],
            out_channels=pixels.shape[1],
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
        )
    scheduler = DDIMScheduler()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for step in range(int(steps)):
        batch = pixels[torch.randint(len(pixels), (BATCH,))]
        noise, times = torch.randn_like(batch), torch.randint(1000, (BATCH,))
        predicted = net(scheduler.add_noise(batch, noise, times), times).sample
        loss = mse_loss(predicted, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}, loss {loss.item():.4f}", flush=True)
    net.save_pretrained(out)


def sample(model: str, out: str, seed: str, num_images: str) -> None:
    """Draw images by DDIM and write them as one array."""
    net, scheduler = UNet2DModel.from_pretrained(model), DDIMScheduler()
    side, channels = net.config.sample_size, net.config.in_channels
    scheduler.set_timesteps(SAMPLER_STEPS)
    generator = torch.Generator().manual_seed(int(seed))
    images = torch.randn(int(num_images), channels, side, side, generator=generator)
    with torch.no_grad():
        for time in scheduler.timesteps:
            images = scheduler.step(net(images, time).sample, time, images).prev_sample
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte()
    np.save(f"{out}/images.npy", pixels.permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    {"train": train, "sample": sample}[sys.argv[1]](*sys.argv[2:])
