"""Attack this machine's Ray as another user of it; the exit status is 1 if anything lets it in.

    python tests/cluster/attack_ray.py ADDRESS    as root, with the machine's address

Ray is called at the address, from which other machines reach it too, without a token and with a
wrong one. So that the refusals prove something, calls with the right token must be answered.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import attack

TOKEN = Path.home() / ".ray" / "auth_token"
FOLDER = Path("/tmp/ray")  # noqa: S108 - where `ray start` puts it
REFUSED = attack.REFUSED | {"405"}
"""405 is what exporters of metrics answer, which can be read by everybody and change nothing."""
PRIVATE = ("environ", "mem")
"""Files of a process that hold the token."""


def rays_processes() -> set[int]:
    """Processes that `ray start` began, and their children; each has ray in its command line."""
    lines = {
        int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")
    }
    return {pid for pid, line in lines.items() if b"ray" in line and b"attack_ray" not in line}


def main(address: str) -> int:
    """0 if everything was refused; writes what was not."""
    processes = rays_processes()
    ports = attack.listening_ports(processes)
    right = {"right": TOKEN.read_text().strip()}
    control = attack.attack(ports, host=address, tokens=right, methods=attack.READING)
    let_in = [call for call, code in control["answers"]["right"].items() if code == "OK"]
    private = [str(TOKEN), *(f"/proc/{pid}/{name}" for pid in processes for name in PRIVATE)]
    paths = [FOLDER, *FOLDER.rglob("*")]
    folders = [str(path) for path in paths if path.is_dir()]
    sockets = [str(path) for path in paths if path.is_socket()]
    attack.become(attack.NOBODY)
    seen = attack.attack(ports, host=address, private=tuple(private), folders=tuple(folders))
    answers = seen.pop("answers")
    seen["sockets"] = [path for path in sockets if os.access(path, os.W_OK)]
    seen["calls"] = [
        [kind, call, code]
        for kind, codes in answers.items()
        for call, code in codes.items()
        if code not in REFUSED
    ]
    sys.stdout.write(f"{len(ports)} ports, {len(let_in)} calls let in with the right token\n")
    sys.stdout.write(f"open to another user: {json.dumps(seen)}\n")
    refused = any(
        code == "UNAUTHENTICATED" for codes in answers.values() for code in codes.values()
    )
    return 0 if let_in and refused and not any(seen.values()) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
