#!/usr/bin/env bash
# Make .venv with the tested dependency set (requirements/); quickstart.sh and run_tests.sh call it.
# It may be interrupted and repeated; when everything is in place it ends at once. All messages go to standard error.
#
# PYTHON      the interpreter to use (default: the first of python3.11, 3.12, 3.13, 3.10 that can do it)
# CXX         the C++ compiler to use
# MAX_JOBS    compiler processes at a time (default: cores, fewer when memory is short)
# CAIT_CACHE  where the built MMCV is kept (default: ~/.cache/cait_mm)
# pip obeys its own configuration: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, pip.conf, proxies.
set -euo pipefail

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
LOG=$VENV/setup.log
STAMP=$VENV/.ready
CACHE=${CAIT_CACHE:-${XDG_CACHE_HOME:-${HOME:-$ROOT}/.cache}/cait_mm}
REQUIREMENTS=$ROOT/requirements
DISK_GB=8
PYTHONS='3.11 3.12 3.13 3.10' # tested versions, in the order of preference
PYTHON_RANGE='3.10 to 3.13'
JOB=
TEMPORARY=
BUILD=

# Packages from elsewhere, or options that place packages elsewhere, would undo the tested set.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_CONSTRAINT
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '[setup] %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

cleanup() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  if [ -n "$JOB" ]; then
    kill -- "-$JOB" 2>/dev/null || true
    wait "$JOB" 2>/dev/null || true
  fi
  [ -z "$TEMPORARY$BUILD" ] || rm -rf ${TEMPORARY:+"$TEMPORARY"} ${BUILD:+"$BUILD"} || true
  exit "$status"
}
trap cleanup EXIT
trap 'printf "error: interrupted; run it again, finished steps are kept.\n" >&2; exit 130' INT
trap 'exit 143' TERM HUP

pinned() { sed -n "s/^$1==//p" "$REQUIREMENTS"/*.txt; }

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
supported() { case " $PYTHONS " in *" $1 "*) ;; *) return 1 ;; esac; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
has_headers() {
  "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}

# A checksum of the set-up's inputs, among them nvcc: MMCV is built again when CUDA appears.
fingerprint() {
  {
    cat "$REQUIREMENTS"/*.txt "$ROOT/setup.py" "$ROOT/tools/setup_env.sh" "$VENV/pyvenv.cfg" 2>/dev/null || true
    printf '%s\n' "$ROOT" "$(find_nvcc)"
  } | cksum
}

is_ready() {
  [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ] || return 1
  "$VENV/bin/python" - "$REQUIREMENTS"/*.txt <<'PY' || return 1
import importlib.metadata as metadata, importlib.util, sys
for path in sys.argv[1:]:
    for name, _, wanted in (line.strip().partition('==') for line in open(path, encoding='utf-8')):
        if wanted and not name.startswith('#'):
            try:
                found = metadata.version(name).split('+')[0]
            except metadata.PackageNotFoundError:
                found = 'not installed'
            if found != wanted:
                sys.exit(f'[setup] {name} is {found} in .venv, tested is {wanted}; putting it back')
if importlib.util.find_spec('cait_mm') is None:
    sys.exit('[setup] cait_mm is not installed in .venv; putting it back')
PY
}

# A candidate must run: version managers leave commands in PATH for versions that are not there.
find_python() {
  local candidate version seen=''
  PY=
  if [ -n "${PYTHON:-}" ]; then
    version=$(python_version "$PYTHON") || die "PYTHON is '$PYTHON', which does not run."
    supported "$version" || die "PYTHON is '$PYTHON', version $version, but Python $PYTHON_RANGE is needed."
    PY=$PYTHON VERSION=$version
  else
    for candidate in ${PYTHONS//3./python3.} python3 python; do
      version=$(python_version "$candidate") || continue
      supported "$version" || { seen="$seen, $candidate is $version"; continue; }
      if [ -z "$PY" ]; then PY=$candidate VERSION=$version; fi
      if has_venv "$candidate" && has_headers "$candidate"; then PY=$candidate VERSION=$version && break; fi
    done
    [ -n "$PY" ] || die "no Python $PYTHON_RANGE was found$seen: install one or name it in PYTHON."
  fi
  has_venv "$PY" ||
    die "Python $VERSION ($PY) lacks its venv module: install it (Debian and Ubuntu: python$VERSION-venv)."
}

check_build_tools() {
  local compiler
  has_headers "$PY" || die "Python $VERSION ($PY) lacks its C headers, Python.h, which building MMCV needs:" \
    "install them (Debian and Ubuntu: python$VERSION-dev; Fedora: python$VERSION-devel)."
  if [ -n "${CXX:-}" ]; then
    compiles "$CXX" || die "CXX is '$CXX', which cannot compile C++17."
    return
  fi
  for compiler in c++ g++ clang++; do
    if compiles "$compiler"; then
      export CXX=$compiler
      return
    fi
  done
  die "no working C++17 compiler was found, which building MMCV needs: install one" \
    "(Debian and Ubuntu: g++; Fedora: gcc-c++; macOS: xcode-select --install) or name it in CXX."
}
# $1 is split on purpose: CXX may be 'ccache g++'.
compiles() { printf '#include <vector>\nint main() {}\n' | $1 -std=c++17 -fsyntax-only -x c++ - 2>/dev/null; }

check_disk() {
  local free_kb
  free_kb=$(df -Pk "$1" | sed -n -E '$s/.* ([0-9]+) +[0-9]+% .*/\1/p')
  [ -n "$free_kb" ] || return 0
  ((free_kb >= DISK_GB * 1024 * 1024)) ||
    die "the disk of $1 has $((free_kb / 1024 / 1024)) GB free, but about $DISK_GB GB are needed."
}

