# Synapse multi-organ CT (9 classes, background included) at 224x224: docs/prepare_data.md#synapse
# Read and augmented as acdc.py.
_base_ = './acdc.py'
dataset_type = 'cait_mm.datasets.volumes.SynapseVolumes'
data_root = 'data/synapse'
train_dataloader = dict(
    batch_size=24, dataset=dict(type=dataset_type, data_root=data_root, data_prefix=dict(img_path='train_npz')))
val_dataloader = dict(
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix=dict(img_path='test_vol_h5')))
test_dataloader = val_dataloader
