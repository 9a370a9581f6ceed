"""A check in Python that a segmentation of a COCO file can be drawn: pycocotools may crash on one that cannot."""
import math
from collections.abc import Sequence
from typing import Any

_LAST_CHARACTER = 48 + 63


def mask_trouble(segmentation: Any, height: int, width: int) -> str | None:
    """The mistake in a segmentation of a picture, or None. It may be polygons or runs, compressed or not.

    Runs are those of the COCO API: alternating counts of zeros and ones, down the columns, ``height * width`` in all.
    """
    if isinstance(segmentation, (list, tuple)):
        return _polygon_trouble(segmentation)
    if not isinstance(segmentation, dict):
        return f'its segmentation is a {type(segmentation).__name__}, not a list of polygons or an RLE'
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        return f'its RLE is for a picture of {short(size)} (height, width) and the picture is [{height}, {width}]'
    if isinstance(counts, (str, bytes)):
        try:
            counts = decode_counts(counts)
        except ValueError as error:
            return f'its compressed RLE is damaged: {error}'
    pixels = int(height * width)
    if not isinstance(counts, (list, tuple)) or not all(_whole(count) and 0 <= count <= pixels for count in counts):
        return f'its RLE has counts that are no whole numbers from 0 to {pixels}, the pixels of the picture'
    if sum(counts) != pixels:
        return f'its RLE has {sum(counts)} pixels and the picture {pixels}'
    return None


def decode_counts(text: Any) -> list[int]:
    """The counts of a compressed RLE (``rleFrString`` of the COCO API): base 32 in characters 48 to 111, from the
    fourth on as differences to the count before the last.

    Raises:
        ValueError: A character is out of range, a number is incomplete or longer than 7 characters, or a count is
            negative.
    """
    codes = text if isinstance(text, bytes) else text.encode('utf-8')
    counts: list[int] = []
    value = place = 0
    for code in codes:
        if not 48 <= code <= _LAST_CHARACTER:
            raise ValueError(f'it holds the character {chr(code)!r}')
        digit = code - 48
        value |= (digit & 31) << 5 * place
        place += 1
        if digit & 32:
            if place >= 7:
                raise ValueError('one of its numbers is too long')
            continue
        if digit & 16:
            value -= 1 << 5 * place
        count = value + (counts[-2] if len(counts) > 2 else 0)
        if count < 0:
            raise ValueError('one of its counts is negative')
        counts.append(count)
        value = place = 0
    if place:
        raise ValueError('it is cut off')
    return counts


def _polygon_trouble(polygons: Sequence[Any]) -> str | None:
    for polygon in polygons:
        if isinstance(polygon, (int, float)):
            return 'its segmentation is one list of numbers: a list of polygons is wanted, each a list of its own'
        if not isinstance(polygon, (list, tuple)):
            return f'a polygon is a {type(polygon).__name__}, not a list of numbers'
        if len(polygon) % 2:
            return f'a polygon has {len(polygon)} numbers: x and y in turn are wanted'
        if len(polygon) < 6:
            return f'a polygon has {len(polygon) // 2} points: three are the least'
        if not all_finite(polygon):
            return 'a polygon has coordinates that are no numbers'
    return None


def all_finite(values: Sequence[Any]) -> bool:
    """Whether all values are numbers, and none is NaN, infinite or beyond the range of pixels."""
    try:  # files hold millions of them, and these functions are in C
        return not values or -1e9 < min(values) <= max(values) < 1e9 and math.isfinite(sum(values))
    except TypeError:  # a string, None
        return False


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def short(value: Any) -> str:
    """A value from a file, however large or deep, in a form for a sentence."""
    if isinstance(value, int) and abs(value) > 10 ** 18:
        return 'a huge number'
    if isinstance(value, (list, tuple)) and len(value) <= 8 and not any(isinstance(x, (list, dict)) for x in value):
        return f'[{", ".join(map(short, value))}]'
    if isinstance(value, (list, tuple, dict)):
        return f'{"an object" if isinstance(value, dict) else "a list"} of {len(value)}'
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
