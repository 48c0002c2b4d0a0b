"""Out of a request, the files that it holds. Never imports torch."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from rain.deploy.settings import Settings
from rain.files import printable

TOP = 5
MOST = 1000
"""Classes that are told of an image, by default and at most."""

FIELDS = 16
"""Values of a form that are no files, at most."""

LONGEST = 200
"""Letters of a file's name that come back."""


@dataclass(frozen=True)
class Upload:
    """One file of a request.

    Args:
        name: as the client calls it.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclass(frozen=True)
class Order:
    """What a request asks.

    Args:
        uploads: at least one.
        seed: of the draws; None for fresh ones.
        top: classes that are told.
    """

    uploads: tuple[Upload, ...]
    seed: int | None
    top: int


async def read_order(request: Request, settings: Settings) -> Order:
    """Read what a request asks: a form with files, or JSON with base64.

    Raises:
        HTTPException: 422 for what is neither, or out of range; 413 for too many files or values; 403 for a
            seed where none is taken.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads, values = await _read_form(request, settings)
    elif kind == "application/json":
        uploads, values = _read_json(await request.body())
    else:
        what = "send multipart/form-data with a field files, or application/json with images in base64"
        raise HTTPException(415, f"{what}; got {kind[:LONGEST] or 'no content-type'}")
    if not uploads:
        raise HTTPException(422, "there is no picture in the request: send at least one file")
    if len(uploads) > settings.max_files:
        raise HTTPException(413, f"{len(uploads)} files in one request, and {settings.max_files} are allowed")
    seed = _whole(values.get("seed"), "seed", 0, 2**63 - 1)
    if seed is not None and not settings.seeds:
        raise HTTPException(403, "this service takes no seed: who says it could try draws until one is wrong")
    top = _whole(values.get("top"), "top", 1, MOST)
    return Order(tuple(uploads), seed, TOP if top is None else top)


async def _read_form(request: Request, settings: Settings) -> tuple[list[Upload], dict[str, Any]]:
    uploads, values = [], {}
    try:
        async with request.form(max_files=settings.max_files, max_fields=FIELDS) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    name = printable(value.filename or "")[:LONGEST]
                    uploads.append(Upload(name, await value.read()))
                else:
                    values[name] = value
    except HTTPException as error:
        raise _own_limit(error, settings) from None
    except (UnicodeError, LookupError):  # the client names the charset
        raise HTTPException(422, "the form is not in the charset that it names: send it in UTF-8") from None
    return uploads, values


def _own_limit(error: HTTPException, settings: Settings) -> HTTPException:
    """The form's parser calls every fault a bad request (400); what is too much has a status of its own."""
    if error.status_code != 400:
        return error
    limits = {
        "Too many files": f"the request holds more files than the {settings.max_files} that are allowed",
        "Too many fields": f"the form holds more values than the {FIELDS} that are allowed",
        "Part exceeded": "a value in the form is too long: send pictures as files, with a filename",
    }
    for beginning, message in limits.items():
        if error.detail.startswith(beginning):
            return HTTPException(413, message)
    return error


def _read_json(body: bytes) -> tuple[list[Upload], dict[str, Any]]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(422, "the body is no JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("images"), list):
        raise HTTPException(422, 'the body must be an object with a list "images" of base64 texts')
    uploads = []
    for number, text in enumerate(values["images"]):
        uploads.append(Upload(f"images[{number}]", _decoded(text, number)))
    return uploads, values


def _decoded(text: object, number: int) -> bytes:
    if not isinstance(text, str):
        raise HTTPException(422, f"images[{number}] must be a text in base64")
    content = text.partition("base64,")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(422, f"images[{number}] is no base64") from None


def _whole(value: object, name: str, low: int, high: int) -> int | None:
    """A whole number of a request, which a form has as text; None where there is none."""
    if value is None or value == "":
        return None
    try:
        number = int(value) if isinstance(value, str) and len(value) < 30 else value
    except ValueError:
        number = None
    if type(number) is not int or not low <= number <= high:
        raise HTTPException(422, f"{name} must be a whole number from {low} to {high}")
    return number
