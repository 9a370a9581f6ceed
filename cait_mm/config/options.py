"""Options that change a config."""
import argparse
from typing import Any

from mmengine.config import DictAction

from cait_mm.errors import reason_of


class _Assignments(DictAction):
    """MMEngine's ``KEY=VALUE`` words, with an error of the parser for any other word."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        for word in values or ():
            if '=' not in word:
                parser.error(f'{option_string} wants KEY=VALUE, not {word!r}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError, RecursionError) as error:  # brackets that it cannot read
            parser.error(f'{option_string} cannot be read: {reason_of(error)}')


def add_cfg_options(parser: argparse.ArgumentParser, text: str = 'change the config') -> None:
    """Add ``--cfg-options KEY=VALUE ...``, described by ``text``."""
    parser.add_argument('--cfg-options', nargs='+', action=_Assignments, metavar='KEY=VALUE', help=text)


def add_data_root_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--data-root DIR``; :func:`cait_mm.datasets.root.move_data` puts it into a config."""
    parser.add_argument('--data-root', metavar='DIR',
                        help='folder of the data instead of the config\'s data_root, for all loaders and evaluators')
