"""tools/train.py and tools/test.py serve MMDetection's configs as they do MMSegmentation's."""
import json

from conftest import ROOT

from cait_mm.datasets.scenes import make_scenes

MASK_RCNN = """
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', 'mmdet::_base_/schedules/schedule_1x.py',
          'mmdet::_base_/default_runtime.py', '{root}/configs/_base_/datasets/scenes_det.py']
custom_imports = dict(imports=['cait_mm'], allow_failed_imports=False)
arch = dict(name='tiny', embed_dim=16, depth=4, num_heads=2, img_size=(64, 64))
model = dict(
    backbone=dict(_delete_=True, type='CAITDeiT', arch=arch, img_size=(64, 64), out_indices=(0, 1, 2, 3),
                  merge=((1, 'horizontal'), (2, 'vertical'))),
    neck=dict(_delete_=True, type='TokenPyramid', embed_dim=16, rescales=(4, 2, 1, 0.5)),
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=5),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16, num_classes=5)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=16), rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rpn=dict(max_per_img=16), rcnn=dict(score_thr=0., max_per_img=4)))
data = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, **data, dataset=dict(data_root='{data}', filter_cfg=dict(min_size=1)))
val_dataloader = dict(**data, dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/instances_validation.json')
test_evaluator = val_evaluator
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2, val_interval=10)
param_scheduler = []
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2))
log_processor = dict(by_epoch=False)
"""


def test_mask_rcnn_on_a_merged_backbone_trains_and_is_evaluated(tool, tmp_path, monkeypatch):
    make_scenes(tmp_path / 'scenes', train=8, val=8, size=(64, 64))
    config, work_dir = tmp_path / 'mask_rcnn.py', tmp_path / 'run'
    config.write_text(MASK_RCNN.format(root=ROOT, data=tmp_path / 'scenes'))
    status, _, err = tool('train.py', config, '--work-dir', work_dir, '--json', tmp_path / 'train.json')
    assert status == 0, err
    checkpoint = json.loads((tmp_path / 'train.json').read_text())['checkpoint']
    assert checkpoint == str(work_dir / 'iter_2.pth')
    status, out, err = tool('test.py', config, checkpoint, '--work-dir', work_dir, '--show-dir', tmp_path / 'shown',
                            '--json', tmp_path / 'test.json', '--cfg-options',
                            'train_dataloader.dataset.data_root=nowhere')
    assert status == 0, err
    metrics = json.loads((tmp_path / 'test.json').read_text())
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= metrics.keys() and 'coco/segm_mAP' in out
    assert len(list((tmp_path / 'shown').rglob('*.jpg')) + list((tmp_path / 'shown').rglob('*.png'))) == 8

    status, _, err = tool('test.py', config, checkpoint, '--work-dir', work_dir, '--tta', '--json',
                          tmp_path / 'tta.json')
    assert status == 0, err
    assert json.loads((tmp_path / 'tta.json').read_text()).keys() == metrics.keys()

    from mmdet.apis import DetInferencer
    monkeypatch.chdir(tmp_path)
    image = next((tmp_path / 'scenes/images/validation').iterdir())
    inferencer = DetInferencer(model=str(config), weights=checkpoint, device='cpu')
    predictions = inferencer(str(image), out_dir=str(tmp_path / 'out'), pred_score_thr=0.,
                             no_save_pred=False)['predictions'][0]
    assert len(predictions['scores']) == len(predictions['bboxes']) == len(predictions['masks']) == 4
    assert list((tmp_path / 'out/vis').iterdir()) and list((tmp_path / 'out/preds').iterdir())
