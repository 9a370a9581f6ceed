"""The page's server: for this machine alone, without anything from the network."""
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cait_mm.errors import UserError

HERE = '127.0.0.1'
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""A Content-Security-Policy: browsers load nothing from other servers, whatever Gradio's page names."""
FONTS, MONO = ['system-ui', 'sans-serif'], ['ui-monospace', 'monospace']


class _Policy:
    """An ASGI application with :data:`POLICY` in its answers."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: dict[str, Any]) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message.get('headers', ()), (b'content-security-policy', POLICY.encode())]
            await send(message)

        await self.app(scope, receive, answer)


@contextmanager
def served(page: Any, host: str = HERE, port: int | None = None) -> Iterator[str]:
    """A context in which ``page`` (Gradio's ``Blocks``) is served; gives its address.

    Args:
        page: The page.
        host: The address to listen on; ``0.0.0.0`` is all of this machine's.
        port: Its port; None is the first free one from 7860 on.

    Raises:
        UserError: Nothing can listen there.
    """
    import gradio
    from starlette.middleware import Middleware
    theme = gradio.themes.Default(font=FONTS, font_mono=MONO)  # its own fonts come from a server
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, share=False, quiet=True, show_error=True, prevent_thread_lock=True,
            theme=theme, footer_links=[], app_kwargs=dict(middleware=[Middleware(_Policy)]))
    except (OSError, ValueError) as error:
        raise UserError(f'the page cannot be served at {host}{f":{port}" if port else ""} ({error}): give another '
                        '--port or --host.') from error
    try:
        yield address
    finally:
        page.close(verbose=False)
