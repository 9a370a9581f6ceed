"""What training needs beyond MMEngine: readable checkpoints and layer-wise decay."""
from cait_mm.engine.checkpoint_types import allow_mmengine_checkpoints
from cait_mm.engine.layer_decay import LayerDepthDecayConstructor

__all__ = ['LayerDepthDecayConstructor', 'allow_mmengine_checkpoints']
