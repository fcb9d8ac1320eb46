#!/usr/bin/env bash
# Runs slurm/array.sbatch and slurm/symmetric.sbatch on Debian's SLURM: munged, slurmctld and two
# slurmd, on machines emulated by namespaces. Checks that four tasks on one store train no model twice,
# and that the models equal those of an undisturbed run, although a first task was cancelled. Run as
# root; needs what run.sh needs, and Debian's packages slurm-wlm and munge. Takes about five minutes.
#
#   bash tests/cluster/run_slurm.sh
#   bash tests/cluster/run_slurm.sh check    print what is missing; exit 1 if anything is
#   KEEP=1 bash tests/cluster/run_slurm.sh   reuse the undisturbed run of the previous call
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

for name in munged slurmctld slurmd sbatch; do
  PATH=$PATH:/usr/sbin command -v $name > /dev/null || { echo "there is no $name" && exit 1; }
done
# slurmd 22.05 does not start without control groups. Those of version 2 would belong to systemd.
[ -d /sys/fs/cgroup/freezer ] || { echo "there are no control groups of version 1" && exit 1; }
[ "${1:-}" != check ] || exit 0
source tests/cluster/shared.sh

HEAD=10.91.0.11
WORKER=10.91.0.12
SWEEP=(quickstart --axis seed=0 --train.steps "${STEPS:-200}" --generations 3 --resources.num-gpus 0)
ALL=(--axis pool.alpha=0.1,0.2,0.3,0.4)
NUM_MODELS=9 # V_1, which the four lineages share, and their V_2 and V_3
watcher=

clean() {
  [ -z "$watcher" ] || kill "$watcher" 2> /dev/null || true
  "$MACHINES" stop || true
}

settings() {
  cat << SETTINGS
ClusterName=test
SlurmctldHost=cluster-1($HEAD)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
StateSaveLocation=/tmp/slurmctld
SlurmdSpoolDir=/tmp/slurmd
SlurmctldPidFile=/tmp/slurmctld.pid
SlurmdPidFile=/tmp/slurmd.pid
SlurmctldLogFile=$SHARED/slurmctld.log
SlurmdLogFile=$SHARED/slurmd-%n.log
JobCompType=jobcomp/filetxt
JobCompLoc=$SHARED/jobs
NodeName=cluster-1 NodeAddr=$HEAD CPUs=2
NodeName=cluster-2 NodeAddr=$WORKER CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
SETTINGS
}

start_daemons() { # start_daemons ADDRESS DAEMON...
  local machine=$1 daemon
  shift
  on "$machine" "echo $HEAD cluster-1 >> /etc/hosts; echo $WORKER cluster-2 >> /etc/hosts"
  on "$machine" "mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir -p /sys/fs/cgroup/freezer /tmp/slurmd &&
    mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer"
  on "$machine" "install -d -o munge -g munge -m 755 /run/munge /var/log/munge /var/lib/munge &&
    setpriv --reuid munge --regid munge --clear-groups munged"
  for daemon in "$@"; do on "$machine" "SLURM_CONF=$SHARED/slurm.conf $daemon"; done
}

# The scripts find `sweep` and `ray` as they would after `source .venv/bin/activate`.
slurm() { on $HEAD "export SLURM_CONF=$SHARED/slurm.conf PATH=$VENV/bin:\$PATH; cd $SHARED; $*"; }
are_idle() { slurm sinfo --noheader --format=%D-%T > "$LOG/sinfo" && grep -qx 2-idle "$LOG/sinfo"; }
queue_is_empty() { slurm squeue --noheader > "$LOG/squeue" && [ ! -s "$LOG/squeue" ]; }

run_jobs() { # run_jobs NUM WHAT WORDS...: submit, and wait until NUM jobs have succeeded
  local num=$1 what=$2
  shift 2
  : > "$SHARED/jobs"
  python tests/cluster/trainings.py "$SHARED/store" > "$LOG/trainings" &
  watcher=$!
  slurm "SHARED=$SHARED sbatch $*" > "$LOG/sbatch" 2>&1 || give_up "$what (see $LOG/sbatch)"
  await "$what (see $LOG/squeue)" 2 queue_is_empty
  kill $watcher && wait $watcher || true
  watcher=
  cp "$SHARED"/*.log "$LOG"
  [ "$(grep -c "JobState=COMPLETED.*ExitCode=0:0" "$SHARED/jobs")" = "$num" ] && pass "$what" ||
    fail "$what (see $LOG/sweep-*.log and $SHARED/jobs)"
}

trained_once() { # trained_once NUM REPEATED: at least NUM models, by one process each but for REPEATED
  python - "$LOG/trainings" "$1" "$2" << 'PYTHON'
import json
import sys
trained = json.load(open(sys.argv[1]))
repeated = sum(len(processes) - 1 for processes in trained.values())
sys.exit(len(trained) < int(sys.argv[2]) or repeated > int(sys.argv[3]))
PYTHON
}
both_trained() { grep -q "cluster-1 " "$LOG/trainings" && grep -q "cluster-2 " "$LOG/trainings"; }
verify() { # verify WHAT COMMAND...
  "${@:2}" && pass "$1" || fail "$1"
}

prepare
"$MACHINES" start 2 9>&-
settings > "$SHARED/slurm.conf"
echo CgroupPlugin=cgroup/v1 > "$SHARED/cgroup.conf"
start_daemons $HEAD slurmctld slurmd
start_daemons $WORKER slurmd
await "two machines are idle (see $LOG/sinfo)" 1 are_idle
pass "two machines are idle"

slurm "SHARED=$SHARED sbatch --array=1 $PWD/slurm/array.sbatch ${SWEEP[*]} --axis pool.alpha=0.%t" \
  > "$LOG/sbatch" 2>&1 || give_up "a task starts (see $LOG/sbatch)"
await "a task trains" 0.2 trains 1
slurm scancel --name sweep
await "the task ends (see $LOG/squeue)" 1 queue_is_empty
verify "a task is cancelled in the middle of a training" grep -q JobState=CANCELLED "$SHARED/jobs"

run_jobs 4 "four tasks succeed on one store" --array=1-4 "$PWD/slurm/array.sbatch" "${SWEEP[@]}" \
  --axis pool.alpha=0.%t
# The cancelled task's claim on V_1 is seen too; or V_1 was done before the task was cancelled.
verify "no model was trained twice (see $LOG/trainings)" trained_once $((NUM_MODELS - 1)) 1
verify "both machines trained" both_trained
compare_with_undisturbed "${SWEEP[@]}" "${ALL[@]}"
slurm "sweep run ${SWEEP[*]} ${ALL[*]} --store $SHARED/store --out $SHARED/runs/all 2>&1" \
  > "$LOG/all" || fail "the whole sweep (see $LOG/all)"
verify "the whole sweep has nothing to compute (see $LOG/all)" grep -q "^nothing to compute" "$LOG/all"

KEEP=1
rm -rf "$SHARED/store" "$SHARED/runs"
run_jobs 1 "one Ray on both machines, by symmetric-run" "$PWD/slurm/symmetric.sbatch" "${SWEEP[@]}" \
  "${ALL[@]}"
verify "no model was trained twice (see $LOG/trainings)" trained_once $NUM_MODELS 0
verify "both machines trained" both_trained
compare_with_undisturbed "${SWEEP[@]}" "${ALL[@]}"
for machine in $HEAD $WORKER; do
  on $machine "pgrep -f [r]aylet/raylet" > "$LOG/left" && fail "no Ray is left on $machine" ||
    pass "no Ray is left on $machine"
done
exit $failed
