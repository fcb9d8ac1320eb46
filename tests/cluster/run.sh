#!/usr/bin/env bash
# `ray up` of cluster.yaml's own commands over SSH onto three machines, a sweep as a job, a machine's
# power cut in the middle, and the same models in the end as without all that. As root, by hand:
#
#   bash tests/cluster/run.sh              the machine is lost without a notice
#   NOTICE=1 bash tests/cluster/run.sh     its metadata service gives a spot notice before, and the
#                                          loss must not count as a failure
#   KEEP=1 bash tests/cluster/run.sh       the undisturbed run of before is good enough
#
# Needs iproute2, openssh-server, rsync and uv, 4 GB of memory, and the internet or uv's cache; about
# ten minutes. Prints a line PASS or FAIL for each fact; exit 0 if all pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

BASE=${BASE:-/var/tmp/collapse-sweep-cluster} # on the file system of /, which machines see
export FOLDER=$BASE/cluster SHARED=$BASE/shared VENV=$BASE/venv HOME_BEFORE=$HOME
NOTICE=${NOTICE:-}
PATIENCE=${PATIENCE:-1800} # seconds for the sweep
LOG=$BASE/log
MACHINES=tests/cluster/machines.sh
HEAD=10.91.0.11
WORKERS=(10.91.0.12 10.91.0.13)
PORT=18265
SWEEP=(quickstart --axis pool.alpha=1,2 --train.steps "${STEPS:-400}" --generations 3
  --resources.num-gpus 0 --resources.max-failures "$([ -n "$NOTICE" ] && echo 0 || echo 3)")
failed=0
tunnel=

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
pass() { say "PASS $*"; }
fail() { say "FAIL $*" && failed=1; }
on() { # on ADDRESS COMMAND: in a login shell, as Ray does it
  ssh -i "$FOLDER/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -o ConnectTimeout=10 "root@$1" "bash --login -c 'source ~/.bashrc; $2'"
}
clean() {
  [ -z "$tunnel" ] || kill "$tunnel" 2> /dev/null || true
  "$MACHINES" stop || true
}

# Nothing of the caller's own Ray, SSH or token files is read or written.
export UV_PROJECT_ENVIRONMENT=$VENV HOME=$BASE/home RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export UV_CACHE_DIR=${UV_CACHE_DIR:-$HOME_BEFORE/.cache/uv} OMP_NUM_THREADS=1
unset RAY_ADDRESS VIRTUAL_ENV
"$MACHINES" stop
rm -rf "$SHARED" "$FOLDER" "$HOME"
[ -n "${KEEP:-}" ] || rm -rf "$BASE/alone"
mkdir -p "$SHARED" "$HOME/.ray" "$LOG"
trap clean EXIT

uv sync -q --extra all
VIRTUAL_ENV=$VENV uv pip install -q boto3 "ray[default]>=2.60,<2.61"
export PATH=$VENV/bin:$PATH
pass "the environment is installed"
ray get-auth-token --generate > /dev/null && chmod 600 "$HOME/.ray/auth_token"

"$MACHINES" start 3
pass "three machines answer ssh"
python tests/cluster/local_file.py "$FOLDER/key" $HEAD "${WORKERS[@]}" > "$FOLDER/local.yaml"
if ! ray up -y "$FOLDER/local.yaml" > "$LOG/up" 2>&1; then
  fail "ray up (see $LOG/up)"
  exit 1
fi
pass "ray up, with cluster.yaml's own set-up and start commands"

until on $HEAD "ray status" 2> /dev/null | tee "$LOG/status" | grep -q "/2.0 CPU"; do
  [ $SECONDS -lt "$PATIENCE" ] || { fail "two workers join (see $LOG/status)" && exit 1; }
  sleep 5
done
pass "two workers have joined"
for worker in "${WORKERS[@]}"; do
  on "$worker" "pgrep -f [s]weep.watch-spot > /dev/null" && pass "the watcher runs on $worker" ||
    fail "the watcher runs on $worker"
