"""Command lines of programs: what may stand in them, and which settings they need.

A command line is split into words first. Then the placeholders of each word are filled in, so that
no path or number is ever split or read by a shell.
"""

import shlex
from collections.abc import Collection, Mapping
from string import Formatter

from model.blocks import SAMPLE_BATCH, num_blocks
from model.config import DataConfig, ModelConfig, SampleConfig, TrainConfig
from model.errors import UsageError, shown

FAMILY = "command"
TRAIN, SAMPLE, PROGRAM = "train.command", "sample.command", "model.program"
TRAINING_WORDS = ("images", "out", "seed", "generation", "init")
"""Placeholders of train.command; it also has {num_images} if there is no sample.command."""
SAMPLING_WORDS = ("model", "out", "seed", "num_images")
"""Placeholders of sample.command."""

SHELL_WORDS = frozenset(("&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"))
"""Words that would join or redirect programs in a shell."""


def draws_at_once(model: ModelConfig, sample: SampleConfig) -> bool:
    """Whether a program draws a whole stream at once, so that its key has the number of images."""
    return model.family == FAMILY and sample.command is not None


def draws_in_training(model: ModelConfig, sample: SampleConfig) -> bool:
    """Whether a model is just images, which the program that trains has drawn."""
    return model.family == FAMILY and sample.command is None


def whole_blocks(count: int) -> int:
    """The number of images that a program is asked for if `count` are needed: full blocks."""
    return SAMPLE_BATCH * num_blocks(max(count, 1))


def command_words(setting: str, command: str) -> list[str]:
    """The words of a command line; raises UsageError if it has none or an open quote."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"{setting} must be words as in a shell, got {shown(command)} ({error})"
        ) from None
    if not words or not words[0]:
        raise UsageError(f"{setting} must name a program, got {shown(command)}")
    for word in words:
        if word in SHELL_WORDS:
            raise UsageError(
                f"{setting} must be one program, which no shell starts, got {shown(word)} in "
                f"{shown(command)}; write a script, or sh -c '...'"
            )
    return words


def filled(words: Collection[str], values: Mapping[str, object]) -> list[str]:
    """Words with their placeholders filled in."""
    return [word.format_map(values) for word in words]


def check_command(
    setting: str, command: str, *, known: Collection[str], needed: Collection[str]
) -> None:
    """Raise UsageError unless a command line has only known placeholders, and all needed ones."""
    names: list[str] = []
    for word in command_words(setting, command):
        try:
            parts = list(Formatter().parse(word))
        except ValueError as error:
            raise UsageError(
                f"{setting} must have placeholders like {{out}}, got {shown(word)} ({error}); "
                "write {{ and }} for braces"
            ) from None
        for _, name, form, conversion in parts:
            if name is None:
                continue
            if name not in known or form or conversion:
                wrong = word[word.index("{") :]
                raise UsageError(
                    f"{setting} must have only the placeholders "
                    f"{', '.join(f'{{{each}}}' for each in known)}, got {shown(wrong)}; "
                    "write {{ and }} for braces"
                )
            names.append(name)
    for name in needed:
        if name not in names:
            raise UsageError(f"{setting} must contain {{{name}}}, got {shown(command)}")


def check_commands(
    data: DataConfig, model: ModelConfig, train: TrainConfig, sample: SampleConfig | None
) -> None:
    """Raise UsageError unless the settings of programs fit each other and the family.

    Args:
        data: The real images.
        model: Family and program.
        train: The program that trains.
        sample: The program that draws; None for a model that is trained without a sampler.
    """
    given: dict[str, object] = {TRAIN: train.command, PROGRAM: model.program or None}
    given |= {} if sample is None else {SAMPLE: sample.command}
    if model.family != FAMILY:
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{name} must be left out with model.family={model.family}, got "
                    f"{shown(value)}; only {FAMILY} runs a program"
                )
        return
    if train.command is None:
        raise UsageError(f"{TRAIN} must be set with model.family={FAMILY}, got None")
    if data.dtype != "uint8":
        raise UsageError(f"data.dtype must be uint8 with model.family={FAMILY}, got {data.dtype!r}")
    if train.select != "last":
        raise UsageError(
            f"train.select must be last with model.family={FAMILY}, whose program decides what it "
            f"keeps, got {train.select!r}"
        )
    if sample is not None and sample.command is None:
        known, needed = (*TRAINING_WORDS, "num_images"), ("images", "out", "num_images")
    else:
        known, needed = TRAINING_WORDS, ("images", "out")
    check_command(TRAIN, train.command, known=known, needed=needed)
    if sample is not None and sample.command is not None:
        needed = ("model", "out", "num_images")
        check_command(SAMPLE, sample.command, known=SAMPLING_WORDS, needed=needed)
    if train.start == "continue" and (sample is None or sample.command is None):
        raise UsageError(
            f"train.start must be scratch without {SAMPLE}, because a program that only writes "
            "images leaves no model to continue from, got 'continue'"
        )
    if train.start == "continue":
        check_command(TRAIN, train.command, known=known, needed=("init",))
