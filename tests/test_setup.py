"""The set-up scripts on machines that lack something (all commands are fakes), and the content of a wheel."""
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED = ('.ci', '.dev_scripts', 'benchmarks', 'configs', 'docs', 'requirements', 'tests', 'tools')
"""Folders of a source distribution apart from the package: its tests read all of them."""
BASH = shutil.which('bash')
pytestmark = pytest.mark.skipif(BASH is None, reason='the set-up scripts need bash')

UTILITIES = ['bash', 'cat', 'cksum', 'cp', 'cut', 'df', 'dirname', 'env', 'find', 'flock', 'grep', 'head', 'ls',
             'mkdir', 'mktemp', 'mv', 'nproc', 'rm', 'sed', 'sleep', 'tail', 'touch', 'tr', 'uname']

FAKE_PYTHON = r'''#!/usr/bin/env bash
# Stands in for Python @VERSION@ and for its pip.
case "$*" in
  '-c '*'print("%d.%d"'*) echo '@VERSION@' ;;
  '-c '*ensurepip*) [[ '@LACKS@' != *venv* ]] ;;
  '-c '*Python.h*) [[ '@LACKS@' != *headers* ]] ;;
  '-c '*get_device_capability*) [ -z "${FAKE_GPU:-}" ] || echo "$FAKE_GPU" ;;
  '-c '*mmcv._ext*) [ ! -e "${FAKE_BROKEN_MMCV:-/nonexistent}" ] || { rm "$FAKE_BROKEN_MMCV"; exit 1; } ;;
  '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" && echo "$*" >>"$FAKE_CALLS" ;;
  '-m pip --version') ;;
  '-m pip '*)
    echo "$*" >>"$FAKE_CALLS"
    if [ "${FAKE_PIP:-}" = offline ]; then
      echo "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/wheel/"
      echo 'ERROR: Could not find a version that satisfies the requirement setuptools==80.10.2 (from versions: none)'
      echo 'ERROR: No matching distribution found for setuptools==80.10.2'
      exit 1
    fi
    [[ $3 == wheel ]] || exit 0
    echo "FORCE_CUDA=$FORCE_CUDA CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-unset} CXX=${CXX:-}" >>"$FAKE_CALLS"
    while [ "$1" != -w ]; do shift; done
    mkdir -p "$2" && touch "$2/mmcv-2.1.0-fake.whl"
    cp "$PYTHONPATH/sitecustomize.py" "$FAKE_CALLS.shim"
    case "${FAKE_PIP:-}" in
      slow) echo $$ >"$FAKE_CALLS.pid"; sleep 60 ;;
      uncompilable) echo 'nms.cpp:1:1: error: expected unqualified-id'; echo 'FAILED: nms.o'; exit 1 ;;
    esac
    ;;
  '-m pytest'*) echo "$PWD: $*" >>"$FAKE_CALLS"; echo '3 passed in 0.01s' ;;
  *) echo "$*" | head -n 1 >>"$FAKE_CALLS" ;;
esac
'''


