"""Facts of the precision of networks: fp32 means fp32, and TF32 is asked for by its name.

What a GPU computes is not seen here; the flags that it obeys are, and they exist on every machine.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_sweep import make_lineage, make_sweep, plan
from tiny_training import draw_pool, make_job, make_train, new_stream

from model.config import MetricsConfig, SampleConfig
from model.errors import UsageError
from model.families import network_family
from model.features.extractors import EXTRACTORS, extract_features
from model.job import Fit
from model.networks.arithmetic import float32_products, network_precision
from model.networks.ddim import DDIM
from model.networks.objective import Objective
from model.networks.sampling import sample_network
from sweep.config import ResourcesConfig

TF32 = {"fp32": False, "tf32": True, "bf16": False}


def flags() -> tuple[bool, bool]:
    """Whether products of matrices, and convolutions, may be computed in TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(params=[False, True], ids=["exact before", "tf32 before"], autouse=True)
def before(request) -> Generator[tuple[bool, bool]]:
    """Flags that somebody has set, and finds again at the end."""
    own = flags()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = request.param
    yield (request.param, request.param)
    assert flags() == (request.param, request.param)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = own


class Watched(torch.autograd.Function):
    """The identity; it notes the flags on the way forwards and backwards."""

    seen: list[tuple[bool, bool]]

    @staticmethod
    def forward(ctx, images):
        Watched.seen.append(flags())
        return images.clone()

    @staticmethod
    def backward(ctx, *gradients):
        Watched.seen.append(flags())
        return gradients[0]


def watched() -> Objective:
    """DDIM, whose network's outputs pass through Watched."""
    Watched.seen = []

    def loss(call, images, **others):
        return DDIM.loss(lambda *inputs: Watched.apply(call(*inputs)), images, **others)

    def sample(call, noise, **others):
        return DDIM.sample(lambda *inputs: Watched.apply(call(*inputs)), noise, **others)

    return replace(DDIM, loss=loss, sample=sample)


def train(precision: str, objective: Objective = DDIM) -> Fit:
    job = make_job(make_train(precision=precision), num_steps=3)
    return network_family(objective).fit(draw_pool(), None, job)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_training_is_exact_forwards_and_backwards(precision):
    """Whatever was set before; torch itself would allow TF32 in convolutions."""
    train(precision, watched())
    assert Watched.seen == [(False, False)] * 6  # of 3 steps


@pytest.mark.parametrize("precision", TF32)
def test_samples_are_drawn_in_the_precision_of_the_training(precision):
    checkpoint = train("fp32").checkpoint
    checkpoint = replace(checkpoint, settings=checkpoint.settings | {"precision": precision})
    noise = np.zeros((2, *checkpoint.shape), np.float32)
    sample_network(watched(), checkpoint, noise, SampleConfig(steps=2))
    assert Watched.seen == [(TF32[precision],) * 2] * 2


def test_features_are_exact(monkeypatch):
    """A network is loaded once per process, so it notes the flags where all others do."""
    Watched.seen = []

    def extract(images):
        Watched.seen.append(flags())
        return images.flatten(1)

    extractor = replace(EXTRACTORS["random-conv"], build=lambda *settings: extract)
    monkeypatch.setitem(EXTRACTORS, "watched", extractor)
    extract_features(draw_pool(), MetricsConfig(extractor="watched", resolution=32))
    assert Watched.seen == [(False, False)]


def test_flags_are_set_back_after_an_error(before):
    with pytest.raises(ZeroDivisionError), float32_products("tf32"):
        raise ZeroDivisionError
    assert flags() == before


def test_a_product_inside_another_has_its_own_precision():
    """A training in TF32 scores its epochs by exact features."""
    with float32_products("tf32"):
        with float32_products("fp32"):
            assert flags() == (False, False)
        assert flags() == (True, True)


def test_both_kinds_of_torchs_flags_agree():
    """Mixing them is an error of torch.compile."""
    for precision, name in (("fp32", "ieee"), ("tf32", "tf32")):
        with float32_products(precision):
            assert torch.backends.cuda.matmul.fp32_precision == name
            assert torch.get_float32_matmul_precision() == ("high" if name == "tf32" else "highest")


def test_the_checkpoint_says_which():
    for precision in ("fp32", "bf16"):
        assert train(precision).checkpoint.settings["precision"] == precision


def test_a_network_of_another_precision_draws_on_a_cpu():
    """Where all of it is exact: TF32 is a matter of the device."""
    checkpoint = train("fp32").checkpoint
    other = replace(checkpoint, settings=checkpoint.settings | {"precision": "tf32"})
    assert np.array_equal(
        new_stream(checkpoint, SampleConfig(steps=2)).block(0),
        new_stream(other, SampleConfig(steps=2)).block(0),
    )


def test_tf32_is_refused_on_a_cpu():
    message = r"train\.precision must be fp32 or bf16 on device cpu, got 'tf32'"
    with pytest.raises(UsageError, match=message):
        network_precision(make_train(precision="tf32"), "cpu")
    with pytest.raises(UsageError, match=message):
        train("tf32")


def test_captured_steps_are_refused_on_a_cpu():
    job = make_job(make_train(captured=True))
    with pytest.raises(UsageError, match=r"train\.captured must be False on device cpu, got True"):
        network_family(DDIM).fit(draw_pool(), None, job)


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("train.precision", "tf32", r"train\.precision must be fp32 or bf16 on device cpu"),
        ("train.captured", True, r"train\.captured must be False on device cpu"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "auto", "cuda"])
def test_a_plan_refuses_what_needs_a_gpu_only_where_none_can_be_meant(device, setting, value, rule):
    """Of a cluster, or of another machine, a plan knows nothing."""
    sweep = make_sweep(base=make_lineage({setting: value}))
    sweep = replace(sweep, resources=ResourcesConfig(device=device))
    if device != "cpu":
        assert len(plan(sweep)) == 1
        return
    with pytest.raises(UsageError, match=rule):
        plan(sweep)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_gpu_computes_in_the_precision(precision):
    """A product of two float32 numbers has 24 bits, or 11."""
    wide = torch.full((256, 256), 1 + 2**-20, device="cuda")
    with float32_products(precision):
        product = (wide @ torch.eye(256, device="cuda"))[0, 0].item()
    assert (product == 1) == (precision == "tf32")
