"""Checkpoint files that are written completely or not at all."""

from mmengine.fileio import LocalBackend, register_backend

from cait_mm.errors import UserError
from cait_mm.utils.files import atomic_path


class AtomicBackend(LocalBackend):
    """MMEngine's local files, replaced in one step.

    ``default_hooks.checkpoint.backend_args=dict(backend='atomic')`` uses it.
    """

    def put(self, obj: bytes | memoryview, filepath: str) -> None:
        """Write ``obj``.

        Raises:
            UserError: The file cannot be written; an earlier file is still there.
        """
        try:
            with atomic_path(filepath) as temporary:
                temporary.write_bytes(obj)
        except UserError as error:
            sentence = str(error).rstrip('.')
            raise UserError(f'{sentence}; earlier files are kept, continue with --resume.') from error


register_backend('atomic', AtomicBackend, force=True)
