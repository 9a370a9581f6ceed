#!/usr/bin/env bash
# Train on several processes of one or more machines: bash tools/dist_train.sh CONFIG PROCESSES [options of train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT as torchrun takes them.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]" >&2
    exit 2
fi
config=$1 processes=$2
shift 2
exec python -m torch.distributed.run --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" --nproc_per_node="$processes" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
