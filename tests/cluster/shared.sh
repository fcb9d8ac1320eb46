# Functions shared by run.sh and run_aws.sh; source it in the repository's root. BASE holds all files.

BASE=${BASE:-/var/tmp/collapse-sweep-cluster} # on the file system of /, which machines see
PATIENCE=${PATIENCE:-1800}                    # seconds for the whole run
LOG=$BASE/log
mkdir -p "$LOG"
MACHINES=tests/cluster/machines.sh
PORT=18265
JOBS=http://127.0.0.1:$PORT
REMOTE=(-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR)
failed=0
tunnel=

export FOLDER=$BASE/cluster SHARED=$BASE/shared VENV=$BASE/venv
export UV_PROJECT_ENVIRONMENT=$VENV UV_CACHE_DIR=${UV_CACHE_DIR:-$HOME/.cache/uv}
# The caller's Ray, SSH and token files are neither read nor written.
export HOME=$BASE/home RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1
unset RAY_ADDRESS VIRTUAL_ENV

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
pass() { say "PASS $*"; }
fail() { say "FAIL $*" && failed=1; }
give_up() { say "FAIL $*" && exit 1; }

on() { # on ADDRESS COMMAND: run it in a login shell, as Ray does
  ssh -i "$FOLDER/key" "${REMOTE[@]}" -o ConnectTimeout=10 "root@$1" "bash --login -c -i 'source ~/.bashrc; $2'" 2>> "$LOG/on"
}

await() { # await WHAT SECONDS COMMAND...: retry the command every SECONDS until it succeeds
  local what=$1 pause=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt "$PATIENCE" ] || give_up "$what"
    sleep "$pause"
  done
}

prepare() { # empty the folders, install the environment, generate a token
  exec 9> "$BASE/lock"
  flock -n 9 || give_up "no other run is at work in $BASE"
  trap clean EXIT
  "$MACHINES" stop
  rm -rf "$SHARED" "$FOLDER" "$HOME"
  mkdir -p "$SHARED" "$HOME/.ray" "$HOME/.ssh" "$LOG"
  uv sync -q --extra all
  VIRTUAL_ENV=$VENV uv pip install -q boto3 "ray[default]>=2.60,<2.61"
  export PATH=$VENV/bin:$PATH
  ray get-auth-token --generate > /dev/null 2>&1 && chmod 600 "$HOME/.ray/auth_token"
  pass "the environment is installed"
}

open_tunnel() { # open_tunnel HEAD
  ssh -i "$FOLDER/key" "${REMOTE[@]}" -N -L $PORT:127.0.0.1:8265 "root@$1" 9>&- &
  tunnel=$!
  sleep 2
}

submit() { # submit OPTIONS...: submit the sweep as a job
  ray job submit --address $JOBS --no-wait --submission-id sweep -- sweep run "$@" \
    --address auto --store "$SHARED/store" --out /root/runs/sweep > "$LOG/submit" 2>&1 ||
    give_up "the job is taken (see $LOG/submit)"
  pass "the job is taken"
}

job_has_ended() { # polls the status, because following the job can hang after a machine is lost
  ray job status --address $JOBS sweep > "$LOG/job-status" 2>&1 || true
  grep -qE "' (succeeded|failed)|was stopped" "$LOG/job-status"
}

job_succeeded() {
  await "the job ends" 5 job_has_ended
  ray job logs --address $JOBS sweep > "$LOG/job" 2>&1 || true
  grep -q "' succeeded" "$LOG/job-status" && pass "$*" || fail "$* (see $LOG/job)"
}

trains() { # trains I: whether a trial on machine I is in the middle of a training
  local claim
  for claim in $(grep -ls "\"host\": \"cluster-$1\"" "$SHARED"/store/claims/*/*.json); do
    grep -qs '"stage": "train"' "$claim" && return 0
  done
  return 1
}

num_models() { find "$SHARED/store/generations" -name record.json 2> /dev/null | wc -l; }
has_models() { [ "$(num_models)" -ge "$1" ]; }

compare_with_undisturbed() { # compare_with_undisturbed OPTIONS...: of the sweep
  [ -n "${KEEP:-}" ] || rm -rf "$BASE/alone"
  mkdir -p "$BASE/alone"
  sweep run "$@" --resources.num-cpus 1 --store "$BASE/alone/store" --out "$BASE/alone/out" \
    > "$LOG/alone" 2>&1 || fail "the undisturbed run (see $LOG/alone)"
  local what="the results are those of an undisturbed run"
  python tests/cluster/compare.py "$SHARED/store" "$BASE/alone/store" && pass "$what" || fail "$what"
}
