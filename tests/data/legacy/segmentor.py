# UperNet with token merging, by the path that its base had before configs/small/.
_base_ = '../../../configs/upernet_atme_deit_scenes.py'
custom_imports = dict(imports=['cait_mm'], allow_failed_imports=False)
norm_cfg = dict(_delete_=True, type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dim=12, depth=4, num_heads=3, mlp_ratio=2., patch_size=8, img_size=(32, 32)),
        img_size=(32, 32), out_indices=(0, 1, 2, 3), merge=((1, 'horizontal'), (2, 'vertical')), init_cfg=None),
    neck=dict(embed_dim=12, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[12] * 4, channels=4, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=12, channels=4, norm_cfg=norm_cfg))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=4, save_optimizer=False, save_param_scheduler=False, save_best=None))
