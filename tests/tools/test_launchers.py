"""tools/dist_train.sh and tools/slurm_train.sh: the usual mistakes are one sentence, said once, with status 2."""
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from cait_mm.datasets.scenes import make_scenes
from cait_mm.engine.loader import load_file


def launch(script: str, *words, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(['bash', f'tools/{script}', *map(str, words)], cwd=ROOT, capture_output=True, text=True, env={
        **os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHON': sys.executable, **environment})


def refused(done: subprocess.CompletedProcess, message: str) -> None:
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert done.stderr.count('error:') == 1 and 'Traceback' not in done.stderr and not done.stdout


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('launch')
    make_scenes(folder / 'scenes', train=8, val=8, size=(64, 64))
    path = folder / 'config.py'
    path.write_text(f"""
_base_ = '{ROOT}/configs/small/upernet_deit_scenes.py'
img_size = (64, 64)
model = dict(data_preprocessor=dict(size=img_size), neck=dict(embed_dim=16),
             backbone=dict(arch=dict(embed_dim=16, depth=4, num_heads=2, img_size=img_size), img_size=img_size,
                           out_indices=(0, 1, 2, 3)),
             decode_head=dict(in_channels=[16] * 4, channels=8), auxiliary_head=dict(in_channels=16, channels=8))
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{folder}/scenes', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{folder}/scenes'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=1, val_interval=1)
""")
    return path


def test_sync_bn_of_a_shipped_config_trains_in_two_processes_on_a_cpu(config, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    done = launch('dist_train.sh', config, 2, '--work-dir', tmp_path, '--cfg-options', 'sync_bn=torch', PORT=str(port))
    assert done.returncode == 0, done.stderr[-3000:]
    assert (done.stdout + done.stderr).count('SyncBN needs accelerators') == 1
    state = load_file(tmp_path / 'iter_1.pth')['state_dict']
    assert any(name.endswith('running_mean') for name in state)


@pytest.mark.parametrize('words,message', [
    (['--total-batch-size', 7], '--total-batch-size 7 does not divide into 2 processes'),
    (['--cfg-options', 'model.backbone.foo=3'], 'unexpected keyword argument \'foo\''),
])
def test_a_wrong_option_is_said_once(config, tmp_path, words, message):
    refused(launch('dist_train.sh', config, 2, '--work-dir', tmp_path, *words), message)
    assert not list(tmp_path.iterdir())


def test_missing_data_are_said_once():
    if (ROOT / 'data').exists():
        pytest.skip('data/ is here: this might start the real training')
    refused(launch('dist_train.sh', 'configs/upernet_atme_deit_s_ade20k.py', 2), 'docs/prepare_data.md#ade20k')


def test_a_python_without_torch_and_a_wrong_number_are_a_sentence(tmp_path):
    foreign = tmp_path / 'python'
    foreign.write_text('#!/bin/sh\necho "No module named torch" >&2\nexit 1\n')
    foreign.chmod(0o755)
    refused(launch('dist_train.sh', 'configs/small/upernet_deit_scenes.py', 2, PYTHON=str(foreign)), 'has no torch')
    refused(launch('dist_train.sh', 'configs/small/upernet_deit_scenes.py', 'two'), 'PROCESSES is \'two\'')


def test_slurm_is_asked_with_the_named_python(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    # the second and the third are places of earlier versions
    for name in ('small/upernet_deit_scenes', 'upernet_deit_scenes', 'compress_deit_s_imagenet'):
        done = launch('slurm_train.sh', 'gpu', 'job', f'configs/{name}.py', '--amp', PATH=path, PYTHON='py')
        assert done.returncode == 0, done.stderr
        assert f'py -u tools/train.py configs/{name}.py --launcher slurm --amp' in done.stdout
    refused(launch('slurm_train.sh', 'gpu', 'job', 'configs/none.py', PATH=path), 'configs/none.py does not exist')
