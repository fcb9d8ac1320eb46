"""Facts of who can reach the Ray that a sweep starts on this machine: its own user alone."""

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from running_sweep import Running, find_text, wait_for, write_sweep

from model.errors import UsageError
from sweep.tune.private_ray import (
    LOCK,
    MAX_LENGTH,
    ignore_environment,
    private_folder,
    set_fresh_token,
    start_failure,
)

NOBODY = 65534
"""A user that is not us."""

IGNORED = "RAY_AUTH_MODE=disabled is ignored: Ray on this machine always requires a token\n"

CONNECT = """
import os, sys
from ray._raylet import GcsClient  # all of it is imported before the user changes
address, uid = sys.argv[1], int(sys.argv[2])
if uid != os.getuid():
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
functions = GcsClient(address=address).internal_kv_keys(b"", b"fun")
print(os.getuid(), "sees functions" if functions else "sees nothing")
"""
"""Connects to Ray's GCS, where the functions that its workers run can be read and replaced."""

KILLED = """
import os, signal
from sweep.tune.private_ray import private_folder
with private_folder() as folder:
    folder.mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A folder with a short path, where Ray's folder is made."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """For settings of the user's own; the tests' are put back at the end."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_every_token_is_another(outside) -> None:
    """256 random bits each."""
    tokens = set()
    for _ in range(2):
        set_fresh_token()
        tokens.add(os.environ["RAY_AUTH_TOKEN"])
    assert len(tokens) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in tokens)


def test_a_token_from_outside_is_not_used(outside) -> None:
    """It opens some other cluster, whose users may know it."""
    outside.setenv("RAY_AUTH_TOKEN", "known")
    outside.setenv("RAY_AUTH_TOKEN_PATH", "/known")
    set_fresh_token()
    assert "known" not in os.environ["RAY_AUTH_TOKEN"]
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


@pytest.mark.parametrize(
    ("mode", "said"), [(None, ""), ("token", ""), ("Token", ""), ("disabled", IGNORED)]
)
def test_another_mode_is_overridden_and_that_is_said(mode, said, outside, capsys) -> None:
    if mode is not None:
        outside.setenv("RAY_AUTH_MODE", mode)
    set_fresh_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert capsys.readouterr().err == said


def test_what_leads_ray_elsewhere_is_ignored_and_that_is_said(outside, capsys) -> None:
    """A cluster's address, a job's settings; but neither its folder nor flags that tune it."""
    for name in [each for each in os.environ if each.startswith("RAY_")]:
        outside.delenv(name)
    outside.setenv("RAY_TMPDIR", "/tmp")  # noqa: S108 - is not written
    outside.setenv("RAY_memory_usage_threshold", "0.9")
    outside.setenv("RAY_CHDIR_TO_TRIAL_DIR", "1")  # one of ours, which is set later
    ignore_environment()
    assert capsys.readouterr().err == ""
    outside.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    outside.setenv("RAY_CLIENT_MODE", "1")
    outside.setenv("RAY_memory_monitor_refresh_ms", "junk")
    outside.setenv("PYTHONWARNINGS", "error")
    ignore_environment()
    left = {name for name in os.environ if name.startswith(("RAY_", "PYTHONWARNINGS"))}
    assert left == {"RAY_TMPDIR", "RAY_memory_usage_threshold", "RAY_CHDIR_TO_TRIAL_DIR"}
    assert capsys.readouterr().err == (
        "ignored: RAY_ADDRESS, RAY_CLIENT_MODE, RAY_memory_monitor_refresh_ms, PYTHONWARNINGS; "
        "Ray on this machine is started for this run alone\n"
    )


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_that_cannot_be_written_is_named(name, outside) -> None:
    """A file is in its place, or the disk is read-only; /proc is so for everybody."""
    outside.delenv("RAY_TMPDIR", raising=False)
    for path in ("/proc", "/etc/passwd"):
        outside.setenv(name, path)
        with (
            pytest.raises(UsageError, match=rf"RAY_TMPDIR, or else TMPDIR, must be .* '{path}'"),
            private_folder(),
        ):
            pass


def test_a_ray_that_cannot_start_is_one_line_with_ways_out(outside, monkeypatch) -> None:
    """The limit of open files and the flags that are set are named."""
    outside.setenv("RAY_memory_usage_threshold", "0.9")
    monkeypatch.setattr("sweep.tune.private_ray.resource.getrlimit", lambda kind: (64, 64))
    line = start_failure(RuntimeError("raylet\ndied " + "x" * 1000))
    assert line.startswith("Ray must be able to start on this machine, got 'raylet died x")
    assert "ulimit -n above 64" in line
    assert "an environment without RAY_memory_usage_threshold" in line
    assert len(line) < 500


def test_only_we_can_enter_the_folder(base) -> None:
    """Ray lets everybody write into its own, which lies inside; nothing is left at the end."""
    with private_folder() as folder:
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert folder.parent.parent == base
        folder.mkdir()
    assert list(base.iterdir()) == []


def test_paths_are_short_enough_for_sockets(base, monkeypatch) -> None:
    """A socket's path has 107 characters at most, sun_path in unix(7)."""
    longest = base / ("x" * (MAX_LENGTH - len("/sweep-12345678/ray") - len(str(base)) - 1))
    monkeypatch.setenv("RAY_TMPDIR", str(longest))
    with private_folder() as folder:
        assert len(str(folder)) == MAX_LENGTH
        session = folder / "session_2026-11-28_11-46-13_393041_4194304"
        assert len(str(session / "sockets" / "plasma_store")) <= 107

    monkeypatch.setenv("RAY_TMPDIR", f"{longest}x")
    with (
        pytest.raises(UsageError, match=r"RAY_TMPDIR must be at most 23 characters, got '/tmp"),
        private_folder(),
    ):
        pass


