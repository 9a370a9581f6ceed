"""The ImageNet stage in small: train, kill, resume, two processes, fold, test, and mistakes."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES, ROOT
from mmengine.registry import MODELS
from PIL import Image

from cait_mm.classification import Classifier
from cait_mm.engine.loader import load_file
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.report import page

BACKBONES = {**FAMILIES, 'lvvit': dict(FAMILIES['lvvit'], norm_eval=True)}  # batches are tiny
ARCH = FAMILIES['deit']['arch']
CONFIG = """
_base_ = '{root}/configs/small/compress_cait_deit_scenes.py'
init = dict(type='Pretrained', checkpoint='{folder}/dense.pth')
model = dict(
    num_classes=3,
    backbone=dict(_delete_=True, drop_path_rate=0.1, init_cfg=init, **{backbone}),
    data_preprocessor=dict(mixup=dict(_delete_=True, mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=3)),
    cdcp=dict(target={target}, interval=2, start_epoch=0, calibration_images=12))
train_dataloader = dict(batch_size=6, num_workers=1, dataset=dict(
    data_root='{folder}', transform=dict(input_size=64, auto_augment='rand-m9-mstd0.5-mmax9-inc1', re_prob=0.25)))
val_dataloader = dict(batch_size=6, num_workers=0, dataset=dict(data_root='{folder}', transform=dict(input_size=64)))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=6, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.))
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), logger=dict(interval=2))
"""
TARGETS = {'deit': 0.45, 'lvvit': 0.52, 'swin': 0.35}
EMA = """
custom_hooks = [dict(type=name) for name in ('CDCPHook', 'EpochSeedHook', 'FiniteHook', 'NumClassesHook')]
custom_hooks += [dict(type='EMAHook', ema_type='CompactorEMA', momentum=0.2)]
"""


def make_config(folder: Path, family: str) -> Path:
    """A config on 36 images of three colours, and the dense weights that it starts from."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (('train', 12), ('val', 4)):
        for index, name in enumerate(('blue', 'green', 'red')):
            (folder / split / name).mkdir(parents=True)
            for image in range(count):
                pixels = torch.randint(120, (64, 64, 3), generator=generator, dtype=torch.uint8)
                pixels[..., 2 - index] += 100
                Image.fromarray(pixels.numpy()).save(folder / split / name / f'{image}.png')
    torch.manual_seed(0)
    dense = Classifier(dict(BACKBONES[family], merge=()), num_classes=3)
    torch.save(dense.state_dict(), folder / 'dense.pth')
    config = CONFIG.format(root=ROOT, folder=folder, backbone=BACKBONES[family], target=TARGETS[family])
    (folder / 'mini.py').write_text(config + EMA)
    return folder / 'mini.py'


@pytest.fixture(scope='module')
def config_of(tmp_path_factory) -> Callable[[str], Path]:
    """The config of a family."""
    return cache(lambda family: make_config(tmp_path_factory.mktemp(family), family))


@pytest.fixture(scope='module')
def run_of(config_of) -> Callable[[str], Path]:
    """The work directory of an uninterrupted run of a family."""

    @cache
    def run(family: str) -> Path:
        config = config_of(family)
        done = train(config, config.parent / 'whole', '--tensorboard')
        assert done.returncode == 0, done.stderr[-3000:]
        return config.parent / 'whole'

    return run


@pytest.fixture
def mini(config_of) -> Path:
    return config_of('deit')


@pytest.fixture
def trained(run_of) -> Path:
    return run_of('deit')


def command(config: Path, work_dir: Path, *words, processes: int = 1) -> list:
    start = [sys.executable]
    if processes > 1:
        start += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    launcher = ['--launcher', 'pytorch'] if processes > 1 else []
    return [*start, 'tools/train.py', *launcher, str(config), '--work-dir', str(work_dir), *map(str, words)]


def environment() -> dict:
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}


def train(*arguments, processes: int = 1, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments, processes=processes), cwd=ROOT, env=environment(), capture_output=True,
                          text=True, **options)


def load(path: Path) -> dict:
    return load_file(path)


def scalars(work_dir: Path, key: str) -> list:
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    records = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return [record[key] for record in records if key in record]


