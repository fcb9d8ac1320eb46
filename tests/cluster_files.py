"""What must hold of a cluster file beyond Ray's schema: one function a rule, for AWS and Google."""

import itertools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
NAMES = {"aws": "cluster.yaml", "gcp": "cluster-gcp.yaml"}
PROVIDER = {
    "aws": {"type", "region", "availability_zone", "cache_stopped_nodes"},
    "gcp": {"type", "project_id", "region", "availability_zone", "cache_stopped_nodes"},
}
"""Ray's schema lets any key of a provider pass."""
NODE_CONFIG = {
    "aws": {
        *("ImageId", "InstanceType", "SecurityGroupIds", "IamInstanceProfile"),
        *("MetadataOptions", "BlockDeviceMappings", "InstanceMarketOptions"),
    },
    "gcp": {
        *("machineType", "disks", "networkInterfaces", "serviceAccounts"),
        *("scheduling", "metadata", "guestAccelerators"),
    },
}
"""Parameters of EC2's RunInstances and fields of GCE's instances.insert that the files use."""
REQUIRED = {
    "aws": {"ImageId", "InstanceType", "SecurityGroupIds", "IamInstanceProfile", "MetadataOptions"},
    "gcp": {"machineType", "disks", "networkInterfaces", "serviceAccounts"},
}
IMAGES = {
    "aws": r"resolve:ssm:/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-"
    r"22\.04/latest/ami-id",
    "gcp": r"projects/(deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2204-"
    r"nvidia-580|ubuntu-os-cloud/global/images/family/ubuntu-2204-lts)",
}
SPOT = {
    "aws": {"MarketType": "spot"},
    "gcp": {
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
    },
}
SECRETS = (
    r"AKIA[0-9A-Z]{8}|ACCESS_KEY|SECRET|PRIVATE KEY|ssh_private_key|_credentials|\.aws/|\.json"
)
LISTENERS = {
    "head": {"head", "port", "object-manager-port", "dashboard-host", "autoscaling-config"},
    "worker": {"address", "object-manager-port"},
}
"""Options of `ray start`; any further one may open something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterFile:
    """A cluster file's cloud, text and contents."""

    cloud: str
    text: str

    @property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.text)

    @property
    def node_types(self) -> dict[str, dict[str, Any]]:
        return self.config["available_node_types"]

    @property
    def head(self) -> dict[str, Any]:
        return self.node_types[self.config["head_node_type"]]

    @property
    def workers(self) -> dict[str, dict[str, Any]]:
        return {k: v for k, v in self.node_types.items() if k != self.config["head_node_type"]}


def read(cloud: str) -> ClusterFile:
    """The file as it lies in the repository."""
    return ClusterFile(cloud=cloud, text=(ROOT / NAMES[cloud]).read_text())


def _spot_options(cloud: str, node_type: dict[str, Any]) -> dict[str, Any] | None:
    field = {"aws": "InstanceMarketOptions", "gcp": "scheduling"}[cloud]
    return node_type["node_config"].get(field)


def _machine(cloud: str, node_type: dict[str, Any]) -> str:
    return node_type["node_config"][{"aws": "InstanceType", "gcp": "machineType"}[cloud]]


def ray_accepts(file: ClusterFile) -> None:
    """Ray's schema holds for the file."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(file.config))


def provider_keys(file: ClusterFile) -> None:
    """The provider has every key it needs, and no mistyped one."""
    assert set(file.config["provider"]) == PROVIDER[file.cloud]
    assert file.config["provider"]["type"] == file.cloud


def stopped_machines(file: ClusterFile) -> None:
    """A spot machine that was stopped is not waited for."""
    assert file.config["provider"]["cache_stopped_nodes"] is False


def zones(file: ClusterFile) -> None:
    """Every zone lies in the region; on AWS there are several, Ray's GCP provider knows one."""
    provider = file.config["provider"]
    listed = provider["availability_zone"].split(",")
    zone = {"aws": r"[a-f]", "gcp": r"-[a-f]"}[file.cloud]
    assert all(re.fullmatch(re.escape(provider["region"]) + zone, name) for name in listed)
    assert len(set(listed)) == len(listed)
    assert len(listed) >= 2 if file.cloud == "aws" else len(listed) == 1


def bucket_region(file: ClusterFile) -> None:
    """Every process on AWS knows the bucket's region, which is that of the machines."""
    found = re.findall(r"export AWS_REGION=(\S+)'", "\n".join(file.config["setup_commands"]))
    assert found == ([file.config["provider"]["region"]] if file.cloud == "aws" else [])


