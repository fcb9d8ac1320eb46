"""Cases of command lines: options that are no settings, and words in the wrong number or place."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

from fuzz_case import Case, Step
from fuzz_settings import DIGITS, LONG, PATHS, TEXTS, bad_words, leaves

from analysis.__main__ import PROGRAM as ANALYSIS
from model.__main__ import PROGRAM as MODEL
from sweep.__main__ import PROGRAM as SWEEP
from sweep.config import LineageConfig, ResourcesConfig

PROGRAMS = {"sweep": SWEEP, "model": MODEL, "analysis": ANALYSIS}
RUN: tuple[Step, ...] = (("copy", "run", b"run"),)
HYPOTHESIS = (
    *("--hypothesis", "More images do more damage", "--expected", "greater"),
    *("--against", "pool.alpha=0.5"),
)
VALID: dict[tuple[str, str], tuple[str, ...]] = {
    ("sweep", "presets"): ("quickstart",),
    ("sweep", "data"): ("flat", "--sheet", "new.png"),
    ("sweep", "plan"): ("quickstart",),
    ("sweep", "run"): ("quickstart", "--out", "new"),
    ("sweep", "preregister"): (
        *("quickstart", "--out", "new", "--name", "more", *HYPOTHESIS),
        *("--contrast", "pool.alpha=2", "--generation", "3"),
    ),
    ("sweep", "status"): ("run",),
    ("sweep", "evaluate"): ("run", "--metrics.names", "fid", "--metrics.extractor", "pixels"),
    ("sweep", "stop"): ("run",),
    ("sweep", "clean"): ("run", "--dry-run"),
    ("sweep", "doctor"): ("--skip-training", "--store", "run"),
    ("sweep", "reproduce"): (),
    ("model", "train"): (
        *("--out", "new.safetensors", "--train.epochs", "None", "--train.steps", "2"),
        *("--model.family", "gaussian"),
    ),
    ("model", "sample"): ("checkpoint.safetensors", "--out", "new", "--num-images", "2"),
    ("model", "evaluate"): (
        *("--images", "flat", "--metrics.extractor", "pixels", "--metrics.names", "kid"),
    ),
    ("analysis", "table"): ("run",),
    ("analysis", "figure"): ("run", "--out", "figures", "--kind", "curves"),
    ("analysis", "report"): (
        *("run", "--out", "new.html", "--metric", "pixel_std", "--step", "low:alpha=0.5"),
    ),
    ("analysis", "board"): ("run", "--out", "new"),
    ("analysis", "verdict"): ("run",),
    ("analysis", "ledger"): ("run", "--metric", "pixel_std", "--step", "low:alpha=0.5"),
    ("analysis", "check"): ("run",),
}
"""Words with which each command is valid; not watch-spot, which waits for ever."""
FILES: tuple[Step, ...] = (
    *RUN,
    ("copy", "flat", b"flat"),
    ("copy", "checkpoint.safetensors", b"checkpoint.safetensors"),
)
"""What these words name."""
REACHES_RAY = (("sweep", "run"), ("sweep", "evaluate"))
SETTINGS = {leaf.dotted for kind in (LineageConfig, ResourcesConfig) for leaf in leaves(kind)}


def valid_cases() -> Iterator[Case]:
    """Every command as it is meant, with and without the right to write."""
    for (program, command), words in VALID.items():
        case = Case(words=(program, command, *words), kind="valid", rule="accept", steps=FILES)
        yield case
        yield Case(words=(program, command, "--help"), kind="help", rule="accept", protected=True)
        if case.reads and (program, command) not in REACHES_RAY:
            yield Case(
                words=case.words,
                kind="valid, read-only",
                rule="accept",
                steps=FILES,
                protected=True,
            )
    figure = (*VALID["analysis", "figure"][:2], "../figures", "--kind", "curves")
    yield Case(
        words=("analysis", "figure", *figure),
        kind="valid, read-only",
        rule="accept",
        steps=FILES,
        protected=True,
    )


def option_cases() -> Iterator[Case]:
    """Options of every command that are no settings of a lineage."""
    for (program, command), valid in VALID.items():
        for leaf in leaves(PROGRAMS[program].commands[command]):
            if leaf.dotted in SETTINGS or f"resources.{leaf.dotted}" in SETTINGS:
                continue
            for word, kind, rule in bad_words(leaf):
                if rule == "any" and (program, command) in REACHES_RAY and leaf.dotted == "address":
                    continue  # would wait for a cluster
                words = (word, *valid[1:]) if not leaf.flag else without(valid, leaf.flag)
                words = words if not leaf.flag else (*words, f"{leaf.flag}={word}")
                if leaf.hint is float and word == "1e-320":
                    rule = "any"  # not one that goes into a network
                yield Case(
                    words=(program, command, *words),
                    kind=f"option: {kind}",
                    rule=rule,
                    names=(*leaf.names, "argument", word[:100] or "the value"),
                    steps=(*FILES, *PATHS),
                )


def without(words: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """The words without an option and its value."""
    if flag not in words:
        return words
    at = words.index(flag)
    return words[:at] + words[at + 2 :]


STORES = (
    *("s3:/x", "S3://bucket/x", "s3://", "s3://b?x=1", "s3://u:p@b/x", "gs://", "ftp://x/y"),
    *("http://x", "file:///tmp/x", "://", "s3:", "a://b://c", "az://", "GS://b/x"),
    *("s3://bucket/caf\udce9", "gs:/b", "s3:///x"),
)
NO_ACCESS = ("gs://bucket", "az://b/x", "s3://bucket")
"""URLs of buckets that nobody can use here. `sweep doctor` reports so, and is no error."""


def store_cases() -> Iterator[Case]:
    """Stores that are neither a folder nor the URL of a bucket."""
    for (program, command), valid in VALID.items():
        if any(leaf.dotted == "store" for leaf in leaves(PROGRAMS[program].commands[command])):
            for word in (*STORES, *NO_ACCESS):
                reported = command == "doctor" and word in NO_ACCESS
                yield Case(
                    words=(program, command, *valid, "--store", word),
                    kind=f"store {word[:8]!r}",
                    rule="any" if reported else "refuse",
                    names=("--store", "argument", word),
                    steps=FILES,
                )


def place_cases() -> Iterator[Case]:
    """Results folders in places where they would damage, or become part of, other data."""
    plan = ("sweep", "run", "quickstart")
    data = ("--data.name", "folder", "--data.path", "images")
    copied: tuple[Step, ...] = (("copy", "images", b"images"), *RUN)
    for out in (
        "run/inside",
        "run/generations/x",
        "run/../run/y",
        "images",
        "images/x",
        "images/.",
    ):
        words = (*plan, *data, "--out", out)
        yield Case(
            words=words, kind="place of --out", rule="refuse", names=("--out",), steps=copied
        )
    for out in ("./new/", "new/.", "new/../new"):
        yield Case(words=(*plan, "--out", out), kind="spelling of --out", rule="accept")


def structure_cases(rng: random.Random) -> Iterator[Case]:
    """Words that are missing, repeated, exchanged, unknown or far too many."""
    for program in PROGRAMS:
        for words in (
            (),
            ("",),
            ("-",),
            ("--",),
            ("zzqx",),
            (LONG,),
            ("--version", "x"),
            ("-h", "x"),
        ):
            yield Case(words=(program, *words), kind="no command", steps=FILES)
        for text in TEXTS:
            yield Case(words=(program, text), kind="no command", rule="refuse")
    for (program, command), valid in VALID.items():
        start = (program, command)
        for words in (
            *((), ("",), ("-",), ("--",), ("--zzqx",), ("--zzqx", "1"), ("--" + LONG,), (LONG,)),
            *(("=",), ("--=",), ("---",), ("@file",), ("--tyro-write-completion",)),
            *((DIGITS,), tuple(["zzqx"] * 3000), tuple(["--zzqx=1"] * 1000)),
        ):
            yield Case(words=(*start, *words), kind="words alone", steps=FILES)
            if words:
                kind = "more words"
                yield Case(words=(*start, *valid, *words), kind=kind, steps=FILES)
        for text in TEXTS:
            yield Case(words=(*start, *valid, text), kind="more words", rule="refuse", steps=FILES)
        for at in range(len(valid)):
            yield Case(
                words=(*start, *valid[:at], *valid[at + 1 :]), kind="word missing", steps=FILES
            )
        for _ in range(6):
            shuffled = rng.sample(valid, len(valid))
            yield Case(words=(*start, *shuffled), kind="words exchanged", steps=FILES)
        yield Case(words=(*start, *valid, *valid), kind="words twice", steps=FILES)


def environment_cases(code: Path) -> Iterator[Case]:
    """Values of every environment variable that the code reads."""
    names: set[str] = {"HOME", "TMPDIR", "COLUMNS", "LANG", "LC_ALL", "NO_COLOR", "TERM"}
    for path in code.glob("*/**/*.py"):
        if path.relative_to(code).parts[0] in ("model", "sweep", "analysis"):
            reads = r'environ(?:\.get\(|\.setdefault\(|\.pop\(|\[)\s*"([A-Z_0-9]+)"'
            names |= set(re.findall(reads, path.read_text()))
    values = (b"", b"caf\xe9", b"a\nb", b"zzqx", b"x" * 5000, b"-1", b"/dev/null", b"a-file")
    for name in sorted(names):
        for value in values:
            for words in (("plan", "quickstart"), ("plan", "quickstart", "--store", "s3://b/x")):
                far = {"AWS_ENDPOINT_URL": b"http://127.0.0.1:9", "AWS_REGION": b"x"}
                settings = {**far, name: value} if "--store" in words else {name: value}
                yield Case(
                    words=("sweep", *words),
                    kind=f"environment {value[:8]!r}",
                    environment=tuple(sorted(settings.items())),
                    steps=PATHS,
                )
