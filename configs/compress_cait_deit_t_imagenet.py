# CAIT on DeiT-Tiny: merges save 41.7 % of the MACs, pruned channels the rest of 50.5 % (the paper leaves 5.1 M
# parameters). The ramp of 0.025 % every 25 iterations takes 10 epochs from epoch 30 on; Tab. XXI and XXII:
# model.cdcp.start_epoch=0 or 15, model.cdcp.interval=50 or 75.
_base_ = './deit_t_600e_imagenet.py'
model = dict(backbone=_base_.deit_tiny.atme, cdcp=dict(target=0.505))
