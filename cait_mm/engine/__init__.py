"""Additions to MMEngine for training: runner, loops, hooks, checkpoints, optimizer settings."""
from cait_mm.engine.cdcp_hook import CDCPHook
from cait_mm.engine.checkpoint_hook import SafeCheckpointHook
from cait_mm.engine.ema import CompactorEMA
from cait_mm.engine.hooks import EpochSeedHook, FiniteHook, NumClassesHook
from cait_mm.engine.layer_decay import LayerDepthDecayConstructor
from cait_mm.engine.loader import use_checked_loader
from cait_mm.engine.loops import SeededEpochLoop, SeededIterLoop
from cait_mm.engine.optim_wrapper import CompactorConstructor
from cait_mm.engine.storage import AtomicBackend
from cait_mm.engine.tuning import HeldOutKL, LabelFreeTuning, TuningHook

__all__ = [
    'AtomicBackend', 'CDCPHook', 'CompactorConstructor', 'CompactorEMA', 'EpochSeedHook', 'FiniteHook', 'HeldOutKL',
    'LabelFreeTuning', 'LayerDepthDecayConstructor', 'NumClassesHook', 'SafeCheckpointHook',
    'SeededEpochLoop', 'SeededIterLoop', 'TuningHook', 'use_checked_loader'
]
