"""Serves a run's model over HTTP: python -m jtransfer.serve RUN [--host=127.0.0.1] [--port=8000] [--step=STEP]
    [--adapters=FOLDER …] [--max_batch=16] [--max_wait_ms=5] [--max_queue=512] [--max_bytes=20000000] [--timeout=30]

POST /predict takes the content of a file (as the body, in a form, or in JSON as {"inputs": [{"base64": "…"}]}), a text
(text/plain, or {"inputs": ["…"]}) or numbers ({"inputs": [[1.5, 0.25]]}), one or several, and answers with
{"predictions": [{"class": …, "probability": …, "top": […]}]}; ?top_k=3 says how many classes:

    curl --data-binary @photo.jpg http://127.0.0.1:8000/predict

Requests that come at the same time share a batch. GET / is a page to try it by hand, /info says what is served, /health
whether it is ready, and /metrics has counts and times for Prometheus. SIGTERM ends it when what was asked is answered.
It needs: pip install 'jtransfer[serve]'.

In Python, `serve.app("RUN")` is an application for any server of ASGI.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from jtransfer.core.command import parse_flags, run_command, set_up_compiler, step_of
from jtransfer.core.errors import InputError


def app(
    folder: str | os.PathLike, step: int | str | None = None, adapters: Sequence[str | os.PathLike] = (), **limits: Any
) -> Any:
    """Returns the application (ASGI) of a run's model.

    Args:
      folder: of a run.
      step: as `predict.load` takes it.
      adapters: as `predict.load` takes them.
      **limits: max_batch, max_wait_ms, max_bytes, max_queue, timeout and threads, of `serving.app.Limits`.

    Raises:
      InputError: the folder is no run, its examples can't be sent, a limit is out of range, or Starlette is missing.
    """
    from jtransfer.runs.open import open as open_run
    from jtransfer.serving import app as serving
    from jtransfer.serving.model import Model

    return serving.make(Model(open_run(folder), step, adapters), serving.Limits(**limits))


def main(argv: list[str]) -> None:
    """Serves the run of a command line until a signal."""
    values = flags.FlagValues()
    host = flags.DEFINE_string("host", "127.0.0.1", "the address that is listened on", flag_values=values)
    port = flags.DEFINE_integer("port", 8000, "the port; 0 takes a free one", 0, 65535, flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last; else the model", flag_values=values)
    adapters = flags.DEFINE_multi_string("adapters", [], "folders of adapters of the model", flag_values=values)
    limits = [
        flags.DEFINE_integer("max_batch", 16, "examples of a batch", flag_values=values),
        flags.DEFINE_float("max_wait_ms", 5.0, "milliseconds to wait for others", flag_values=values),
        flags.DEFINE_integer("max_bytes", 20_000_000, "bytes of a request", flag_values=values),
        flags.DEFINE_integer("max_queue", 512, "examples that are here at once", flag_values=values),
        flags.DEFINE_float("timeout", 30.0, "seconds of a request", flag_values=values),
        flags.DEFINE_integer("threads", 2, "threads that prepare examples", flag_values=values),
    ]
    rest = parse_flags(values, argv)
    if len(rest) != 1:
        raise InputError("give the folder of one run: python -m jtransfer.serve RUN")
    set_up_compiler()
    made = app(rest[0], step_of(step.value), adapters.value, **{flag.name: flag.value for flag in limits})
    from jtransfer.serving import server

    with server.listen(host.value, port.value) as bound:
        server.run(made, bound, limits[4].value)


if __name__ == "__main__":
    run_command(main)
