"""Makes an account at a server that answers as AWS, and a cluster file for it out of cluster.yaml.

python aws_file.py KEY > aws.yaml

What is changed: machines are reached at their inner addresses and as root, in one zone, whose
addresses the server gives out in order; commands that need the internet or a GPU are left out, or
told to use uv's cache. Node types, images, profiles, spot options, resources and Ray's commands are
those of cluster.yaml. Environment: AWS_ENDPOINT_URL and fake keys; VENV, as for local_file.py;
IDLE_MINUTES, where the file's own time until idle machines go is too long.
"""

import os
import sys
from pathlib import Path
from typing import Any

import boto3
import yaml
from local_file import installing, small

ROOT = Path(__file__).parents[2]
NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")


def make_account(public_key: bytes, profiles: set[str]) -> str:
    """Make what docs/cluster.md has its reader make; returns the security group's id."""
    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    ec2.import_key_pair(KeyName="cluster", PublicKeyMaterial=public_key)
    for name in profiles:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="cluster", Description="cluster", VpcId=vpc)
    return group["GroupId"]


def aws_file(key: str) -> dict[str, Any]:
    """The contents of the file."""
    config = installing(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    types = [node_type["node_config"] for node_type in config["available_node_types"].values()]
    profiles = {node_config["IamInstanceProfile"]["Name"] for node_config in types}
    group = make_account(Path(f"{key}.pub").read_bytes(), profiles)
    for node_config in types:
        node_config["KeyName"] = "cluster"
        node_config["SecurityGroupIds"] = [group]
    region = config["provider"]["region"]
    config["provider"] |= {"availability_zone": f"{region}a", "use_internal_ips": True}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": key}
    if minutes := os.environ.get("IDLE_MINUTES"):
        config["idle_timeout_minutes"] = float(minutes)
    words = " ".join(f"{name}={os.environ[name]}" for name in NAMES)
    # The file's own commands come after these, so that they have no say in who asks which server.
    config["setup_commands"].insert(0, f"echo 'export {words}' >> ~/.bashrc")
    for role in ("head", "worker"):
        commands = config[f"{role}_start_ray_commands"]
        config[f"{role}_start_ray_commands"] = [small(command) for command in commands]
    return config


if __name__ == "__main__":
    sys.stdout.write(yaml.safe_dump(aws_file(sys.argv[1]), sort_keys=False, width=1000))