def networks(file: ClusterFile) -> None:
    """Every machine lies in a network or group of one's own, in the region."""
    region = file.config["provider"]["region"]
    for node_type in file.node_types.values():
        config = node_type["node_config"]
        if file.cloud == "aws":
            (group,) = config["SecurityGroupIds"]
            assert re.fullmatch("sg-[0-9a-f]{17}", group)
        else:
            (interface,) = config["networkInterfaces"]
            assert interface["subnetwork"] == f"regions/{region}/subnetworks/collapse-sweep"
    assert "security_group" not in file.config["provider"]


def node_config_keys(file: ClusterFile) -> None:
    """What goes to the cloud unread by Ray has known names only, and all that Ray would guess."""
    for node_type in file.node_types.values():
        assert set(node_type["node_config"]) <= NODE_CONFIG[file.cloud]
        assert set(node_type["node_config"]) >= REQUIRED[file.cloud]


def images(file: ClusterFile) -> None:
    """Every image is one that was looked up; a worker's has NVIDIA's driver."""
    for name, node_type in file.node_types.items():
        config = node_type["node_config"]
        if file.cloud == "aws":
            image = config["ImageId"]
        else:
            image = config["disks"][0]["initializeParams"]["sourceImage"]
        assert re.fullmatch(IMAGES[file.cloud], image)
        assert "nvidia" in image or name == file.config["head_node_type"]


def disks(file: ClusterFile) -> None:
    """The disk holds torch twice over (7 GB installed, as much in uv's cache), and goes away."""
    for node_type in file.node_types.values():
        config = node_type["node_config"]
        if file.cloud == "aws":
            (disk,) = config["BlockDeviceMappings"]
            size, kept = disk["Ebs"]["VolumeSize"], not disk["Ebs"].get("DeleteOnTermination", True)
        else:
            (disk,) = config["disks"]
            size, kept = disk["initializeParams"]["diskSizeGb"], not disk["autoDelete"]
        assert 75 <= size <= 200
        assert not kept


def accounts(file: ClusterFile) -> None:
    """Every machine has an account of its own for the store; workers' is not the head's."""
    found = {}
    for name, node_type in file.node_types.items():
        config = node_type["node_config"]
        if file.cloud == "aws":
            assert set(config["IamInstanceProfile"]) == {"Name"}
            found[name] = config["IamInstanceProfile"]["Name"]
            assert config["MetadataOptions"] == {"HttpTokens": "required"}
        else:
            (account,) = config["serviceAccounts"]
            project = file.config["provider"]["project_id"]
            assert account["email"].endswith(f"@{project}.iam.gserviceaccount.com")
            assert account["scopes"] == ["https://www.googleapis.com/auth/cloud-platform"]
            found[name] = account["email"].split("@")[0]
    head = {"aws": "collapse-sweep-head", "gcp": "ray-autoscaler-sa-v1"}[file.cloud]
    assert found.pop(file.config["head_node_type"]) == head
    assert set(found.values()) == {"collapse-sweep-worker"}


def head_is_safe(file: ClusterFile) -> None:
    """Losing the head ends the sweep, so it is no spot machine and runs no trial."""
    assert _spot_options(file.cloud, file.head) is None
    assert file.head["resources"] == {"CPU": 0}


def workers_are_spot(file: ClusterFile) -> None:
    """Workers are spot machines, from zero, with an accelerator, and gone when idle."""
    for node_type in file.workers.values():
        assert _spot_options(file.cloud, node_type) == SPOT[file.cloud]
        assert node_type["min_workers"] == 0
        assert 1 <= node_type["max_workers"] <= file.config["max_workers"]
        assert node_type["resources"] == {"CPU": 4, "GPU": 1}
    assert 1 <= file.config["idle_timeout_minutes"] <= 30


def worker_kinds(file: ClusterFile) -> None:
    """One sold-out kind of machine does not stop the sweep."""
    kinds = [_machine(file.cloud, node_type) for node_type in file.workers.values()]
    assert len(set(kinds)) == len(kinds) >= 2


def starts(file: ClusterFile) -> dict[str, str]:
    """The one `ray start` of the head, and that of a worker."""
    found = {}
    for role in ("head", "worker"):
        commands = file.config[f"{role}_start_ray_commands"]
        (found[role],) = [command for command in commands if "ray start" in command]
        assert commands[0] == "ray stop"
    return found


