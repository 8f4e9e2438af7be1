# Shared by the batch files of this folder, which source it. Do not start it.
#
#   run JOB FLAGS...   runs the job with one process a task, and requeues it where it can resume
#
# The first task that ends with another code than 0 ends all others (--kill-on-bad-exit=1), and srun
# then reports how those were killed. These codes are requeued, MAX_REQUEUES times at most:
#
#   75         all have saved after a signal
#   134        JAX aborted a task because another one was lost
#   137, 143   a task was killed: no memory, a machine that is gone
#
# A task that ends with 1 (a defect) or 2 (a mistake of the user) leaves a note. Its code is the code
# of the job, and nothing is requeued.

# On GPUs XLA's scheduler hides communication behind computation (JAX_OPTIMIZATION_LEVEL=O1).
# --ntasks-per-node says whether a process has one GPU or, with 1, all GPUs of its machine.

MAX_REQUEUES=${MAX_REQUEUES:-20}
PYTHON=${PYTHON:-python}
step=
cancelled=

# srun of Slurm 22.05 to 23.02 does not take over what sbatch was asked for: one core a task else.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
[ -z "${SLURM_GPUS_ON_NODE:-}" ] || export JAX_OPTIMIZATION_LEVEL=${JAX_OPTIMIZATION_LEVEL:-O1}

ask_to_save() {
  [ -z "$step" ] || kill -USR1 "$step" # srun passes it to all tasks
}
trap ask_to_save USR1                # before the time is up: --signal=B:USR1@SECONDS
trap 'cancelled=1; ask_to_save' TERM # scancel

run() {
  local job=$1 code note=$PWD/.ended-${SLURM_JOB_ID:?}
  shift
  rm -f "$note"
  # The shell around a task survives the signals that srun passes to both.
  srun --kill-on-bad-exit=1 bash -c 'trap : USR1 TERM INT
    note=$1; shift; "$@"; code=$?
    case $code in 1 | 2) echo "$code" >"$note" ;; esac
    exit "$code"' task "$note" \
    "$PYTHON" -u -m rffr_jax.main --config="configs/$job.py" "$@" &
  step=$!
  wait "$step"
  code=$?
  while kill -0 "$step" 2>/dev/null; do # a signal ends `wait`, but not the step
    wait "$step"
    code=$?
  done

  if [ -e "$note" ]; then
    code=$(<"$note")
    rm -f "$note"
  elif [ -z "$cancelled" ] && [[ $code =~ ^(75|134|137|143)$ ]]; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt "$MAX_REQUEUES" ]; then
      scontrol requeue "$SLURM_JOB_ID"
    else
      echo "requeued $MAX_REQUEUES times already; sbatch it again to resume" >&2
    fi
  fi
  exit "$code"
}
