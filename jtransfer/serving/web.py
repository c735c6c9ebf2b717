"""What is used of Starlette and uvicorn, which the extra `serve` installs."""

from jtransfer.core.errors import InputError

try:
    import uvicorn  # pyright: ignore[reportMissingImports]
    from python_multipart import __version__ as _multipart  # noqa: F401  # pyright: ignore[reportMissingImports]
    from starlette.applications import Starlette  # pyright: ignore[reportMissingImports]
    from starlette.exceptions import HTTPException  # pyright: ignore[reportMissingImports]
    from starlette.formparsers import MultiPartException, MultiPartParser  # pyright: ignore[reportMissingImports]
    from starlette.requests import ClientDisconnect, Request  # pyright: ignore[reportMissingImports]
    from starlette.responses import (  # pyright: ignore[reportMissingImports]
        HTMLResponse,
        JSONResponse,
        PlainTextResponse,
        Response,
    )
    from starlette.routing import Route  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise InputError(f"serving needs {error.name}: pip install 'jtransfer[serve]'") from None

__all__ = [
    "ClientDisconnect",
    "HTMLResponse",
    "HTTPException",
    "JSONResponse",
    "MultiPartException",
    "MultiPartParser",
    "PlainTextResponse",
    "Request",
    "Response",
    "Route",
    "Starlette",
    "uvicorn",
]
