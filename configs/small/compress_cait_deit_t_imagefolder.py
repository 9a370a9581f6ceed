# CAIT for a short run on your own images: 50.5 % of the MACs saved. Channels are ordered before training (start) and
# emptied by proximal steps (rule), because the paper's rule needs some 20,000; the ramp takes a quarter of the run.
# The dense model is fine-tuned first and is both start and teacher:
#   python tools/train.py configs/small/deit_t_imagefolder.py
#   python tools/fold.py work_dirs/deit_t_imagefolder/epoch_30.pth checkpoints/deit_tiny_imagefolder.pth
_base_ = './deit_t_imagefolder.py'
model = dict(
    new_head=False,
    backbone=dict(_base_.deit_tiny.atme, init_cfg=dict(checkpoint='checkpoints/deit_tiny_imagefolder.pth')),
    distillation=dict(alpha=0.5),
    cdcp=dict(target=0.505, start='calibrated', rule='proximal', start_epoch=1, step=None))
# The proximal steps empty the channels, so compactors need not learn as fast as the paper's rule wants it.
optim_wrapper = dict(paramwise_cfg=dict(compactor_lr_mult=0.001))
