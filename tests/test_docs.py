"""Facts of the documentation: links resolve, and its command lines do what the text around says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
OURS = ("sweep", "model", "analysis")


def without_code(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_or_heading_resolves(page: Path) -> None:
    broken = []
    for link in LINK.findall(without_code(page.read_text())):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_readme() -> None:
    links = LINK.findall((ROOT / "README.md").read_text())
    named = {(ROOT / link.partition("#")[0]).resolve() for link in links}
    pages = {page for page in PAGES if page.parent.name == "docs"}
    assert {page.name for page in pages - named} == set()


# Command lines. They run in the order of a page, in a folder that has only what the page shows.

TOY: dict[str, dict[str, str]] = {
    "sweep run": {"--model.family": "gaussian", "--metrics.extractor": "pixels"},
    "sweep evaluate": {"--metrics.extractor": "pixels"},
    "model evaluate": {"--metrics.extractor": "pixels"},
}
"""Settings with which a command ends within seconds, unless the page sets them."""
RUN = ("README.md", *(f"docs/{name}.md" for name in ("guide", "metrics", "plugins", "command")))
RUN += ("docs/reproducing.md", "docs/slurm.md")
ELSEWHERE = ("BUCKET", "inception-2015", "tensorboard", "my-own-", "--address")
"""In lines that need a cloud account, a download, a server or somebody's own files."""
PLANNED = {"paper", "paper-literal", "paper-digits"}
"""Presets that take hours or need a download: they are planned, and have results in COPIES."""
COPIES = ("paper", "paper-literal", "paper-digits", "timing")
SLOW = {"rules", "concentration", "ensemble"}
"""Presets of many models, which one seed and the smallest network are enough to test."""


def lines_of(page: str) -> list[list[str]]:
    """The words of each of our command lines in the page's shell blocks."""
    blocks = [body for kind, body in BLOCK.findall((ROOT / page).read_text()) if kind == "sh"]
    lines = "\n".join(blocks).replace("\\\n", " ").replace("$SHARED", "shared").splitlines()
    parts = [part.removeprefix("uv run ") for line in lines for part in line.split(" && ")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [each for each in words if each and each[0] in (*OURS, "cp")]


def prepare(folder: Path) -> None:
    """Write the files that pages refer to."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    for example in (ROOT / "examples").glob("own_*.py"):
        shutil.copy(example, folder)
    for name in COPIES:
        shutil.copytree(ROOT / "experiments" / "paper-digits-seed0", folder / "runs" / name)
    for kind, body in BLOCK.findall((ROOT / "docs" / "guide.md").read_text()):
        if kind == "toml" and 'name = "my-sweep"' in body:
            (folder / "my-sweep.toml").write_text(body)
    model = str(Path(sys.executable).with_name("model"))
    small = ["--model.family", "gaussian", "--out", "digits.safetensors"]
    subprocess.run([model, "train", *small], cwd=folder, check=True, capture_output=True)
    train = [sys.executable, str(ROOT / "benchmarks" / "classifier.py"), "--epochs", "1"]
    of_digits = ["--data", "digits", "--image-size", "8", "--out", "classifier.safetensors"]
    subprocess.run([*train, *of_digits], cwd=folder, check=True, capture_output=True)
    for seed, name in enumerate(("my-pngs", "real-pngs", "train-pngs")):
        words = ["digits.safetensors", "--out", name, "--num-images", "40", "--seed", str(seed)]
        subprocess.run([model, "sample", *words], cwd=folder, check=True, capture_output=True)


def adapted(words: list[str]) -> list[str]:
    """A line as it is run here: small, and planned in place of run if its data are not here."""
    if words[:2] == ["sweep", "run"] and words[2] in PLANNED:
        out = words.index("--out")
        return ["sweep", "plan", *words[2:out], *words[out + 2 :]]
    toy = TOY.get(" ".join(words[:2]), {})
    if "--train.initial-checkpoint" in words:  # only a network can start from one
        toy = {"--metrics.extractor": "pixels", "--train.steps": "3", "--axis": "seed=0"}
    axes = [f"--{word.partition('=')[0]}" for word in words]
    more = [x for name in toy if name not in (*words, *axes) for x in (name, toy[name])]
    if words[:2] == ["sweep", "run"] and words[2] in SLOW:
        more += ["--axis", "seed=0", "--filter.extractor", "pixels"]
    if "--filter.name" in words:
        more += ["--filter.extractor", "pixels"]
    return [*words, *more]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_command_line_works(tmp_path: Path) -> None:
    """Also those of metrics.md, which use a folder that the guide has made."""
    prepare(tmp_path)
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    for words in (words for page in RUN for words in lines_of(page)):
        if any(part in word for word in words for part in ELSEWHERE):
            continue
        line = adapted(words)
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{shlex.join(line)}\n{done.stdout}\n{done.stderr}"