done
on $HEAD "pgrep -f [s]weep.watch-spot > /dev/null" && fail "no watcher runs on the head" ||
  pass "no watcher runs on the head"
curl -s -m 5 -o /dev/null "http://$HEAD:8265" && fail "the dashboard is on loopback alone" ||
  pass "the dashboard is on loopback alone"

ssh -i "$FOLDER/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
  -o LogLevel=ERROR -N -L $PORT:127.0.0.1:8265 root@$HEAD &
tunnel=$!
sleep 2
[ "$(curl -s -m 10 -o /dev/null -w '%{http_code}' http://127.0.0.1:$PORT/api/jobs/)" = 401 ] &&
  pass "jobs are refused without the token" || fail "jobs are refused without the token"
JOBS=http://127.0.0.1:$PORT
ray job submit --address $JOBS --no-wait --submission-id sweep -- sweep run "${SWEEP[@]}" \
  --address auto --store "$SHARED/store" --out /root/runs/sweep > "$LOG/submit" 2>&1 ||
  { fail "the job is taken (see $LOG/submit)" && exit 1; }
pass "the job is taken"

job() { # its state in a word
  ray job status --address $JOBS sweep 2>&1 | tee "$LOG/job-status" |
    grep -oE 'succeeded|failed|stopped|PENDING|RUNNING' | tail -1
}
models() { find "$SHARED/store/generations" -name record.json 2> /dev/null | wc -l; }
until [ "$(models)" -ge 2 ]; do
  [ $SECONDS -lt "$PATIENCE" ] || { fail "the first models are done" && exit 1; }
  sleep 1
done
lost=${WORKERS[0]}
if [ -n "$NOTICE" ]; then
  on "$lost" "ip addr add 169.254.169.254/32 dev lo"
  on "$lost" "setsid nohup python $PWD/tests/metadata_service.py 169.254.169.254 80 > /tmp/metadata.log 2>&1 < /dev/null &"
  until on "$lost" "grep -q drained: /tmp/ray/watch-spot.log"; do
    [ $SECONDS -lt "$PATIENCE" ] || { fail "the watcher drains the machine" && exit 1; }
    sleep 1
  done
  pass "the watcher drains the machine: $(on "$lost" "tail -1 /tmp/ray/watch-spot.log")"
fi
on "$lost" "cat /tmp/ray/watch-spot.log" > "$LOG/watcher" || true
"$MACHINES" cut 2
say "power of $lost cut, with $(models) models done"
until job | grep -qE 'succeeded|failed|stopped'; do
  [ $SECONDS -lt "$PATIENCE" ] || { fail "the job ends" && break; }
  sleep 5
done
ray job logs --address $JOBS sweep > "$LOG/job" 2>&1 || true
[ "$(job)" = succeeded ] && pass "the job succeeds after the loss" ||
  fail "the job succeeds after the loss (see $LOG/job)"
on $HEAD "sweep status /root/runs/sweep --store $SHARED/store" > "$LOG/state" 2>&1 || true
say "$(head -3 "$LOG/state" | tr '\n' ' ')"

sweep run "${SWEEP[@]}" --resources.num-cpus 1 --store "$BASE/alone/store" --out "$BASE/alone/out" \
  > "$LOG/alone" 2>&1 || fail "the undisturbed run (see $LOG/alone)"
python tests/cluster/compare.py "$SHARED/store" "$BASE/alone/store" &&
  pass "the results are those of an undisturbed run" || fail "the results are those of an undisturbed run"

ray down -y "$FOLDER/local.yaml" > "$LOG/down" 2>&1 && pass "ray down" || fail "ray down (see $LOG/down)"
on $HEAD "pgrep -f [g]cs_server > /dev/null" && fail "no Ray is left on the head" ||
  pass "no Ray is left on the head"
exit $failed
