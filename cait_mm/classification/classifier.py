"""A ViT classifier around a backbone of the project: final norm, head on CLS."""
from typing import Any, Mapping

from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from cait_mm.backbones.checkpoint import Checkpoint, LoadReport, read_checkpoint, strict_load


@MODELS.register_module()
class Classifier(BaseModel):
    """DeiT's classifier on any spec.

    Args:
        backbone: Config of a registered backbone; its last block's CLS is normalised and classified.
        num_classes: Classes of the head.
    """

    def __init__(self, backbone: Mapping[str, Any], num_classes: int = 1000) -> None:
        super().__init__()
        self.backbone = MODELS.build({**backbone, 'out_indices': (-1,), 'final_norm': True})
        self.head = nn.Linear(self.backbone.embed_dim, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes)."""
        tokens, _ = self.backbone.forward_tokens(inputs)
        return self.head(tokens[:, 0])

    def load_pretrained(self, path: str) -> LoadReport:
        """Load backbone and head strictly from an official, timm or exported checkpoint.

        Raises:
            UserError: The file is missing or damaged, or does not fit; every key that does not is listed.
        """
        checkpoint = read_checkpoint(path)
        head = {key[len('head.'):]: value for key, value in checkpoint.state_dict.items() if key.startswith('head.')}
        report = self.backbone.load_checkpoint(checkpoint)
        strict_load(self.head, Checkpoint(path, head), unused=(), optional=())
        return report
