"""Sets back what a trial has changed in its process, so that the next one starts as in a new one.

A trial runs code of users and of many libraries, which set environment variables, signal handlers,
loggers or torch's flags. The next trial in the process must compute the same bits nevertheless.
"""

import logging
import os
import random
import signal
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

TORCH_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_warn_always_enabled, torch.set_warn_always),
)
"""How settings of torch that hold for a whole process are read and set."""


@contextmanager
def contained() -> Generator[None]:
    """Set this process back at the end, as far as the block has changed it; in the main thread.

    Random generators are then as in a new process: torch's where it was, the others anywhere.
    """
    with ExitStack() as stack:
        for keeping in (_keep_process, _keep_handlers, _keep_loggers, _keep_arithmetic):
            stack.enter_context(keeping())
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(chdir(Path.cwd()))
        yield


@contextmanager
def _keep_process() -> Generator[None]:
    environment, folder, umask = dict(os.environ), tempfile.tempdir, os.umask(0o022)
    os.umask(umask)
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        tempfile.tempdir = folder
        os.umask(umask)


@contextmanager
def _keep_handlers() -> Generator[None]:
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)


@contextmanager
def _keep_loggers() -> Generator[None]:
    """Those that exist: one that a library makes when the block imports it is the library's."""
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    loggers = [each for each in known if isinstance(each, logging.Logger)]
    kept = [(x.level, list(x.handlers), list(x.filters), x.propagate, x.disabled) for x in loggers]
    disabled = logging.root.manager.disable
    try:
        yield
    finally:
        logging.disable(disabled)
        for logger, (level, handlers, filters, propagate, is_disabled) in zip(
            loggers, kept, strict=True
        ):
            logger.setLevel(level)
            logger.handlers[:], logger.filters[:] = handlers, filters
            logger.propagate, logger.disabled = propagate, is_disabled


@contextmanager
def _keep_arithmetic() -> Generator[None]:
    values = [get() for get, _ in TORCH_SETTINGS]
    state, errors = torch.get_rng_state(), np.geterr()
    try:
        yield
    finally:
        for (get, set_back), value in zip(TORCH_SETTINGS, values, strict=True):
            if get() != value:
                set_back(value)
        torch.set_flush_denormal(False)  # torch does not tell whether it is set
        torch.set_rng_state(state)
        random.seed()
        np.random.seed()  # noqa: NPY002 - the generator that the block may have seeded
        np.seterr(**errors)