def test_the_run_reaches_its_target_and_says_so(trained):
    reached, norms = scalars(trained, 'cdcp/reduction'), scalars(trained, 'cdcp/masked_norm')
    assert reached[-1] == pytest.approx(0.45, abs=0.01) and reached[0] < 0.4 and norms[-1] == 0
    assert scalars(trained, 'cdcp/kept/0.ffn')[-1] < 96 and any(scalars(trained, 'cdcp/flips'))
    assert scalars(trained, 'top1') and list(trained.glob('*/vis_data/events.out.tfevents.*'))
    log = next(trained.glob('*/*.log')).read_text()
    assert 'eta:' in log and 'need about' in log and 'ordered by their contribution to 12 training images' in log


@pytest.mark.parametrize('tensors', ['state_dict', 'ema_state_dict', 'optimizer'])
@pytest.mark.parametrize('family', FAMILIES)
def test_a_killed_run_resumes_to_the_same_bits(config_of, run_of, family, tensors):
    mini, trained = config_of(family), run_of(family)
    work_dir = mini.parent / 'killed'
    if not (work_dir / 'epoch_6.pth').is_file():
        process = subprocess.Popen(command(mini, work_dir), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        deadline = time.time() + 180
        while not (work_dir / 'epoch_2.pth').is_file() and time.time() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (work_dir / 'epoch_2.pth').is_file() and not (work_dir / 'epoch_6.pth').is_file()
        done = train(mini, work_dir, '--resume')
        assert done.returncode == 0, done.stderr[-3000:]
        assert 'resumed epoch' in done.stdout + done.stderr
    wanted, resumed = (load(folder / 'epoch_6.pth') for folder in (trained, work_dir))
    if tensors == 'optimizer':
        assert resumed['param_schedulers'] == wanted['param_schedulers']
        for key, state in wanted['optimizer']['state'].items():
            assert all(torch.equal(value, resumed['optimizer']['state'][key][name]) for name, value in state.items())
        return
    assert any(name.endswith('.mask') for name in wanted['state_dict'])
    for name, value in wanted[tensors].items():
        assert torch.equal(value, resumed[tensors][name]), name


@pytest.mark.parametrize('family', FAMILIES)
def test_two_processes_choose_the_masks_of_one(config_of, family):
    """Without chance in the images the two halves of a batch are the whole batch."""
    mini = config_of(family)
    plain = mini.with_name('plain.py')
    plain.write_text(mini.read_text().replace(EMA, '') + """
model['data_preprocessor'] = dict(mixup=None)
model['backbone']['drop_path_rate'] = 0.
train_dataloader['dataset']['transform'] = dict(input_size=64)
optim_wrapper['type'] = 'GradRuleOptimWrapper'  # as configs of before have it
""")
    masks = []
    for processes in (1, 2):
        work_dir = mini.parent / f'by_{processes}'
        done = train(plain, work_dir, '--total-batch-size', 6, processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
        state = load(work_dir / 'epoch_6.pth')['state_dict']
        masks.append({name: value for name, value in state.items() if name.endswith('.mask')})
    assert masks[0].keys() == masks[1].keys() and any(not mask.all() for mask in masks[0].values())
    for name, mask in masks[0].items():
        assert torch.equal(mask, masks[1][name]), name


@pytest.mark.parametrize('family', FAMILIES)
def test_fold_and_test_agree_with_the_trained_model(tool, config_of, run_of, family, tmp_path):
    mini, trained = config_of(family), run_of(family)
    out, report = tmp_path / 'folded.pth', tmp_path / 'fold.json'
    status, text, err = tool('fold.py', trained, out, '--json', report)
    assert status == 0, err
    result = json.loads(report.read_text())
    assert result['selected_reduction'] == pytest.approx(TARGETS[family], abs=0.01)
    assert result['largest_cut'] <= 1e-3 and '=>' in text
    content = load(out)
    assert content['meta']['cait_spec'] == result['spec'] and content['meta']['classes']['classes'][0] == 'blue'
    assert out.stat().st_size < (mini.parent / 'dense.pth').stat().st_size
    scores = []
    for checkpoint in (out, trained / 'epoch_6.pth'):
        status, _, err = tool('test.py', mini, checkpoint, '--work-dir', tmp_path, '--json', tmp_path / 'scores.json')
        assert status == 0, err
        scores.append(json.loads((tmp_path / 'scores.json').read_text())['top1'])
    assert scores[0] == scores[1]
    backbone = MODELS.build(dict(FAMILIES[family], out_indices=(0, 2), img_size=(96, 64),
                                 init_cfg=dict(type='Pretrained', checkpoint=str(out))))
    backbone.init_weights()
    first = (1, 16, 24, 16) if family == 'swin' else (1, backbone.embed_dim, 6, 4)
    assert [tuple(item.shape) for item in backbone(torch.randn(1, 3, 96, 64))] == [first, (1, backbone.embed_dim, 6, 4)]


def test_padded_heads_compute_the_same(tool, trained, tmp_path):
    images, outputs = torch.randn(2, 3, 64, 64), []
    for words in (['--pad-to', 0], []):
        status, text, err = tool('fold.py', trained / 'epoch_6.pth', tmp_path / 'a.pth', *words)
        assert status == 0 and ('padded with zeros' in text) != bool(words), err
        spec = read_checkpoint(str(tmp_path / 'a.pth')).spec
        model = Classifier(dict(type='CAITDeiT', spec=spec.to_dict()), num_classes=3).eval()
        model.load_pretrained(str(tmp_path / 'a.pth'))
        outputs.append(model(images))
    assert all(block.qk_dim == block.v_dim == 8 for block in spec.blocks)
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)


def test_an_unfinished_run_folds_only_when_told(tool, trained, tmp_path):
    status, _, err = tool('fold.py', trained / 'epoch_2.pth', tmp_path / 'a.pth')
    assert status == 2 and 'has not vanished' in err and not (tmp_path / 'a.pth').exists()
    assert 'larger --tolerance or any norm (--force)' in err
    status, text, _ = tool('fold.py', trained / 'epoch_2.pth', tmp_path / 'a.pth', '--force')
    assert status == 0 and 'largest norm' in text and (tmp_path / 'a.pth').is_file()


def test_a_checkpoint_that_cannot_be_folded_is_an_error(tool, mini, trained, tmp_path):
    torn, bad = tmp_path / 'torn.pth', tmp_path / 'bad.pth'
    torn.write_bytes((trained / 'epoch_6.pth').read_bytes()[:9000])
    content = load(trained / 'epoch_6.pth')
    content['state_dict']['head.weight'][0, 0] = float('nan')
    torch.save(content, bad)
    for path, message in ((torn, 'cannot be read'), (bad, 'head.weight is not finite'),
                          (tmp_path, 'no last_checkpoint'),
                          (mini.parent / 'dense.pth', 'no checkpoint of the classification stage')):
        status, _, err = tool('fold.py', path, tmp_path / 'out.pth')
        assert status == 2 and message in err, err
    assert not (tmp_path / 'out.pth').exists()


def test_a_training_checkpoint_is_no_backbone_yet(tool, mini, trained, tmp_path):
    status, _, err = tool('train.py', mini, '--work-dir', tmp_path, '--cfg-options',
                          f'model.backbone.init_cfg.checkpoint={trained / "epoch_6.pth"}')
    assert status == 2 and 'still holds compactors: fold it first with python tools/fold.py' in err


@pytest.mark.parametrize('options,message', [
    (['model.cdcp.rule=lasso'], 'use model.cdcp.rule=proximal.*model.cdcp.start_epoch'),
    (['model.cdcp.target=0.999'], 'out of reach'),
    (['model.cdcp.start_epoch=6'], 'after the run\'s 36'),
    (['model.num_classes=4'], 'model.num_classes is 4 and the data have 3 classes'),
    (['model.num_classes=4', 'model.new_head=True', 'model.distillation.alpha=0'], 'the data have 3 classes'),
    (['train_dataloader.batch_size=5'], 'mixup needs even batches'),
    (['model.cdcp.speed=2'], 'unknown speed'),
    (['strategy.type=DeepSpeedStrategy'], 'DeepSpeedStrategy: CDCP needs whole weights'),
    (['model_wrapper_cfg.type=MMFullyShardedDataParallel'], 'MMFullyShardedDataParallel: CDCP needs whole weights'),
])
def test_a_run_that_cannot_work_is_a_sentence(tool, mini, tmp_path, options, message):
    status, _, err = tool('train.py', mini, '--work-dir', tmp_path, '--cfg-options', *options)
    assert status == 2 and re.search(message, err), err[-2000:]
    assert not list(tmp_path.glob('*.pth'))


def test_epochs_is_one_option(tool, mini, tmp_path):
    status, _, err = tool('train.py', mini, '--work-dir', tmp_path, '--epochs', 2)
    assert status == 0, err
    assert (tmp_path / 'epoch_2.pth').is_file() and not (tmp_path / 'epoch_3.pth').is_file()
    assert scalars(tmp_path, 'cdcp/reduction')[-1] == pytest.approx(0.45, abs=0.01)
    status, _, err = tool('train.py', 'configs/small/upernet_deit_scenes.py', '--epochs', 2)
    assert status == 2


def test_a_run_ends_with_a_report(tool, mini, trained, tmp_path):
    data, = page.read(trained / 'report.html')
    assert data['missing'] == [] and data['kind'] == 'classifier' and data['looked_at'] == 12
    top1, alike = data['quality']
    assert top1['what'] == 'top-1' and top1['small'] == pytest.approx(scalars(trained, 'top1')[-1], abs=0.01)
    channels = data['run']['channels']
    assert channels['near_zero'] == channels['masked'] == channels['cut'] > 0, 'both consistencies: masked is cut'
    assert data['run']['curves']['cdcp/reduction'][1] == scalars(trained, 'cdcp/reduction')
    text = (trained / 'report.html').read_text()
    assert text.count('<figure class="wide"') == 2 and data['attention']['dense']['cls']


def test_a_report_is_taken_as_it_is_until_the_weights_change(tool, mini, trained, tmp_path):
    out = tmp_path / 'a.html'
    status, text, err = tool('report.py', trained, '--out', out, '--json', tmp_path / 'r.json')
    assert status == 0, err
    assert page.read(out) == page.read(trained / 'report.html')
    result = json.loads((tmp_path / 'r.json').read_text())
    assert result['report'] == str(out) and result['results'][0]['sentence'] in text
    status, _, err = tool('report.py', trained, trained, '--num-images', 4, '--images', mini.parent / 'val' / 'red',
                          '--out', out)
    assert status == 0, err
    both = page.read(out)
    assert [data['looked_at'] for data in both] == [4, 4] and both[0]['speed'] != both[1]['speed']
    status, _, err = tool('report.py', tmp_path)
    assert status == 2 and 'no last_checkpoint' in err
    status, _, err = tool('report.py', tmp_path / 'nowhere')
    assert status == 2 and 'nowhere does not exist' in err


def test_report_and_benchmark_know_swin(tool, config_of, run_of, tmp_path):
    trained = run_of('swin')
    data, = page.read(trained / 'report.html')
    assert data['missing'] == ['attention: attention of custom stays inside windows'] and data['tokens']['stages']
    status, _, err = tool('fold.py', trained, tmp_path / 'cait.pth')
    assert status == 0 and scalars(trained, 'cdcp/kept/2.2.ffn'), err
    status, text, err = tool('benchmark.py', tmp_path / 'cait.pth', '--against', config_of('swin'), '--shape', 64, 64,
                             '--rounds', 1, '--cfg-options', 'model.backbone.merge=()')
    assert status == 0 and 'cait.pth' in text, err


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(mini, tmp_path):
    broken = tmp_path / 'nan.py'
    broken.write_text(f"""
_base_ = '{mini}'
param_scheduler = [dict(type='MultiStepLR', milestones=[13], gamma=1e30, by_epoch=False)]
""")
    done = train(broken, tmp_path / 'run')
    assert done.returncode == 2, done.stderr[-2000:]
    assert re.search(r'became (nan|inf) at iteration 1[56]; the last good checkpoint is \S*epoch_2.pth', done.stderr)
    state = load(tmp_path / 'run' / 'epoch_2.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())
    assert not (tmp_path / 'run' / 'epoch_3.pth').exists()
