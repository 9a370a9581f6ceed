"""The names that hooks may ask for are those that the evaluators give."""
import pytest
from conftest import CONFIGS

from cait_mm.config.load import load_config
from cait_mm.engine.metrics import metric_names, metric_problems


def config(save_best, evaluator, **hook):
    return dict(val_evaluator=evaluator, default_hooks=dict(checkpoint=dict(save_best=save_best)), custom_hooks=[hook])


@pytest.mark.parametrize('evaluator,good,bad', [
    (dict(type='IoUMetric', iou_metrics=['mIoU']), ['aAcc', 'mIoU', 'mAcc'], ['mIou', 'IoU', 'mDice', 'val/mIoU']),
    (dict(type='mmseg.IoUMetric', iou_metrics=['mFscore'], prefix='x'), ['x/mFscore', 'x/mRecall'],
     ['mFscore', 'x/mIoU']),
    (dict(type='CocoMetric', metric=['bbox', 'segm']), ['coco/bbox_mAP', 'coco/segm_mAP_50'], ['bbox_mAP', 'coco/mAP']),
    (dict(type='CocoMetric', metric='bbox', classwise=True), ['coco/person_precision'], ['coco/segm_mAP']),
    (dict(type='VolumeDice'), ['mDice', 'mHD95', 'Dice.spleen', 'volumes'], ['mIoU', 'Dice']),
    (dict(type='ImageDice'), ['mDice', 'mIoU', 'images'], ['mHD95', 'volumes']),
    (dict(type='TopK', topk=(1, 3)), ['top1', 'top3'], ['top5', 'accuracy/top1']),
    ([dict(type='TopK'), dict(type='ImageDice')], ['top1', 'mDice'], ['mHD95']),
    (dict(type='IoUMetric', format_only=True), [], ['mIoU']),
])
def test_a_metric_that_is_not_given_is_named(evaluator, good, bad):
    for name in ['auto', *good]:
        assert metric_problems(config(name, evaluator)) == []
    for name in bad:
        problem, = metric_problems(config([name, 'auto'], evaluator))
        assert f'default_hooks.checkpoint.save_best={name!r} is no metric of val_evaluator' in problem
        assert metric_problems(config('auto', evaluator, monitor=name))
    assert metric_problems(config(bad[0], dict(type='SomethingElse'))) == [], 'an unknown evaluator may give anything'


@pytest.mark.parametrize('name', [name for name in CONFIGS if '_t_' in name])
def test_every_recipe_asks_for_metrics_that_it_gets(name):
    config = load_config(str(CONFIGS[name]))
    assert metric_names(config.val_evaluator) and metric_problems(config) == []
