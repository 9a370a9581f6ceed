# Medical recipes count epochs, are judged by Dice, and refuse a patient who is in training and in validation.
_base_ = './seg_runtime.py'
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=10, save_best='mDice'))
custom_hooks = [dict(type='FiniteHook'), dict(type='SubjectSplitHook')]
log_processor = dict(by_epoch=True)