def test_a_long_tmpdir_is_not_used(tmp_path, monkeypatch) -> None:
    """Batch systems set one; Ray could not start there."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a-long-name-of-a-folder"))
    with private_folder() as folder:
        assert folder.parent.parent == Path("/tmp")  # noqa: S108 - where it falls back to


def test_what_a_killed_run_left_is_deleted_by_the_next(base) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], check=False)
    (left,) = base.iterdir()
    assert killed.returncode == -signal.SIGKILL
    assert (left / "ray").exists()
    with private_folder() as folder:
        assert list(base.iterdir()) == [folder.parent]


def test_what_is_in_use_or_not_ours_stays(base) -> None:
    """A folder without our lock, and, where there is root, another user's with one."""
    (base / "sweep-results").mkdir()
    (base / "sweep-others").mkdir()
    if os.getuid() == 0:
        (base / "sweep-others" / LOCK).touch()
        os.chown(base / "sweep-others", NOBODY, NOBODY)
    with private_folder() as first, private_folder() as second:
        found = {path.name for path in base.iterdir()}
    assert found == {"sweep-results", "sweep-others", first.parent.name, second.parent.name}


@pytest.mark.ray
def test_ray_starts_here_in_no_other_way(tmp_path) -> None:
    """Ray's own word for it would start Ray on every address of the machine."""
    from sweep.config import ResourcesConfig
    from sweep.tune.runner import started_ray

    with (
        pytest.raises(UsageError, match="--address must be HOST:PORT or auto, got 'local'"),
        started_ray(ResourcesConfig(), "local", tmp_path),
    ):
        pass


@pytest.mark.ray
@pytest.mark.parametrize("error", [RuntimeError("no raylet"), AssertionError(), OSError(12, "x")])
def test_a_failure_to_start_is_an_error_of_the_machine(error, monkeypatch) -> None:
    """Whatever Ray raises: its user can change the machine, but not Ray."""
    import ray

    from sweep.tune.runner import init_ray

    def fail(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(UsageError, match="Ray must be able to start on this machine, got "):
        init_ray({}, None)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A sweep that runs, and what its user knows of it."""

    run: Running
    home: Path
    folder: Path
    """Ray's."""
    address: str
    token: str


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Generator[Reached]:
    """A sweep that trains, started in an environment that asks for no token and another cluster."""
    folder = tmp_path_factory.mktemp("reached")
    home = folder / "home"
    home.mkdir()
    write_sweep(folder, base__train__steps=100_000)
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "127.0.0.1:1", "HOME": str(home)}
    with Running(out=folder / "out", words=("tiny.toml",), environment=environment) as run:
        wait_for(lambda: run.training(1, saved_step=1), "a training")
        pid, command = next(item for item in run.processes().items() if "/raylet " in item[1])
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        address = re.search(r"--gcs-address=(\S+)", command)
        ray_folder = run.ray_folder()
        assert address is not None
        assert ray_folder is not None
        yield Reached(
            run=run,
            home=home,
            folder=ray_folder,
            address=address[1],
            token=next(v.partition("=")[2] for v in variables if v.startswith("RAY_AUTH_TOKEN=")),
        )
        run.signal_group(signal.SIGTERM)
        run.wait()


@pytest.fixture(params=["its user", "another user"])
def uid(request: pytest.FixtureRequest) -> int:
    if request.param == "its user":
        return os.getuid()
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    return NOBODY


def connect(reached: Reached, uid: int, **settings: str) -> subprocess.CompletedProcess[str]:
    """Try to read which functions the sweep's workers run."""
    own = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    return subprocess.run(
        [sys.executable, "-c", CONNECT, reached.address, str(uid)],
        env=environment | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.ray
@pytest.mark.slow
class TestOfARunningSweep:
    """Facts that need one."""

    def test_who_has_its_token_reaches_it(self, reached, uid) -> None:
        """The tests below would see one who gets in."""
        done = connect(reached, uid, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=reached.token)
        assert done.stdout == f"{uid} sees functions\n", done.stderr

    @pytest.mark.parametrize(
        "settings",
        [
            {"RAY_AUTH_MODE": "disabled"},
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
        ],
        ids=["no token", "a wrong token"],
    )
    def test_who_has_not_is_refused(self, settings, reached, uid) -> None:
        done = connect(reached, uid, **settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert "AuthenticationError" in done.stderr

    def test_its_token_is_in_no_file(self, reached) -> None:
        """Neither in results and Tune's state, nor in Ray's logs, nor at home."""
        own, held = find_text(reached.token, reached.run.out.parent)
        rays, leaked = find_text(reached.token, reached.folder)
        assert min(own, rays) > 10
        assert (held, leaked) == ([], [])
        assert not (reached.home / ".ray").exists()

    def test_its_token_is_in_no_command_line(self, reached) -> None:
        """Which every user can list."""
        assert not any(reached.token in command for command in reached.run.processes().values())

    def test_its_folder_is_closed_to_others(self, reached) -> None:
        """Ray's own is open to all."""
        assert stat.S_IMODE(reached.folder.stat().st_mode) == 0o777
        assert stat.S_IMODE(reached.folder.parent.stat().st_mode) == 0o700
        assert len(str(reached.folder)) <= MAX_LENGTH

    def test_it_says_that_it_ignores_the_mode(self, reached) -> None:
        lines = reached.run.output().splitlines(keepends=True)
        assert IGNORED in lines[: lines.index("starting Ray ...\n")]
