# The settings that all classification configs of the project share.
default_scope = 'mmengine'
custom_imports = dict(imports=['cait_mm'], allow_failed_imports=False)
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl'))
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='top1', rule='greater',
        backend_args=dict(backend='atomic')),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [
    dict(type='CDCPHook'),
    dict(type='EpochSeedHook'),
    dict(type='FiniteHook'),
    dict(type='NumClassesHook'),
    # the last one, which short runs leave out
    dict(type='EMAHook', ema_type='CompactorEMA', momentum=4e-5),
]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
