"""What the cluster files promise: Ray's schema holds, and so does what the schema does not see."""

import json
import re
import subprocess
from collections.abc import Callable

import jsonschema
import pytest
import yaml
from cluster_files import (
    NAMES,
    ROOT,
    RULES,
    ClusterFile,
    accounts,
    head_is_safe,
    listeners,
    ray_accepts,
    read,
    token,
    watcher,
    worker_kinds,
)

pytestmark = pytest.mark.ray

Words = str | tuple[str | None, str | None]
# A fault, the rule that must find it, and the words that it changes: on AWS, on Google or on both.
FAULTS = [
    ("a mistyped key", "ray_accepts", "idle_timeout_minutes:", "idle_timeout_minuts:"),
    ("a number in quotes", "ray_accepts", "\nmax_workers: 8", '\nmax_workers: "8"'),
    ("an unknown head", "ray_accepts", "head_node_type: head", "head_node_type: hat"),
    ("a list that is a word", "ray_accepts", 'exclude: ["**/__pycache__"]', "exclude: x"),
    ("no region", "provider_keys", "\n  region:", "\n  #region:"),
    ("a mistyped key of the provider", "provider_keys", "  region:", "  regoin:"),
    ("another provider", "provider_keys", ("type: aws", "type: gcp"), ("type: azure",) * 2),
    ("stopped machines are kept", "stopped_machines", "nodes: false", "nodes: true"),
    (
        "a zone elsewhere",
        "zones",
        ("us-west-2b", "us-central1-a #"),
        ("us-east-1b", "us-east1-b #"),
    ),
    ("one zone on AWS", "zones", ("2a,us-west-2b,us-west-2c", None), ("2a", None)),
    (
        "two zones on Google",
        "zones",
        (None, "us-central1-a #"),
        (None, "us-central1-a,us-central1-b #"),
    ),
    ("a bucket elsewhere", "bucket_region", ("AWS_REGION=us-west-2", None), ("AWS_REGION=x", None)),
    ("a bucket of no region", "bucket_region", ("AWS_REGION=us", None), ("AWS_ZONE=us", None)),
    ("no group", "networks", ("[sg-00000000000000000]", None), ("[]", None)),
    (
        "the default network",
        "networks",
        (None, "subnetworks/collapse-sweep"),
        (None, "subnetworks/default"),
    ),
    ("a network elsewhere", "networks", (None, "regions/us-central1"), (None, "regions/us-east1")),
    (
        "no group at all",
        "node_config_keys",
        ("SecurityGroupIds:", "networkInterfaces: &"),
        ("Name:", "zone: &"),
    ),
    (
        "a mistyped parameter",
        "node_config_keys",
        ("InstanceMarketOptions", "scheduling:"),
        ("InstanceMarket", "schedule:"),
    ),
    (
        "no image",
        "node_config_keys",
        ("      ImageId:", "      disks:"),
        ("      Image:", "      disk:"),
    ),
    ("an old image", "images", ("22.04/latest", "nvidia-580"), ("18.04/latest", "nvidia-470")),
    (
        "a worker without a driver",
        "images",
        (
            None,
            "deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2204-nvidia-580",
        ),
        (None, "ubuntu-os-cloud/global/images/family/ubuntu-2204-lts"),
    ),
    (
        "a small disk",
        "disks",
        ("VolumeSize: 100", "diskSizeGb: 100"),
        ("VolumeSize: 8", "diskSizeGb: 10"),
    ),
    (
        "a disk that stays",
        "disks",
        ("VolumeType: gp3", "autoDelete: true"),
        ("DeleteOnTermination: false", "autoDelete: false"),
    ),
    (
        "workers that may start machines",
        "accounts",
        ("collapse-sweep-worker}", "collapse-sweep-worker@"),
        ("collapse-sweep-head}", "ray-autoscaler-sa-v1@"),
    ),
    (
        "an account of another project",
        "accounts",
        (None, "worker@my-project-id"),
        (None, "worker@yours"),
    ),
    (
        "metadata without a token",
        "accounts",
        ("HttpTokens: required", None),
        ("HttpTokens: optional", None),
    ),
    (
        "too narrow a scope",
        "accounts",
        (None, "auth/cloud-platform"),
        (None, "auth/devstorage.read_only"),
    ),
    ("trials on the head", "head_is_safe", '{"CPU": 0}', '{"CPU": 2}'),
    (
        "a head on spot",
        "head_is_safe",
        ("      InstanceType: m6i.large", "      machineType: n2-standard-2"),
        (
            "      InstanceMarketOptions: {MarketType: spot}\n      InstanceType: m6i.large",
            "      scheduling: {provisioningModel: SPOT}\n      machineType: n2-standard-2",
        ),
    ),
    (
        "workers on demand",
        "workers_are_spot",
        ("MarketType: spot", "Model: SPOT"),
        ("MarketType: block", "Model: STANDARD"),
    ),
    ("workers that always run", "workers_are_spot", "min_workers: 0", "min_workers: 1"),
    ("workers without a GPU", "workers_are_spot", ', "GPU": 1', ""),
    ("idle for hours", "workers_are_spot", "idle_timeout_minutes: 10", "idle_timeout_minutes: 600"),
    (
        "one kind of worker",
        "worker_kinds",
        ("g6.xlarge", "n1-standard-4"),
        ("g5.xlarge", "g2-standard-4"),
    ),
    (
        "a start without a token",
        "token",
        "RAY_AUTH_MODE=token ray start --address",
        "ray start --address",
    ),
    ("a head without a token", "token", "RAY_AUTH_MODE=token ray start --head", "ray start --head"),
    ("no authentication", "token", "export RAY_AUTH_MODE=token", "export RAY_AUTH_MODE=disabled"),
    ("a token that stays at home", "token", '  "~/.ray/auth_token": "~/.ray/auth_token"\n', ""),
    ("Ray's files are open to all", "private_files", "chmod 700 ~/.ray", "chmod 755 ~/.ray"),
    ("Ray's files are in /tmp", "private_files", " && ln -sfn ~/.ray/tmp /tmp/ray", ""),
    ("an open dashboard", "listeners", "host=127.0.0.1", "host=0.0.0.0"),
    ("a dashboard by default", "listeners", " --dashboard-host=127.0.0.1", ""),
    (
        "a further listener",
        "listeners",
        " --port=6379",
        " --port=6379 --ray-client-server-port=10001",
    ),
    (
        "an access key",
        "no_secrets",
        "export UV_FROZEN=1",
        "export AWS_SECRET_ACCESS_KEY=x UV_FROZEN=1",
    ),
    (
        "a mounted key",
        "no_secrets",
        '"~/.ray/auth_token":',
        '"~/.aws/credentials": "~/.aws/credentials"\n  "~/.ray/auth_token":',
    ),
    (
        "a key of one's own",
        "no_secrets",
        "  ssh_user: ubuntu",
        "  ssh_user: ubuntu\n  ssh_private_key: ~/k.pem",
    ),
    (
        "a watcher for another cloud",
        "watcher",
        ("--cloud aws", "--cloud gcp"),
        ("--cloud gcp", "--cloud aws"),
    ),
    ("a watcher that ends with ssh", "watcher", "setsid nohup sweep", "sweep"),
    ("a watcher that holds the terminal", "watcher", " < /dev/null & }", " & }"),
    ("a second watcher", "watcher", "  - pkill -f '[s]weep watch-spot' || true\n", ""),
    (
        "a watcher on the head",
        "watcher",
        "head_start_ray_commands:\n",
        "head_start_ray_commands:\n  - sweep watch-spot\n",
    ),
    ("no watcher", "watcher", "  - mkdir -p /tmp/ray && ", "  - echo # "),
    ("a package that stays at home", "mounts", '  "~/collapse-sweep/model": model\n', ""),
    (
        "more than is needed",
        "mounts",
        '/LICENSE": LICENSE',
        '/LICENSE": LICENSE\n  "~/collapse-sweep/runs": runs',
    ),
    (
        "a mount that does not exist",
        "mounts",
        '"~/collapse-sweep/sweep": sweep',
        '"~/collapse-sweep/sweep": sweeps',
    ),
    ("other words for the extra", "installation", "uv sync --extra all", "uv sync --extra gpu"),
    ("no lock", "installation", "export UV_FROZEN=1 PATH", "export PATH"),
    ("another Ray on the head", "installation", "ray[default]>=2.60,<2.61", "ray[default]"),
    ("no look at the driver", "driver", "nvidia-smi -L", "true"),
    (
        "an unmarked placeholder",
        "marks",
        ("# EDIT\n      # The store's", "# EDIT\n          scopes: &"),
        ("\n      # The store's", "\n          scopes: &"),
    ),
    (
        "an unmarked region",
        "marks",
        ("  region: us-west-2 # EDIT", "  region: us-central1 # EDIT"),
        ("  region: us-west-2", "\n  region: us-central1"),
    ),
    ("an unmarked number of machines", "marks", "    max_workers: 8 # EDIT", "    max_workers: 8"),
]


