"""The HTTP interface as an OpenAPI document, for programs and for whoever writes them."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..denoiser import QUALITIES
from .learner import COSTS, SHAPES
from .lesson import FILES, LONGEST

Document = dict[str, Any]
TEXT: Document = {"type": "string"}
NUMBER: Document = {"type": "number"}
COUNT: Document = {"type": "integer", "minimum": 0}
ERRORS = {
    400: "A field is wrong.",
    401: "The token is missing or wrong; only where unnoise listens at an address that was given.",
    403: "Another web page asks, or the Host is not ours.",
    404: "There is none.",
    408: "The file came too slowly.",
    409: "A model is being trained; or none is, or enough have been.",
    413: "The file is larger than the limit.",
    415: "The form is not multipart/form-data.",
    422: "The file cannot be processed.",
    501: "What training needs is not installed.",
    503: "Too much is waiting; Retry-After says for how many seconds to wait.",
}


def document(models: list[str], default: str) -> Document:
    """models: the names that may be asked for; default: the one that is taken if none is."""
    key = {"type": "string", "pattern": "^[0-9a-zA-Z-]{8,64}$"}
    settings = {
        "model": {"type": "string", "enum": models, "default": default},
        "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
        "quality": {"type": "string", "enum": list(QUALITIES), "default": "normal"},
        "key": key | {"description": "To ask for the progress by, for as long as it lasts."},
    }
    said = {
        "unnoise-model": "The models that it went through, or none.",
        "unnoise-why": "Why these.",
        "unnoise-note": "What the answer lacks, if anything.",
    }
    headers = {name: {"description": words, "schema": TEXT} for name, words in said.items()}
    file = {"description": "The file.", "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
    estimate = _object(value=NUMBER, error=NUMBER)
    figures = (
        "sigma", "fine", "correlation", "extremes", "impulses", "missing", "blocks", "gain", "read", "typical", "level",
    )  # fmt: skip
    noise = dict.fromkeys(figures, estimate) | {"channels": _list(estimate), "kinds": _list(TEXT), "frames": COUNT}
    noise |= {"likelihood": NUMBER, "colour": NUMBER, "drawn": {"type": "boolean"}, "camera": TEXT}
    noise |= {"grid": {"type": ["object", "null"]}}
    advice: Document = {
        "models": {"type": "array", "items": TEXT},
        "gain_db": {"anyOf": [estimate, {"type": "null"}]},
        "advice": TEXT,
    }
    state = {"type": "string", "enum": ["waiting", "working", "unknown"]}
    noise_of = {
        "type": "string",
        "maxLength": 1000,
        "default": "gaussian:25/255",
        "description": "As for `unnoise corrupt --noise`.",
    }
    training = {
        "noise": noise_of,
        "shape": {"type": "string", "enum": list(SHAPES), "default": next(iter(SHAPES))},
        "cost": {"type": "string", "enum": list(COSTS), "default": next(iter(COSTS))},
        "minutes": {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST, "default": 2},
    }
    maybe = {"type": ["number", "null"]}
    level = _object(channels=COUNT, height=COUNT, width=COUNT, picture=TEXT)
    pictures = dict.fromkeys(("clean", "noisy", "mask", "restored"), TEXT | {"description": "A data: address of a PNG."})
    told = {
        "noise": TEXT,
        "touched": NUMBER,
        "model": {"type": ["string", "null"]},
        "why": TEXT,
        "psnr": _object(noisy=maybe, restored=maybe),
    }
    weighed = _object(lambda1=NUMBER, lambda2=NUMBER, psnr=maybe, picture=TEXT | {"description": "A data: address of a PNG."})
    lesson = _json(
        _object(
            state={"type": "string", "enum": ["none", "starting", "learning", "stopping", "done", "failed"]},
            words=TEXT, model=TEXT, step=COUNT, steps=COUNT, seconds_left=maybe, noisy_psnr=maybe,
            points=_list(_object(step=COUNT, seconds=NUMBER, loss=maybe, psnr=maybe)),
        )
    )  # fmt: skip
    about = _object(file=TEXT, bytes=COUNT, purpose={"type": ["string", "null"]}, licence={"type": ["string", "null"]})
    paths = {
        "/api/denoise": _post(
            "Denoise a file; the answer has its kind, depth and metadata.", settings, file | {"headers": headers}
        ),
        "/api/inspect": _post("Say what noise is in the first page of a file.", {}, _json(_object(**noise, **advice))),
        "/api/preview": _post("The first page of a file as a PNG.", {}, file),
        "/api/progress": _get(
            "How far a picture is: of its present page, the share that is done.",
            _json(_object(state=state, page=COUNT, share=NUMBER)),
            parameters=[{"name": "key", "in": "query", "required": True, "schema": key}],
        ),
        "/api/models": _get(
            "The models that can be asked for.",
            _json(_object(default=TEXT, models=_list(TEXT), files=_list(about), max_bytes=COUNT)),
        ),
        "/api/corrupt": _post(
            "A picture, made smaller than 512 pixels and spoilt; what a model makes of it, and its code.",
            {"model": settings["model"], "noise": noise_of},
            _json(_object(**told, **pictures, code=_list(level), code_note=TEXT)),
        ),
        "/api/weights": _post(
            "The same spoilt picture through models that were trained alike but for the weights of the cost.",
            {"noise": noise_of},
            _json(_object(models=_list(weighed))),
        ),
        "/api/train": {
            **_post(
                "Begin to train a small model; it is scored on the first file, and learns from the others.",
                training,
                lesson,
                FILES,
            ),
            **_get("How far the training is; its model, once it is done.", lesson),
        },
        "/api/train/stop": {
            "post": {
                "summary": "Stop training, and keep the model as it stands.",
                "responses": {"200": lesson, **_errors(401, 403, 409)},
            }
        },
        "/api/train/sample": _get("The newest crop: noisy, restored, clean.", file, 404),
        "/api/model": _get(
            "A model that was trained here, as an ONNX file.",
            {
                "description": "The file.",
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            },
            404,
            parameters=[{"name": "name", "in": "query", "required": True, "schema": TEXT}],
        ),
        "/api/openapi.json": _get("This document.", _json({"type": "object"})),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "unnoise", "version": __version__, "description": "Denoise pictures on your own computer."},
        "components": {"schemas": {"Error": _object(error=TEXT)}},
        "paths": paths,
    }


def _object(**properties: Document) -> Document:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(of: Document) -> Document:
    return {"type": "array", "items": of}


def _json(schema: Document) -> Document:
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _errors(*numbers: int) -> Document:
    schema = {"$ref": "#/components/schemas/Error"}
    return {str(number): _json(schema) | {"description": ERRORS[number]} for number in numbers or ERRORS}


def _get(summary: str, answer: Document, *numbers: int, **more: Any) -> Document:
    return {"get": {"summary": summary, **more, "responses": {"200": answer, **_errors(400, 401, 403, *numbers)}}}


def _post(summary: str, settings: Document, answer: Document, most: int = 1) -> Document:
    """most: files that may be sent."""
    one: Document = {"type": "string", "format": "binary"}
    properties = {"file": one if most == 1 else _list(one) | {"minItems": 1, "maxItems": most}, **settings}
    form = {"type": "object", "properties": properties, "required": ["file"], "additionalProperties": False}
    body = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return {"post": {"summary": summary, "requestBody": body, "responses": {"200": answer, **_errors()}}}
