# Dense Swin-Small + UperNet on ADE20K.
_base_ = './upernet_swin_t_ade20k.py'
model = dict(
    backbone=dict(
        arch='swin_small', init_cfg=dict(checkpoint='checkpoints/swin_small_patch4_window7_224.pth')))
