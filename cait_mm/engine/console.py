"""What a run prints: MMEngine's log without its longest entries, which are in the log file of the run."""
import logging

from mmengine.logging import MMLogger

IN_FILE = ('\n' + '-' * 60 + '\nSystem environment:', 'Config:\n', 'Hooks will be executed in the following order:')
"""The beginnings of entries of hundreds of lines: versions and compilers, the config, and who is called when."""


def shorten(logger: MMLogger) -> None:
    """Leave :data:`IN_FILE` out of what ``logger`` prints, and say where it is."""
    if logger.log_file is None:
        return
    printing = [handler for handler in logger.handlers if type(handler) is logging.StreamHandler]
    for handler in printing:
        handler.addFilter(_is_short)
    logger.info(f'Versions, the config and the order of hooks are in {logger.log_file}.')


def _is_short(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(IN_FILE)
