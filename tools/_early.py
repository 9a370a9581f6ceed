"""Imported first by every tool: a signal while the libraries load is one line, not a traceback from their middle.

``cait_mm.config.cli.run`` takes over once they are loaded.
"""
import os
import signal


def _leave(number, frame):
    what = 'interrupted' if number == signal.SIGINT else f'stopped by {signal.Signals(number).name}'
    os.write(2, f'error: {what}; nothing was begun.\n'.encode())
    os._exit(128 + number)


for _name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is not signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _leave)
