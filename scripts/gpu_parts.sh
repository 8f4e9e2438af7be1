#!/usr/bin/env bash
# What a GPU does with this program, in parts that each end within eight minutes.
#
#   scripts/gpu_parts.sh PART [--images DIR] [--output DIR] [--quick]
#
# PART: doctor, attention, benchmark, batches, profile, pretrain, detect; `all` runs them one after
# another, `parts` says which can run with the packages that are installed here. A part that ran out of
# time, or that was stopped, goes on with what is missing when it is started again. Images come from
# scripts/pack_images.py; without --images faces are drawn. --quick tries everything in small on a CPU.
# Results lie in DIR (runs/gpu_parts by default; runs/gpu_parts_quick): PART/UNIT/ with JSON, Markdown and
# log of each, and all of it in report.md (scripts/gpu_report.py).
#
# Given folders are relative to where it is started. PYTHON names the Python to use.
# Exit codes: 0 the part is done; 1 a unit of it failed; 2 a mistake; 75 time is up, start it again.

set -uo pipefail
PYTHON=${PYTHON:-python}
if ! command -v "$PYTHON" >/dev/null; then
  echo "error: '$PYTHON' is no program; set PYTHON to the Python that has requirements.txt" >&2
  exit 2
fi
PYTHON=$(command -v "$PYTHON")
[[ $PYTHON = /* ]] || PYTHON=$PWD/$PYTHON
from=$PWD
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH=${PYTHONPATH:-$PWD}

PARTS="doctor attention benchmark batches profile pretrain detect"
SECONDS_A_PART=${SECONDS_A_PART:-440}
LEAST_SECONDS=$((SECONDS_A_PART / 20 + 1)) # no unit starts with less

usage() {
  echo "error: $1; scripts/gpu_parts.sh PART [--images DIR] [--output DIR] [--quick], PART one of" \
    "parts all $PARTS" >&2
  exit 2
}

part=${1:-}
[[ " parts all $PARTS " == *" $part "* && -n $part ]] || usage "'$part' is no part"
shift
quick='' images='' output=''
while [ $# -gt 0 ]; do
  case $1 in
  --quick) quick=--quick ;;
  --images | --output)
    [ $# -ge 2 ] || usage "$1 needs a folder"
    [[ $2 = /* ]] && path=$2 || path=$from/$2
    [ "$1" = --images ] && images=$path || output=$path
    shift
    ;;
  *) usage "'$1' is not known" ;;
  esac
  shift
done
output=${output:-runs/gpu_parts${quick:+_quick}}

if [ "$part" = parts ]; then
  exec "$PYTHON" -m scripts.gpu.requirements
fi
if [ "$part" = all ]; then
  worst=0
  for each in $PARTS; do
    bash scripts/gpu_parts.sh "$each" --output "$output" ${images:+--images "$images"} $quick
    code=$?
    [ $code -eq 2 ] && exit 2
    [ $code -gt $worst ] && worst=$code
  done
  exit $worst
fi

# ---- what a unit is

failed=0
alone=1 # until something of this part has taken time
begun=$SECONDS
ended() { # writes the report and ends
  if [ -e "$output/$part/run/workdir/metrics.jsonl" ]; then
    "$PYTHON" -m scripts.gpu.leg --workdir "$output/$part/run/workdir" --output "$output/$part/run"
  fi
  "$PYTHON" -m scripts.gpu_report --results "$output" || exit 1
  exit "$1"
}

unit() { # NAME COMMAND...: runs it, unless it is done
  local name=$1 folder=$output/$part/$1 left code start
  shift
  [ ! -e "$folder/done" ] || return 0
  left=$((SECONDS_A_PART - (SECONDS - begun)))
  if [ $left -lt $LEAST_SECONDS ]; then
    echo "$part: time is up before $name; start it again to go on"
    ended 75
  fi
  mkdir -p "$folder"
  rm -f "$folder/failed"
  echo "--- $part/$name: $*"
  start=$SECONDS
  timeout --foreground --signal=TERM --kill-after=30 $left "$@" 2>&1 | tee "$folder/log"
  code=${PIPESTATUS[0]}
  if [ "$code" -eq 0 ]; then
    touch "$folder/done"
  elif [[ $code = 124 || $code = 137 ]] && [ $((SECONDS - start)) -ge $left ]; then
    if [ $alone -eq 1 ] && [[ " pretrain detect " != *" $part "* ]]; then # they resume
      echo "took longer than $left s alone, and is left out" >"$folder/failed"
      touch "$folder/done"
    fi
    echo "$part/$name: time is up; start it again to go on"
    ended 75
  else
    echo "exit code $code: $(tail -n 1 "$folder/log")" >"$folder/failed"
    failed=1
  fi
  alone=0
}

# ---- settings of the jobs, and of --quick

folder=$output/$part
if [ -n "$quick" ]; then
  dtypes=float32 rows=residual,pretrain,detect,evaluate residual_batches=2 pretrain_batches=4
  pixels=64 megabytes=0.2
  model=(--config.model.size=tiny --config.model.image_size=64 --config.model.patch_size=16
    --config.data.workers=0 --config.batch_size=4 --config.log_every=2)
  pretrain=("${model[@]}" --config.steps=6 --config.evaluate_every=6)
  detect=("${model[@]}" --config.steps=6 --config.evaluate_every=6 --config.blocks.group=4
    --config.evaluation_batch_size=4)
  traced=("${model[@]}" --config.steps=6 --config.evaluate_every=6 --config.profile=2,4)
else
  dtypes="bfloat16 tf32 float32" rows="residual pretrain detect evaluate"
  residual_batches="16 64 256" pretrain_batches="64 128 256 512" pixels=224 megabytes=40
  pretrain=(--config.steps=10000 --config.evaluate_every=2000 --config.save_minutes=2)
  detect=(--config.steps=3000 --config.evaluate_every=500 --config.save_minutes=2)
  traced=(--config.steps=30 --config.log_every=10 --config.profile=15,20)
fi

job() { # NAME FLAGS...: a job on the packed images
  local name=$1
  shift
  unit run "$PYTHON" -u -m rffr_jax.main --config="configs/$name.py" --workdir="$folder/run/workdir" \
    --config.data.train="csv:$images/train.csv" --config.data.validation="csv:$images/validation.csv" \
    "$@"
}

need_images() {
  if [ -z "$images" ]; then
    images=$output/images
    [ ! -e "$images/validation.csv" ] || return 0
    "$PYTHON" -m scripts.pack_images --output "$images" --size $pixels --megabytes $megabytes ||
      ended $?
    alone=0
  elif [ ! -e "$images/train.csv" ] || [ ! -e "$images/validation.csv" ]; then
    usage "--images $images holds no train.csv and validation.csv; scripts/pack_images.py makes them"
  fi
}

# ---- the parts

"$PYTHON" -m scripts.gpu.requirements --part "$part" $quick || exit 2
case $part in
doctor) unit check "$PYTHON" -m scripts.gpu.doctor --output "$folder/check" ;;
attention) unit kernels "$PYTHON" -m scripts.gpu.attention --output "$folder/kernels" $quick ;;
benchmark)
  for dtype in $dtypes; do
    for row in $rows; do
      unit "${row}_$dtype" "$PYTHON" -m scripts.benchmark --output "$folder/${row}_$dtype" \
        --rows $row --dtype "$dtype" $quick
    done
  done
  unit input "$PYTHON" -m scripts.benchmark --output "$folder/input" --rows input $quick
  ;;
batches)
  for row in residual pretrain; do
    sizes=${row}_batches
    for size in ${!sizes}; do
      unit "${row}_$size" "$PYTHON" -m scripts.benchmark --output "$folder/${row}_$size" \
        --rows $row --dtype "${dtypes%% *}" --batch "$size" --no-torch $quick
    done
  done
  ;;
profile)
  need_images
  job pretrain "${traced[@]}"
  unit trace "$PYTHON" -m scripts.gpu.trace --workdir "$folder/run/workdir" --output "$folder/trace"
  ;;
pretrain)
  need_images
  job pretrain "${pretrain[@]}"
  ;;
detect)
  need_images
  mae=$folder/run/workdir/checkpoints/mae # of the run itself, once it has begun
  [ -d "$folder/run/workdir/checkpoints/latest" ] || mae=$output/pretrain/run/workdir
  [ -d "$mae" ] || usage "part detect needs a MAE: run part pretrain first"
  job detect --config.mae="$mae" "${detect[@]}"
  ;;
esac
ended $failed
