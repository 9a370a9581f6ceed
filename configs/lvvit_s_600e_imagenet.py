# Dense LV-ViT-S, trained on for 300 epochs with hard distillation from itself and without token labels.
_base_ = [
    './_base_/models/deit_classifier.py', './_base_/datasets/imagenet.py', './_base_/schedules/adamw_300e.py',
    './_base_/cls_runtime.py'
]
model = dict(
    backbone=dict(
        type='CAITLVViT',
        arch='lvvit_s',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/lvvit_s-26M-224-83.3.pth.tar')))
val_dataloader = dict(dataset=dict(transform=dict(crop_pct=0.9)))
test_dataloader = val_dataloader
# Statistics of the stem's batch norms over all GPUs.
sync_bn = 'torch'