prepare_venv() {
  local version
  if [ -e "$VENV" ]; then
    if version=$(python_version "$VENV/bin/python") && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
      supported "$version" ||
        die "$VENV has Python $version, but Python $PYTHON_RANGE is needed: remove that folder and run this again."
      if [ -n "${PYTHON:-}" ] && [ "$(python_version "$PYTHON")" != "$version" ]; then
        die "$VENV has Python $version and PYTHON is '$PYTHON': remove that folder or unset PYTHON."
      fi
      PY=$VENV/bin/python VERSION=$version
    elif [ -f "$VENV/pyvenv.cfg" ] || [ -f "$LOG" ] || [ -z "$(ls -A "$VENV")" ]; then
      say "$VENV is broken or half-made; making it again"
      rm -rf "$VENV"
    else
      die "$VENV is not a virtual environment: move it away and run this again."
    fi
  fi
  [ -n "${PY:-}" ] || find_python
  # Checked before the long downloads, and only when MMCV has to be built.
  [ -n "$(find_wheel "$CACHE/wheels/$(cache_key)"*)" ] || check_build_tools
  if ! ls -d "$VENV"/lib/python*/site-packages/torch >/dev/null 2>&1; then check_disk "$ROOT"; fi
  TEMPORARY=$VENV/tmp
  mkdir -p "$TEMPORARY"
  if [ "$PY" != "$VENV/bin/python" ]; then
    say "making .venv with Python $VERSION ($PY)"
    : >"$LOG"
    "$PY" -m venv "$VENV" >>"$LOG" 2>&1 || die "'$PY -m venv $VENV' failed: $(tail -n 1 "$LOG")"
  fi
}

# In a process group of its own, so that an interrupt ends the compilers too.
watch() { # watch LABEL LOG COMMAND...
  local label=$1 log=$2 start=$SECONDS next=30 pause=0.02 spent status=0
  shift 2
  set -m
  "$@" </dev/null >>"$log" 2>&1 9>&- &
  JOB=$!
  set +m
  while kill -0 "$JOB" 2>/dev/null; do
    sleep "$pause"
    pause=0.2
    spent=$((SECONDS - start))
    if ((spent >= next)); then
      next=$((next + 30))
      say "$label: $((spent / 60)) min $((spent % 60)) s$(progress "$log")"
    fi
  done
  wait "$JOB" || status=$?
  JOB=
  return "$status"
}

progress() {
  tail -c 40000 "$1" | tr '\r' '\n' | sed -n -E \
    -e 's/^ *\[([0-9]+)\/([0-9]+)\].*/, \1 of \2 files compiled/p' \
    -e 's/^(Collecting|Installing collected packages|Building wheel for)(:? [^ ,]+).*/, \1\2/p' | tail -n 1
}

pip_install() { # pip_install WHAT ARGUMENTS...
  local what=$1 section=$TEMPORARY/pip.log
  shift
  : >"$section"
  local status=0
  # TMPDIR: /tmp is often too small for these downloads.
  watch "$what" "$section" env TMPDIR="$TEMPORARY" "$VENV/bin/python" -m pip install --no-input --progress-bar off "$@" ||
    status=$?
  { printf '\n=== pip install %s\n' "$*" && cat "$section"; } >>"$LOG"
  [ "$status" = 0 ] || explain_pip "$what" "$section"
}

