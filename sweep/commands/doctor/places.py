"""Facts about the folders that a sweep writes to, and about the weights of extractors."""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from model.config import MetricsConfig
from model.errors import OneLineError, printable
from model.features.extractors import EXTRACTORS, load_network
from model.features.inception import cached_path
from model.features.ready import check_ready
from sweep.commands.doctor.facts import Fact
from sweep.estimate.sizes import format_bytes
from sweep.results_folder import check_out
from sweep.store.cache import cache_root
from sweep.store.folder import Folder
from sweep.store.store import Store
from sweep.tune.private_ray import temporary_folder

RECORD = f"generations/{'0' * 64}/record.json"
"""A path at which publishing is tried, in a folder of its own."""


def place_facts(out: Path | None, store: Store | None) -> list[Fact]:
    """The cache, the temporary folder, and the results folder and store that are given."""
    facts = [folder_fact("cache", cache_root(None), "XDG_CACHE_HOME")]
    try:
        facts.append(folder_fact("temporary", temporary_folder(), "RAY_TMPDIR or TMPDIR"))
    except OneLineError as error:
        facts.append(Fact(name="temporary", text="no folder", problem=str(error)))
    if out is not None:
        facts.append(results_fact(out))
    if store is not None:
        facts.append(store_fact(store))
    return facts


def results_fact(out: Path) -> Fact:
    """The results folder of a run."""
    try:
        check_out(out.absolute())
    except OneLineError as error:
        return Fact(name="--out", text=printable(str(out)), problem=str(error))
    return folder_fact("--out", out.absolute(), "--out")


def store_fact(store: Store) -> Fact:
    """A store in a folder, or in a bucket, which is asked to create an object only once."""
    if isinstance(store.files, Folder):
        return folder_fact("--store", store.files.root, "--store")
    text = printable(store.location)
    try:
        store.check()
    except OneLineError as error:
        return Fact(name="--store", text=text, problem=str(error))
    return Fact(name="--store", text=f"{text}: can be written; creates an object only once")


def folder_fact(name: str, folder: Path, option: str) -> Fact:
    """Whether a folder, or the one in which it would be made, does what a store needs.

    A file is created, created again in vain, and replaced; a record is published by a rename, and
    again in vain. All is done in a temporary folder that is deleted.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    text = printable(str(folder))
    text += ": " if existing == folder else ", which a run would make: "
    try:
        text += f"{format_bytes(shutil.disk_usage(existing).free)} free"
        Folder(folder).check(option)
        with tempfile.TemporaryDirectory(prefix=".sweep-doctor-", dir=existing) as made:
            works = try_folder(Folder(Path(made)))
    except OneLineError as error:
        return Fact(name=name, text=text, problem=str(error))
    except OSError as error:
        problem = f"{option} must be a folder that can be written, got {error.strerror!r}"
        return Fact(name=name, text=text, problem=f"{problem} at {existing}; choose another folder")
    text += "; can be written, creates files only once, renames folders" if works else ""
    problem = f"{option} must create files only once, got {folder}; choose a local disk or NFS"
    return Fact(name=name, text=text, problem="" if works else problem)


def try_folder(folder: Folder) -> bool:
    """Whether files are created only once and replaced, and records published only once."""
    created = folder.create("work/once", b"1"), folder.create("work/once", b"2")
    folder.write("work/once", b"3")
    published = (
        folder.publish(RECORD, b"{}", files={}),
        folder.publish(RECORD, b"[]", files={}),
    )
    contents = folder.read("work/once"), folder.read(RECORD)
    return (created, published, contents) == ((True, False), (True, False), (b"3", b"{}"))


def weights_fact() -> Fact:
    """Which extractors can run here, and what the others lack.

    The default one is loaded, which verifies its weights.
    """
    if find_spec("torch") is None:
        return Fact(name="extractors", text="unknown without torch")
    default = MetricsConfig().extractor
    ready, words, problem = [], [], ""
    for name in EXTRACTORS:
        config = MetricsConfig(names=(), extractor=name)
        try:
            if check_ready(config, fetch=False):
                words.append(f"{name}: would be downloaded to {printable(str(cached_path()))}")
                continue
            if name == default:
                load_network(config, "cpu")
            ready.append(name)
        except OneLineError as error:
            words.append(str(error).partition(";")[0].removeprefix("metrics.extractor "))
            if name == default:
                problem = str(error)
    return Fact(
        name="extractors", text="; ".join([f"ready: {', '.join(ready)}", *words]), problem=problem
    )
