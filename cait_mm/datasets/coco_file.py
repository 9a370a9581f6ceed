"""Mistakes in a COCO annotation file, which is read without pycocotools: it assumes that there are none."""
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cait_mm.datasets.coco_masks import all_finite, mask_trouble, short
from cait_mm.datasets.label_maps import ENOUGH
from cait_mm.errors import UserError, reason_of
from cait_mm.utils.inputs import require_file

PARTS = ('images', 'annotations', 'categories')
LEFT_OUT = 0.01
"""The share of boxes that MMDetection may ignore before it is a problem: COCO itself has a few empty ones."""


class Findings:
    """Sentences about a file: for each kind of trouble its number of occurrences and an example."""

    def __init__(self, path: str) -> None:
        self.path, self.counts, self.example = path, Counter(), {}

    def add(self, kind: str, example: str) -> None:
        """Count an entry with this trouble; the example of the first one is kept."""
        self.counts[kind] += 1
        self.example.setdefault(kind, example)

    def sentences(self) -> list[str]:
        return [f'annotation file {self.path} has {count} {kind}: {self.example[kind]}.'
                for kind, count in self.counts.items()]


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: It cannot be opened, is no JSON, or nests too deeply.
    """
    try:
        require_file(path)
        return json.loads(Path(path).read_bytes())
    except RecursionError as error:
        raise UserError(f'{path} nests too deeply to be read: it is no annotation file.') from error
    except OSError as error:
        raise UserError(f'{path} cannot be opened ({error.strerror}).') from error
    except ValueError as error:
        raise UserError(f'{path} is no readable JSON ({reason_of(error)}): get or make it again.') from error


def structure_problems(path: str, content: Any, annotated: bool = True) -> list[str]:
    """Reasons, whatever the classes, why the libraries would fail on a file: it is no COCO file, or entries are
    incomplete. An empty list means that MMDetection can read it.

    A file of pictures to predict is not ``annotated`` and needs no annotations.
    """
    if not isinstance(content, dict):
        return [f'annotation file {path} is a {_kind(content)} at its top: COCO\'s files are an object of '
                f'{", ".join(PARTS)}.']
    parts = [part for part in PARTS if annotated or part != 'annotations' or part in content]
    wrong = [part for part in parts if not isinstance(content.get(part), list)]
    if wrong:
        listed = ', '.join(f'{part} ({_kind(content[part]) if part in content else "missing"})' for part in wrong)
        return [f'annotation file {path} has no lists of {listed}: COCO\'s files have {", ".join(PARTS)}.']
    findings = Findings(path)
    for part in parts:
        seen = set()
        for index, entry in enumerate(content[part]):
            where = f'{part}[{index}]'
            if not isinstance(entry, dict):
                findings.add(f'{part} that are no objects', f'{where} is a {_kind(entry)}')
                continue
            if not isinstance(entry.get('id'), (int, str)) or isinstance(entry.get('id'), bool):
                findings.add(f'{part} without an id that is a whole number or a word', _said(where, entry, 'id'))
            elif entry['id'] in seen:
                findings.add(f'{part} whose id another one has', _said(where, entry, 'id'))
            elif seen and type(entry['id']) is not type(next(iter(seen))):  # pycocotools sorts the ids
                findings.add(f'{part} whose id is a word where others are numbers, or the reverse',
                             _said(where, entry, 'id'))
            else:
                seen.add(entry['id'])
            for trouble in _CHECKS[part](entry):
                findings.add(f'{part} {trouble[0]}', _said(where, entry, trouble[1]))
    names = [entry.get('name') for entry in content['categories'] if isinstance(entry, dict)]
    for name, count in Counter(name for name in names if isinstance(name, str)).items():
        if count > 1:
            findings.add('categories whose name another one has', f'{name} stands {count} times')
    return findings.sentences()


def rle_problems(path: str, content: Mapping[str, Any]) -> list[str]:
    """Run-length codes in a file of the right structure on which pycocotools could crash."""
    findings, sizes = Findings(path), {image['id']: (image['height'], image['width']) for image in content['images']}
    for item in content.get('annotations', ()):
        mask = item.get('segmentation')
        if isinstance(mask, dict) and mask and _known(item.get('image_id'), sizes):
            trouble = mask_trouble(mask, *sizes[item['image_id']])
            if trouble:
                findings.add('masks that cannot be read', f'annotation {short(item["id"])}, {trouble}')
    return findings.sentences()


def _image(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not isinstance(entry.get('file_name', entry.get('coco_url')), str) or not entry.get('file_name', 'url'):
        yield 'without a file_name', 'file_name'
    for key in ('height', 'width'):
        if not _positive(entry.get(key)):
            yield f'whose {key} is no number of pixels', key


def _annotation(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    box = entry.get('bbox')
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        yield 'without a box of four numbers', 'bbox'
    elif not all_finite(box):
        yield 'whose box is not of finite numbers', 'bbox'
    elif box[2] < 0 or box[3] < 0:
        yield 'whose box has a negative width or height', 'bbox'
    if not all_finite([entry.get('area')]):
        yield 'without an area that is a number', 'area'
    if entry.get('iscrowd') not in (0, 1, None):
        yield 'whose iscrowd is neither 0 nor 1', 'iscrowd'


def _category(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not isinstance(entry.get('name'), str) or not entry['name']:
        yield 'without a name', 'name'


_CHECKS = dict(images=_image, annotations=_annotation, categories=_category)


def content_problems(path: str, content: Mapping[str, Any], classes: Sequence[str], with_mask: bool,
                     training: bool) -> tuple[list[str], list[str]]:
    """Problems with these classes in a file of the right structure, and remarks on things that may be intended.

    Args:
        path: Its name, for the sentences.
        content: Its content, in which :func:`structure_problems` has found no problem.
        classes: The names of the classes of the dataset.
        with_mask: Whether masks are read with the boxes.
        training: Whether the file is used for training; a class without a box is then a problem if there are
            ``ENOUGH`` pictures for each class.
    """
    names = [item['name'] for item in content['categories']]
    used = [name for name in names if name in set(classes)]
    problems, remarks = _category_problems(path, names, used, classes), []
    images = {item['id']: item for item in content['images']}
    ids = {item['id']: item['name'] for item in content['categories']}
    for what, key, known in (('picture', 'image_id', images), ('category', 'category_id', ids)):
        wrong = [item for item in content.get('annotations', ()) if not _known(item.get(key), known)]
        if wrong:
            value = wrong[0].get(key)
            texts = {str(name) for name in known}
            hint = f' (it lists {type(next(iter(known))).__name__}s)' if known and str(value) in texts else ''
            problems.append(f'annotation file {path} has {len(wrong)} annotations of a {what} that it does not list: '
                            f'{key} {short(value)}{hint} is one.')
    fits = [item for item in content.get('annotations', ())
            if _known(item.get('image_id'), images) and ids.get(_key(item.get('category_id'))) in set(used)]
    masks, left_out, crowds = Findings(path), Findings(path), Findings(path)
    taught, maskless = Counter(), []
    for item in fits:
        image, where = images[item['image_id']], f'annotation {short(item["id"])}'
        lost = _left_out(item, image)
        if lost:
            left_out.add(f'boxes that MMDetection leaves out, {lost}', f'{where} has {short(item["bbox"])} on a '
                         f'picture of {image["width"]}x{image["height"]}')
        elif not item.get('iscrowd'):
            taught[ids[item['category_id']]] += 1
        mask = item.get('segmentation')
        if not mask and not lost and with_mask:
            maskless.append(item['id'])
        trouble = mask_trouble(mask, image['height'], image['width']) if mask else None
        if trouble:
            masks.add('masks that cannot be read', f'{where}, {trouble}')
        elif item.get('iscrowd') and isinstance(mask, list) and mask:
            crowds.add('crowds (iscrowd=1) drawn as polygons, where COCO has an RLE', f'{where} is one')
    problems += masks.sentences()
    remarks += crowds.sentences()
    (problems if sum(left_out.counts.values()) > LEFT_OUT * len(fits) else remarks).extend(left_out.sentences())
    if maskless:
        problems.append(f'annotation file {path} has {len(maskless)} boxes without a mask, and the pipeline reads '
                        f'masks (with_mask=True): annotation {short(maskless[0])} is one.')
    if used and 'annotations' in content:
        seldom, often = _taught_problems(path, fits, used, taught, training and len(images) >= ENOUGH * len(used))
        problems, remarks = problems + often, remarks + seldom
    return problems, remarks


def _category_problems(path: str, names: Sequence[str], used: Sequence[str], classes: Sequence[str]) -> list[str]:
    lacking = sorted(set(classes) - set(names))
    if not used:
        return [f'annotation file {path} has no category of the classes ({_listed(classes)}), but {_listed(names)}: '
                'set metainfo.classes to these names.']
    if lacking:
        return [f'annotation file {path} lacks the categories {", ".join(lacking)}; it has {_listed(names)}.']
    if list(used) != list(classes):
        first, other = next((name, used[index]) for index, name in enumerate(classes) if name != used[index])
        return [f'annotation file {path} lists its categories in another order than metainfo.classes, and MMDetection '
                f'numbers them in the file\'s: {other} would be called {first}; set classes to the file\'s order.']
    return []


def _taught_problems(path: str, fits: Sequence[Mapping[str, Any]], used: Sequence[str], taught: Mapping[str, int],
                     expected: bool) -> tuple[list[str], list[str]]:
    """Remarks and problems about classes without a usable box."""
    if not taught:
        crowds = sum(bool(item.get('iscrowd')) for item in fits)
        why = (f'all {crowds} are crowds (iscrowd=1), which training ignores' if crowds and crowds == len(fits) else
               f'it has {len(fits)} annotations of them, {crowds} of them crowds')
        return [], [f'annotation file {path} has no box to learn {_listed(used)} from: {why}.']
    absent = [name for name in used if name not in taught]
    if not absent:
        return [], []
    sentence = [f'annotation file {path} has no box of {len(absent)} of {len(used)} classes: {_listed(absent)}.']
    return ([], sentence) if expected else (sentence, [])


def _left_out(item: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """The reason why ``CocoDataset.parse_data_info`` skips an annotation; empty if it does not."""
    if item.get('ignore'):
        return 'because they are marked ignore'
    x, y, width, height = item['bbox']
    if width < 1 or height < 1:
        return 'because they are less than a pixel wide or high'
    if item['area'] <= 0:
        return 'because their area is not positive'
    if min(x + width, image['width']) <= max(x, 0) or min(y + height, image['height']) <= max(y, 0):
        return 'because they are outside the picture'
    return ''


def _known(value: Any, known: dict[Any, Any]) -> bool:
    # in Python True == 1 and 1.0 == 1, while JSON distinguishes them
    return isinstance(value, (int, str)) and not isinstance(value, bool) and value in known


def _key(value: Any) -> Any:
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _positive(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) or isinstance(value, float) and value.is_integer()
    return whole and 0 < value < 10 ** 6


def _kind(value: Any) -> str:
    return {dict: 'object', list: 'list', str: 'text', bool: 'true or false', type(None): 'null'}.get(
        type(value), 'number')


def _said(where: str, entry: Mapping[str, Any], key: str) -> str:
    return f'{where} says {key}={short(entry[key])}' if key in entry else f'{where} has no {key}'


def _listed(names: Sequence[str]) -> str:
    return ', '.join(map(str, names[:5])) + (f' and {len(names) - 5} more' if len(names) > 5 else '') or 'none'
