"""MMDetection's reader of COCO files with checks before pycocotools reads them."""
from typing import Any

from mmdet.datasets.api_wrappers import COCO
from mmdet.datasets.coco import CocoDataset
from mmdet.evaluation.metrics import coco_metric

from cait_mm.datasets.coco_file import read_json, rle_problems, structure_problems
from cait_mm.errors import UserError


class CheckedCOCO(COCO):
    """MMDetection's ``COCO``, which reads a file once and refuses one that would fail later.

    :class:`~cait_mm.datasets.loading.GuardedLoading` checks run-length codes when masks are loaded.

    Raises:
        UserError: The file cannot be read, or holds entries that the datasets or the metric cannot use; the message
            names them.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        super().__init__()
        if annotation_file is None:
            return
        content = read_json(annotation_file)
        problems = self._problems(annotation_file, content)
        if problems:
            raise UserError('\n'.join(problems))
        self.dataset = content
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def _problems(self, path: str, content: Any) -> list[str]:
        return structure_problems(path, content, annotated=False)


class ScoredCOCO(CheckedCOCO):
    """The reader of the metric, which draws the masks of all annotations."""

    def _problems(self, path: str, content: Any) -> list[str]:
        return super()._problems(path, content) or rle_problems(path, content)


def use_checked_coco() -> None:
    """Make MMDetection's COCO datasets and metric use these readers; panoptic ones have their own."""
    CocoDataset.COCOAPI, coco_metric.COCO = CheckedCOCO, ScoredCOCO
