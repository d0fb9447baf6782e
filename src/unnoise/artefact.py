"""The files a model lives in: safetensors and ONNX, each with one JSON card in its metadata. The one writer, the one reader.

The card says what the model is (format, architecture, training record, licence, measured quality, alignment) and holds a
SHA-256 of its own words and of what they stand for: the tensors, or the ONNX bytes before the card. Nothing is ever unpickled.
A checksum is no signature: whoever makes a file can make its card. So sizes are limited before anything is parsed, and an ONNX
graph that names other files, or runs graphs of its own, is refused before onnxruntime sees it.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from . import atomic
from .errors import ModelError, NewerFormat

FORMAT = 1
KEY = "unnoise"  # of the card, in the metadata
LARGEST, LARGEST_ONNX, LARGEST_CARD = 2**32, 2**28, 2**20  # bytes; the first also holds checkpoints
MOST_FIELDS = 10**5  # of one protobuf message
GRAPH, NODE, INITIALIZER, SPARSE, ATTRIBUTE, FUNCTIONS, TRAINING = 7, 1, 5, 15, 5, 25, 20  # field numbers of onnx.proto
EXTERNAL_DATA = 13  # of a TensorProto: the file that its numbers are in
FORBIDDEN = (
    (GRAPH, INITIALIZER, EXTERNAL_DATA), (GRAPH, NODE, ATTRIBUTE, 5, EXTERNAL_DATA), (GRAPH, NODE, ATTRIBUTE, 10, EXTERNAL_DATA),
    (GRAPH, SPARSE), (GRAPH, NODE, ATTRIBUTE, 22), (GRAPH, NODE, ATTRIBUTE, 23), (GRAPH, NODE, ATTRIBUTE, 6), (GRAPH, NODE, ATTRIBUTE, 11), (FUNCTIONS,), (TRAINING,),
)  # fmt: skip
Card = dict[str, Any]
Tensors = dict[str, npt.NDArray[Any]]


def write(path: Path, tensors: Tensors, card: Card, overwrite: bool = True) -> None:
    """Write a safetensors file, whole or not at all; adds format and checksum to the card.

    Raises OSError, and FileExistsError unless `overwrite`.
    """
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    atomic.write_bytes(path, safetensors.numpy.save(tensors, {KEY: _sealed(card, _bytes_of(tensors))}), overwrite)


def read(path: Path) -> tuple[Tensors, Card]:
    """Read a file that `write` made, its checksum verified. Raises ModelError."""
    _check_file(path, LARGEST)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read as safetensors ({_words(error)}); make it again.") from None
    return tensors, _checked(path, metadata.get(KEY), _bytes_of(tensors))


def pieces(training: Card | None) -> list[Card]:
    """The records of a training and of those that it started from, the first one first."""
    found: list[Card] = []
    while isinstance(training, dict):
        found.insert(0, training)
        start = training.get("start_from")
        training = start.get("training") if isinstance(start, dict) else None
    return found


def noises(card: Card) -> list[str]:
    """The noises, as text, that a model has learned from, in its last training; none if its card does not say."""
    training = card.get("training")
    found = training.get("noise") if isinstance(training, dict) else None
    return list(found) if isinstance(found, list | tuple) else []  # a tuple: of a run that ends, not yet through JSON


def stamped(onnx: bytes, card: Card) -> bytes:
    """The ONNX file with the card in its metadata: protobuf lets a field be added by appending its bytes."""
    entry = _field(1, KEY.encode()) + _field(2, _sealed(card, [onnx]).encode())
    return onnx + _field(14, entry)  # ModelProto.metadata_props, a StringStringEntryProto each


def unstamped(onnx: bytes) -> bytes:
    """What `stamped` has put a card on."""
    return onnx[: list(_fields(memoryview(onnx)))[-1][0]]


def read_onnx(path: Path) -> tuple[bytes, Card]:
    """The bytes of an ONNX file that `stamped` made, and its card, the checksum verified. Raises ModelError."""
    _check_file(path, LARGEST_ONNX)
    try:
        data = path.read_bytes()
        parts = memoryview(data)  # whose slices are no copies
        start, number, entry = list(_fields(parts))[-1]  # the card comes last: what followed would not be under its checksum
        texts = {key: bytes(value) for _, key, value in _fields(entry)} if number == 14 else {}
        outside = any(True for numbers in FORBIDDEN for _ in _within(parts, *numbers))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); give a run folder or a model file.") from None
    except (IndexError, ValueError):
        raise ModelError(f"{path}: there is no card of unnoise in it; expected a model.onnx that unnoise wrote.") from None
    text = texts.get(2, b"").decode("utf-8", "replace") if texts.get(1) == KEY.encode() else None
    card = _checked(path, text, [parts[:start]])
    if outside:
        raise ModelError(
            f"{path}: its network reads other files or runs graphs inside it, as none of unnoise does; do not use it."
        )
    return data, card


def _check_file(path: Path, largest: int) -> None:
    try:
        about = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); give a run folder or a model file.") from None
    if not stat.S_ISREG(about.st_mode):  # a pipe would hang
        raise ModelError(f"{path} is no regular file; give a run folder or a model file.")
    if about.st_size > largest:
        raise ModelError(f"{path} has {about.st_size >> 20} MiB: expected {largest >> 20} MiB at most; make it again.")


def _sealed(card: Card, content: Iterable[bytes]) -> str:
    """The card as JSON, with the format and the SHA-256 of itself and of `content`."""
    card = {"format": FORMAT, **card}
    return json.dumps({**card, "sha256": _digest(card, content)})


def _checked(path: Path, text: str | None, content: Iterable[bytes | memoryview]) -> Card:
    try:
        card = json.loads(text or "") if len(text or "") <= LARGEST_CARD else None
    except (ValueError, RecursionError):
        card = None
    if not isinstance(card, dict):
        raise ModelError(f"{path}: there is no card of unnoise in it; expected a file that unnoise wrote.")
    if card.get("format") != FORMAT:
        raise NewerFormat(f"{path} has format {card.get('format')}, and this version reads {FORMAT}; update unnoise.")
    if card.get("sha256") != _digest({key: value for key, value in card.items() if key != "sha256"}, content):
        raise ModelError(f"{path}: its content is not what it was written with (SHA-256 differs); make it again.")
    return card


def _digest(card: Card, content: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for part in content:
        digest.update(part)
    return digest.hexdigest()


def _bytes_of(tensors: Tensors) -> Iterator[bytes]:
    for name, tensor in sorted(tensors.items()):
        yield f"{name} {tensor.dtype.str} {tensor.shape}\n".encode()
        yield tensor.tobytes()


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low = b""
    while value > 127:
        low += bytes([value & 127 | 128])
        value >>= 7
    return low + bytes([value])


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """(start, number, content) of each protobuf field; the content of numbers is left out. Raises ValueError, IndexError."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at
            if shift > 63:
                raise ValueError("a varint of more than 64 bits")

    at = count = 0
    while at < len(data):
        start, count = at, count + 1
        if count > MOST_FIELDS:
            raise ValueError("more fields than a network of ours has")
        tag, at = varint(at)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            size, at = varint(at)
            if at + size > len(data):
                raise ValueError("a field longer than the file")
            yield start, number, data[at : at + size]
            at += size
        elif wire == 0:
            _, at = varint(at)
            yield start, number, data[:0]
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            yield start, number, data[:0]
        else:
            raise ValueError(f"wire type {wire}")


def _within(data: memoryview, *numbers: int) -> Iterator[memoryview]:
    """The contents of nested protobuf fields: of those numbered `numbers[0]`, those in them numbered `numbers[1]`, and so on."""
    if not numbers:
        yield data
        return
    for _, number, content in _fields(data):
        if number == numbers[0]:
            yield from _within(content, *numbers[1:])
