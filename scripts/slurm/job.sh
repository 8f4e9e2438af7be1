# What the batch files of this folder share. They source it; nobody starts it.
#
#   run JOB FLAGS...   the job with one process a task, put back into the queue where it can go on
#
# Exit code 75 says that a run has saved, or that it has lost a process: it goes on when it is
# started again. So does a run of which a task was killed (137: no memory, a machine that is gone).
# Such a job is requeued, MAX_REQUEUES times at most; any other exit code is the job's own.

MAX_REQUEUES=${MAX_REQUEUES:-20}
PYTHON=${PYTHON:-python}
step=
cancelled=

ask_to_save() {
  [ -z "$step" ] || kill -USR1 "$step" # srun hands it on to all tasks
}
trap ask_to_save USR1                   # before the time is up: --signal=B:USR1@SECONDS
trap 'cancelled=1; ask_to_save' TERM # scancel

run() {
  local job=$1 code
  shift
  # The others say which task is gone, and end by themselves: --kill-on-bad-exit=0.
  srun --kill-on-bad-exit=0 "$PYTHON" -u -m rffr_jax.main --config="configs/$job.py" "$@" &
  step=$!
  wait "$step"
  code=$?
  while kill -0 "$step" 2>/dev/null; do # a signal ends `wait`, not the step
    wait "$step"
    code=$?
  done

  if [ -z "$cancelled" ] && { [ "$code" -eq 75 ] || [ "$code" -eq 137 ]; }; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt "$MAX_REQUEUES" ]; then
      scontrol requeue "$SLURM_JOB_ID"
    else
      echo "requeued $MAX_REQUEUES times already; sbatch it again to go on" >&2
    fi
  fi
  exit "$code"
}