NETWORK_TROUBLE='NewConnectionError|ConnectTimeout|ReadTimeout|ConnectionReset|ConnectionError|ProxyError|SSLError|'
NETWORK_TROUBLE+='IncompleteRead|ProtocolError|Max retries|name resolution|Network is unreachable'
explain_pip() { # explain_pip WHAT LOG: explain pip's output and stop
  local missing
  missing=$(sed -n -E 's/^ *ERROR: No matching distribution found for ([^ ]+).*/\1/p' "$2" | tail -n 1)
  if grep -q 'No space left on device' "$2"; then
    die "the disk is full, about $DISK_GB GB are needed (pip's output: $LOG)."
  elif [ -n "$missing" ]; then
    die "pip found no '$missing' on a package index: check that an index is reachable (network, proxy," \
      "'pip config list') and offers it (pip's output: $LOG)."
  elif grep -qE "$NETWORK_TROUBLE" "$2"; then
    die "the connection to the package index failed while installing $1: check network and proxy and run this again" \
      "(pip's output: $LOG)."
  fi
  die "pip could not install $1: $(grep -E '[Ee]rror' "$2" | tail -n 1) (pip's output: $LOG)."
}

find_nvcc() {
  command -v nvcc || { [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] && echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; } || true
}

# 'cpu', or for example 'cu130-sm90' where nvcc, a GPU and the CUDA that PyTorch was built with agree.
find_accelerator() {
  local nvcc tag release
  nvcc=$(find_nvcc)
  [ -n "$nvcc" ] || { echo cpu; return; }
  tag=$("$VENV/bin/python" -c '
import torch
if torch.version.cuda and torch.cuda.is_available():
    print("cu%s-sm%d%d" % (torch.version.cuda.replace(".", ""), *torch.cuda.get_device_capability()))
' 2>/dev/null) || tag=
  [ -n "$tag" ] || { echo cpu; return; }
  release=$("$nvcc" --version | sed -n -E 's/.*release ([0-9]+)\..*/\1/p')
  case $tag in
    cu"$release"*) echo "$tag" ;;
    *)
      say "note: nvcc is of CUDA $release and PyTorch is a ${tag%%-*} build, so MMCV's ops are built for the CPU only"
      echo cpu
      ;;
  esac
}

cache_key() { printf 'py%s-torch%s-%s' "$VERSION" "$(pinned torch)" "$(uname -m)"; } # the accelerator follows
find_wheel() { find "$@" -maxdepth 1 -name "mmcv-$(pinned mmcv)-*.whl" 2>/dev/null | head -n 1; }

count_jobs() {
  local jobs memory
  jobs=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  # A compiler with PyTorch's headers takes about 1.5 GB.
  memory=$(sed -n -E 's/^MemAvailable: +([0-9]+) kB/\1/p' /proc/meminfo 2>/dev/null || true)
  if [ -n "$memory" ] && ((memory / 1500000 < jobs)); then jobs=$((memory / 1500000)); fi
  echo "${MAX_JOBS:-$((jobs > 0 ? jobs : 1))}"
}

build_mmcv() { # build_mmcv FOLDER ACCELERATOR
  local folder=$1 accelerator=$2 log=$VENV/mmcv-build.log jobs work=11 cuda=0
  local -a environment
  check_build_tools
  jobs=$(count_jobs)
  rm -rf "$folder"/build.*
  BUILD=$(mktemp -d "$folder/build.XXXXXX") # on the file system of its destination, so that the last step is one rename
  write_exec_shim "$BUILD/shim"
  environment=(TMPDIR="$BUILD" PYTHONPATH="$BUILD/shim" PATH="$VENV/bin:$PATH" MAX_JOBS="$jobs" MMCV_WITH_OPS=1 NINJA_STATUS='[%f/%t] '
    CFLAGS="-g0 -O2 -DNDEBUG -w ${CFLAGS:-}")
  if [ "$accelerator" = cpu ]; then
    # MMCV asks for nvcc whenever PyTorch sees a GPU.
    environment+=(FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=)
  else
    cuda=1 work=80
    environment+=(FORCE_CUDA=1)
  fi
  say "building MMCV's ops once, about $((work / jobs + 1)) minutes with $jobs jobs; kept in $folder and reused"
  : >"$log"
  if ! watch "MMCV's ops" "$log" env "${environment[@]}" "$VENV/bin/python" -m pip wheel -v --no-input --progress-bar off \
    --no-cache-dir --no-deps --no-build-isolation --no-binary mmcv -w "$BUILD/out" "mmcv==$(pinned mmcv)"; then
    cat "$log" >>"$LOG"
    if ! grep -qE '^ *(FAILED:|error:)' "$log" && grep -qE "No matching distribution|$NETWORK_TROUBLE" "$log"; then
      explain_pip "MMCV" "$log"
    fi
    tail -n 15 "$log" | cut -c 1-300 >&2
    die "MMCV's ops did not build$([ $cuda = 0 ] || echo ' with CUDA'); the end of the compiler's output is above, all of it in $log."
  fi
  mv -f "$BUILD"/out/mmcv-*.whl "$folder/"
  rm -rf "$BUILD"
  BUILD=
}

