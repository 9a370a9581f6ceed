#!/usr/bin/env bash
# Train on several processes of one or more machines: bash tools/dist_train.sh CONFIG PROCESSES [options of train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT as torchrun takes them. PYTHON names the interpreter.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]" >&2
    exit 2
fi
config=$1 processes=$2 python=${PYTHON:-python} train=$(dirname "$0")/train.py
shift 2
if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "error: PROCESSES is '$processes': give the number of processes on this machine." >&2
    exit 2
fi
# The empty entry of sys.path is the folder where -c runs; a script does not look there.
if ! "$python" -c '
import sys
from importlib.util import find_spec
sys.path = [path for path in sys.path if path]
sys.exit(not all(map(find_spec, ("torch", "mmengine", "cait_mm"))))' 2> /dev/null; then
    echo "error: '$python' has no torch, mmengine and cait_mm: activate the environment" \
        "(source .venv/bin/activate) or name its Python in PYTHON." >&2
    exit 2
fi
# Check once here: otherwise each of the processes would report the same, and torchrun would add a traceback.
WORLD_SIZE=$((processes * ${NNODES:-1})) "$python" "$train" "$config" --launcher pytorch "$@" --check-only > /dev/null
# torchrun without its traceback if the processes have printed an error, or have saved and stopped
exec "$python" -c '
import sys
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, main
if "--signals-to-handle" in get_args_parser().format_help():  # newer releases; Slurm sends USR1
    sys.argv.insert(1, "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
try:
    main()
except SignalException as stop:
    sys.exit(128 + stop.sigval)
except ChildFailedError as failed:
    code = failed.get_first_failure()[1].exitcode
    sys.exit(code if code >= 0 else 128 - code)' --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" --nproc_per_node="$processes" \
    "$train" "$config" --launcher pytorch "$@"
