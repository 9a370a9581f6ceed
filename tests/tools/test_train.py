"""tools/train.py and tools/test.py on the embedded scenes: processes, resume, bad input, inference."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from cait_mm.datasets.scenes import make_scenes
from cait_mm.engine.loader import load_file

TINY = """
_base_ = '{root}/configs/small/upernet_atme_deit_scenes.py'
norm_cfg = dict(_delete_=True, type='GN', num_groups=2)
img_size = (64, 64)
model = dict(
    data_preprocessor=dict(size=img_size),
    backbone=dict(arch=dict(embed_dim=16, depth=4, num_heads=2, img_size=img_size), img_size=img_size,
                  merge=((1, 'horizontal'), (2, 'vertical')), out_indices=(0, 1, 2, 3)),
    neck=dict(embed_dim=16, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[16] * 4, channels=8, norm_cfg=norm_cfg, dropout_ratio=0.),
    auxiliary_head=dict(in_channels=16, channels=8, norm_cfg=norm_cfg, dropout_ratio=0.))
# No flip: chance would differ between one process and two.
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root='{data}', pipeline=pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
# With Adam, a gradient that is zero but for rounding still moves a weight: plain SGD shows whether gradients agree.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.05, weight_decay=0.))
train_cfg = dict(max_iters=6, val_interval=6)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('tiny')
    make_scenes(folder / 'scenes', train=12, val=8, size=(64, 64))
    config = folder / 'tiny.py'
    config.write_text(TINY.format(root=ROOT, data=folder / 'scenes'))
    return config


def environment():
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}


def train(config: Path, work_dir: Path, *words, processes: int = 1) -> subprocess.CompletedProcess:
    command = [sys.executable, 'tools/train.py']
    if processes > 1:
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}',
                   'tools/train.py', '--launcher', 'pytorch']
    return subprocess.run([*command, str(config), '--work-dir', str(work_dir), *map(str, words)], cwd=ROOT,
                          env=environment(), capture_output=True, text=True)


