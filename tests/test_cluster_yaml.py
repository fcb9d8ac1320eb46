"""What cluster.yaml promises: Ray's schema holds, and so does what the schema does not see."""

import copy
import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()
CLUSTER: dict[str, Any] = yaml.safe_load(TEXT)
HEAD = CLUSTER["available_node_types"][CLUSTER["head_node_type"]]
WORKERS = {k: v for k, v in CLUSTER["available_node_types"].items() if k != "head"}

# Parameters of EC2's RunInstances that this file has reason to use; Ray hands them on unread.
RUN_INSTANCES = {
    "BlockDeviceMappings",
    "IamInstanceProfile",
    "ImageId",
    "InstanceMarketOptions",
    "InstanceType",
    "MetadataOptions",
    "SecurityGroupIds",
}


def test_ray_accepts_the_file():
    """Ray's schema holds for it."""
    validate_config(prepare_config(copy.deepcopy(CLUSTER)))


def test_ray_refuses_a_mistyped_key():
    """The schema check is one that can fail."""
    broken = copy.deepcopy(CLUSTER) | {"idle_timeout_minuts": 3}
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(prepare_config(broken))


def test_every_zone_lies_in_the_region():
    """The provider names a region, and only zones of it."""
    provider = CLUSTER["provider"]
    zones = provider["availability_zone"].split(",")
    assert {zone[:-1] for zone in zones} == {provider["region"]}


def test_the_file_system_lies_in_the_region():
    """The shared folder is mounted from the region of the machines."""
    assert re.findall(r"\.efs\.([a-z0-9-]+)\.", TEXT) == [CLUSTER["provider"]["region"]]


def test_every_node_type_sets_only_known_parameters_of_ec2():
    """A mistyped parameter of RunInstances would be found only by EC2."""
    for name, node_type in CLUSTER["available_node_types"].items():
        assert set(node_type["node_config"]) <= RUN_INSTANCES, name


@pytest.mark.parametrize("field", ["ImageId", "InstanceType", "SecurityGroupIds"])
def test_every_node_type_sets_what_ray_would_guess(field):
    """Ray's own choices are an old image and a security group open to the internet."""
    for name, node_type in CLUSTER["available_node_types"].items():
        assert node_type["node_config"].get(field), name


def test_the_head_is_on_demand_and_runs_no_trial():
    """Losing the head ends the sweep, so it is no spot machine and offers no CPU."""
    assert "InstanceMarketOptions" not in HEAD["node_config"]
    assert HEAD["resources"] == {"CPU": 0}


def test_workers_are_spot_machines_with_a_gpu_from_zero():
    """Machines that nobody asks for cost nothing."""
    for name, node_type in WORKERS.items():
        assert node_type["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}, name
        assert node_type["min_workers"] == 0, name
        assert node_type["resources"]["GPU"] == 1, name


def test_there_is_a_second_kind_of_worker():
    """One sold-out kind of machine does not stop the sweep."""
    assert len({node_type["node_config"]["InstanceType"] for node_type in WORKERS.values()}) >= 2


def test_every_ray_process_asks_for_the_token():
    """Where one part has another RAY_AUTH_MODE, machines join and every call fails."""
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in CLUSTER[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert any("export RAY_AUTH_MODE=token" in command for command in CLUSTER["setup_commands"])


def test_the_token_reaches_every_machine():
    """The token file is mounted where Ray looks for it."""
    path = "~/.ray/auth_token"
    assert CLUSTER["file_mounts"][path] == path


def test_the_mounts_are_what_the_installation_needs():
    """Packages, project files and lock are mounted; nothing else of this folder is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
        project["project"]["readme"],
        *project["project"]["license-files"],
        *("pyproject.toml", "uv.lock", ".python-version"),
    }
    mounted = {path for path in CLUSTER["file_mounts"].values() if not path.startswith("~")}
    assert mounted == needed
    assert all((ROOT / path).exists() for path in mounted)


def test_every_placeholder_is_marked():
    """An id made of zeros stands on, or right under, a line marked EDIT."""
    for before, line in itertools.pairwise(TEXT.splitlines()):
        if re.search(r"-0{8,}", line):
            assert "EDIT" in before + line, line
