"""The predictions of two detectors beside each other: boxes that both find, and boxes that are lost and won."""
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cait_mm.analysis.boxes import LEAST_SCORE, Boxes, matched, sure_boxes, unpaired
from cait_mm.report.encoding import jpeg
from cait_mm.utils.pictures import read_image


@torch.no_grad()
def compare(dense: nn.Module, small: nn.Module, inputs: Iterable[Any], names: Sequence[str],
            shown: int) -> dict[str, Any]:
    """Both models' boxes for ``inputs`` of ``test_step``, the images that share fewest first.

    Two predictions differ by the share of all their boxes that only one of them has.
    """
    pictures, looked_at, per_class = [], 0, np.zeros((len(names), 3), int)
    for data in inputs:
        before, after = (sure_boxes(model.test_step(data)[0].pred_instances) for model in (dense, small))
        pairs = matched(before, after)
        lost, won = (unpaired(boxes, [pair[side] for pair in pairs]) for side, boxes in enumerate((before, after)))
        for column, labels in enumerate(([before.labels[one] for one, _ in pairs], before.labels[lost],
                                         after.labels[won])):
            for label in labels:
                per_class[int(label), column] += 1
        apart = (len(lost) + len(won)) / max(1, len(pairs) + len(lost) + len(won))
        looked_at += 1
        pictures.append((apart, data['data_samples'][0].img_path, before, after, lost, won))
        pictures = sorted(pictures, key=lambda item: -item[0])[:shown]
    kept, lost, won = map(int, per_class.sum(0))
    return {'quality': [{'what': 'boxes of the dense model that are found again', 'unit': '%',
                         'small': 100 * kept / max(1, kept + lost),
                         'on': f'{kept + lost} boxes with a score of {LEAST_SCORE} or more; {lost} lost, {won} won'}],
            'boxes': [{'name': names[index], 'kept': int(row[0]), 'lost': int(row[1]), 'won': int(row[2])}
                      for index, row in enumerate(per_class) if row.any()],
            'pictures': [_entry(*picture, names) for picture in pictures], 'looked_at': looked_at}


def _entry(apart: float, path: str, before: Boxes, after: Boxes, lost: Sequence[int], won: Sequence[int],
           names: Sequence[str]) -> dict[str, Any]:
    picture = read_image(path)
    scale = torch.tensor([*picture.size, *picture.size]).float()

    def listed(boxes: Boxes, alone: Sequence[int], word: str) -> list[dict[str, Any]]:
        return [{'box': [round(float(value), 4) for value in corners / scale], 'score': float(score),
                 'name': names[int(label)], 'state': word if index in alone else 'kept'}
                for index, (corners, score, label) in enumerate(zip(*boxes))]

    return {'name': Path(path).name, 'difference': apart, **jpeg(picture), 'dense': listed(before, lost, 'lost'),
            'small': listed(after, won, 'won'), 'lost': len(lost), 'won': len(won)}
