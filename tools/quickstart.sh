#!/usr/bin/env bash
# Set everything up in .venv and run the main job on an embedded default: bash tools/quickstart.sh [--help]
set -euo pipefail

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
bash "$ROOT/tools/setup_env.sh"
exec "$ROOT/.venv/bin/python" "$ROOT/tools/quickstart.py" "$@"
