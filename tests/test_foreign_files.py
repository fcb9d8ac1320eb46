"""Facts of files that are not ours: nothing that deletes ever takes them for ours."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pinned.commands import below, read_archive
from test_store import FILES, KEY, RECORD
from tiny_sweep import compute, make_sweep, plan_in

from sweep.commands.clean import clean
from sweep.results_folder import fill, write_sweep
from sweep.store.cache import Cache
from sweep.store.inventory import item_of
from sweep.store.store import open_store
from sweep.tune.private_ray import LOCK, private_folder

OWNER = "host-12-0123abcd"
FOLDERS = (
    "", "generations", f"generations/{KEY}", f"generations/{KEY}/metrics", "generations/mine",
    "datasets", "datasets/0123", "work", f"work/{KEY}", f"work/{KEY}/{OWNER}", f"work/{KEY}/notes",
    f"work/corrupt-{KEY}-0123abcd", "work/corrupt-mine", "work/mine", f"streams/{KEY}",
    "streams/mine", "features", "selections/x", "claims/mine", "sweeps", "lineages", "tune/mine",
    "figures", "tensorboard", "mine", "files/nodes", f"records/{KEY}", "metrics",
    f"scratch/{KEY}", "corrupt", "clock",
)  # fmt: skip
"""Where somebody may put a file."""
NAMES = (
    "notes.txt", ".notes.tmp", ".x.txt.tmp", ".~lock.tmp", ".x.0123ABCD.tmp", ".x.123.tmp", "x.tmp",
    ".0123abcd.tmp", "record.json.bak", "model.pt", "000000.png", "model.safetensors.1",
    ".DS_Store", "a b", "\u00e9", "line\nbreak", "training", "claim.txt", "publish-0123abcd.tar",
)  # fmt: skip
"""How it may be called."""
OURS_ELSEWHERE = ("record.json", "model.safetensors", "000000.safetensors", "card.json")
"""Names that are ours in the right folder, but not in these."""
_ENDS = ("mine", "notes", "/x", "0123", "corrupt")
STRANGE_FOLDERS = tuple(folder for folder in FOLDERS if folder.endswith(_ENDS))
FOREIGN = st.one_of(
    st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(STRANGE_FOLDERS), st.sampled_from(OURS_ELSEWHERE)),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished sweep, and remains of every kind that `clean` deletes."""
    out = tmp_path_factory.mktemp("finished") / "out"
    store = open_store(out)
    lineages = plan_in(make_sweep(), store)
    write_sweep(out, make_sweep(), "sweep run tiny")
    for lineage in lineages:
        compute(lineage.config, store)
    fill(out, lineages, store)
    store.nodes.publish(KEY, FILES, RECORD)
    other = replace(RECORD, key="b2" * 32)
    store.nodes.publish(other.key, FILES, other)
    return out


def make_old(path: Path) -> None:
    then = time.time() - 7200
    os.utime(path, (then, then))


@settings(max_examples=20)
@given(places=st.lists(FOREIGN, min_size=1, max_size=8, unique=True))
def test_a_store_is_cleaned_of_no_foreign_file(places, finished, tmp_path_factory):
    """Of any name, in any folder, also in those of our own items."""
    out = tmp_path_factory.mktemp("cleaned") / "out"
    shutil.copytree(finished, out)
    foreign = {out / folder / name: f"{folder}/{name}".encode() for folder, name in places}
    for path, data in foreign.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        make_old(path)
    clean(out, store=None, checkpoints=True, force=True, dry_run=False)
    assert {path: path.read_bytes() for path in foreign if path.exists()} == foreign
    shutil.rmtree(out.parent)


def test_what_was_kept_is_said(finished, tmp_path, capsys):
    """How much, and the name of one; the rest is deleted as ever."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for name in ("work/mine.txt", "generations/mine/record.json", "notes.txt"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    capsys.readouterr()
    clean(out, store=None, checkpoints=True, force=True, dry_run=False)
    printed = capsys.readouterr()
    assert "deleted      2 models that no lineage refers to" in printed.out
    first = "generations/mine/record.json"
    assert printed.err == f"kept 2 files that are not ours, the first is {first}\n"
    assert not (out / "generations" / KEY).exists()


def test_a_folder_that_is_set_aside_keeps_what_is_not_ours(finished, tmp_path):
    """Whoever publishes a model moves a folder of its name away; only our files in it may go."""
    store, target = open_store(tmp_path / "out"), tmp_path / "out" / "generations" / KEY
    target.mkdir(parents=True)
    (target / "thesis.tex").write_text("mine")
    (target / "pool.json").write_text("{}")
    assert store.nodes.publish(KEY, FILES, RECORD)
    (aside,) = (tmp_path / "out" / "work").iterdir()
    assert {path.name for path in aside.iterdir()} == {"thesis.tex", "pool.json"}
    kinds = {item.kind: item.paths for item in store.items()}
    assert [Path(path).name for path in kinds["damaged"]] == ["pool.json"]
    assert [Path(path).name for path in kinds["foreign"]] == ["thesis.tex"]


def test_scratch_of_a_model_is_dropped_without_what_is_not_ours(tmp_path):
    store, key = open_store(tmp_path), KEY
    store.save_scratch(key, "training.safetensors", b"state")
    (owner,) = (tmp_path / "work" / key).iterdir()
    for place in (owner / "notes.txt", owner.parent / "notes.txt", owner.parent / "mine" / "x"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
    store.drop_scratch(key)
    assert store.load_scratch(key, "training.safetensors") is None
    left = {path.name for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert left == {"notes.txt", "x"}


def test_stores_of_earlier_versions_hold_nothing_foreign():
    """Else their files would never be deleted."""
    archive = read_archive()
    for store in ("folder/store", "folder/null", "folder/unfinished", "objects"):
        kinds = {path: item_of(path) for path in below(archive, f"{store}/")}
        assert [path for path, item in kinds.items() if item and item[0] == "foreign"] == []
        assert len([item for item in kinds.values() if item]) > 10


def test_a_cache_evicts_only_what_it_wrote(tmp_path):
    """However old and large, and also in its own folder."""
    cache = Cache(root=tmp_path, limit_bytes=100, bucket="s3://bucket/x")
    mine = [
        cache.locate("notes.txt"),
        cache.locate(f"streams/{KEY}/images.npz"),
        cache.locate(f"streams/{KEY}/000000.safetensors").parents[2] / "streams.tar",
        tmp_path / "buckets" / "mine" / f"streams/{KEY}/000000.safetensors",
        tmp_path / "buckets" / "notes.txt",
    ]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
        make_old(path)
    for number in range(3):
        cache.keep(f"streams/{KEY}/{number:06d}.safetensors", [b"x" * 90], size=90)
    assert all(path.exists() for path in mine)
    assert cache.read(f"streams/{KEY}/000000.safetensors") is None


@pytest.mark.parametrize("folder", ["sweep-results", "sweep-0123abcd", "sweep-0123abcde"])
def test_a_folder_with_anything_but_rays_files_is_no_leftover(folder, tmp_path, monkeypatch):
    """Though it has the name, and a file with the name of our lock."""
    monkeypatch.setattr("sweep.tune.private_ray.temporary_folder", lambda: tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / LOCK).touch()
    (tmp_path / folder / "thesis.tex").write_text("mine")
    with private_folder():
        assert (tmp_path / folder / "thesis.tex").read_text() == "mine"
