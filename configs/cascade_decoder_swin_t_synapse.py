# Dense Swin-Tiny + CASCADE's decoder on Synapse: CASCADE's recipe: 224x224, 150 epochs
# at a total batch of 24 (2,211 slices: 93 iterations an epoch), AdamW 1e-4.
_base_ = [
    './_base_/models/cascade_decoder_swin.py', './_base_/datasets/synapse.py', './_base_/schedules/adamw_150e.py',
    './_base_/medical_runtime.py'
]
model = dict(
    backbone=dict(
        arch='swin_tiny',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin_tiny_patch4_window7_224.pth')),
    decode_head=dict(num_classes=9))
