r"""A program for the family `command` that torchrun starts: an autoencoder on several processes.

sweep run quickstart --model.family command --model.program examples/command_torchrun.py \
  --train.command "torchrun --standalone --nproc-per-node 2 command_torchrun.py train \
    {images} {out} {seed}" --train.command-resumes \
  --sample.command "python command_torchrun.py sample {model} {out} {seed} {num_images}" \
  --allow-command --out runs/torchrun

Each process computes the gradient of its part of a batch, and torch averages them. The first
process saves the state, from which an interrupted training goes on.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, distributed, nn
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

STEPS, BATCH, SAVED_EVERY, LATENT = 400, 32, 50, 8


def new_net(num_pixels: int) -> nn.Sequential:
    """An autoencoder, whose second half draws images."""
    encoder = nn.Sequential(nn.Linear(num_pixels, 64), nn.SiLU(), nn.Linear(64, LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, 64), nn.SiLU(), nn.Linear(64, num_pixels))
    return nn.Sequential(encoder, decoder)


def read_images(folder: str) -> Tensor:
    """(N, H, W) or (N, H, W, C) float32 in [0, 1]."""
    paths = sorted(Path(folder).rglob("*.png"))
    return torch.from_numpy(np.stack([np.asarray(Image.open(p), np.float32) for p in paths])) / 255


def train(images: str, out: str, seed: str) -> None:
    """Train on all processes; the first one saves."""
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    pixels = read_images(images)
    flat = pixels.flatten(1).to(device)
    torch.manual_seed(int(seed))
    net = new_net(flat.shape[1]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    path, first = Path(out) / "state.pt", 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        print(f"resuming from step {first}", flush=True)
    parallel = DistributedDataParallel(net)
    for step in range(first, STEPS):
        rows = torch.randint(len(flat), (BATCH,), generator=torch.Generator().manual_seed(step))
        batch = flat[rows[rank::size].to(device)]
        loss = mse_loss(parallel(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0 and (step + 1) % SAVED_EVERY == 0:
            state = {
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "codes": net[0](flat).detach(),
                "shape": [*pixels.shape[1:]],
            }
            torch.save(state, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
            print(f"step {step + 1}, loss {loss.item():.4f}", flush=True)
    distributed.destroy_process_group()


def sample(model: str, out: str, seed: str, num_images: str) -> None:
    """Decode codes from the Gaussian of the training images' codes."""
    state = torch.load(f"{model}/state.pt", map_location="cpu", weights_only=True)
    codes, shape = state["codes"], state["shape"]
    net = new_net(int(np.prod(shape)))
    net.load_state_dict(state["net"])
    noise = torch.randn(int(num_images), LATENT, generator=torch.Generator().manual_seed(int(seed)))
    factor = torch.linalg.cholesky(codes.T.cov() + 1e-6 * torch.eye(LATENT))
    with torch.no_grad():
        drawn = net[1](codes.mean(0) + noise @ factor.T).clamp(0, 1)
    pixels = (drawn * 255).round().byte().reshape(-1, *shape).numpy()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(f"{out}/{number:06d}.png")


if __name__ == "__main__":
    {"train": train, "sample": sample}[sys.argv[1]](*sys.argv[2:])
