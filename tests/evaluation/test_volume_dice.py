"""Dice, IoU and HD95 against numbers worked out by hand, and volumes put together from scattered slices."""
import numpy as np
import pytest
import torch
from medpy.metric import binary
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS

from cait_mm.errors import UserError
from cait_mm.evaluation.volume_dice import hd95, overlap

META = dict(classes=('background', 'a', 'b'), palette=None)


def slices(volume, preds, truths):
    return [dict(pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
                 gt_sem_seg=dict(data=torch.as_tensor(truth)[None]), volume=volume, slice=index,
                 img_path=f'{volume}#{index}')
            for index, (pred, truth) in enumerate(zip(preds, truths))]


def score(samples, batch=3, **config):
    metric = METRICS.build(dict(type='VolumeDice', **config))
    metric.dataset_meta = META
    for start in range(0, len(samples), batch):
        metric.process({}, samples[start:start + batch])
    return metric.evaluate(size=len(samples))


def cube(z, y, x, size=2, shape=(6, 12, 12), label=1):
    volume = np.zeros(shape, np.int64)
    volume[z:z + size, y:y + size, x:x + size] = label
    return volume


def test_by_hand():
    truth, pred = cube(1, 2, 2), cube(1, 2, 3)  # eight voxels each, four shared
    assert overlap(pred == 1, truth == 1) == (0.5, pytest.approx(4 / 12))
    # every voxel of a 2x2x2 cube is surface; half of them are shared, the others one step away
    assert hd95(pred == 1, truth == 1) == 1
    result = score(slices('v', pred, truth), measures=('dice', 'iou', 'hd95'))
    assert result['Dice.a'] == 50 and result['IoU.a'] == pytest.approx(100 / 3) and result['HD95.a'] == 1
    assert result['volumes'] == 1


def test_distance_is_a_percentile_of_both_directions_together():
    """A bar of 20 pixels and the same with one more, 9 apart: 1 of 41 distances is 9, and the 95th percentile is 0."""
    truth = np.zeros((20, 40), bool)
    truth[5, 3:23] = True
    pred = truth.copy()
    pred[14, 3] = True
    assert hd95(pred, truth) == 0
    far = truth.copy()
    far[14, 3:7] = True  # 4 of 44, 9 %
    assert hd95(far, truth) == 9 and hd95(truth, far) == 9
    assert hd95(pred, truth, spacing=(2, 1)) == 0 and hd95(far, truth, spacing=(2, 1)) == 18


def test_an_erosion_removes_the_surface():
    """Nested squares of 20 and 10: without their insides all distances are 5 at the sides and more at the corners."""
    outer, inner = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    outer[5:25, 5:25], inner[10:20, 10:20] = True, True
    border = {True: np.argwhere(outer & ~np.pad(outer[6:24, 6:24] & True, 6)),
              False: np.argwhere(inner & ~np.pad(inner[11:19, 11:19], 11))}
    apart = np.sqrt(((border[True][:, None] - border[False][None])**2).sum(2))
    assert hd95(outer, inner) == pytest.approx(np.percentile([*apart.min(1), *apart.min(0)], 95))


def test_the_box_around_both_changes_nothing():
    generator = np.random.default_rng(0)
    for shape in [(20, 30), (1, 20, 20), (6, 24, 18)] * 3:
        pred, truth = generator.random((2, *shape)) > 0.8
        apart = [np.pad(mask, 3) for mask in (pred, truth)]
        assert hd95(pred, truth) == pytest.approx(binary.hd95(pred, truth))
        assert hd95(*apart) == pytest.approx(binary.hd95(*apart))


@pytest.mark.parametrize('pred, truth, strict, transunet', [
    ('empty', 'empty', (100, 0), (0, 0)),
    ('empty', 'full', (0, np.nan), (0, 0)),
    ('full', 'empty', (0, np.nan), (100, 0)),
    ('full', 'full', (100, 0), (100, 0))])
def test_empty_sides(pred, truth, strict, transunet):
    volumes = {'empty': cube(0, 0, 0, size=0), 'full': cube(1, 2, 2)}
    for empty, expected in (('strict', strict), ('transunet', transunet)):
        result = score(slices('v', volumes[pred], volumes[truth]), empty=empty)
        np.testing.assert_equal((result['Dice.a'], result['HD95.a']), expected)


def test_volumes_are_averaged_then_classes():
    """Class a: 50 and 100 in two volumes; class b: in neither prediction nor truth of one, missed in the other."""
    half = slices('v', cube(1, 2, 3), cube(1, 2, 2))
    missed = slices('w', cube(1, 2, 2), cube(1, 2, 2) + cube(3, 8, 8, label=2))
    result = score(half + missed)
    assert (result['Dice.a'], result['Dice.b'], result['mDice']) == (75, 50, 62.5)
    assert (result['HD95.a'], result['HD95.b'], result['mHD95']) == (0.5, 0, 0.25)


