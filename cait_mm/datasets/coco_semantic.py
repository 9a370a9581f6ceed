"""COCO's panoptic annotations as semantic maps, for MMSegmentation: 80 things and 53 kinds of stuff."""
from collections.abc import Callable, Sequence
from typing import Any

from mmdet.datasets import CocoPanopticDataset
from mmseg.datasets import BaseSegDataset

PANOPTIC = CocoPanopticDataset.METAINFO
IDS = (
    *(thing for thing in range(1, 91) if thing not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)),
    92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151, 154, 155,
    156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201))
"""COCO's ids of the panoptic classes, in MMDetection's order."""


def by_id(values: Sequence[Any], missing: Callable[[int], Any]) -> list[Any]:
    """``values`` of the 133 classes as a list of 201, each at its class's id."""
    known = dict(zip(IDS, values))
    return [known[category] if category in known else missing(category) for category in range(IDS[-1] + 1)]


class CocoSemanticDataset(BaseSegDataset):
    """Maps of 8 bits that hold COCO's panoptic category ids (1 to 200), 0 where nothing is labelled.

    ``panopticapi``'s converter to semantic segmentation writes such files. MMSeg maps the 133 ids in use to classes 0
    to 132, in the order of the ids, and the others to 255 (``label_map``).

    Args:
        metainfo: A subset of the classes; the rest become 255 too.
        **keywords: As :class:`mmseg.datasets.BaseSegDataset`.
    """
    METAINFO = dict(
        classes=by_id(PANOPTIC['classes'], lambda category: f'unused {category}'),
        palette=by_id(list(map(list, PANOPTIC['palette'])), lambda category: [0, 0, 0]))

    def __init__(self, img_suffix: str = '.jpg', seg_map_suffix: str = '.png',
                 metainfo: dict[str, Any] | None = None, **keywords: Any) -> None:
        metainfo = metainfo or dict(classes=PANOPTIC['classes'])
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, metainfo=metainfo, **keywords)
