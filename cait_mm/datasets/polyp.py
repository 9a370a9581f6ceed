"""Polyps for MMSegmentation: folders of pictures and masks, split by sequence if the sequences are known."""
import os
from typing import Any

from mmseg.datasets import BaseSegDataset

from cait_mm.errors import UserError
from cait_mm.utils.inputs import read_lines
from cait_mm.utils.pictures import SUFFIXES


class PolypDataset(BaseSegDataset):
    """Pictures with masks of the same names, whatever their suffixes (Kvasir-SEG, CVC-ClinicDB, PraNet's folders).

    Args:
        ann_file: A file of lines ``NAME`` or ``NAME SEQUENCE SPLIT``; without it, all pictures of the folder are used.
        split: Use only the lines of ``ann_file`` with this third word.
        **keywords: As :class:`mmseg.datasets.BaseSegDataset`; ``data_prefix`` names the folders.

    Raises:
        UserError: A picture has no mask or the reverse, a line cannot be understood, a picture is listed twice, or a
            sequence is in two splits: its frames show the same polyp.
    """
    METAINFO = dict(classes=('background', 'polyp'), palette=[[0, 0, 0], [60, 220, 120]])

    def __init__(self, split: str | None = None, **keywords: Any) -> None:
        self.split = split
        super().__init__(img_suffix='', seg_map_suffix='', **keywords)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One dict per picture, sorted by name."""
        pictures, masks = (_files(self.data_prefix[key]) for key in ('img_path', 'seg_map_path'))
        sequences = self._listed() if self.ann_file else dict.fromkeys([*pictures, *masks])
        for kind, files, key in (('picture', pictures, 'img_path'), ('mask', masks, 'seg_map_path')):
            lacking = sorted(set(sequences) - set(files))
            if lacking:
                raise UserError(f'{", ".join(lacking[:5])}{" and more" if len(lacking) > 5 else ""} '
                                f'{"has" if len(lacking) == 1 else "have"} no {kind} in {self.data_prefix[key]}.')
        if not sequences:
            raise UserError(f'there are no pictures in {self.ann_file or self.data_prefix["img_path"]}'
                            f'{f" for split {self.split}" if self.split else ""}.')
        return [dict(img_path=f'picture://{pictures[name]}', seg_map_path=f'mask://{masks[name]}', subject=sequence,
                     label_map=self.label_map, reduce_zero_label=self.reduce_zero_label, seg_fields=[])
                for name, sequence in sorted(sequences.items())]

    def subjects(self) -> set[str]:
        """The sequences of these data; empty if they are not known."""
        return {self.get_data_info(index)['subject'] for index in range(len(self))} - {None}

    def _listed(self) -> dict[str, str | None]:
        """Name -> sequence, of this split."""
        chosen: dict[str, str | None] = {}
        split_of: dict[str, str] = {}
        seen: set[str] = set()
        for line in read_lines(self.ann_file):
            # a name may hold spaces: a line with the suffix of a picture is a name
            words = [line] if line.lower().endswith(SUFFIXES) else line.rsplit(maxsplit=2)
            if len(words) not in ((3, ) if self.split else (1, 3)):
                raise UserError(f'{self.ann_file} has a line "{line[:120]}": NAME SEQUENCE SPLIT'
                                f'{"" if self.split else " or NAME"} is wanted.')
            name, sequence, split = words if len(words) == 3 else (words[0], None, None)
            if sequence and split_of.setdefault(sequence, split) != split:
                raise UserError(f'{self.ann_file} puts sequence {sequence} into {split_of[sequence]} and {split}: its '
                                'frames show the same polyp, so split by sequence.')
            stem = _stem(name)
            if stem in seen:
                raise UserError(f'{self.ann_file} lists {name} twice: a picture belongs to one split.')
            seen.add(stem)
            if self.split in (None, split):
                chosen[stem] = sequence
        return chosen


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def _files(folder: str) -> dict[str, str]:
    """Stem -> path of the pictures in a folder."""
    return {_stem(name): os.path.join(folder, name) for name in sorted(os.listdir(folder))
            if name.lower().endswith(SUFFIXES)}
