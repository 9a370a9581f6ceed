# A compression run as it was written before configs/small/ and before CDCP worked by the optimizer's own hooks.
_base_ = '../../../configs/compress_cait_deit_scenes.py'
custom_imports = dict(imports=['cait_mm'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dim=12, depth=3, num_heads=3, mlp_ratio=2., patch_size=8, img_size=(32, 32)),
        merge=((1, 'horizontal'), (2, 'vertical')),
        init_cfg=None),
    distillation=dict(alpha=0),
    cdcp=dict(target=0.5, start_epoch=0, interval=2, calibration_images=12))
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(transform=dict(input_size=32)))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(transform=dict(input_size=32)))
test_dataloader = val_dataloader
optim_wrapper = dict(type='GradRuleOptimWrapper', optimizer=dict(lr=1e-3))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, end=6, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=6, val_interval=6)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))
