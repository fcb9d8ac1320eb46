"""Facts of a process that runs several trials: the next one starts as in a new process."""

import logging
import os
import random
import signal
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweep.tune.process_state import contained

LOGGER = logging.getLogger("tests.process_state")


def vandalise(folder: Path) -> None:
    """Change all that a user's own family or extractor may leave behind."""
    os.environ["LEFT_BEHIND"] = "1"
    os.environ.pop("HOME", None)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.chdir(folder)
    os.umask(0o077)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for logger in (logging.getLogger(), LOGGER):
        logger.setLevel(logging.DEBUG)
        logger.addHandler(logging.NullHandler())
    LOGGER.propagate, LOGGER.disabled = False, True
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="left behind")
    np.seterr(all="raise")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.autograd.set_detect_anomaly(True)
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    torch.manual_seed(1)


def observed() -> dict[str, Any]:
    """All of that, as it is now."""
    umask = os.umask(0)
    os.umask(umask)
    loggers = [logging.getLogger(), LOGGER]
    return {
        "environment": dict(os.environ),
        "folder": (Path.cwd(), tempfile.tempdir),
        "umask": umask,
        "handler": signal.getsignal(signal.SIGTERM),
        "loggers": [(x.level, list(x.handlers), x.propagate, x.disabled) for x in loggers],
        "disabled": logging.root.manager.disable,
        "filters": list(warnings.filters),
        "errors": np.geterr(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "denormal": float(torch.full((4,), 1e-39).mul(0.5).sum()),
        "random": torch.get_rng_state().tolist(),
    }


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_that_a_trial_changes_outlives_it(tmp_path, fails) -> None:
    """Each thing differs inside the block, and none after it, also after an exception."""
    before = observed()
    with suppress(RuntimeError), contained():
        vandalise(tmp_path)
        inside = observed()
        if fails:
            raise RuntimeError

    assert {name for name in before if inside[name] == before[name]} == set()
    assert observed() == before


def test_a_seed_that_a_trial_sets_is_not_the_next_ones() -> None:
    """Generators that are random in a new process are random again."""
    draws = set()
    for _ in range(2):
        with contained():
            random.seed(1)
            np.random.seed(1)  # noqa: NPY002 - as others' code does
        draws.add((random.random(), np.random.random()))  # noqa: NPY002 - as above
    assert len(draws) == 2
