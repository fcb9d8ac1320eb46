"""What must hold of the repository itself: one set of words, kept layers, plain files."""

import ast
import graphlib
import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
PACKAGES = ("model", "sweep", "analysis")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
BINARY = {".png", ".npz", ".safetensors", ".xz", ".jpg", ".pdf", ".gif", ".ico"}
# Spelled in halves, or this file would name them.
REGISTRIES = (
    "py" + "pi.org",
    "pythonhosted" + ".org",
    "download.pytorch" + ".org",
    "anaconda" + ".org",
    "find" + "-links",
    "index" + "-url",
)
INSTALL = ("pip install uv", "uv sync --extra all")
INSTALLERS = (
    *("README.md", "CONTRIBUTING.md", "docs/cluster.md", "docs/slurm.md", ".ci/run"),
    *("cluster.yaml", "cluster-gcp.yaml", "skypilot.yaml", "Containerfile"),
)


def project_files() -> list[Path]:
    """Files that git tracks or would track, so that caches and results of runs stay out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def text_files() -> list[Path]:
    """Every project file that people read; the lock is written and read by uv."""
    files = [path for path in project_files() if path.suffix not in BINARY]
    return [path for path in files if path.name != "uv.lock"]


def imported(path: Path, *, anywhere: bool) -> set[str]:
    """Top-level packages that a module imports at its top, or anywhere in it."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree)) if anywhere else tree.body
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def relative(paths: list[Path]) -> list[str]:
    """Paths as a failing test should print them."""
    return [str(path.relative_to(ROOT)) for path in paths]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def known_modules(path: Path) -> set[str]:
    """The modules of ours that a module imports anywhere in it, if only for its types."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & {module_name(module) for module in MODULES}


def test_no_modules_import_each_other():
    """Not even in a circle of several, inside functions, or for types alone."""
    graph = {module_name(path): known_modules(path) for path in MODULES}
    assert len(graph["sweep.lineage.run"]) > 10
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_packages_are_small_enough_to_look_over():
    """At most 13 modules in a folder; a package file holds a docstring only."""
    sizes = {
        folder: len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for folder in {path.parent for path in MODULES}
    }
    assert {folder.name: size for folder, size in sizes.items() if size > 13} == {}


def test_a_package_file_holds_a_docstring_only():
    """Importing a package, at any depth, runs no code. The three doors only define functions."""
    doors = [ROOT / name / "__init__.py" for name in ("model", "sweep", "analysis")]
    packages = [path for path in MODULES if path.name == "__init__.py" and path not in doors]
    trees = {path: ast.parse(path.read_text()) for path in packages}
    others = [p for p, tree in trees.items() if len(tree.body) != 1 or not ast.get_docstring(tree)]
    assert relative(others) == []


def test_every_module_says_what_it_holds():
    """Each module of the packages begins with a docstring."""
    silent = [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert relative(silent) == []


def test_no_module_is_longer_than_400_lines():
    """A longer module has two reasons to change."""
    sources = [path for path in project_files() if path.suffix == ".py"]
    assert relative([path for path in sources if len(path.read_text().splitlines()) > 400]) == []


def test_every_text_file_is_ascii():
    """Every editor and terminal shows what was written."""
    assert relative([path for path in text_files() if not path.read_bytes().isascii()]) == []


@pytest.mark.parametrize("words", INSTALL)
@pytest.mark.parametrize("name", INSTALLERS)
def test_the_installation_has_the_same_words_everywhere(name, words):
    """What the README tells a reader is what CI and a cluster do."""
    assert words in (ROOT / name).read_text()


@pytest.mark.parametrize("name", INSTALLERS)
def test_no_second_way_to_install_is_told(name):
    """Every `uv sync` of the README, of CI and of a cluster is the same one."""
    text = (ROOT / name).read_text()
    assert set(re.findall(r"uv sync(?: --?\S+| all)*", text)) == {"uv sync --extra all"}


def test_the_readme_names_the_test_command_for_ci():
    """.ci/run finds the one command under the comment test-command."""
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"<!-- test-command -->\n```\w*\n(.*)\n```", readme)
    assert commands == ["uv run --extra all pytest"]


def test_no_registry_is_named_outside_the_lock():
    """Where packages come from is the choice of who installs them."""
    named = [path for path in text_files() if any(r in path.read_text() for r in REGISTRIES)]
    assert relative(named) == []


def test_the_licence_is_the_unmodified_apache_text():
    """Byte for byte the LICENSE-2.0.txt that the Apache Software Foundation publishes."""
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_changelog_begins_with_this_version():
    """A version is not released without saying what changed."""
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert versions[0] == VERSION


def test_the_citation_is_of_this_version():
    """CITATION.cff and pyproject.toml agree."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    assert citation["license"] == PROJECT["project"]["license"]


def test_analysis_installs_without_torch_and_ray():
    """The core dependencies are small; all the rest is in the extra `all`."""
    core = {re.split(r"[\[<>=]", line)[0] for line in PROJECT["project"]["dependencies"]}
    assert core.isdisjoint({"torch", "torchvision", "ray", "tensorboard", "scikit-learn"})


def test_records_use_the_standard_library_and_a_validator_only():
    """Whoever reads a results folder needs nothing else, apart from our own errors."""
    standard = sys.stdlib_module_names
    for name in ("records.py", "files.py"):
        allowed = standard | {"model", "sweep", "msgspec"}
        assert imported(ROOT / "sweep" / name, anywhere=True) <= allowed
    assert imported(ROOT / "model" / "errors.py", anywhere=True) <= standard


def test_importing_a_model_needs_torch_and_numpy_only():
    """Any other package is imported inside the function that needs it."""
    allowed = {*sys.stdlib_module_names, "model", "numpy", "torch"}
    for path in (ROOT / "model").rglob("*.py"):
        entry = {"tyro"} if path.name in ("__main__.py", "command_line.py") else set()
        assert imported(path, anywhere=False) <= allowed | entry, path.name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_command_starts_without_torch_and_ray(package):
    """No __main__ imports at its top what only some of its commands need."""
    main = ROOT / package / "__main__.py"
    assert imported(main, anywhere=False).isdisjoint({"torch", "torchvision", "ray", "sklearn"})


def test_ci_is_a_valid_bash_script():
    """Bash reads .ci/run to its end, and it may be executed."""
    script = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111


def test_the_justfile_has_at_most_eight_recipes():
    """A list that fits on a card is one that is read."""
    justfile = (ROOT / "justfile").read_text()
    recipes = re.findall(r"^\w[\w-]*(?: \*?\w+)*:$", justfile, re.MULTILINE)
    assert 1 <= len(recipes) <= 8
