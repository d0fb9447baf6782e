"""The process in which a small model is trained for the page, and put into a folder of its own.

It reads its task as a line of JSON, and writes lines of JSON: how far it is, and what came of it. The word "stop" asks it to keep the
model as it stands; when nobody is there to ask, it ends.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import image
from ..errors import BadSetting, Interrupted, UnnoiseError, needed_by
from .lecture import asked, drawn, taken
from .worker import for_the_web

SHAPES = {"unet": "unet:widths=16-32-64,blocks=1", "conv": "conv:widths=16-32-64", "dense": "dense"}
COSTS: dict[str, dict[str, Any]] = {"pixels": {}, "perceptual": {"perceptual": "auto"}}
SIDE = 1024  # pixels of the longer side of a picture to learn from: larger ones are made smaller first
DRAWN = 12  # pictures to learn from where none is given
SCORE_EVERY, SCORE_SHARE = 2.0, 0.1  # seconds, and the share of the time: the page shows the crop every few seconds


def pictures(files: list[Path], place: Path, patch: int) -> tuple[Path, Path, bool]:
    """(the picture to be scored on, the folder to learn from, whether in colour), as PNG files below a folder.

    The first file is scored on, and learned from are the others, without copies of it; or pictures that are drawn, if there are no
    others. Raises ImageError, and BadSetting for one that is too small to be scored on.
    """
    shown, learned = place / "shown.png", place / "learned"
    judged = taken(files[0])
    if min(judged.shape[:2]) < patch:
        raise BadSetting(f"the first picture has fewer than {patch} pixels a side; choose a larger one.")
    image.write(shown, judged)
    learned.mkdir()
    others = [taken(file, SIDE) for file in files[1:] if file.read_bytes() != files[0].read_bytes()]
    for number, picture in enumerate(others or map(drawn, range(1, DRAWN + 1))):
        image.write(learned / f"{number}.png", picture)
    return shown, learned, judged.ndim == 3


def learn(task: dict[str, Any], stop: threading.Event, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train as the task says: `files`, `place` for all that is needed meanwhile, `run` for the model; its steps, and the noisy crop's PSNR.

    Raises UnnoiseError.
    """
    asked(task["noise"])
    place, folder = Path(task["place"]), Path(task["run"])
    shown, learned, colour = pictures([Path(file) for file in task["files"]], place, 48)
    with needed_by("training a model", "train"):
        from .. import run
    from ..keeper import Progress, Watching

    def watch(progress: Progress) -> None:
        tell({"step": progress.step, "steps": progress.steps, "seconds_left": progress.seconds_left})
        if stop.is_set():  # it was asked for before the run listened
            _thread.interrupt_main(signal.SIGTERM)

    settings: dict[str, Any] = {
        "model": SHAPES[task["shape"]], "channels": "colour" if colour else "gray", "minutes": task["minutes"],
        "threads": task["threads"], "cache": str(place / "cache"), "places": 1, **COSTS[task["cost"]],
    }  # fmt: skip
    try:
        closely = Watching(watch, SCORE_EVERY, SCORE_SHARE, shows_all=True)
        result = run.train(learned, folder, noise=task["noise"], validation=shown, watch=closely, **settings)
    except Interrupted:
        result = run.resume(folder, finish=True)
    return {"noisy_psnr": result.noisy_psnr, "steps": result.steps}


def main() -> None:
    """Train one model."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    if hasattr(os, "nice"):
        os.nice(10)  # what is denoised meanwhile comes first
    stop, task = threading.Event(), json.loads(sys.stdin.readline())

    def tell(told: dict[str, Any]) -> None:
        print(json.dumps(told), file=answers, flush=True)

    def listen() -> None:
        for _ in sys.stdin:
            stop.set()
            _thread.interrupt_main(signal.SIGTERM)
        os._exit(0)  # the server is gone

    threading.Thread(target=listen, daemon=True).start()
    try:
        tell({"done": learn(task, stop, tell)})
    except UnnoiseError as error:
        tell({"error": for_the_web(str(error))})
    except MemoryError:
        tell({"error": "training needs more memory than there is; give fewer or smaller pictures."})
    except OSError as error:
        tell({"error": f"this computer cannot keep the model ({error.strerror}); free some space."})
    except Exception as error:
        tell({"error": f"training ended by a fault ({type(error).__name__})."})


if __name__ == "__main__":
    main()
