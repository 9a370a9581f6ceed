"""ACDC and Synapse for MMSegmentation: training on slices, predicting volumes slice by slice."""
import os
import re
from collections.abc import Iterator
from typing import Any

from mmseg.datasets import BaseSegDataset, SynapseDataset

from cait_mm.datasets.slices import SUFFIXES, slice_uri, volume_shape
from cait_mm.errors import UserError
from cait_mm.utils.inputs import read_lines


class VolumeDataset(BaseSegDataset):
    """Slices as items, from files that hold a slice or a volume each.

    The ``img_path`` and ``seg_map_path`` of an item are addresses of :func:`cait_mm.datasets.slices.slice_uri`, which
    MMSeg's ``LoadImageFromFile`` and ``LoadAnnotations`` read. An item also has a ``subject`` (the patient), a
    ``volume`` (the scan) and a ``slice`` (its number there). :class:`cait_mm.evaluation.VolumeDice` needs the last two,
    so name them in ``PackSegInputs(meta_keys=...)``.

    Args:
        volumes: Whether a file is a volume (D, H, W), or a slice (H, W) whose name ends in its number.
        ann_file: A list of file names, with or without suffix, one per line; without it, all files of the folder.
        subject_pattern: A regular expression for the patient at the start of a file's name.
        **keywords: As :class:`mmseg.datasets.BaseSegDataset`; ``data_prefix.img_path`` is the folder.

    Raises:
        UserError: A listed file is missing, a file cannot be read, a name does not tell the patient or slice, or labels
            are not those of the classes.
    """
    METAINFO: dict[str, Any] = {}

    def __init__(self, volumes: bool = False, subject_pattern: str = r'[A-Za-z]+_?\d+', **keywords: Any) -> None:
        self.volumes, self.subject_pattern = volumes, subject_pattern
        super().__init__(**keywords)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One dict per slice, sorted by file and slice."""
        folder = self.data_prefix['img_path']
        items = [item for name in self._names(folder) for item in self._items(os.path.join(folder, name), name)]
        if not items:
            raise UserError(f'there are no {", ".join(SUFFIXES)} files in {folder}.')
        return items

    def subjects(self) -> set[str]:
        """The patients of these data."""
        return {self.get_data_info(index)['subject'] for index in range(len(self))}

    def prepare_data(self, idx: int) -> Any:
        """The item after the pipeline.

        Raises:
            UserError: Its labels are not those of the classes, like the 14 original labels of Synapse.
        """
        item = super().prepare_data(idx)
        sample, classes = item.get('data_samples'), len(self.metainfo['classes'])
        if sample is not None and 'gt_sem_seg' in sample:
            labels = sample.gt_sem_seg.data
            top = int(labels.where(labels != self.ignore_index, 0).max())
            if top >= classes:
                raise UserError(f'{sample.seg_map_path} has label {top} and the data have {classes} classes: '
                                'preprocess the files to these labels first.')
        return item

    def _names(self, folder: str) -> list[str]:
        there = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIXES))
        if not self.ann_file:
            return there
        by_stem = {_stem(name): name for name in there}
        wanted = [_stem(line) for line in read_lines(self.ann_file)]
        missing = [stem for stem in wanted if stem not in by_stem]
        if missing:
            raise UserError(f'{self.ann_file} lists {len(missing)} files that are not in {folder}: {missing[0]} is '
                            'one.')
        return [by_stem[stem] for stem in wanted]

    def _items(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        stem = _stem(name)
        subject = re.match(self.subject_pattern, stem)
        if not subject:
            raise UserError(f'{path} does not say in its name whose scan it is (patient001..., case0005...): rename '
                            'it, or set subject_pattern.')
        for volume, number, index in self._slices(path, stem):
            yield dict(
                img_path=slice_uri(path, index), seg_map_path=slice_uri(path, index, label=True), volume=volume,
                slice=number, subject=subject[0], label_map=self.label_map, reduce_zero_label=self.reduce_zero_label,
                seg_fields=[])

    def _slices(self, path: str, stem: str) -> Iterator[tuple[str, int, int | None]]:
        """Volume, number of a slice, and its index in the file."""
        if not self.volumes:
            number = re.search(r'_?(?:slice)?_?(\d+)$', stem)
            if not number:
                raise UserError(f'{path} does not end in the number of its slice: rename it, or set volumes=True.')
            yield stem[:number.start()], int(number[1]), None
            return
        shape = volume_shape(path)
        if len(shape) != 3:
            raise UserError(f'{path} holds one slice {shape} and a volume was expected: set volumes=False.')
        yield from ((stem, index, index) for index in range(shape[0]))


class ACDCVolumes(VolumeDataset):
    """ACDC (Bernard et al., 2018): right ventricle, myocardium and left ventricle in cardiac MRI.

    Args:
        **keywords: As :class:`VolumeDataset`.
    """
    METAINFO = dict(
        classes=('background', 'right_ventricle', 'myocardium', 'left_ventricle'),
        palette=[[0, 0, 0], [70, 130, 230], [240, 190, 40], [220, 60, 60]])


class SynapseVolumes(VolumeDataset):
    """The multi-organ CT of Synapse with the nine labels of TransUNet, background included.

    Args:
        **keywords: As :class:`VolumeDataset`.
    """
    METAINFO = SynapseDataset.METAINFO


def _stem(name: str) -> str:
    return next((name[:-len(suffix)] for suffix in SUFFIXES if name.endswith(suffix)), name)
