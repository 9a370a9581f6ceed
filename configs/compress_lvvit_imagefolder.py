# A small LV-ViT trained from scratch on an ImageFolder of small images: 128x128, 0.08 GMACs. The start and the teacher
# of compress_cait_lvvit_imagefolder.py.
_base_ = './compress_swin_imagefolder.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CAITLVViT',
        arch=dict(
            name='small_lvvit', embed_dim=96, depth=8, num_heads=3, stem_dim=16, img_size=(128, 128)),
        drop_path_rate=0.05))
