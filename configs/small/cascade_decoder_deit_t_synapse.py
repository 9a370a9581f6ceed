# Dense DeiT-Tiny + a narrow CASCADE decoder on Synapse, small enough for two CPU cores: batch 8, 3e-4. 20 epochs are
# meant for some hundred slices; all 2,211 take 5,500 iterations.
_base_ = ['../cascade_decoder_deit_s_synapse.py', '../_base_/backbones/deit_tiny.py']
embed_dim = 192
model = dict(
    backbone=_base_.deit_tiny.dense,
    neck=dict(embed_dim=embed_dim),
    decode_head=dict(in_channels=[embed_dim] * 4, widths=[32, 64, 128, 192]))
train_dataloader = dict(batch_size=8, num_workers=1)
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=20, val_interval=20)
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=8)
