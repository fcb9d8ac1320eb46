"""Checks who else can change the files of a sweep: its results, store and cache."""

import tempfile
from pathlib import Path

from model.commands.shared_folders import check_shared
from model.data.reading import cache_dir
from sweep.config import ResourcesConfig
from sweep.store.cache import cache_root
from sweep.store.folder import Folder
from sweep.store.inventory import FOLDERS, OTHER_FOLDERS
from sweep.store.store import Store
from sweep.tune.private_ray import temporary_folder


def check_places(
    out: Path, store: Store, resources: ResourcesConfig, *, allow_world_writable: bool
) -> None:
    """Check the folders that a sweep reads results from; raises and warns as check_shared."""
    places = {"--out": [out, *(out / name for name in (*FOLDERS, *OTHER_FOLDERS))]}
    if isinstance(store.files, Folder) and store.files.root != out:
        places["--store"] = [store.files.root, *(store.files.root / name for name in FOLDERS)]
    if not isinstance(store.files, Folder):
        places["resources.cache_dir"] = [cache_root(resources.cache_dir)]
    places["XDG_CACHE_HOME"] = [cache_dir()]
    places["TMPDIR"] = [Path(tempfile.gettempdir()) / "new", temporary_folder() / "new"]
    check_shared(places, allow_everyone=allow_world_writable)
