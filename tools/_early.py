"""Imported first by every tool: a signal while the libraries load prints one line instead of a traceback.

Once they are loaded, ``cait_mm.config.cli.run`` handles signals.
"""
import os
import signal


def _leave(number, frame):
    what = 'interrupted' if number == signal.SIGINT else f'stopped by {signal.Signals(number).name}'
    os.write(2, f'error: {what}; nothing was started.\n'.encode())
    os._exit(128 + number)


for _name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is not signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _leave)
