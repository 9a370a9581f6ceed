"""Lists and annotation files as the libraries' datasets read them: text with any byte-order mark, and no pickles."""
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, PickleHandler, register_backend, register_handler

from cait_mm.errors import UserError
from cait_mm.utils.inputs import read_text

PICKLES = ('.pkl', '.pickle')
PICKLE = 'is a pickle, a program that this project does not run: write it as JSON'


class TextBackend(LocalBackend):
    """MMEngine's local files, where text may begin with a byte-order mark.

    It takes the place of MMEngine's own, so that lists and JSON of every dataset are read by it.
    """

    def get_text(self, filepath: str | Path, encoding: str = 'utf-8') -> str:
        """The text of a file, see :func:`~cait_mm.utils.inputs.read_text`."""
        return read_text(filepath, encoding)


register_backend('local', TextBackend, force=True, prefixes='')


@register_handler(['pickle', 'pkl'])
class UnreadPickles(PickleHandler):
    """MMEngine's handler of pickles, which writes them and reads none: to read one is to run it.

    Registering it makes ``mmengine.load``, and so all datasets, safe in the whole process.
    """

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Nothing.

        Raises:
            UserError: Always.
        """
        raise UserError(f'an annotation or proposal file {PICKLE}.')
