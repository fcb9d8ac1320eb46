"""skypilot.yaml is what SkyPilot reads: checked by its own package, without an account."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = shutil.which("uv")
SKYPILOT = "skypilot==0.14.1"
"""The version that has read the file; docs/cluster.md names it."""
READ = "import sky, sys; task = sky.Task.from_yaml(sys.argv[1]); print(task.num_nodes, task.run)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(UV is None, reason="no uv to make an environment"),
]


def read(path: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """What SkyPilot says about a file; it writes below its home only."""
    assert UV is not None
    cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True)
    settings = {
        **os.environ,
        "HOME": str(home),
        "UV_CACHE_DIR": cache.stdout.strip(),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }
    words = [UV, "run", "-q", "--no-project", "--with", SKYPILOT, "python", "-c", READ, path]
    return subprocess.run(
        words, cwd=home, env=settings, capture_output=True, text=True, check=False
    )


def test_skypilot_reads_the_file(tmp_path: Path) -> None:
    """Its machines are one for each seed of the preset that it runs."""
    done = read(ROOT / "skypilot.yaml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 exec .venv/bin/sweep run")


@pytest.mark.parametrize(
    ("ours", "fault", "words"),
    [
        ("use_spot: true", "use_spott: true", "use_spot"),
        ("setup: |", "set_up: |", "set_up"),
    ],
)
def test_skypilot_refuses_a_fault(ours: str, fault: str, words: str, tmp_path: Path) -> None:
    """So its reading is a check."""
    path = tmp_path / "faulty.yaml"
    path.write_text((ROOT / "skypilot.yaml").read_text().replace(ours, fault))
    done = read(path, tmp_path)
    assert done.returncode != 0
    assert words in done.stderr


def test_the_docs_name_the_version() -> None:
    """And the sentence is not older than the check."""
    assert SKYPILOT.replace("==", " ") in (ROOT / "docs" / "cluster.md").read_text().lower()
