# Dense LV-ViT-M, trained on for 300 epochs with hard distillation from itself and without token labels. Stochastic
# depth and the test's crop are its authors'.
_base_ = './lvvit_s_600e_imagenet.py'
model = dict(
    backbone=dict(
        arch='lvvit_m',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='checkpoints/lvvit_m-56M-224-84.0.pth.tar')))
val_dataloader = dict(dataset=dict(transform=dict(crop_pct=1.0)))
test_dataloader = val_dataloader
