"""The answer on top of a page: how much faster, smaller and worse, in sentences that say what is not known."""
from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN = 'not measured'


def answer(data: Mapping[str, Any]) -> dict[str, Any]:
    """``sentence``, the three ``cards`` (title, value, details) and what is ``unknown``, from what
    :func:`~cait_mm.report.gather.gather` gives.
    """
    cards = [faster(data.get('speed')), smaller(data.get('counts')), worse(data.get('quality') or ())]
    unknown = [f'{text[:1].upper()}{text[1:]}.' for text in data.get('missing', ())]
    if not any('dense' in row for row in data.get('quality') or ()):
        unknown.append('How good the two models are is not measured: that needs labels. '
                       'What is shown instead is how often they agree.')
    return {'sentence': sentence(data), 'cards': cards, 'unknown': unknown}


def sentence(data: Mapping[str, Any]) -> str:
    """All of it in one sentence."""
    speed, counts, parts = data.get('speed'), data.get('counts'), []
    if speed:
        parts.append(f'{speed["ratio"]:.2f} times as fast{" (noisy)" * bool(speed["noisy"])}')
    if counts:
        parts += [f'{change(*both(counts, "overall", what))} {word}' for what, word in (('macs', 'MACs'),
                                                                                       ('params', 'parameters'))]
    row = next(iter(data.get('quality') or ()), None)
    if row:
        low, high = row.get('interval_of_change') or (1, 1)
        parts.append(f'{row["what"]}: {number(row)} on {row["on"]}{" (no sure change)" * (low <= 0 <= high)}')
    return f'{", ".join(parts)}.' if parts else 'Nothing could be measured.'


def faster(speed: Mapping[str, Any] | None) -> dict[str, Any]:
    if not speed:
        return {'title': 'Speed', 'value': UNKNOWN, 'details': []}
    before, after = (milliseconds(speed[name]) for name in ('dense', 'small'))
    low, high = speed['ratio_quartiles']
    machine, height, width = speed['conditions'], *speed['shape']
    on = ', '.join(filter(None, (machine.get('device'), machine.get('CPU'),
                                 f'{machine["threads"]} thread{"s" * (machine["threads"] != 1)}'
                                 if 'threads' in machine else '', f'PyTorch {machine.get("torch", "")}')))
    details = [f'{before} → {after}',
               f'{low:.2f}× to {high:.2f}× between the quartiles of {speed["rounds"]} rounds in turn',
               f'batch {speed["batch_size"]} of {height}×{width} pixels, {speed.get("dtype", "float32")}, {on}']
    if speed['noisy']:
        details.append('The rounds differ by more than a tenth: something else ran on this machine. Measure again '
                       'before you quote this.')
    return {'title': 'Speed', 'value': f'{speed["ratio"]:.2f}×', 'details': details}


def smaller(counts: Mapping[str, Any] | None) -> dict[str, Any]:
    if not counts:
        return {'title': 'Size', 'value': UNKNOWN, 'details': []}
    details = []
    for part, name in (('overall', 'whole model'), ('backbone', 'backbone')):
        if part not in counts['dense'] or part == 'backbone' and 'overall' not in counts['dense']:
            continue
        macs, params = (both(counts, part, what) for what in ('macs', 'params'))
        details.append(f'{name}: {macs[0] / 1e9:.2f} → {macs[1] / 1e9:.2f} GMACs ({change(*macs)}), '
                       f'{params[0] / 1e6:.2f} → {params[1] / 1e6:.2f} M parameters ({change(*params)})')
    return {'title': 'Size', 'value': f'{change(*both(counts, "overall", "macs"))} MACs', 'details': details}


def worse(quality: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not quality:
        return {'title': 'Quality', 'value': UNKNOWN, 'details': []}
    first = quality[0]
    value = f'{signed(first["change"])} points' if 'change' in first else f'{first["small"]:.1f} % alike'
    return {'title': 'Quality', 'value': value, 'details': [line(row) for row in quality]}


def line(row: Mapping[str, Any]) -> str:
    """A measured quality in words, with its interval."""
    text = f'{row["what"]}: {number(row)}'
    if row.get('interval'):
        text += f' ({row["interval"][0]:.1f} to {row["interval"][1]:.1f} at 95 % confidence)'
    if row.get('interval_of_change'):
        low, high = row['interval_of_change']
        text += f' ({signed(low)} to {signed(high)} at 95 % confidence)'
    return f'{text}, on {row["on"]}'


def number(row: Mapping[str, Any]) -> str:
    """``79.5 → 77.1 %``, or ``91.2 %`` where there is nothing to compare with."""
    before = f'{row["dense"]:.1f} → ' if row.get('dense') is not None else ''
    return f'{before}{row["small"]:.1f} {row["unit"]}'.rstrip()


def both(counts: Mapping[str, Any], part: str, what: str) -> tuple[float, float]:
    return counts['dense'][part][what], counts['small'][part][what]


def change(before: float, after: float) -> str:
    """The change as whole percents, ``−48 %``."""
    percent = round(100 * (after / before - 1))
    return f'{"−" if percent < 0 else "+"}{abs(percent)} %'


def signed(value: float) -> str:
    text = f'{value:+.1f}'.replace('-', '−')
    return '±0.0' if text[1:] == '0.0' else text


def milliseconds(timing: Mapping[str, Any]) -> str:
    low, high = timing['quartiles']
    return f'{1000 * timing["seconds"]:.1f} ms ({1000 * low:.1f} to {1000 * high:.1f})'
