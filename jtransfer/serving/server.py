"""Runs the application on a port until a signal stops it."""

import contextlib
import signal
import socket
from collections.abc import Iterator

from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.serving.web import Starlette, uvicorn


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to a port; 0 takes a free one.

    Raises:
      InputError: The port is taken, or the host is none of this machine.
    """
    bound = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        if bound is not None:
            bound.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"can't listen on {host}:{port}: {reason}; give another --port or --host") from None
    return bound


def run(app: Starlette, bound: socket.socket, timeout: float) -> None:
    """Serves an application until SIGINT or SIGTERM, after which what has been asked is still answered.

    Args:
      app: The application.
      bound: A socket of `listen`.
      timeout: Seconds that requests may take to end after the signal.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(timeout) + 1,
        server_header=False,
    )
    with _outliving_signals():
        server = _Server(config)
        server.run(sockets=[bound])
    if not server.started:
        raise InputError("the model could not be loaded; the lines above say why")


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            say(f"serving on http://{f'[{host}]' if ':' in host else host}:{port}")


@contextlib.contextmanager
def _outliving_signals() -> Iterator[None]:
    """uvicorn sends itself again, when it has ended, the signals that it has ended by."""
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
