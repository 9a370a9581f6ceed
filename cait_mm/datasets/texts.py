"""How datasets of the libraries read lists and annotation files: text with any byte-order mark, and no pickles."""
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, PickleHandler, register_backend, register_handler

from cait_mm.errors import UserError
from cait_mm.utils.inputs import read_text

PICKLES = ('.pkl', '.pickle')
PICKLE = 'is a pickle, a program that this project does not run: write it as JSON'


class TextBackend(LocalBackend):
    """MMEngine's local files, whose text may begin with a byte-order mark.

    It replaces MMEngine's backend, so it reads the lists and JSON of every dataset.
    """

    def get_text(self, filepath: str | Path, encoding: str = 'utf-8') -> str:
        """The text of a file, see :func:`~cait_mm.utils.inputs.read_text`."""
        return read_text(filepath, encoding)


register_backend('local', TextBackend, force=True, prefixes='')


@register_handler(['pickle', 'pkl'])
class UnreadPickles(PickleHandler):
    """MMEngine's handler of pickles, which writes but does not read them, because reading a pickle runs code.

    Registering it makes ``mmengine.load``, and thereby all datasets, safe in the whole process.
    """

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Refuse to read.

        Raises:
            UserError: Always.
        """
        raise UserError(f'an annotation or proposal file {PICKLE}.')