# MMCV's setup.py has a function exec() its version and reads it from locals(), which Python 3.13 no longer fills
# (PEP 667): in the build, exec() writes to its caller's variables again.
write_exec_shim() { # write_exec_shim FOLDER
  mkdir -p "$1"
  cat >"$1/sitecustomize.py" <<'PY'
import builtins, sys
run = builtins.exec
def exec_in_caller(code, names=None, variables=None, /, **options):
    if names is None:
        frame = sys._getframe(1)
        return run(code, frame.f_globals, frame.f_locals, **options)
    return run(code, names, variables, **options)
builtins.exec = exec_in_caller
PY
}

mmcv_loads() { "$VENV/bin/python" -c 'import torch, mmcv._ext' >>"$LOG" 2>&1; }

install_mmcv() {
  local accelerator folder wheel
  accelerator=$(find_accelerator)
  folder=$CACHE/wheels/$(cache_key)-$accelerator
  mkdir -p "$folder"
  wheel=$(find_wheel "$folder")
  if [ -n "$wheel" ]; then
    say "MMCV's ops: reusing $wheel"
    pip_install MMCV --no-deps --force-reinstall "$wheel"
    mmcv_loads && return
    say "that MMCV does not load here ($(tail -n 1 "$LOG")); building it again"
    rm -f "$wheel"
  fi
  build_mmcv "$folder" "$accelerator"
  pip_install MMCV --no-deps --force-reinstall "$(find_wheel "$folder")"
  mmcv_loads || die "the MMCV that was built does not load: $(tail -n 1 "$LOG")"
}

main() {
  is_ready && return
  mkdir -p "$CACHE" 2>/dev/null || die "cannot write to $CACHE: name another folder in CAIT_CACHE."
  exec 9>"$CACHE/setup.lock"
  if command -v flock >/dev/null && ! flock -n 9; then
    say 'another set-up is running; waiting for it'
    flock 9 || true
    is_ready && return
  fi
  prepare_venv
  rm -f "$STAMP"
  say "1/5 build tools (pip's output: $LOG)"
  # Impatient: without an index this must fail now, not after pip's five retries for each package.
  pip_install 'the build tools' --retries 1 --timeout 15 -r "$REQUIREMENTS/build.txt"
  say '2/5 PyTorch, which may be gigabytes to download'
  pip_install PyTorch -r "$REQUIREMENTS/torch.txt" -c "$REQUIREMENTS/build.txt"
  say '3/5 libraries'
  pip_install 'the libraries' -r "$REQUIREMENTS/runtime.txt" -r "$REQUIREMENTS/tests.txt" -r "$REQUIREMENTS/export.txt" \
    -c "$REQUIREMENTS/torch.txt" -c "$REQUIREMENTS/build.txt"
  say '4/5 MMEngine and MMCV'
  pip_install MMEngine --no-deps "mmengine==$(pinned mmengine)" # MMCV does not import without it
  install_mmcv
  say '5/5 MMSegmentation, MMDetection and this package'
  pip_install 'the OpenMMLab packages' --no-deps -r "$REQUIREMENTS/mm.txt"
  pip_install 'this package' --no-deps --no-build-isolation -e "$ROOT"
  "$VENV/bin/python" -c 'import pkg_resources, timm, torchvision, mmcv.ops, mmdet.apis, mmseg.apis' >>"$LOG" 2>&1 ||
    die "the packages are installed but do not import: $(tail -n 1 "$LOG") (all of it: $LOG)."
  fingerprint >"$STAMP.new"
  mv -f "$STAMP.new" "$STAMP"
  say "ready in $((SECONDS / 60)) min $((SECONDS % 60)) s: $VENV"
}

main
