# DeiT as a classifier, taught by its dense self (hard distillation) and by labels that mixup smooths.
num_classes = 1000
model = dict(
    type='Classifier',
    backbone=dict(type='CAITDeiT', drop_path_rate=0.1),
    num_classes=num_classes,
    label_smoothing=0.1,
    distillation=dict(alpha=0.25),
    data_preprocessor=dict(
        type='MixupPreprocessor',
        mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=num_classes)))
