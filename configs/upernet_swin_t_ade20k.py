# Dense Swin-Tiny + UperNet on ADE20K: the baseline of the compressed twins. Swin's recipe (STViT-R published no
# other): 512x512, 160k iterations at a total batch of 16, AdamW 6e-5.
_base_ = [
    './_base_/models/upernet_swin.py', './_base_/backbones/swin_tiny.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_160k.py', './_base_/seg_runtime.py'
]
model = dict(backbone=_base_.swin_tiny.dense)
train_dataloader = dict(batch_size=16)
auto_scale_lr = dict(base_batch_size=16)
