#!/usr/bin/env bash
# Train under Slurm: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=8 SRUN_ARGS=...] \
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of train.py]
# PYTHON names the interpreter on the nodes.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
    exit 2
fi
if ! command -v srun > /dev/null; then
    echo "error: srun is not on this machine: run this where Slurm is, or use tools/dist_train.sh." >&2
    exit 2
fi
partition=$1 job=$2 config=$3
shift 3
folder=$(dirname "$config") name=$(basename "$config")
# as train.py finds them: where they are, in small/, or under a new name
if ! [ -f "$config" ] && ! [ -f "$folder/small/$name" ] && ! grep -qs "^${name%.py}:" "$folder/moved.yml"; then
    echo "error: config $config does not exist: configs/ holds the ones of this project." >&2
    exit 2
fi
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
# shellcheck disable=SC2086  # SRUN_ARGS holds several words on purpose
exec srun -p "$partition" --job-name="$job" --gres=gpu:"$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
