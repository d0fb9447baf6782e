"""The process that opens, denoises and writes what was sent: a hostile picture that ends it ends nothing else.

It reads a line of JSON for each job, and writes lines of JSON: that it has begun, how far it is, and what came of it. The first line
it reads are its settings, and the first it writes whether it can work with them.
"""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import auto, image, rehearsal
from ..denoiser import Quality
from ..errors import ImageError, UnnoiseError
from ..image.picture import Bands
from . import lecture

Told = dict[str, Any]
Tell = Callable[[Told], None]


class Work:
    """What can be done with a file. A model is asked for by its name, which is told again, and its path, bundled name or `auto`."""

    def __init__(self, threads: int, tell: Tell) -> None:
        self.threads, self.tell = threads, tell
        self.ready: dict[tuple[str, Quality], auto.Models] = {}

    def denoise(self, source: Path, output: Path, model: str, path: str, strength: float, quality: Quality) -> Told:
        """As `unnoise denoise`: `kind`, `models`, `why`, and a `note` on what is lost."""
        models = self.load(path, quality)
        choices = models.choices(source, image.MAX_PIXELS)
        page = 0

        def change(choice: auto.Choice, pixels: Bands) -> Bands:
            nonlocal page
            page += 1
            number, done, all_of_it = page, 0, pixels.shape[0] * pixels.shape[1]

            def watch(more: int) -> None:
                nonlocal done
                done += more
                self.tell({"page": number, "share": done / all_of_it})

            return choice.in_bands(pixels, strength, models.tile, 0.0, watch)

        note = auto.write(source, output, choices, change)
        names = [model] if models.named else [choice.name or "none" for choice in choices]
        why = auto.told(choices) or "as it was asked for"
        return {"kind": image.kind_of(output), "models": list(dict.fromkeys(names)), "why": why, "note": note}

    def inspect(self, source: Path, output: Path) -> Told:
        """As `unnoise inspect --json`."""
        return rehearsal.diagnosed(source, image.MAX_PIXELS)

    def preview(self, source: Path, output: Path) -> Told:
        """The first page as a PNG, which every browser shows."""
        image.convert(source, output, lambda pixels: pixels, "PNG", first_frame=True)
        return {"kind": "PNG"}

    def corrupt(self, source: Path, output: Path, model: str, path: str, noise: str) -> Told:
        """The first page of a file, spoilt and restored, as `lecture.corrupted`; in JSON, as it is large."""
        told = lecture.corrupted(lecture.taken(source), lecture.asked(noise), self.load(path))
        told["model"] = told["model"] if path == auto.AUTO else model
        output.write_text(json.dumps(told))
        return {"kind": "JSON"}

    def by_weights(self, source: Path, output: Path, noise: str) -> Told:
        """As `lecture.by_weights`; in JSON, as it is large."""
        output.write_text(json.dumps(lecture.by_weights(lecture.taken(source), lecture.asked(noise), self.threads)))
        return {"kind": "JSON"}

    def load(self, path: str, quality: Quality = "normal") -> auto.Models:
        """The model there; loaded when it is first asked for. Raises ModelError."""
        if (path, quality) not in self.ready:
            self.ready[path, quality] = auto.Models(path, self.threads, None, quality)
        return self.ready[path, quality]

    def do(self, job: dict[str, Any]) -> Told:
        """What came of a job; of one that cannot be done, an `error` in one sentence."""
        calls: dict[str, Callable[..., Told]] = {
            "denoise": self.denoise, "inspect": self.inspect, "preview": self.preview, "corrupt": self.corrupt,
            "weights": self.by_weights,
        }  # fmt: skip
        try:
            return {"done": calls[job.pop("what")](Path(job.pop("source")), Path(job.pop("output")), **job)}
        except ImageError as error:
            return {"error": f"The file {for_the_web(str(error))}"}
        except UnnoiseError as error:
            return {"error": str(error)}
        except MemoryError:
            return {"error": "The file needs more memory than there is; send a smaller picture."}
        except OSError as error:
            return {"error": f"This computer cannot keep the file ({error.strerror}); free some space.", "full": True}
        except Exception as error:  # whatever a file can lead a library to
            return {"error": f"The file could not be processed ({type(error).__name__})."}


def for_the_web(words: str) -> str:
    """Without advice on options of the command line."""
    return re.sub(r"; [^;]*--[a-z].*$", ".", words)


def main() -> None:
    """Work until there is nobody to work for."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer

    def tell(told: Told) -> None:
        print(json.dumps(told), file=answers, flush=True)

    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)  # also in the middle of a job: the server is gone

    threading.Thread(target=listen, daemon=True).start()
    settings = json.loads(lines.get())
    work = Work(settings["threads"], tell)
    try:
        work.load(settings["path"])
    except UnnoiseError as error:
        tell({"error": str(error)})
        return
    tell({"ready": True})
    while True:
        job = json.loads(lines.get())
        tell({"begun": True})
        tell(work.do(job))


if __name__ == "__main__":
    main()
