"""A dense segmentor or detector teaches its merged self through MMEngine's Runner, and nothing reads a label."""
import shutil

import pytest
import torch
from conftest import FAMILIES, ROOT
from mmengine.config import Config
from tiny_runs import KINDS, StopAt, Stopped, differing, load, make_data  # noqa: F401

from cait_mm.config.load import load_config
from cait_mm.datasets.scenes import make_scenes
from cait_mm.engine.imitation import match
from cait_mm.engine.run import build_runner
from cait_mm.engine.tuning import loaded, read_outcome
from cait_mm.engine.tuning_run import model_of, run_tuning, tuning_config
from cait_mm.errors import UserError
from cait_mm.pruning.tune import LOOKS

CASCADE = f"""
_base_ = '{ROOT}/configs/small/cascade_mask_rcnn_swin_scenes.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, **{FAMILIES['swin']['arch']}), merge={FAMILIES['swin']['merge']},
                  init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=16), rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
        bbox_head=[dict(head, in_channels=16, conv_out_channels=16, fc_out_channels=16, norm_cfg=dict(type='BN'))
                   for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16)),
    test_cfg=dict(rpn=dict(max_per_img=16)))
train_dataloader = dict(batch_size=3)
"""
TEXTS = dict(KINDS, cascade=CASCADE)
LRS = dict(segmentor=1e-3, detector=3e-4, cascade=3e-5)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Scenes without one label file."""
    folder = tmp_path_factory.mktemp('data')
    make_scenes(folder / 'scenes', train=40, val=8, size=(64, 64))
    for path in (folder / 'scenes').iterdir():
        if path.name != 'images':
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def configs(data, kind: str) -> tuple[Config, Config]:
    """The merged model's config and the dense one's, with a checkpoint of the same random weights for both."""
    (data / f'{kind}.py').write_text(TEXTS[kind].replace('DATA', str(data)))
    small = load_config(str(data / f'{kind}.py'), {'train_dataloader.num_workers': 0})
    small.log_level, small.visualizer = 'ERROR', dict(type='Visualizer', vis_backends=[])
    dense = Config(dict(model=dict(small.model.to_dict())))
    dense.model.backbone['merge'] = ()
    weights = data / f'{kind}.pth'
    if not weights.exists():
        from mmengine.registry import MODELS
        torch.manual_seed(0)
        model = MODELS.build(model_of(dense))
        model.init_weights()
        for name, parameter in model.named_parameters():
            if 'blocks' in name and parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.1)
            elif name.endswith('conv_seg.weight') or parameter.dim() > 1 and name.startswith(('rpn_head', 'roi_head')):
                scale = 1. if kind == 'segmentor' else 2 / parameter[0].numel()**0.5
                torch.nn.init.normal_(parameter, std=scale)  # answers that differ from place to place
        torch.save(dict(state_dict=model.state_dict()), weights)
        merged = MODELS.build(model_of(small))
        merged.load_state_dict(model.state_dict(), strict=False)
        torch.save(dict(state_dict=merged.state_dict()), data / f'{kind}_small.pth')
    return small, dense


def tuning(data, kind: str, work_dir, steps: int = 6, stop: int | None = None, **options) -> Config:
    small, dense = configs(data, kind)
    config = tuning_config(small, data / f'{kind}_small.pth', dense, data / f'{kind}.pth',
                           str(data / 'scenes/images/training'), steps, work_dir, **options)
    if stop:
        config.custom_hooks.append(dict(type='StopAt', iteration=stop))
    return config


@pytest.mark.parametrize('kind', ['segmentor', 'detector', 'cascade'])
def test_the_student_comes_nearer_without_any_label(data, tmp_path, kind, capsys):
    weights, result = run_tuning(tuning(data, kind, tmp_path, steps=10, lr=LRS[kind]))
    assert capsys.readouterr().err.count('images held out') == LOOKS
    assert result.after < (0.95 if kind == 'segmentor' else 0.98) * result.before
    assert 0 < result.best_step <= 10 and result.held_out == 4
    small, _ = configs(data, kind)
    torch.save(dict(state_dict=weights), tmp_path / 'tuned.pth')
    tuned, start = loaded(model_of(small), tmp_path / 'tuned.pth'), load(data / f'{kind}_small.pth')['state_dict']
    changed = {name for name, value in tuned.named_parameters() if not torch.equal(value, start[name])}
    assert all(any(part in name for name in changed) for part in ('blocks', 'head'))
    assert not any(name.startswith('auxiliary_head') for name in changed)
    again = build_runner(tuning(data, kind, tmp_path / 'again'))
    assert not any('teacher' in name for name in again.model.state_dict())


def test_it_never_ends_worse(data, tmp_path):
    weights, result = run_tuning(tuning(data, 'segmentor', tmp_path, steps=4, lr=1e3))
    assert result.best_step == 0 and result.after == result.before and 'lower lr' in result.note
    assert differing(load(data / 'segmentor_small.pth')['state_dict'], weights) == []


def test_a_killed_run_resumes_with_the_same_bits(data, tmp_path):
    wanted, result = run_tuning(tuning(data, 'segmentor', tmp_path / 'whole'))
    with pytest.raises(Stopped):
        build_runner(tuning(data, 'segmentor', tmp_path / 'part', stop=4)).train()
    found, again = run_tuning(tuning(data, 'segmentor', tmp_path / 'part'))
    assert differing(wanted, found) == [] and again == result == read_outcome(tmp_path / 'part')[1]


def test_too_few_images_and_kinds_without_a_distance_are_a_sentence(data, tmp_path):
    config = tuning(data, 'segmentor', tmp_path)
    config.train_dataloader.dataset.images = [str(path) for path in (data / 'scenes/images/training').iterdir()][:9]
    with pytest.raises(UserError, match='tuning needs 32 images at least, and there are 9'):
        run_tuning(config)
    config = tuning(data, 'detector', tmp_path)
    config.model.teacher = config.model.student = dict(
        type='RPN', train_cfg=dict(rpn=None), test_cfg=dict(rpn=None), **{
            key: config.model.student[key] for key in ('backbone', 'neck', 'rpn_head', 'data_preprocessor')})
    config.model.teacher_checkpoint = config.model.student_checkpoint = str(tmp_path / 'rpn.pth')
    torch.save({key: value for key, value in load(data / 'detector_small.pth')['state_dict'].items()
                if not key.startswith('roi_head')}, tmp_path / 'rpn.pth')
    with pytest.raises(UserError, match='a RPN cannot be tuned'):
        run_tuning(config)


def test_queries_are_matched_in_any_order():
    classes, masks, order = torch.randn(6, 4) * 4, torch.randn(6, 8, 8) * 4, torch.randperm(6)
    matched = match(classes[order], masks[order], classes, masks)
    assert torch.equal(order[matched], torch.arange(6))