def test_slices_may_come_in_any_order_and_batch_and_twice():
    pred, truth = cube(1, 2, 3, size=4), cube(1, 2, 2, size=4)
    samples = slices('v', pred, truth) + slices('w', truth, truth)
    expected = score(samples)
    shuffled = [samples[index] for index in np.random.default_rng(0).permutation(len(samples))]
    assert score(shuffled, batch=5) == expected == score(samples + samples[:2], batch=1)


def test_two_processes_give_the_result_of_one():
    """As in distributed evaluation: the results of both are gathered and computed once."""
    samples = slices('v', cube(1, 2, 3), cube(1, 2, 2)) + slices('w', cube(0, 0, 0), cube(2, 0, 0))
    parts = []
    for rank in range(2):
        metric = METRICS.build(dict(type='VolumeDice'))
        metric.dataset_meta = META
        metric.process({}, samples[rank::2])
        parts.append(metric)
    assert parts[0].compute_metrics(parts[0].results + parts[1].results) == score(samples)


def test_ignored_pixels_count_nowhere():
    truth, pred = cube(1, 2, 2), cube(1, 2, 2) + cube(3, 8, 8)
    truth[3:5, 8:10, 8:10] = 255
    assert score(slices('v', pred, truth))['Dice.a'] == 100


def test_images_one_by_one():
    evaluator = Evaluator([METRICS.build(dict(type='ImageDice'))])
    evaluator.dataset_meta = dict(classes=('background', 'polyp'))
    samples = slices('a', cube(1, 2, 3)[1:2], cube(1, 2, 2)[1:2]) + slices('b', cube(1, 2, 2)[1:2], cube(1, 2, 2)[1:2])
    for sample in samples:
        del sample['volume'], sample['slice']
        evaluator.process([sample], {})
    assert evaluator.evaluate(2) == {'mDice': 75, 'mIoU': pytest.approx((100 / 3 + 100) / 2), 'images': 2}


def test_polyps_as_cascade_scores_them():
    """The lines of its test_polyp.py (commit d3f050a): stretched, smoothed, and in percent here."""
    generator, samples, expected = np.random.default_rng(0), [], []
    for index, scale in enumerate((1, 0.3, 0.1)):  # the last two never reach a plain threshold of 0.5
        chance = generator.random((9, 7)).astype(np.float32) * scale
        truth = generator.random((9, 7)) > 0.3 * (index + 1)
        pred = (chance - chance.min()) / (chance.max() - chance.min() + 1e-8) >= 0.5
        dice = (2 * (pred * truth).sum() + 1) / (pred.sum() + truth.sum() + 1)
        iou = ((pred * truth).sum() + 1) / ((pred | truth).sum() + 1)
        expected.append((dice, iou))
        samples.append(dict(
            seg_logits=dict(data=torch.from_numpy(chance)[None]), img_path=str(index),
            pred_sem_seg=dict(data=torch.from_numpy(chance > 0.5)[None].float()),
            gt_sem_seg=dict(data=torch.from_numpy(truth)[None].long())))
    scores = {}
    for protocol in ('cascade', 'plain'):
        metric = METRICS.build(dict(type='ImageDice', protocol=protocol))
        metric.dataset_meta = dict(classes=('background', 'polyp'))
        metric.process({}, samples)
        scores[protocol] = metric.evaluate(3)
    dice, iou = 100 * np.mean(expected, 0)
    assert scores['cascade'] == {'mDice': pytest.approx(dice), 'mIoU': pytest.approx(iou), 'images': 3}
    assert scores['plain']['mDice'] < dice - 10
    for wrong in (dict(protocol='pranet'), dict(protocol='cascade', measures=['dice', 'hd95'])):
        with pytest.raises(UserError, match='use plain, or cascade with dice and iou'):
            METRICS.build(dict(type='ImageDice', **wrong))
    samples[0]['seg_logits']['data'] = torch.rand(2, 9, 7)
    with pytest.raises(UserError, match='one channel, and the head has 2: set decode_head.out_channels=1'):
        METRICS.build(dict(type='ImageDice', protocol='cascade')).process({}, samples)


def test_wrong_use_is_a_sentence():
    with pytest.raises(UserError, match='measures are dice, iou, hd95'):
        METRICS.build(dict(type='VolumeDice', measures=['jaccard']))
    with pytest.raises(UserError, match='empty is strict or transunet'):
        METRICS.build(dict(type='VolumeDice', empty='zero'))
    sample = slices('v', cube(0, 0, 0)[:1], cube(0, 0, 0)[:1])
    del sample[0]['slice']
    with pytest.raises(UserError, match='does not say its slice'):
        score(sample)
    uneven = slices('v', cube(0, 0, 0)[:1], cube(0, 0, 0)[:1])
    uneven += slices('v', np.zeros((2, 4, 4)), np.zeros((2, 4, 4)))[1:]
    with pytest.raises(UserError, match='slices of volume v differ in shape'):
        score(uneven)
