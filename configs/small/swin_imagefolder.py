# A small Swin trained from scratch on an ImageFolder of small images, data/images/{train,val}/CLASS/*.jpg: 128x128 with
# windows of 4, 0.10 GMACs. The start and the teacher of compress_cait_swin_imagefolder.py. Inherit it and set
# num_classes (three places) and data_root.
_base_ = ['./deit_t_imagefolder.py', '../_base_/backbones/small_swin.py']
model = dict(new_head=False, backbone=dict(_base_.small_swin.dense, _delete_=True))
train_dataloader = dict(dataset=dict(transform=dict(input_size=128)))
val_dataloader = dict(dataset=dict(transform=dict(input_size=128, crop_pct=1.0)))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