def changed(file: ClusterFile, old: Words, new: Words) -> ClusterFile | None:
    """The file with words in the place of others; None where the fault is of the other cloud."""
    side = list(NAMES).index(file.cloud)
    before, after = (x[side] if isinstance(x, tuple) else x for x in (old, new))
    if before is None or after is None:
        return None
    assert before in file.text, before
    return ClusterFile(cloud=file.cloud, text=file.text.replace(before, after))


@pytest.mark.parametrize("cloud", NAMES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_keeps_every_rule(cloud: str, rule: Callable[[ClusterFile], None]):
    """Each rule's own docstring says what it is."""
    rule(read(cloud))


@pytest.mark.parametrize("cloud", NAMES)
@pytest.mark.parametrize(("fault", "rule", "old", "new"), FAULTS, ids=[x[0] for x in FAULTS])
def test_a_fault_is_found_by_its_rule(cloud, fault, rule, old, new):
    """The rules are ones that can fail: each on a file that is wrong in its way alone."""
    broken = changed(read(cloud), old, new)
    if broken is None:
        return
    (check,) = [check for check in RULES if check.__name__ == rule]
    assert yaml.safe_load(broken.text) != yaml.safe_load(read(cloud).text) or rule == "marks"
    errors = (jsonschema.ValidationError, ValueError, KeyError, SystemExit)
    with pytest.raises(errors if rule == "ray_accepts" else (AssertionError, ValueError)):
        check(broken)


def test_every_rule_has_a_fault():
    """No rule is there that was never seen to fail."""
    assert {rule for _, rule, _, _ in FAULTS} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize("words", ["pip install uv", "uv sync --extra all"])
def test_google_installs_with_the_same_words(words):
    """tests/test_project.py says so of the README, of CI and of cluster.yaml."""
    assert words in (ROOT / "cluster-gcp.yaml").read_text()


def test_the_check_of_the_guide_is_a_file_that_ray_accepts(tmp_path):
    """Its command makes one small cluster without GPUs out of cluster.yaml."""
    page = (ROOT / "docs" / "cluster.md").read_text()
    (command,) = re.findall(r"<!-- check-file -->\n```sh\n(.*?)```", page, re.DOTALL)
    (tmp_path / "cluster.yaml").write_text(read("aws").text)
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    made = ClusterFile(cloud="aws", text=(tmp_path / "cluster-check.yaml").read_text())
    for rule in (ray_accepts, accounts, head_is_safe, worker_kinds, watcher, token, listeners):
        rule(made)
    assert made.config["max_workers"] == 1
    assert "nvidia-smi" not in str(made.config)
    assert {str(worker["resources"]) for worker in made.workers.values()} == {"{'CPU': 2}"}
    kinds = {worker["node_config"]["InstanceType"] for worker in made.workers.values()}
    assert kinds == {"m6i.large", "m5.large"}


def test_the_policies_of_the_guide_are_json():
    """Whoever saves them as they stand has documents that AWS can read."""
    page = (ROOT / "docs" / "cluster.md").read_text()
    policies = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    assert len(policies) == 3
    assert {policy["Version"] for policy in policies} == {"2012-10-17"}
