# CASCADE's schedule for Synapse and ACDC (its train_synapse.py, train_ACDC.py and trainer.py): 150 epochs of AdamW at a
# constant 1e-4, weight decay 1e-4 on everything. `--epochs N` changes the length. CASCADE validates after every epoch
# and keeps the best of them: train_cfg.val_interval=1.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=150, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=24)
