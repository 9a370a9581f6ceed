# Dense DeiT-Small + CASCADE's decoder on Synapse, by CASCADE's recipe: 224x224, 150 epochs at a total batch of 24
# (2,211 slices: 93 iterations an epoch), AdamW 1e-4.
_base_ = [
    './_base_/models/cascade_decoder_deit.py', './_base_/backbones/deit_small.py', './_base_/datasets/synapse.py',
    './_base_/schedules/adamw_150e.py', './_base_/medical_runtime.py'
]
model = dict(
    backbone=_base_.deit_small.dense,
    decode_head=dict(num_classes=9))
