# Dense ViT-Base (MAE) + Mask R-CNN in ViTDet's form on COCO: the baseline of the compressed twins. Large-scale jitter
# at 1024x1024, 100 epochs, stochastic depth that grows to 0.1, as ViTDet trains it; attention is global here
# (_base_/models/vitdet.py).
_base_ = [
    './_base_/models/vitdet.py', './_base_/backbones/vit_base.py', './_base_/datasets/coco_instance_lsj.py',
    './_base_/schedules/vitdet_100e.py', './_base_/det_runtime.py'
]
model = dict(backbone=_base_.vit_base.dense)
