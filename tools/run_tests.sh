#!/usr/bin/env bash
# Set everything up in .venv, then lint and test: bash tools/run_tests.sh [pytest's arguments]
set -euo pipefail

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
bash "$ROOT/tools/setup_env.sh"
# Paths among the arguments are relative to the repository, as the ones in the documentation.
cd -- "$ROOT"
export HF_HUB_OFFLINE=1  # a test that wants a download must fail here too, not only on a machine without network
.venv/bin/python -m ruff check .
# A process per core, and a file's tests in one of them: they share what the file has made.
export OMP_NUM_THREADS=1
exec .venv/bin/python -m pytest -n logical --dist loadfile "$@"
