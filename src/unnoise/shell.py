"""How a command ends: every error becomes one sentence on standard error, and an exit code."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from cyclopts import App, CycloptsError

from .console import say, say_error
from .errors import Interrupted, UnnoiseError, remedy


def call(app: App, arguments: Sequence[str] | None = None) -> None:
    """Run a command of `app`, and exit with its code, or that of its error."""
    try:
        with _sigterm_like_ctrl_c():
            code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        inner = error.__cause__ if isinstance(error.__cause__, UnnoiseError) else error
        say_error(f"{' '.join(str(inner).split())} See: unnoise --help")
        code = 2
    except UnnoiseError as error:
        say_error(str(error).replace("\n", "\\n"))
        code = 2
    except Interrupted as error:
        say(f"unnoise: {error}")
        code = 130
    except KeyboardInterrupt as error:
        say("unnoise: stopped; what was finished is kept.")
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
