# Dense Swin-Tiny + CASCADE's decoder on polyps, by CASCADE's recipe (its train_polyp.py): 352x352, 100 epochs at a
# total batch of 16, AdamW 1e-4, PraNet's structure loss as its code has it (entropy='weighted' is its paper's),
# gradients clipped at 0.5 each. One output channel with a sigmoid.
_base_ = [
    './_base_/models/cascade_decoder_swin.py', './_base_/backbones/swin_tiny.py', './_base_/datasets/polyp.py',
    './_base_/schedules/adamw_150e.py', './_base_/medical_runtime.py'
]
img_size = (352, 352)
model = dict(
    data_preprocessor=dict(size=img_size),
    backbone=_base_.swin_tiny.dense,
    decode_head=dict(
        num_classes=2,
        out_channels=1,
        threshold=0.5,
        loss_decode=[dict(type='cait_mm.heads.losses.StructureLoss')]))
optim_wrapper = dict(clip_grad=dict(type='value', clip_value=0.5))
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=16)
