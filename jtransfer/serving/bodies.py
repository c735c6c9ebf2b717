"""What the body of a request holds: one example or several, as files, texts, numbers or JSON."""

import base64
import binascii
import json
import mimetypes
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from urllib.parse import parse_qsl

from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line
from jtransfer.serving.sent import Sent, wanted
from jtransfer.serving.web import MultiPartException, MultiPartParser, Request

_JSON = (
    'send JSON such as {"inputs": [INPUT, …]}, where an input is "a text", ["a text", "and its pair"], [1.5, 2] or '
    '{"base64": "…"}'
)


class TooLarge(Exception):
    """A body has more bytes than are taken."""


async def read(request: Request, takes: Sequence[str], most: int) -> list[Sent]:
    """Returns the examples of a request, at least one.

    Args:
      request: The request.
      takes: `Modality.sent`, which tells what a body is whose type says nothing.
      most: The largest number of bytes.

    Raises:
      TooLarge: The body has more bytes.
      InputError: It can't be read as what its type says, or holds no example.
    """
    body = await _body(request, most)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _multipart(request, body)
    elif kind == "application/json" or kind.endswith("+json"):
        found = _of_json(body)
    elif kind == "application/x-www-form-urlencoded" and "file" not in takes:
        found = [Sent(value) for _, value in parse_qsl(_text(body), keep_blank_values=True)]
    elif kind.startswith("text/"):
        found = [Sent(_text(body))]
    else:
        found = [Sent(body, mimetypes.guess_extension(kind) or "")] if body else []
    if not found:
        raise InputError(f"the request holds no example; send {wanted(takes)}")
    return found


async def _body(request: Request, most: int) -> bytes:
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > most:
        raise TooLarge
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"the text is not UTF-8: {error.reason} at byte {error.start}") from None


async def _multipart(request: Request, body: bytes) -> list[Sent]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, once(), max_part_size=max(len(body), 1)).parse()
    except (MultiPartException, KeyError) as error:
        reason = getattr(error, "message", "there is no boundary")
        raise InputError(f"the form can't be read: {one_line(reason)}") from None
    try:
        return [
            Sent(value) if isinstance(value, str) else Sent(await value.read(), value.filename or "")
            for _, value in form.multi_items()
        ]
    finally:
        await form.close()


def _of_json(body: bytes) -> list[Sent]:
    try:
        held = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is not JSON: {one_line(str(error))}") from None
    if not isinstance(held, dict) or set(held) != {"inputs"}:
        raise InputError(_JSON)
    inputs = held["inputs"]
    several = isinstance(inputs, list) and not (inputs and all(map(_is_number, inputs)))
    return [_one(given) for given in (inputs if several else [inputs])]


def _one(given: Any) -> Sent:
    if isinstance(given, str) or (isinstance(given, list) and given and all(map(_is_number, given))):
        return Sent(given)
    if isinstance(given, dict) and set(given) <= {"base64", "name"} and isinstance(given.get("base64"), str):
        try:
            return Sent(base64.b64decode(given["base64"], validate=True), str(given.get("name", "")))
        except binascii.Error as error:
            raise InputError(f"the base64 of an input can't be read: {error}") from None
    if isinstance(given, list) and len(given) == 2 and all(isinstance(part, str) for part in given):
        return Sent("\t".join(given))
    raise InputError(_JSON)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
