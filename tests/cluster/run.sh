#!/usr/bin/env bash
# Runs `ray up` with cluster.yaml's commands over SSH on three emulated machines, submits a sweep as a
# job, cuts a machine's power in the middle, and checks that the models equal those of an undisturbed
# run. Run by hand, as root:
#
#   bash tests/cluster/run.sh              the machine is lost without a notice
#   NOTICE=1 bash tests/cluster/run.sh     its metadata service gives a spot notice first, and the
#                                          loss must not count as a failure
#   KEEP=1 bash tests/cluster/run.sh       reuse the undisturbed run of the previous call
#
# Needs iproute2, openssh-server, rsync, curl and uv, 4 GB of memory, and the internet or uv's cache.
# Takes about ten minutes. Prints PASS or FAIL for each check; exits with 0 if all pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
source tests/cluster/shared.sh

NOTICE=${NOTICE:-}
HEAD=10.91.0.11
WORKERS=(10.91.0.12 10.91.0.13)
FILE=$FOLDER/local.yaml
SWEEP=(quickstart --axis pool.alpha=1,2 --axis seed=0 --train.steps "${STEPS:-1000}" --generations 3
  --resources.num-gpus 0 --resources.max-failures "$([ -n "$NOTICE" ] && echo 0 || echo 3)")

clean() {
  [ -z "$tunnel" ] || kill "$tunnel" 2> /dev/null || true
  "$MACHINES" stop || true
}
# A pattern with brackets does not match the command line of the shell that runs pgrep.
runs() { on "$1" "pgrep -f $2 > /dev/null"; }
have_joined() { on $HEAD "ray status" 2> /dev/null | tee "$LOG/status" | grep -q "/2.0 CPU"; }
is_drained() { on "${WORKERS[0]}" "grep -q drained: /tmp/ray/watch-spot.log"; }
give_notice() {
  on "${WORKERS[0]}" "ip addr add 169.254.169.254/32 dev lo"
  on "${WORKERS[0]}" "setsid nohup python $PWD/tests/metadata_service.py 169.254.169.254 80 \
    > /tmp/metadata.log 2>&1 < /dev/null &"
  await "the watcher drains the machine" 1 is_drained
  pass "the watcher drains the machine"
}

prepare
"$MACHINES" start 3 9>&-
pass "three machines answer ssh"
python tests/cluster/local_file.py "$FOLDER/key" $HEAD "${WORKERS[@]}" > "$FILE"
ray up -y "$FILE" > "$LOG/up" 2>&1 || give_up "ray up (see $LOG/up)"
pass "ray up, with cluster.yaml's own set-up and start commands"
await "two workers join (see $LOG/status)" 5 have_joined
pass "two workers have joined"
for worker in "${WORKERS[@]}"; do
  runs "$worker" "[s]weep.watch-spot" && pass "the watcher runs on $worker" ||
    fail "the watcher runs on $worker"
done
runs $HEAD "[s]weep.watch-spot" && fail "no watcher runs on the head" ||
  pass "no watcher runs on the head"
curl -s -m 5 -o "$LOG/dashboard" "http://$HEAD:8265" && fail "the dashboard is on loopback alone" ||
  pass "the dashboard is on loopback alone"

open_tunnel $HEAD
[ "$(curl -s -m 10 -o "$LOG/jobs" -w '%{http_code}' $JOBS/api/jobs/)" = 401 ] &&
  pass "jobs are refused without the token" || fail "jobs are refused without the token"
submit "${SWEEP[@]}"
await "the first models are done" 1 has_models 2
for machine in $HEAD "${WORKERS[@]}"; do
  on "$machine" "python $PWD/tests/cluster/attack_ray.py $machine" > "$LOG/attack-$machine" &&
    pass "another user is refused everything on $machine" ||
    fail "another user is refused everything on $machine (see $LOG/attack-$machine)"
done
[ -z "$NOTICE" ] || give_notice
on "${WORKERS[0]}" "cat /tmp/ray/watch-spot.log" > "$LOG/watcher" || true
await "${WORKERS[0]} trains a model" 0.2 trains 2
"$MACHINES" cut 2
trains 2 && pass "power is cut in the middle of a training" ||
  fail "power is cut in the middle of a training"
say "power of ${WORKERS[0]} cut, with $(num_models) models done"
job_succeeded "the job succeeds after the loss"
on $HEAD "sweep status /root/runs/sweep --store $SHARED/store" > "$LOG/state" 2>&1 ||
  fail "sweep status (see $LOG/state)"
compare_with_undisturbed "${SWEEP[@]}"

ray down -y "$FILE" > "$LOG/down" 2>&1 && pass "ray down" || fail "ray down (see $LOG/down)"
runs $HEAD "[g]cs_server" && fail "no Ray is left on the head" || pass "no Ray is left on the head"
exit $failed
