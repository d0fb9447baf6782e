"""The errors a caller can catch. Each is one sentence: what was given, what was expected, what to do next.

UnnoiseError    the base of all below; also what you catch to catch everything
BadSetting      a setting that cannot be used (also a ValueError)
ImageError      a picture that cannot be read, written or worked on (also a ValueError)
ModelError      a run folder or model file that cannot be used (also a ValueError); NewerFormat if a newer version wrote it
Diverged        training stopped because its cost or gradient was no longer finite (also an ArithmeticError)
MissingExtra    an optional package is not installed (also an ImportError)
Interrupted     training was stopped by Ctrl-C or SIGTERM and saved first (a KeyboardInterrupt, so not an UnnoiseError)
"""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator


class UnnoiseError(Exception):
    """Base of this package's errors."""


class BadSetting(UnnoiseError, ValueError):
    """A setting that cannot be used."""


class ImageError(UnnoiseError, ValueError):
    """A picture that cannot be read, written or worked on."""


class ModelError(UnnoiseError, ValueError):
    """A run folder or model file that cannot be used."""


class NewerFormat(ModelError):
    """A file that a newer version has written: there is nothing wrong with it."""


class Diverged(UnnoiseError, ArithmeticError):
    """Training stopped because its cost or gradient was no longer finite."""


class MissingExtra(UnnoiseError, ImportError):
    """An optional package is not installed."""


class Interrupted(KeyboardInterrupt):
    """Training was stopped on request, after the step it was in, and saved."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of an error about a name: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}."


def remedy(error: OSError) -> str:
    """The end of an error about a file that cannot be written: what to do next, where the system's reason tells."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose a folder that you may write to."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space there, or choose another -o."
    return "."


@contextlib.contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Around an import: a package that is not there becomes a MissingExtra that says which extra brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == __package__:
            raise
        raise MissingExtra(f'{what} needs {error.name}; install it with: pip install "unnoise[{extra}]".') from None


@contextlib.contextmanager
def memory_error() -> Iterator[None]:
    """What torch raises when memory runs out, on the processor or on a card, is a RuntimeError like any other: a MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if "memory" in str(error):
            raise MemoryError(str(error)) from None
        raise
