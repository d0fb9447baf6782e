"""How a command ends: every error becomes one sentence on standard error, and an exit code."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, MissingArgumentError

from .console import say, say_error
from .errors import Interrupted, UnnoiseError, remedy


def call(app: App, arguments: Sequence[str] | None = None) -> None:
    """Run a command of `app`, and exit with its code, or that of its error."""
    try:
        with _sigterm_like_ctrl_c():
            code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        say_error(f"{_words(error)} See: {' '.join(['unnoise', *(error.command_chain or ()), '--help'])}")
        code = 2
    except UnnoiseError as error:
        say_error(str(error).replace("\n", "\\n"))
        code = 2
    except Interrupted as error:
        say(f"unnoise: {error}")
        code = 130
    except KeyboardInterrupt as error:
        say("unnoise: " + "; ".join(["stopped", *getattr(error, "__notes__", ())]))
        code = 128 + (error.args[0] if error.args else signal.SIGINT)
    except MemoryError:
        say_error("this needs more memory than there is; use smaller pictures, or a smaller --tile or --batch.")
        code = 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        code = 1
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        say_error(f"cannot write or read{name} ({error.strerror or type(error).__name__}){remedy(error)}")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _words(error: CycloptsError) -> str:
    """What is wrong with a command line, in one sentence or two."""
    if isinstance(error.__cause__, UnnoiseError):
        return str(error.__cause__)
    said = " ".join(str(error).split())
    if isinstance(error, MissingArgumentError) and error.argument and "Did you mean" not in said:
        given = error.keyword is not None or error.argument.tokens  # without its value
        if error.argument.name.startswith("--") and not given:
            return f"there is no {error.argument.name}; give one."
    return said


@contextlib.contextmanager
def going_on(run: Path | None = None) -> Iterator[None]:
    """If it is stopped by Ctrl-C or SIGTERM: how to go on, with the same command, or with a training run that has begun."""
    try:
        yield
    except Interrupted:
        raise  # which says it
    except KeyboardInterrupt as error:
        if run is None:
            error.add_note("the same command goes on")
        elif (run / "config.json").exists():
            error.add_note(f"go on with: unnoise train --resume {run}")
        raise


@contextlib.contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that no half file stays; training has its own way, in `keeper`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen to signals
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
