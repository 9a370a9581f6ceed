# CAIT on the small LV-ViT of compress_lvvit_imagefolder.py (exported by tools/fold.py), in a short run.
_base_ = './compress_cait_swin_imagefolder.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CAITLVViT',
        arch=dict(
            name='small_lvvit', embed_dim=96, depth=8, num_heads=3, stem_dim=16, img_size=(128, 128)),
        merge=((3, 'horizontal'), (5, 'vertical')),
        drop_path_rate=0.05,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/lvvit_imagefolder.pth')),
    cdcp=dict(target=0.4))