class Machine:
    """A copy of the scripts, and a PATH with nothing on it but small utilities and the fakes that a test adds."""

    def __init__(self, folder: Path):
        self.root = folder / 'a checkout'
        self.bin = folder / 'bin'
        self.cache = folder / 'the cache'
        self.calls_file = folder / 'calls'
        self.bin.mkdir()
        for name in ('tools', 'requirements', '.ci'):
            shutil.copytree(REPOSITORY / name, self.root / name, ignore=shutil.ignore_patterns('*.py', '__pycache__'))
        shutil.copy(REPOSITORY / 'setup.py', self.root)
        for name in UTILITIES:
            path = shutil.which(name)
            if path:
                (self.bin / name).symlink_to(path)

    def add(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def add_python(self, name: str, version: str, lacks: str = '') -> Path:
        return self.add(name, FAKE_PYTHON.replace('@VERSION@', version).replace('@LACKS@', lacks))

    def add_compiler(self, name: str = 'c++', works: bool = True) -> Path:
        return self.add(name, f'#!/usr/bin/env bash\ncat >/dev/null\nexit {0 if works else 1}\n')

    def environment(self, **more: str) -> dict:
        return {'PATH': str(self.bin), 'HOME': str(self.root.parent), 'CAIT_CACHE': str(self.cache),
                'FAKE_CALLS': str(self.calls_file), **more}

    def run(self, script: str = 'tools/setup_env.sh', *arguments: str, **more: str) -> subprocess.CompletedProcess:
        self.calls_file.write_text('')
        return subprocess.run([BASH, str(self.root / script), *arguments], env=self.environment(**more), cwd='/',
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()

    def fails(self, *words: str, other_lines: int = 0, **more: str) -> None:
        """The set-up stops with one sentence that has ``words``; before it come only progress lines."""
        result = self.run(**more)
        lines = [line for line in result.stderr.splitlines() if not line.startswith('[setup] ')]
        assert result.returncode == 1
        assert result.stdout == ''
        assert len(lines) == 1 + other_lines, result.stderr
        assert lines[-1].startswith('error: ') and lines[-1].endswith('.')
        for word in words:
            assert word in lines[-1]
        assert not (self.root / '.venv' / '.ready').exists()


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def complete(bare: Machine) -> Machine:
    bare.add_python('python3.11', '3.11')
    bare.add_compiler()
    return bare


def test_no_python(bare: Machine) -> None:
    bare.add_compiler()
    bare.fails('no Python 3.10 to 3.13 was found')
    assert not (bare.root / '.venv').exists()


@pytest.mark.parametrize('version', ['2.7', '3.9', '3.15'])
def test_only_an_unsupported_python(bare: Machine, version: str) -> None:
    bare.add_compiler()
    bare.add_python('python3', version)
    bare.fails('no Python 3.10 to 3.13 was found', f'python3 is {version}')
    assert bare.calls() == []


def test_python_named_by_hand(complete: Machine) -> None:
    complete.fails("PYTHON is 'nowhere/python'", 'does not run', PYTHON='nowhere/python')
    old = complete.add_python('old', '3.9')
    complete.fails('version 3.9', 'Python 3.10 to 3.13 is needed', PYTHON=str(old))
    chosen = complete.add_python('chosen', '3.10')
    assert f'with Python 3.10 ({chosen})' in complete.run(PYTHON=str(chosen)).stderr


def test_commands_that_do_not_run_are_passed_over(bare: Machine) -> None:
    bare.add_compiler()
    bare.add('python3.11', '#!/usr/bin/env bash\necho "python3.11: command not found" >&2\nexit 127\n')
    bare.fails('no Python 3.10 to 3.13 was found')
    bare.add_python('python3.12', '3.12', lacks='headers')
    bare.add_python('python3.10', '3.10')
    result = bare.run()
    assert result.returncode == 0, result.stderr
    assert 'with Python 3.10 (python3.10)' in result.stderr


def test_tested_python_is_preferred(complete: Machine) -> None:
    complete.add_python('python3.12', '3.12')
    complete.add_python('python3', '3.12')
    assert 'with Python 3.11 (python3.11)' in complete.run().stderr


@pytest.mark.parametrize('lacks, package', [('venv', 'python3.12-venv'), ('headers', 'python3.12-dev')])
def test_incomplete_python(bare: Machine, lacks: str, package: str) -> None:
    bare.add_compiler()
    bare.add_python('python3', '3.12', lacks=lacks)
    bare.fails('Python 3.12 (python3) lacks', package)
    assert not (bare.root / '.venv').exists()


def test_no_compiler(bare: Machine) -> None:
    bare.add_python('python3.11', '3.11')
    bare.fails('no working C++17 compiler was found', 'g++')
    bare.add_compiler('c++', works=False)
    bare.fails('no working C++17 compiler was found')
    assert bare.calls() == [] and not (bare.root / '.venv').exists()
    good = bare.add_compiler('special')
    assert bare.run(CXX=str(good)).returncode == 0


def test_named_compiler_that_does_not_work(complete: Machine) -> None:
    complete.fails("CXX is 'nothing'", CXX='nothing')


def test_compiler_is_handed_to_the_build(bare: Machine) -> None:
    bare.add_python('python3.11', '3.11')
    bare.add_compiler('clang++')
    assert bare.run().returncode == 0
    assert any(call.endswith(' CXX=clang++') for call in bare.calls())


def test_setup_py_of_mmcv_can_read_its_version(complete: Machine) -> None:
    """It reads from ``locals()`` the results of ``exec``, which Python 3.13 keeps apart."""
    assert complete.run().returncode == 0
    shim = complete.root.parent / 'shim'
    shim.mkdir()
    shutil.copy(f'{complete.calls_file}.shim', shim / 'sitecustomize.py')
    code = 'def version():\n    exec("__version__ = 7")\n    return locals()["__version__"]\nassert version() == 7'
    subprocess.run([sys.executable, '-c', code], env={'PYTHONPATH': str(shim)}, check=True)


def test_no_package_index(complete: Machine) -> None:
    complete.fails("'setuptools==80.10.2'", 'index', 'proxy', 'setup.log', FAKE_PIP='offline')
    assert 'NewConnectionError' in (complete.root / '.venv' / 'setup.log').read_text()
    assert sum(call.startswith('-m pip') for call in complete.calls()) == 1, 'it stops at the first package'
    assert complete.run().returncode == 0, 'the run is repeated where it stopped'


def test_too_little_disk(complete: Machine) -> None:
    complete.add('df', '#!/usr/bin/env bash\necho Filesystem 1024-blocks Used Available Capacity Mounted on\n'
                       'echo /dev/a disk 9000000 5000000 4000000 56% /a mount\n')
    complete.fails('has 3 GB free', 'about 8 GB')
    assert complete.calls() == []


def test_cache_that_cannot_be_written(complete: Machine) -> None:
    complete.fails('cannot write to /dev/null/cache', 'CAIT_CACHE', CAIT_CACHE='/dev/null/cache')


def test_order_and_second_run(complete: Machine) -> None:
    first = complete.run()
    assert first.returncode == 0, first.stderr
    calls = '\n'.join(complete.calls())
    steps = ['-m venv', 'build.txt', 'torch.txt', 'runtime.txt', '-m pip wheel', 'mmcv-2.1.0-fake.whl', 'mm.txt', '-e ']
    positions = [calls.index(step) for step in steps]
    assert positions == sorted(positions)
    assert "building MMCV's ops once, about" in first.stderr
    assert [path.name for path in complete.cache.glob('wheels/*-cpu/*')] == ['mmcv-2.1.0-fake.whl']

    start = time.monotonic()
    second = complete.run()
    assert second.returncode == 0 and second.stderr == '' and time.monotonic() - start < 2
    assert not any(call.startswith('-m') for call in complete.calls()), 'neither venv nor pip runs again'

    with open(complete.root / 'requirements' / 'runtime.txt', 'a') as file:
        file.write('colorama\n')
    assert complete.run().returncode == 0
    calls = [call for call in complete.calls() if call.startswith('-m pip')]
    assert any('runtime.txt' in call for call in calls), 'changed requirements are installed'
    assert not any('pip wheel' in call for call in calls), 'MMCV is not built again'


def test_cached_mmcv_needs_no_compiler(complete: Machine) -> None:
    assert complete.run().returncode == 0
    shutil.rmtree(complete.root / '.venv')
    (complete.bin / 'c++').unlink()
    assert complete.run().returncode == 0
    assert not any('pip wheel' in call for call in complete.calls())


def test_cached_mmcv_that_does_not_load_is_built_again(complete: Machine, tmp_path: Path) -> None:
    assert complete.run().returncode == 0
    shutil.rmtree(complete.root / '.venv')
    marker = tmp_path / 'broken'
    marker.touch()
    result = complete.run(FAKE_BROKEN_MMCV=str(marker))
    assert result.returncode == 0 and 'does not load here' in result.stderr
    assert any('pip wheel' in call for call in complete.calls())


def test_mmcv_that_does_not_compile(complete: Machine) -> None:
    complete.fails("MMCV's ops did not build", 'mmcv-build.log', other_lines=2, FAKE_PIP='uncompilable')
    assert list(complete.cache.glob('wheels/*/*')) == []


@pytest.mark.parametrize('nvcc, gpu, expected', [
    (None, None, 'FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= '),
    (None, 'cu130-sm90', 'FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= '),
    ('13.0', None, 'FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= '),
    ('12.4', 'cu130-sm90', 'FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= '),
    ('13.0', 'cu130-sm90', 'FORCE_CUDA=1 CUDA_VISIBLE_DEVICES=unset '),
])
def test_cuda_ops_need_nvcc_and_gpu(complete: Machine, nvcc: str | None, gpu: str | None, expected: str) -> None:
    if nvcc:
        complete.add('nvcc', f'#!/usr/bin/env bash\necho "Cuda compilation tools, release {nvcc}, V{nvcc}.1"\n')
    result = complete.run(CUDA_HOME='/nonexistent', **({'FAKE_GPU': gpu} if gpu else {}))
    assert result.returncode == 0, result.stderr
    assert any(call.startswith(expected) for call in complete.calls())
    built_for = 'cu130-sm90' if 'CUDA=1' in expected else 'cpu'
    assert [path.name.endswith(built_for) for path in complete.cache.glob('wheels/*')] == [True]
    assert ('is of CUDA 12' in result.stderr) == (nvcc == '12.4')


def test_interrupted_build_leaves_nothing_and_repeats(complete: Machine) -> None:
    pid_file = Path(f'{complete.calls_file}.pid')
    # A shell that is started with SIGINT ignored, as the background jobs of scripts are, cannot trap it.
    process = subprocess.Popen([BASH, str(complete.root / 'tools/setup_env.sh')], stdin=subprocess.DEVNULL,
                               env=complete.environment(FAKE_PIP='slow'), stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 30
    while not pid_file.exists() or not pid_file.read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith('error: interrupted')
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert list(complete.cache.glob('wheels/*/*')) == []
    assert complete.run().returncode == 0


def test_half_made_environment_is_made_again(complete: Machine) -> None:
    (complete.root / '.venv' / 'bin').mkdir(parents=True)
    (complete.root / '.venv' / 'pyvenv.cfg').touch()
    remains = complete.root / '.venv' / 'bin' / 'remains'
    remains.touch()
    result = complete.run()
    assert result.returncode == 0 and 'half-made' in result.stderr
    assert not remains.exists()


def test_foreign_folder_is_not_touched(complete: Machine) -> None:
    precious = complete.root / '.venv' / 'precious'
    precious.parent.mkdir()
    precious.touch()
    complete.fails('is not a virtual environment')
    assert precious.exists()


def test_environment_of_another_python_is_not_removed(complete: Machine) -> None:
    assert complete.run().returncode == 0
    (complete.root / '.venv' / '.ready').unlink()
    other = complete.add_python('other', '3.12')
    complete.fails('has Python 3.11', PYTHON=str(other))
    complete.add_python('../a checkout/.venv/bin/python', '3.15')
    complete.fails('has Python 3.15', 'remove that folder')


def test_entry_scripts(complete: Machine) -> None:
    first = complete.run('tools/quickstart.sh', '--flag', 'two words')
    assert first.returncode == 0, first.stderr
    assert complete.calls()[-1] == f'{complete.root}/tools/quickstart.py --flag two words'

    result = complete.run('tools/run_tests.sh', '-k', 'spec')
    assert result.returncode == 0 and result.stdout.endswith('3 passed in 0.01s\n')
    assert complete.calls()[-2:] == ['-m ruff check .',
                                     f'{complete.root}: -m pytest -n logical --dist loadfile -k spec']

    assert os.access(REPOSITORY / '.ci' / 'run', os.X_OK)
    assert complete.run('.ci/run').stdout.splitlines()[-1] == '3 passed in 0.01s'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the repository without the products of builds and runs."""
    for module in ('setuptools', 'wheel', 'pip'):
        if find_spec(module) is None:
            pytest.skip(f'{module} is not installed')
    copy = tmp_path / 'tree'
    for folder in ('cait_mm', *SHIPPED):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


def build(tree: Path, hook: str) -> Path:
    code = f'from setuptools import build_meta; print(build_meta.{hook}({str(tree.parent)!r}))'
    result = subprocess.run([sys.executable, '-c', code], cwd=tree, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return tree.parent / result.stdout.splitlines()[-1]


def files_of(tree: Path, *folders: str) -> list[str]:
    return sorted(str(path.relative_to(tree)) for folder in folders for path in (tree / folder).rglob('*')
                  if path.is_file() and path.suffix != '.pyc')


def test_install_in_place_links_the_files_for_mim(tree: Path) -> None:
    build(tree, 'build_editable')
    mim = tree / 'cait_mm' / '.mim'
    links = sorted(os.readlink(path) for path in mim.iterdir())
    assert links == ['../../configs', '../../model-index.yml', '../../tools']
    assert (mim / 'model-index.yml').is_file() and (mim / 'configs' / 'metafile.yml').is_file()


def test_wheel_ships_the_files_for_mim(tree: Path) -> None:
    build(tree, 'build_editable')  # whose links must not come in a second time
    stale = tree / 'build' / 'lib' / 'cait_mm' / '.mim' / 'configs' / 'stale.py'
    stale.parent.mkdir(parents=True)
    stale.touch()
    with zipfile.ZipFile(build(tree, 'build_wheel')) as wheel:
        names = wheel.namelist()
    assert len(names) == len(set(names))
    shipped = sorted(name[len('cait_mm/.mim/'):] for name in names if name.startswith('cait_mm/.mim/'))
    scripts = {'tools/quickstart.sh', 'tools/run_tests.sh', 'tools/setup_env.sh'}
    assert shipped == sorted([*(set(files_of(tree, 'configs', 'tools')) - scripts), 'model-index.yml'])
    modules = {str(path.relative_to(tree)) for path in (tree / 'cait_mm').rglob('*.py') if '.mim' not in path.parts}
    assert modules == {name for name in names if name.endswith('.py') and '.mim' not in name}
    assert set(files_of(tree, 'cait_mm/report/templates')) <= set(names)
    top = {name.split('/')[0] for name in names}
    assert top == {'cait_mm', next(name for name in top if name.endswith('.dist-info'))}


def test_source_distribution_builds_the_same_wheel(tree: Path) -> None:
    archive = build(tree, 'build_sdist')
    shutil.unpack_archive(archive, tree.parent / 'unpacked')
    unpacked = next((tree.parent / 'unpacked').iterdir())
    for name in [*files_of(tree, *SHIPPED), 'model-index.yml', 'CHANGELOG.md', 'LICENSE', 'README.md']:
        assert (unpacked / name).is_file(), name
