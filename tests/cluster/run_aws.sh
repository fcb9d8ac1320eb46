#!/usr/bin/env bash
# Runs `ray up` on cluster.yaml with Ray's AWS provider. The account is a moto server, and its
# instances are machines emulated with namespaces. Starts one worker from none, terminates it and
# cuts its power, and checks that a replacement is requested, that the models equal those of an
# undisturbed run, and that no worker remains. Run as root; needs what run.sh needs, and ten minutes
# more for the idle timeout in cluster.yaml.
#
#   bash tests/cluster/run_aws.sh
#   KEEP=1 bash tests/cluster/run_aws.sh   reuse the undisturbed run of the previous call
#   IDLE_MINUTES=1 ...                     idle machines are terminated after a minute
#
# It does not show what EC2 would refuse: moto has no quotas, and lets every role do everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
source tests/cluster/shared.sh

# moto assigns the addresses of its first subnet, 172.31.0.0/20, from .4 on.
export NET=172.31.0 FIRST=4 PREFIX=20
export AWS_ENDPOINT_URL=http://172.31.0.1:5555 AWS_DEFAULT_REGION=us-west-2
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing
HEAD=172.31.0.4
FILE=$FOLDER/aws.yaml
SWEEP=(quickstart --axis pool.alpha=1,2 --axis seed=0 --train.steps "${STEPS:-1000}" --generations 3)
moto=

clean() {
  [ -z "$tunnel" ] || kill "$tunnel" 2> /dev/null || true
  [ -z "$moto" ] || kill "$moto" 2> /dev/null || true
  "$MACHINES" stop || true
}

aws() { # aws EXPRESSION: print a Python expression of ec2, found (all instances) and workers
  python - "$1" << 'PYTHON'
import sys
import boto3
ec2 = boto3.client("ec2")
states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
found = [i for r in ec2.describe_instances(Filters=states)["Reservations"] for i in r["Instances"]]
tags = [{tag["Key"]: tag["Value"] for tag in i["Tags"]} for i in found]
workers = [i for i, t in zip(found, tags, strict=True) if t["ray-node-type"] == "worker"]
print(eval(sys.argv[1]))
PYTHON
}
worker_runs() { on $HEAD "ray status" 2> /dev/null | tee "$LOG/status" | grep -q "/4.0 CPU"; }
is_replaced() { [ "$(aws 'len(workers)')" = 1 ] && [ "$(aws 'workers[0]["InstanceId"]')" != "$1" ]; }
has_no_worker() { [ "$(aws 'len(workers)')" = 0 ]; }
is_working() { on $HEAD "ray status" 2> /dev/null | tee "$LOG/status" | grep -qE "[1-9]\.0/4\.0 CPU"; }

prepare
uv venv -q "$BASE/moto" --allow-existing
VIRTUAL_ENV=$BASE/moto uv pip install -q "moto[server]>=5.2.5"
"$MACHINES" start 4 9>&-
"$BASE/moto/bin/moto_server" -H 172.31.0.1 -p 5555 > "$LOG/moto" 2>&1 9>&- &
moto=$!
await "moto answers" 1 curl -s -m 2 -o "$LOG/moto-answer" $AWS_ENDPOINT_URL
python tests/cluster/aws_file.py "$FOLDER/key" > "$FILE"
ray up -y "$FILE" > "$LOG/up" 2>&1 || give_up "ray up (see $LOG/up)"
pass "ray up, with Ray's AWS provider"
[ "$(aws 'len(found), len(workers)')" = "(1, 0)" ] && pass "the head alone is there" ||
  fail "the head alone is there, got $(aws 'len(found), len(workers)')"

ray exec "$FILE" "python -P -c \"import ray; from ray.autoscaler.sdk import request_resources; \
  ray.init('auto'); request_resources(bundles=[{'GPU': 1}])\"" > "$LOG/request" 2>&1
await "a worker comes when it is asked for (see $LOG/status)" 5 worker_runs
pass "a worker comes when it is asked for"
[ "$(aws 'workers[0]["InstanceLifecycle"], workers[0]["IamInstanceProfile"]["Arn"].split("/")[-1]')" = \
  "('spot', 'collapse-sweep-worker')" ] && pass "it is a spot machine with the workers' profile" ||
  fail "it is a spot machine with the workers' profile: $(aws 'workers')"

open_tunnel $HEAD
submit "${SWEEP[@]}" --resources.device cpu
await "the first models are done" 1 has_models 2
ray exec "$FILE" "python -P -c \"import ray; from ray.autoscaler.sdk import request_resources; \
  ray.init('auto'); request_resources(bundles=[])\"" >> "$LOG/request" 2>&1
lost=$(aws 'workers[0]["InstanceId"]')
address=$(aws 'workers[0]["PrivateIpAddress"]')
machine=$((${address##*.} - FIRST + 1))
await "$address trains a model" 0.2 trains $machine
"$MACHINES" cut $machine
aws 'ec2.terminate_instances(InstanceIds=[workers[0]["InstanceId"]])' > /dev/null
say "$lost at $address terminated, with $(num_models) models done"
await "another worker is requested" 5 is_replaced "$lost"
pass "another worker is requested: $(aws 'workers[0]["InstanceId"]')"
await "a lineage goes on there (see $LOG/status)" 5 is_working
pass "a lineage goes on there"
job_succeeded "the job succeeds after the loss"
ended=$SECONDS
compare_with_undisturbed "${SWEEP[@]}" --resources.num-gpus 0
await "the idle worker goes (see $LOG/status)" 5 has_no_worker
pass "the idle worker goes, $((SECONDS - ended)) s after the job"

ray down -y "$FILE" > "$LOG/down" 2>&1 || fail "ray down (see $LOG/down)"
[ "$(aws 'len(found)')" = 0 ] && pass "ray down leaves no instance" ||
  fail "ray down leaves no instance, got $(aws 'len(found)')"
exit $failed
