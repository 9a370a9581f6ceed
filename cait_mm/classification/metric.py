"""Top-k accuracy."""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from timm.utils import accuracy


@METRICS.register_module()
class TopK(BaseMetric):
    """The share of images, in percent, whose class is among the k best scores: ``top1``, ``top5``.

    Args:
        topk: The ks; one above the number of classes counts as all of them.
    """

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, torch.Tensor]]) -> None:
        """Record for every image which ks are right."""
        scores = torch.stack([sample['scores'] for sample in data_samples])
        targets = torch.stack([sample['target'] for sample in data_samples])
        hits = accuracy(scores, targets, self.topk)
        self.results.append((len(targets), [float(hit) * len(targets) / 100 for hit in hits]))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """The accuracies over all images."""
        images = sum(count for count, _ in results)
        return {f'top{k}': 100 * sum(hits[i] for _, hits in results) / images for i, k in enumerate(self.topk)}
