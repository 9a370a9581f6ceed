# Dense Swin-Small, trained on for 300 epochs with hard distillation from itself.
_base_ = './compress_swin_t_imagenet.py'
model = dict(
    backbone=dict(
        arch='swin_small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='checkpoints/swin_small_patch4_window7_224.pth')))
