# 160k iterations at a total batch of 16, as MMSegmentation fine-tunes MAE's ViT-B with UperNet
# (mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py): AdamW 1e-4, weight decay 0.05, rates that fall by 0.65 from block
# to block. Norms, biases, tokens and positions do not decay.
_base_ = './adamw_160k.py'
optim_wrapper = dict(
    constructor='LayerDepthDecayConstructor',
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(_delete_=True, decay_rate=0.65))
auto_scale_lr = dict(base_batch_size=16)
