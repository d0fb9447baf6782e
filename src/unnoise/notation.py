"""The short text that a model or a noise is written as: kind, kind:value, kind:key=value,key=value; of dataclasses, and back to them.

Light on purpose, as `config` is: nothing here imports numpy.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from .errors import BadSetting, did_you_mean


def from_text(kinds: dict[str, type[Any]], text: str, what: str, short: dict[str, str] | None = None) -> Any:
    """Make the dataclass that `text` names. `short`: the key that a bare value stands for, by kind.

    Raises BadSetting that names the nearest kind or key.
    """
    kind, colon, rest = text.strip().partition(":")
    if kind not in kinds:
        raise BadSetting(f"{what} {text!r}: there is no {kind!r}; {did_you_mean(kind, kinds)}")
    keys = [field.name for field in dataclasses.fields(kinds[kind])]
    if colon and not keys:
        raise BadSetting(f"{what} {text!r}: {kind} has nothing to set; write {kind} alone.")
    values: dict[str, Any] = {}
    if colon and not rest:
        raise BadSetting(f"{what} {text!r}: expected a value after the colon.")
    for part in rest.split(",") if rest else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            key, value = (short or {}).get(kind, ""), key
            if not key or values:
                raise BadSetting(f"{what} {text!r}: expected key=value, not {part!r}; the keys are {', '.join(keys)}.")
        if key not in keys:
            raise BadSetting(f"{what} {text!r}: {kind} has no {key!r}; {did_you_mean(key, keys)}")
        if key in values:
            raise BadSetting(f"{what} {text!r}: {key} is given twice; give it once.")
        values[key] = value_of(value)
    for field in dataclasses.fields(kinds[kind]):
        if field.default is dataclasses.MISSING and field.name not in values:
            raise BadSetting(f"{what} {text!r}: {kind} needs its {field.name}; write {kind}:{field.name}=VALUE.")
    return kinds[kind](**values)


def value_of(text: str) -> Any:
    """25/255, 0.3, 40, 0..55/255, 32-64-128, 8x8x32x32/40x0x16x16 (blocks), or a word."""
    if ".." in text:
        low, _, high = text.partition("..")
        return number(low), number(high)
    if re.fullmatch(r"\d+(-\d+)+", text):
        return tuple(int(piece) for piece in text.split("-"))
    if re.fullmatch(r"\d+(x\d+){3}(/\d+(x\d+){3})*", text):
        return tuple(tuple(int(piece) for piece in block.split("x")) for block in text.split("/"))
    return text if re.fullmatch(r"[a-z]+", text) and text not in ("nan", "inf") else number(text)


def number(text: str) -> int | float:
    """A number, or a quotient such as 25/255. Raises BadSetting."""
    above, slash, below = text.strip().partition("/")
    try:
        if slash:
            return float(above) / float(below)
        return int(above) if re.fullmatch(r"[+-]?\d+", above) else float(above)
    except (ValueError, ZeroDivisionError):
        raise BadSetting(f"{text!r}: expected a number such as 0.1 or 25/255.") from None


def str_of(kinds: dict[str, type[Any]], thing: Any, defaults: bool = False) -> str:
    """The text that `from_text` turns back into an equal `thing`: its kind, and what differs from the defaults.

    With `defaults`, those too: what is stored must not change its meaning when a default does.
    """
    kind = next(name for name, cls in kinds.items() if type(thing) is cls)
    values = [(f, getattr(thing, f.name)) for f in dataclasses.fields(thing)]
    given = [(f, value) for f, value in values if defaults or value != f.default]
    texts = [f"{f.name}={text_of(value, '-' if isinstance(f.default, tuple) else '..')}" for f, value in given]
    return kind + (":" if given else "") + ",".join(texts)


def text_of(value: Any, between: str = "..") -> str:
    """The inverse of `value_of`; `between` stands between the numbers of a tuple."""
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return "/".join("x".join(map(str, block)) for block in value)
    if isinstance(value, tuple):
        return between.join(text_of(piece) for piece in value)
    if isinstance(value, float) and len(repr(value)) > 6 and round(value * 255, 3) / 255 == value:
        return f"{round(value * 255, 3):g}/255"
    return str(value)
