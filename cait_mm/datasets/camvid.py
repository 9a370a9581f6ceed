"""CamVid for MMSegmentation: 11 classes and a void label, which is not MMSeg's default ignore index."""
from typing import Any

from mmseg.datasets import BaseSegDataset


class CamVidDataset(BaseSegDataset):
    """CamVid in SegNet's layout: index PNGs with classes 0..10 and 11 for void.

    The labels in the files are 12 classes, of which ``metainfo`` selects 11. MMSeg then maps the remaining one to 255
    (``label_map``), which every loss, transform and metric ignores by default.

    Args:
        metainfo: Other classes than the first 11; all that are not in it become 255 too.
        **keywords: As :class:`mmseg.datasets.BaseSegDataset`.
    """
    METAINFO = dict(
        classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian',
                 'bicyclist', 'void'),
        palette=[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
                 [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192], [0, 0, 0]])

    def __init__(self, img_suffix: str = '.png', seg_map_suffix: str = '.png',
                 metainfo: dict[str, Any] | None = None, **keywords: Any) -> None:
        metainfo = metainfo or dict(classes=self.METAINFO['classes'][:-1])
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, metainfo=metainfo, **keywords)
