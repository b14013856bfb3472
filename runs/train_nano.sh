#!/usr/bin/env bash
# Trains star-nano, all stages in order, and writes OUT/star-nano.safetensors.
#
#     runs/train_nano.sh DATA OUT
#
# DATA holds train, heldout and t2v (runs/make_nano_data.sh).  Started again after an interrupt it
# goes on where it stopped; a stage at its end is left as it is.  CONFIGS=FOLDER for other numbers,
# PROCESSES=N for so many (2), each with one thread: that is faster than two threads in one.
set -euo pipefail
if [ $# -ne 2 ]; then
    echo "usage: runs/train_nano.sh DATA OUT" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
data=$1 out=$2
configs=${CONFIGS:-$here/ros2_ws/src/inspatio_star/inspatio_star/train/configs}
# shellcheck source=/dev/null
source "$here/ros2_ws/activate.sh"
# Threads that wait shall sleep: those that spin take the time of whoever else computes.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
for stage in stem motion perceptual causal jdmd; do
    torchrun --standalone --nproc-per-node "${PROCESSES:-2}" -m inspatio_star.train "$stage" \
        --config "$configs/nano_$stage.toml" --data "$data" --out "$out" --resume
done
python -m inspatio_star.train.export --out "$out" --stage jdmd "$out/star-nano.safetensors"