def token(file: ClusterFile) -> None:
    """Every process of Ray is told to ask for the token, and the token lies where it looks."""
    commands = starts(file)
    assert all("RAY_AUTH_MODE=token ray start" in command for command in commands.values())
    assert any("export RAY_AUTH_MODE=token" in command for command in file.config["setup_commands"])
    assert set(re.findall(r"RAY_AUTH_MODE=(\w*)", file.text)) == {"token"}
    mounted = file.config["file_mounts"]
    assert mounted.get("~/.ray/auth_token") == "~/.ray/auth_token"


def private_files(file: ClusterFile) -> None:
    """Ray's files are in a folder that no other user of a machine can enter, from the start on."""
    for role in ("head", "worker"):
        commands = file.config[f"{role}_start_ray_commands"]
        link = commands[1]
        assert link.startswith("mkdir -p ~/.ray/tmp && chmod 700 ~/.ray && ")
        assert link.endswith(" && ln -sfn ~/.ray/tmp /tmp/ray")
        assert "--temp-dir" not in starts(file)[role]


def listeners(file: ClusterFile) -> None:
    """The dashboard is on loopback, and nothing listens that the cluster does not need."""
    for role, command in starts(file).items():
        assert set(re.findall(r" --([a-z-]+)", command)) <= LISTENERS[role]
    assert "--dashboard-host=127.0.0.1" in starts(file)["head"]
    assert "0.0.0.0" not in file.text  # noqa: S104 (what must not be there)


def no_secrets(file: ClusterFile) -> None:
    """No credential, and no path to one, stands in the file."""
    assert not re.search(SECRETS, file.text)
    assert file.config["auth"] == {"ssh_user": "ubuntu"}


def watcher(file: ClusterFile) -> None:
    """Workers have one watcher for their cloud, which outlives the connection; the head none."""
    config = file.config
    (command,) = [c for c in config["worker_start_ray_commands"] if "sweep watch-spot" in c]
    assert f"setsid nohup sweep watch-spot --cloud {file.cloud} " in command
    assert "--address $RAY_HEAD_IP:6379 " in command
    assert command.endswith(">> /tmp/ray/watch-spot.log 2>&1 < /dev/null & }")
    assert "RAY_AUTH_MODE=token setsid" in command
    commands = config["worker_start_ray_commands"]
    assert commands.index("pkill -f '[s]weep watch-spot' || true") < commands.index(command)
    elsewhere = {k: v for k, v in config.items() if k != "worker_start_ray_commands"}
    assert "watch-spot" not in str(elsewhere)


def mounts(file: ClusterFile) -> None:
    """Packages, project files and lock are mounted; nothing else of this folder is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
        project["project"]["readme"],
        *project["project"]["license-files"],
        *("pyproject.toml", "uv.lock", ".python-version"),
    }
    mounted = {to: path for to, path in file.config["file_mounts"].items() if path[0] != "~"}
    assert mounted == {f"~/collapse-sweep/{path}": path for path in needed}
    assert all((ROOT / path).exists() for path in needed)


def installation(file: ClusterFile) -> None:
    """What is installed is what README and CI install, from the lock, with compiled bytecode."""
    (command,) = [c for c in file.config["setup_commands"] if "uv sync" in c]
    assert command.endswith("pip install uv && uv sync --extra all")
    assert "export UV_FROZEN=1 " in command
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["compile-bytecode"] is True
    (ray,) = [x for x in project["project"]["optional-dependencies"]["all"] if x.startswith("ray[")]
    versions = ray.split("]")[1]
    assert f'"ray[default]{versions}"' in str(file.config["head_setup_commands"])


def driver(file: ClusterFile) -> None:
    """A worker without a driver ends in its set-up, not in a training on its CPU."""
    assert any("nvidia-smi" in command for command in file.config["worker_setup_commands"])


def marks(file: ClusterFile) -> None:
    """Whatever only its user can know stands on, or right under, a line marked EDIT."""
    personal = (
        r"-0{8,}|my-project-id|^  (region|availability_zone):|AWS_REGION|max_workers: [1-9]|s/us-"
    )
    for before, line in itertools.pairwise(file.text.splitlines()):
        if re.search(personal, line) and not line.startswith("#"):
            assert "EDIT" in before + line, line


RULES = [
    *(ray_accepts, provider_keys, stopped_machines, zones, bucket_region, networks),
    *(node_config_keys, images),
    *(disks, accounts, head_is_safe, workers_are_spot, worker_kinds, token, private_files),
    *(listeners, no_secrets),
    *(watcher, mounts, installation, driver, marks),
]
