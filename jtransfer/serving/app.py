"""The application of a run's model: /predict, a page to try it by hand, /info, /health and /metrics."""

import asyncio
import contextlib
import json
import sys
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.serving import bodies, compilations, page
from jtransfer.serving.batching import Batcher, Full
from jtransfer.serving.engine import Engine
from jtransfer.serving.measured import Measured
from jtransfer.serving.model import Model
from jtransfer.serving.web import (
    ClientDisconnect,
    HTMLResponse,
    HTTPException,
    JSONResponse,
    PlainTextResponse,
    Request,
    Response,
    Route,
    Starlette,
)

TOP = 5  # classes of an answer
_LONGEST = 500  # characters of an error


class Limits(NamedTuple):
    """What a server takes.

    Attributes:
      max_batch: The largest number of examples of a batch.
      max_wait_ms: Milliseconds that an example waits for others to share its batch.
      max_bytes: The largest number of bytes of a request.
      max_queue: The largest number of examples that are here at once.
      timeout: Seconds after which a request is given up.
      threads: The number of threads that prepare examples.
    """

    max_batch: int = 16
    max_wait_ms: float = 5.0
    max_bytes: int = 20_000_000
    max_queue: int = 512
    timeout: float = 30.0
    threads: int = 2

    def check(self) -> "Limits":
        """Returns the limits.

        Raises:
          InputError: One is out of range.
        """
        for name, value in self._asdict().items():
            if value < (0 if name == "max_wait_ms" else 1):
                raise InputError(f"--{name}={value}: give {'0' if name == 'max_wait_ms' else '1'} or more")
        if self.max_queue < self.max_batch:
            raise InputError(f"--max_queue={self.max_queue} must be at least --max_batch={self.max_batch}")
        return self


class _Service:
    """What the routes share."""

    def __init__(self, model: Model, limits: Limits):
        self.limits, self.model = limits, model
        self.engine = Engine(model, limits.max_batch)
        self.measured = Measured(self.engine.sizes)
        compilations.count()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        limits = self.limits
        self.batcher = Batcher(
            self.engine.compute,
            max_batch=limits.max_batch,
            max_wait=limits.max_wait_ms / 1000,
            max_queue=limits.max_queue,
            record=self.measured.batch,
        )
        with ThreadPoolExecutor(limits.threads, "jtransfer-prepare") as self.preparing:
            await asyncio.get_running_loop().run_in_executor(self.preparing, self.engine.warm_up)
            self.computing = asyncio.create_task(self.batcher.run())
            try:
                yield
            finally:
                self.computing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self.computing

    async def predict(self, request: Request) -> Response:
        began = asyncio.get_running_loop().time()
        response = await self._answered(request)
        self.measured.requests[response.status_code] += 1
        self.measured.seconds.add(asyncio.get_running_loop().time() - began)
        return response

    async def _answered(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(self.limits.timeout):
                return _json({"predictions": await self._predictions(request)})
        except InputError as error:
            return _error(400, str(error))
        except bodies.TooLarge:
            return _error(413, f"a request has at most {self.limits.max_bytes:,} bytes; send less at once")
        except Full:
            return _error(503, f"{self.limits.max_queue} examples are here already; try again", {"Retry-After": "1"})
        except TimeoutError:
            return _error(504, f"no answer within {self.limits.timeout:g} s")
        except ClientDisconnect:
            return _error(499, "the client has gone")
        except Exception as error:
            say("".join(traceback.format_exception(error)), sys.stderr)
            return _error(500, f"internal error: {type(error).__name__}; the server's output says more")

    async def _predictions(self, request: Request) -> list[dict[str, Any]]:
        top_k = _top_k(request)
        with self.batcher.room(1):
            sent = await bodies.read(request, self.engine.takes, self.limits.max_bytes)
            if len(sent) > self.limits.max_queue:
                raise InputError(f"a request holds {len(sent)} examples; send at most {self.limits.max_queue} at once")
            with self.batcher.room(len(sent) - 1):
                loop = asyncio.get_running_loop()
                waiting = [loop.run_in_executor(self.preparing, self.engine.prepare, one) for one in sent]
                items = [await _numbered(one, i, len(sent)) for i, one in enumerate(waiting)]
                tables = await self.batcher.results(items)
        return [self.engine.answer(item, table, top_k) for item, table in zip(items, tables, strict=True)]

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page.render(self.info(), self.limits.max_bytes), headers=page.HEADERS)

    async def about(self, request: Request) -> Response:
        return _json(self.info())

    def info(self) -> dict[str, Any]:
        """What /info says."""
        run = self.model.run
        return {
            "run": run.folder.name,
            "task": run.config.task,
            "modality": run.config.modality,
            "inputs": list(self.engine.takes),
            "classes": list(run.class_names),
            "temperature": self.model.predictor.temperature,
            "batch_sizes": list(self.engine.sizes),
            "limits": self.limits._asdict(),
        }

    async def health(self, request: Request) -> Response:
        if self.computing.done():
            return _error(503, "nothing is computed any more; start the server again")
        return _json({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        text = self.measured.text(self.batcher.held, len(self.batcher.waiting), compilations.count())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def make(model: Model, limits: Limits) -> Starlette:
    """Returns the application, which any server of ASGI serves.

    Args:
      model: The run's model.
      limits: What is taken.

    Raises:
      InputError: Examples of the run's modality can't be sent, or a limit is out of range.
    """
    service = _Service(model, limits.check())
    routes = [
        Route("/", service.page),
        Route("/predict", service.predict, methods=["POST"]),
        Route("/info", service.about),
        Route("/health", service.health),
        Route("/metrics", service.metrics),
    ]
    return Starlette(routes=routes, lifespan=service.lifespan, exception_handlers={HTTPException: _refused})


async def _refused(request: Request, error: Any) -> Response:
    return _error(error.status_code, f"{request.method} {request.url.path}: {error.detail}", error.headers)


async def _numbered(waiting: Any, number: int, count: int) -> Any:
    try:
        return await waiting
    except InputError as error:
        raise InputError(f"input {number}: {error}" if count > 1 else str(error)) from None


def _top_k(request: Request) -> int:
    text = request.query_params.get("top_k", str(TOP))
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise InputError(f"top_k={text!r:.40} must be a positive whole number")
    return int(text)


def _json(content: Any) -> Response:
    return Response(json.dumps(content, ensure_ascii=False, allow_nan=False), media_type="application/json")


def _error(status: int, text: str, headers: Any = None) -> Response:
    return JSONResponse({"error": one_line(text, _LONGEST)}, status, headers)