def weights(path: Path):
    return torch.load(path, weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def trained(tiny) -> Path:
    """The checkpoint of six iterations in one process."""
    work_dir = tiny.parent / 'one'
    done = train(tiny, work_dir)
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir / 'iter_6.pth'


def scalars(work_dir: Path):
    """Training records of all runs in a work directory, in the order they were written."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    records = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return [record for record in records if 'loss' in record]


def test_training_learns_and_leaves_a_self_describing_checkpoint(trained):
    losses = [record['loss'] for record in scalars(trained.parent)]
    assert len(losses) == 6 and sum(losses[3:]) < sum(losses[:3]), 'the same twelve pictures, twice'
    meta = load_file(trained)['meta']
    assert meta['dataset_meta']['classes'][0] == 'sky' and 'CAITDeiT' in meta['cfg']


def test_two_processes_train_to_the_weights_of_one(tiny, trained):
    done = train(tiny, tiny.parent / 'two', '--total-batch-size', 4, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = weights(trained), weights(tiny.parent / 'two' / 'iter_6.pth')
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4, msg=name)
    start = weights(tiny.parent / 'one' / 'iter_4.pth')
    assert any(not torch.allclose(start[name], one[name], atol=1e-4) for name in one), 'it trained at all'


def test_killed_training_resumes_at_the_right_iteration(tiny, trained):
    work_dir = tiny.parent / 'killed'
    command = [sys.executable, 'tools/train.py', str(tiny), '--work-dir', str(work_dir), '--cfg-options',
               'train_cfg.max_iters=2000', 'train_cfg.val_interval=2000']
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        deadline = time.time() + 180
        while not (work_dir / 'iter_4.pth').is_file() and time.time() < deadline:
            time.sleep(0.02)
        while time.time() < deadline and (work_dir / 'last_checkpoint').read_text().endswith('iter_2.pth'):
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    at = int((work_dir / 'last_checkpoint').read_text().rpartition('iter_')[2].split('.')[0])
    before = len(scalars(work_dir))
    done = train(tiny, work_dir, '--resume', '--cfg-options', f'train_cfg.max_iters={at + 2}',
                 f'train_cfg.val_interval={at + 2}')
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'resumed epoch: 0, iter: {at}' in done.stdout + done.stderr
    assert [record['iter'] for record in scalars(work_dir)[before:]] == [at + 1, at + 2]
    assert (work_dir / f'iter_{at + 2}.pth').is_file()


def test_a_damaged_checkpoint_is_not_resumed_and_older_ones_are_named(tool, trained, tiny, tmp_path):
    whole, torn = tmp_path / 'iter_2.pth', tmp_path / 'iter_4.pth'
    whole.write_bytes(trained.read_bytes())
    torn.write_bytes(trained.read_bytes()[:5000])
    (tmp_path / 'last_checkpoint').write_text(str(torn))
    status, _, err = tool('train.py', tiny, '--work-dir', tmp_path, '--resume')
    assert status == 2 and 'cannot resume' in err and 'is damaged' in err and f'--resume {whole}' in err
    status, _, err = tool('train.py', tiny, '--work-dir', tmp_path, '--resume', 'none.pth')
    assert status == 2 and 'none.pth does not exist' in err


def test_test_draws_and_reports(tool, tiny, trained, tmp_path):
    status, out, err = tool('test.py', tiny, trained, '--work-dir', tmp_path, '--show-dir', tmp_path / 'show', '--json',
                            tmp_path / 'metrics.json')
    assert status == 0, err
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert 0 <= metrics['mIoU'] <= 100 and 'mIoU' in out
    assert len(list((tmp_path / 'show').rglob('*.png'))) == 8


def test_an_evaluation_needs_no_training_data(tool, tiny, trained, tmp_path):
    status, _, err = tool('test.py', tiny, trained, '--work-dir', tmp_path, '--show-dir', tmp_path / 'show',
                          '--cfg-options', 'train_dataloader.dataset.data_root=nowhere')
    assert status == 0, err
    assert len(list((tmp_path / 'show').rglob('*.png'))) == 8


def test_test_merges_predictions_on_flipped_and_resized_pictures(tool, tiny, trained, tmp_path):
    scores = {}
    for name, words in (('plain', ()), ('flipped', ('--tta', 1)), ('sizes', ('--tta', 0.5, 1))):
        status, _, err = tool('test.py', tiny, trained, '--work-dir', tmp_path, '--json', tmp_path / 'x.json', *words)
        assert status == 0, err
        scores[name] = json.loads((tmp_path / 'x.json').read_text())
    assert scores['plain'].keys() == scores['flipped'].keys() and scores['plain'] != scores['flipped']
    assert scores['flipped'] != scores['sizes']


def test_test_refuses_a_checkpoint_of_another_model(tool, tiny, trained, tmp_path):
    status, _, err = tool('test.py', tiny, trained, '--work-dir', tmp_path, '--cfg-options',
                          'model.decode_head.channels=12')
    assert status == 2 and 'does not fit' in err and 'decode_head' in err
    torn = tmp_path / 'torn.pth'
    torn.write_bytes(trained.read_bytes()[:5000])
    status, _, err = tool('test.py', tiny, torn, '--work-dir', tmp_path)
    assert status == 2 and 'is damaged' in err


def test_inferencer_works_on_an_image_with_a_checkpoint_of_ours(tiny, trained, tmp_path, monkeypatch):
    from mmseg.apis import MMSegInferencer
    monkeypatch.chdir(tmp_path)
    image = next((tiny.parent / 'scenes' / 'images' / 'validation').iterdir())
    inferencer = MMSegInferencer(model=str(tiny), weights=str(trained), device='cpu')
    result = inferencer(str(image), out_dir=str(tmp_path / 'out'))
    assert result['predictions'].shape == (64, 64)
    assert inferencer.visualizer.dataset_meta['classes'][0] == 'sky'
    assert list((tmp_path / 'out').rglob('*.png'))


def test_tensorboard_drawing_and_json_are_one_option_away(tiny, tmp_path):
    done = train(tiny, tmp_path, '--tensorboard', '--draw', 4, '--json', '-', '--cfg-options', 'train_cfg.max_iters=1',
                 'train_cfg.val_interval=1')
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert result['iter'] == 1 and 'mIoU' in result['metrics'] and Path(result['checkpoint']).is_file()
    assert list(tmp_path.rglob('events.out.tfevents*')) and list(tmp_path.rglob('vis_image/*.png'))


@pytest.mark.parametrize('name,words,message', [
    ('train.py', ['configs/upernet_cait_deit_s_ade20k.py'],
     'data/ade/ADEChallengeData2016/images/training does not exist'),
    ('train.py', ['configs/none.py'], 'config configs/none.py does not exist'),
    ('test.py', ['configs/small/upernet_deit_scenes.py', 'none.pth'], 'docs/prepare_data.md#scenes'),
])
def test_missing_files_are_errors(tool, name, words, message, tmp_path):
    status, out, err = tool(name, *words, '--work-dir', tmp_path)
    assert status == 2 and message in err and 'Traceback' not in err and not out
    assert not list(tmp_path.iterdir()), 'nothing is left behind'


@pytest.mark.parametrize('option,message', [
    ('model.backbone.foo=3', r'the model of config .*tiny\.py cannot be built: .*unexpected keyword argument \'foo\''),
    ('model.bakbone.arch=deit_tiny', 'the model of config .*unexpected keyword argument \'bakbone\''),
    ('model.decode_head.type=NoSuch', r'cannot be built: NoSuch is not in the mmseg::model registry\.$'),
    ('optim_wrapper.optimizer.speed=1', 'the optim_wrapper of config .* cannot be built'),
    ('optim_wrapper.optimizer.lr=abc', "optim_wrapper.optimizer.lr='abc', which is not a number"),
    ('train_cfg.max_iters=0', 'train_cfg.max_iters=0, which is not a positive whole number'),
    ('load_from=none.pth', 'checkpoint none.pth does not exist: .* --cfg-options load_from=FILE'),
    ('default_hooks.checkpoint.save_best=mIou', "save_best='mIou' is no metric of val_evaluator, which gives aAcc"),
    ('train_dataloader.dataset.img_suffix=.tif', r'ends in "\.tif" \(12 in "\.jpg"\)'),
    ('model.decode_head.num_classes=5', 'decode_head.num_classes is 5 and the data have 10'),
    ('param_scheduler.0.type=NoSuch', 'the param_scheduler of config .* cannot be built: NoSuch'),
    ('train_dataloader.dataset.type=NoSuch', 'the training loop of config .* cannot be built: NoSuch'),
    ('val_dataloader.dataset.speed=1', 'the validation loop of config .* \'speed\''),
    ('custom_hooks.0.type=NoSuch', 'the run of config .* cannot be built: NoSuch'),
    ('train_cfg=None', 'has no train_cfg: it cannot be trained'),
    ('optim_wrapper=None', 'has no optim_wrapper: it cannot be trained'),
])
def test_a_wrong_key_or_value_is_a_sentence(tool, tiny, tmp_path, option, message):
    status, _, err = tool('train.py', tiny, '--work-dir', tmp_path, '--cfg-options', option)
    assert status == 2 and re.search(message, err, re.MULTILINE), err
    assert 'Traceback' not in err


def test_a_bug_while_it_trains_keeps_its_traceback(tiny, tmp_path):
    buggy = tiny.with_name('buggy.py')
    buggy.write_text(f"""
_base_ = '{tiny}'
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
""")
    done = train(buggy, tmp_path)
    assert done.returncode == 1 and 'Traceback' in done.stderr and 'AttributeError' in done.stderr


def test_a_missing_pretrained_checkpoint_is_a_sentence(tool, tiny, tmp_path):
    status, _, err = tool('train.py', tiny, '--work-dir', tmp_path, '--cfg-options',
                          'model.backbone.init_cfg.type=Pretrained', 'model.backbone.init_cfg.checkpoint=none.pth')
    assert status == 2 and 'checkpoint none.pth does not exist: see docs/prepare_data.md#weights' in err
    assert '--cfg-options model.backbone.init_cfg.checkpoint=FILE' in err
    assert not list(tmp_path.iterdir()), 'said before the run starts'
    status, _, err = tool('test.py', tiny, 'none.pth', '--work-dir', tmp_path)
    assert status == 2 and 'checkpoint none.pth does not exist' in err and 'init_cfg' not in err


def test_amp_on_a_cpu_is_a_sentence(tool, tiny, tmp_path):
    if torch.cuda.is_available():
        pytest.skip('this machine has an accelerator')
    status, _, err = tool('train.py', tiny, '--work-dir', tmp_path, '--amp')
    assert status == 2 and '--amp needs an accelerator' in err


def test_tensorboard_that_is_not_there_is_a_sentence(tool, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    status, _, err = tool('train.py', tiny, '--work-dir', tmp_path, '--tensorboard')
    assert status == 2 and 'pip install tensorboard' in err and 'Traceback' not in err


def test_the_log_is_not_filled_with_a_line_per_parameter(trained):
    log = next(trained.parent.glob('*/*.log')).read_text()
    assert 'Iter(train)' in log and 'paramwise_options' not in log


def test_a_check_says_that_nothing_is_wrong_and_trains_nothing(tool, tiny, tmp_path):
    status, out, err = tool('train.py', tiny, '--work-dir', tmp_path / 'run', '--check-only')
    assert status == 0 and 'is ready to be trained' in out, err
    status, _, err = tool('train.py', tiny, '--check-only', '--cfg-options', 'model.decode_head.type=NoSuch')
    assert status == 2 and 'NoSuch is not in' in err
    assert not list(tmp_path.iterdir())
    (tmp_path / 'elsewhere').symlink_to(tiny.parent / 'scenes')
    for root, wanted in ((tmp_path / 'elsewhere', 0), (tmp_path / 'nowhere', 2)):
        status, _, err = tool('train.py', tiny, '--check-only', '--data-root', root)
        assert status == wanted and (not wanted or f'{root}/images/training does not exist' in err), err
