"""Facts of plug-ins: what they may add, how keys and records name them, and who imports them."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from filtering import draw, keep
from running_sweep import run_sweep, write_sweep
from tiny_sweep import make_lineage, make_sweep, plan

from model.commands import plugins
from model.commands.plugins import LOADED, load_plugins, named_imports, plugins_in
from model.errors import UsageError
from model.filters.candidates import Selection
from model.filters.table import FILTERS, Filter
from sweep.planning.plugins import TABLES

ANALYSIS = Path(sys.executable).with_name("analysis")
FILTER = '''"""Keep the first images."""
import numpy as np
from model.filters.candidates import Candidates, Selection
from model.filters.table import Filter


def keep(candidates: Candidates) -> Selection:
    """Keep the first. No process reads this from the user's file."""
    assert "collapse-sweep-plugin-" in __file__
    return Selection(
        indices=np.arange({first}, candidates.keep + {first}),
        scores=np.zeros(len(candidates.features)),
    )


FILTERS = {{"mine": Filter(select=keep, version="{version}", needs_features=False)}}
'''
USED = {"filter.name": "mine", "filter.candidates": 2.0}


def write_filter(path: Path, *, version: str = "1", first: int = 0, more: str = "") -> Path:
    path.write_text(FILTER.format(version=version, first=first) + more)
    return path


pytestmark = pytest.mark.usefixtures("plugins_forgotten")


def keys(filter_settings: Mapping[str, object] = USED) -> list[str]:
    """Node keys of V_1 and V_2 of a lineage with the filter."""
    (lineage,) = plan(make_sweep(base=make_lineage(filter_settings)))
    return [node.key for node in lineage.nodes]


# What a plug-in is.


def test_a_variant_can_be_named_once_its_plugin_is_loaded(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"filter.name must be one of none, random"):
        keys()
    load_plugins([str(write_filter(tmp_path / "mine.py"))], TABLES)
    assert len(set(keys())) == 2


def test_the_same_plugin_may_be_named_twice(tmp_path) -> None:
    path = str(write_filter(tmp_path / "mine.py"))
    load_plugins([path, path], TABLES)
    load_plugins([path], TABLES)
    assert list(LOADED) == ["mine"]


def test_a_package_is_loaded_with_all_its_files(tmp_path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "numbers.py").write_text("FIRST = 0\n")
    (package / "note.txt").write_text("A file beside the code.\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "old.pyc").write_bytes(b"x")
    write_filter(package / "__init__.py", more="\nfrom .numbers import FIRST\n")
    load_plugins([f"{package}/"], TABLES)
    files = LOADED["pack"].files
    assert sorted(files) == ["pack/__init__.py", "pack/note.txt", "pack/numbers.py"]
    assert keys()


def test_a_module_of_an_installed_package_is_named_with_dots(tmp_path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    write_filter(tmp_path / "pack" / "rules.py")
    sys.path.insert(0, str(tmp_path))
    load_plugins(["pack.rules"], TABLES)
    assert sorted(LOADED["pack.rules"].files) == ["pack/__init__.py", "pack/rules.py"]
    assert keys()


def test_an_installed_package_offers_plugins_as_entry_points(tmp_path) -> None:
    write_filter(tmp_path / "mine.py")
    info = tmp_path / "my_filters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-filters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nfilters = mine\n")
    sys.path.insert(0, str(tmp_path))
    load_plugins([], TABLES)
    assert keys()


def test_an_entry_point_that_fails_is_named_with_its_package(tmp_path) -> None:
    (tmp_path / "mine.py").write_text("1 / 0\n")
    info = tmp_path / "my_filters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-filters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nfilters = mine\n")
    sys.path.insert(0, str(tmp_path))
    with pytest.raises(UsageError, match=r"plug-in filters of package my-filters .*ZeroDivision"):
        load_plugins([], TABLES)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "--import", "a.py", "--import=b.py"], ["a.py", "b.py"]),
        (["--imported", "x"], []),
        (["--import"], []),
    ],
)
def test_plugins_are_found_among_a_commands_arguments(args, words) -> None:
    assert named_imports(args) == words


# What is refused.

HEAD = "from model.filters.table import FILTERS as OURS, Filter\n"
BAD = {
    "an error": ("1 / 0\n", r"ZeroDivisionError: division by zero \(.*mine.py, line 1\)"),
    "bad syntax": ("def\n", "SyntaxError: invalid syntax"),
    "a missing module": ("import zzqx\n", "ModuleNotFoundError: No module named 'zzqx'"),
    "no dict": ("x = 1\n", "at least one of the dicts FAMILY_FACTS, FAMILIES, FILTERS"),
    "our dict": (
        "from model.filters.table import FILTERS\n",
        "FILTERS of --import .* must be a dict of its own",
    ),
    "a list": ("FILTERS = []\n", r"must be a dict, got \[\]"),
    "a number as version": (
        HEAD + 'FILTERS = {"mine": Filter(select=OURS["none"].select, version=1)}\n',
        "must have a version for 'mine' that is text",
    ),
    "an empty version": (
        HEAD + 'FILTERS = {"mine": Filter(select=OURS["none"].select, version="")}\n',
        "must have a version for 'mine' that is text",
    ),
    "a name of ours": (
        HEAD + 'FILTERS = {"random": Filter(select=OURS["none"].select, version="1")}\n',
        "must have new names, got 'random', which exists already",
    ),
    "a name with a space": (
        HEAD + 'FILTERS = {"my filter": Filter(select=OURS["none"].select, version="1")}\n',
        "must have names of letters, digits",
    ),
    "another type": ('FILTERS = {"mine": print}\n', "must have values of type Filter"),
    "half a family": (
        "from model.families import FAMILIES as OURS\nFAMILIES = {'mine': OURS['ddim']}\n",
        "the same names in FAMILIES and in FAMILY_FACTS",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_plugin_is_refused_in_one_sentence(case: str, tmp_path) -> None:
    text, message = BAD[case]
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_plugins([str(tmp_path / "mine.py")], TABLES)
    assert LOADED == {}
    from model.filters.table import FILTERS

    assert "mine" not in FILTERS


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("./zzqx.py", "must be a file or folder that exists, got './zzqx.py'"),
        ("zzqx", r"write ./zzqx.py for a file in the working directory"),
        ("./random.py", "must not have the name of another module"),
        ("./a-b.py", "must have a name that Python can import, got 'a-b'"),
        ("./", "must be a .py file, or a folder"),
    ],
)
def test_a_bad_name_is_refused(word: str, message: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("random.py", "a-b.py"):
        write_filter(tmp_path / name)
    with pytest.raises(UsageError, match=message):
        load_plugins([word], TABLES)


# Keys.


@pytest.mark.parametrize(
    ("indices", "scores", "message"),
    [
        ([2, 1], np.zeros(4), r"different indices of the 4 .* in ascending order, got \[2, 1\]"),
        ([1, 1], np.zeros(4), r"different indices of the 4 candidates"),
        ([1, 4], np.zeros(4), r"different indices of the 4 candidates"),
        ([-1, 2], np.zeros(4), r"different indices of the 4 candidates"),
        ([1], np.zeros(4), r"2 indices of candidates, got an array of int64 of shape \(1,\)"),
        ([0.0, 1.0], np.zeros(4), r"2 indices of candidates, got an array of float64"),
        ([0, 1], np.zeros(3), r"a finite score of each of the 4 candidates"),
        ([0, 1], np.full(4, np.nan), r"a finite score of each of the 4 candidates"),
    ],
)
def test_what_a_plugins_filter_returns_is_checked(indices, scores, message, monkeypatch):
    chosen = Selection(indices=np.array(indices), scores=scores)
    own = Filter(select=lambda candidates: chosen, version="1", needs_features=False)
    monkeypatch.setitem(FILTERS, "own", own)
    with pytest.raises(ValueError, match=f"^filter own must return {message}"):
        keep("own", draw(4), 2)


def test_keys_depend_on_the_plugins_name_and_version(tmp_path) -> None:
    found = []
    for name, version in (("mine", "1"), ("mine", "2"), ("other", "1")):
        load_plugins([str(write_filter(tmp_path / f"{name}.py", version=version))], TABLES)
        found.append(keys())
        from model.filters.table import FILTERS

        del FILTERS["mine"], LOADED[name], sys.modules[name]
    first = {one for one, _ in found}
    second = {two for _, two in found}
    assert (len(first), len(second)) == (1, 3)  # V_1 sees no image of the filter


def test_keys_do_not_depend_on_a_plugin_that_is_not_used(tmp_path) -> None:
    before = keys({})
    load_plugins([str(write_filter(tmp_path / "mine.py"))], TABLES)
    assert keys({}) == before


def test_a_result_names_the_plugins_that_it_depends_on(tmp_path) -> None:
    load_plugins([str(write_filter(tmp_path / "mine.py"))], TABLES)
    (lineage,) = plan(make_sweep(base=make_lineage(USED)))
    first, second = (plugins_in(node.inputs_text) for node in lineage.nodes)
    assert first == {}
    assert second == {"mine": {"source": LOADED["mine"].source, "code": LOADED["mine"].code}}


def test_comments_docstrings_and_layout_are_source_but_not_code(tmp_path) -> None:
    digests = {}
    texts = {
        "plain": FILTER.format(version="1", first=0),
        "commented": "# Mine.\n" + FILTER.format(version="1", first=0).replace("Keep the", "The"),
        "changed": FILTER.format(version="1", first=1),
    }
    for name, text in texts.items():
        files = {"mine.py": text.encode()}
        digests[name] = plugins._digest(files), plugins._digest(plugins._code(files))
    assert digests["plain"][0] != digests["commented"][0]
    assert digests["plain"][1] == digests["commented"][1] != digests["changed"][1]


# A sweep with a plug-in. Ray's workers have no access to the user's file.


def in_tiny(folder: Path) -> list[str]:
    """The arguments of a sweep that uses the filter."""
    write_sweep(folder, (1.0,), base__model__family="gaussian")
    words = ["tiny.toml", "--out", "run", "--filter.name", "mine", "--filter.candidates", "2"]
    return [*words, "--import", "mine.py"]


@pytest.mark.ray
def test_a_sweep_computes_with_a_plugin_and_is_read_without_it(tmp_path) -> None:
    words = in_tiny(tmp_path)
    write_filter(tmp_path / "mine.py")
    copies = tmp_path / "temporary"
    copies.mkdir()
    folders = {"TMPDIR": str(copies), "RAY_TMPDIR": tempfile.gettempdir()}
    done = run_sweep("run", *words, cwd=tmp_path, **folders)
    assert done.returncode == 0, done.stderr
    assert list(copies.iterdir()) == []
    (tmp_path / "mine.py").unlink()
    assert run_sweep("status", "run", cwd=tmp_path).returncode == 0
    for command in ("table", "check"):
        read = subprocess.run(
            [ANALYSIS, command, "run"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert read.returncode == 0, read.stdout + read.stderr
    again = run_sweep("run", *words[:-2], cwd=tmp_path)
    assert again.returncode == 2
    assert "filter.name must be one of" in again.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_results_of_changed_code_are_not_mixed(tmp_path) -> None:
    words = in_tiny(tmp_path)
    write_filter(tmp_path / "mine.py")
    assert run_sweep("run", *words, cwd=tmp_path).returncode == 0
    write_filter(tmp_path / "mine.py", more="\n# A comment.\n")
    again = run_sweep("run", *words, cwd=tmp_path)
    assert again.returncode == 0
    assert "the source of plug-in mine has changed since earlier results" in again.stderr
    assert "nothing to compute" in again.stderr

    write_filter(tmp_path / "mine.py", first=1)
    again = run_sweep("run", *words, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "plug-in mine must have the code with which earlier results were made" in again.stderr
    again = run_sweep("run", *words, "--accept-changed-plugins", cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing to compute" in again.stderr

    write_filter(tmp_path / "mine.py", first=1, version="2")
    again = run_sweep("run", *words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "nothing to compute" not in again.stderr
