"""Facts of folders that other users can change: named, and refused where everybody can."""

import os
import warnings
from pathlib import Path

import pytest
from tiny_sweep import make_sweep

from model.commands.files import check_new
from model.commands.shared_folders import check_shared, other_writers
from model.config import MetricsConfig
from model.errors import UsageError
from sweep.commands.evaluate import evaluate
from sweep.commands.run import execute
from sweep.commands.shared_folders import check_places
from sweep.config import ResourcesConfig
from sweep.results_folder import write_sweep
from sweep.store.store import open_store

NOBODY = 65534
"""A user that is not us, and the number of a group that is not ours."""
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other users")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of ours, inside others of ours."""
    folder = tmp_path / "lab" / "store"
    folder.mkdir(parents=True)
    return folder


def others(path: Path) -> dict[str, str]:
    """Who else can change a path, and the name of what lets them."""
    return {each.name: each.path.name for each in other_writers(path)}


def test_a_folder_of_ours_is_ours(folder):
    assert others(folder) == {}
    assert others(folder / "new" / "newer") == {}


@pytest.mark.parametrize("which", ["store", "lab"])
def test_every_user_can_change_what_is_below_a_world_writable_folder(folder, which):
    """At any depth: whoever can rename a folder can put another in its place."""
    {"store": folder, "lab": folder.parent}[which].chmod(0o777)
    for path in (folder, folder / "new"):
        assert others(path) == {"every user of this machine": which}


def test_a_sticky_folder_above_is_none_of_them(folder):
    """As /tmp is: others cannot rename what is ours in it."""
    folder.parent.chmod(0o1777)
    assert others(folder) == {}
    assert others(folder.parent / "new") == {}


def test_a_sticky_folder_in_which_results_are_looked_for_is(folder):
    """Others can put theirs there first."""
    folder.chmod(0o1777)
    assert others(folder) == {"every user of this machine": "store"}


def test_a_file_that_every_user_can_write_is_seen(folder):
    (folder / "file").touch()
    (folder / "file").chmod(0o666)
    assert others(folder / "file") == {"every user of this machine": "file"}


@as_root
def test_a_group_is_named(folder):
    """A lab may share a store on purpose."""
    os.chown(folder, -1, NOBODY)
    folder.chmod(0o2775)
    assert list(others(folder).values()) == ["store"]
    assert next(iter(others(folder))).startswith("group ")


@as_root
@pytest.mark.parametrize("which", ["lab", "store"])
def test_another_owner_is_named(folder, which):
    os.chown({"store": folder, "lab": folder.parent}[which], NOBODY, -1)
    assert list(others(folder).values()) == [which]
    assert next(iter(others(folder))).startswith("user ")


@as_root
def test_a_link_of_another_user_is_seen(folder):
    """In a sticky folder, its owner can still point it elsewhere."""
    link = folder.parent / "link"
    link.symlink_to(folder)
    os.lchown(link, NOBODY, -1)
    assert list(others(link).values()) == ["link"]


def test_where_a_link_leads_is_seen(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    folder.parent.chmod(0o777)
    assert others(tmp_path / "link") == {"every user of this machine": "lab"}


def test_a_world_writable_folder_is_refused_and_the_way_out_named(folder):
    folder.chmod(0o777)
    message = (
        rf"--store must not be in a folder that every user of this machine can write to, got "
        rf"{folder} \(mode 0777\); chmod o-w {folder}, or pass --allow-world-writable"
    )
    with pytest.raises(UsageError, match=message):
        check_shared({"--store": [folder]})
    with pytest.warns(UserWarning, match=r"--store can be changed by every user of this machine"):
        check_shared({"--store": [folder]}, allow_everyone=True)


@as_root
def test_a_shared_folder_is_warned_of_once(folder):
    os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o2775)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_shared({"--store": [folder, folder / "generations", folder / "streams"]})
    (said,) = (str(each.message) for each in caught)
    assert said.startswith("--store can be changed by user ")
    assert f"(through {folder})" in said
    assert "group " in said


PLACES = {
    "--out": ("out", "out/generations", "out/lineages"),
    "--store": ("store", "store/streams", "store/work"),
    "XDG_CACHE_HOME": ("cache/collapse-sweep",),
    "TMPDIR": ("tmp",),
}


@pytest.mark.parametrize(
    ("option", "name"), [(option, name) for option, names in PLACES.items() for name in names]
)
def test_every_place_of_a_sweep_is_looked_at(option, name, tmp_path, monkeypatch):
    """Folders inside the store and the results too."""
    for names in PLACES.values():
        for each in names:
            (tmp_path / each).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    store = open_store(tmp_path / "store")

    def check(*, allowed: bool) -> None:
        out, resources = tmp_path / "out", ResourcesConfig()
        check_places(out, store, resources, allow_world_writable=allowed)

    check(allowed=False)
    (tmp_path / name).chmod(0o777)
    with pytest.raises(UsageError, match=f"^{option} must not be in a folder that every user"):
        check(allowed=False)
    with pytest.warns(UserWarning, match=f"^{option} can be changed by every user"):
        check(allowed=True)


def test_a_run_is_refused_before_it_writes(folder, tmp_path):
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="--store must not be in a folder that every user"):
        execute(make_sweep(), tmp_path / "out", store=str(folder), address=None, command="")
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_model_train_warns(folder):
    """Of the file's folder; in a sticky one, only of a saved state that is another user's."""
    out, state = folder / "x.safetensors", folder / "x.safetensors.training"
    check_new(out, state)
    folder.chmod(0o1777)
    check_new(out, state)
    folder.chmod(0o777)
    with pytest.warns(UserWarning, match="--out can be changed by every user of this machine"):
        check_new(out, state)


@as_root
def test_model_train_warns_of_a_state_that_another_user_has_put_there(folder):
    out, state = folder / "x.safetensors", folder / "x.safetensors.training"
    folder.chmod(0o1777)
    state.touch()
    os.chown(state, NOBODY, -1)
    with pytest.warns(UserWarning, match=r"--out can be changed by user .*x.safetensors.training"):
        check_new(out, state)


def test_an_evaluation_is_refused_too(tmp_path):
    write_sweep(tmp_path, make_sweep(), "sweep run tiny")
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="--out must not be in a folder that every user"):
        evaluate(tmp_path, MetricsConfig(extractor="pixels"), store=None, address=None, command="")
