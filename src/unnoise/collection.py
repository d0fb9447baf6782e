"""What a run learns from: the pictures in folders, apart from those it is scored on, and whether they are still the same."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import atomic
from .cache import Cache, Line, Streamed, place
from .config import TrainConfig
from .errors import BadSetting

Array = npt.NDArray[Any]
LeftOut = tuple[Path, str]  # a file or folder, and why
MEMORY = 10**9  # bytes of the pictures that were decoded last, of those that are not in the cache
UNREADABLE = 0.2  # of the pictures: more than this stops a training run
FEW = 10  # with fewer pictures than this none is held out
SCORED = 4  # pictures that are held out, at most, and one in
ONE_IN = 20


def find(path: Path, passed: list[LeftOut] | None = None, closed: list[LeftOut] | None = None) -> Iterator[Path]:
    """The files below a folder, sorted, or the file itself; hidden ones and links to folders are passed over.

    `passed` and `closed` take those links, and the folders that cannot be opened, with the reason. Raises BadSetting if there
    is nothing at `path`.
    """
    if not path.exists():
        raise BadSetting(f"{path} does not exist; give a picture file or a folder of them.")
    if not path.is_dir():
        yield path
        return

    def cannot(error: OSError) -> None:
        if closed is not None:
            closed.append((Path(error.filename), f"cannot be opened ({error.strerror}); check its permissions."))

    for folder, folders, files in os.walk(path, onerror=cannot):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if passed is not None:
            links = [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
            passed += [(link, "is a link to a folder; give it by name to include it") for link in links]
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


@dataclass(frozen=True)
class Pictures:
    """Pictures, (H, W) or (H, W, 3) uint8 or uint16, and what became of the other files.

    `arrays`: their pixels, or what decodes them. `files`: where each is from; `contents`: the SHA-256 of all that its file holds,
    as it is learned from.
    """

    arrays: list[Array | Streamed]
    names: list[str]
    unreadable: list[LeftOut] = field(default_factory=list)
    small: list[LeftOut] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        areas = np.array([array.shape[0] * array.shape[1] for array in self.arrays], np.float64)
        object.__setattr__(self, "_reach", np.cumsum(areas / max(areas.sum(), 1)))
        object.__setattr__(self, "_decoded", OrderedDict())

    def drawn(self, rng: np.random.Generator) -> Array:
        """One of the pictures, each as likely as it is large."""
        reach: Array = self.__dict__["_reach"]
        return self.pixels(min(int(np.searchsorted(reach, rng.random())), len(self.arrays) - 1))

    def pixels(self, index: int) -> Array:
        """A picture's pixels: from the cache, among the last decoded, or decoded now."""
        picture = self.arrays[index]
        if not isinstance(picture, Streamed):
            return picture
        decoded: OrderedDict[int, Array] = self.__dict__["_decoded"]
        if index not in decoded:
            decoded[index] = picture.read()
        decoded.move_to_end(index)
        while len(decoded) > 1 and sum(pixels.nbytes for pixels in decoded.values()) > MEMORY:
            decoded.popitem(last=False)
        return decoded[index]

    def where(self, wanted: Callable[[str], bool]) -> Pictures:
        """Those whose content is wanted."""
        chosen = [index for index, content in enumerate(self.contents) if wanted(content)]
        lists = {name: [getattr(self, name)[i] for i in chosen] for name in ("arrays", "names", "files", "contents")}
        return replace(self, **lists)


def load(paths: Sequence[Path], config: TrainConfig) -> Pictures:
    """Every picture at or below `paths` that a run can learn from.

    Raises BadSetting when none is left, or more than a fifth of the pictures cannot be read.
    """
    files, asked = [file for path in paths for file in find(path)], set(paths)
    cache = Cache(place(config.cache), config.channels, round(config.max_megapixels * 1e6), round(config.cache_gb * 1e9))
    pictures = Pictures([], [])
    for file, line in zip(files, cache.look(files), strict=True):
        if line.picture or file in asked:  # in a folder of pictures there may be other files
            _sort_in(pictures, file, line, cache, config.patch)
    where = ", ".join(map(str, paths))
    total = len(pictures.arrays) + len(pictures.small) + len(pictures.unreadable)
    if not total:
        raise BadSetting(
            f"{where}: there is no picture here; expected PNG, JPEG, TIFF, WebP or other picture files, or folders of them."
        )
    if len(pictures.unreadable) > UNREADABLE * total:
        file, reason = pictures.unreadable[0]
        raise BadSetting(
            f"{len(pictures.unreadable)} of {total} pictures cannot be read, the first of them {file} ({reason}); remove or mend them."
        )
    if not pictures.arrays:
        raise BadSetting(
            f"{where}: every picture is smaller than a patch of {config.patch}; use larger pictures or a smaller --patch."
        )
    return replace(pictures)  # now that it is full


def _sort_in(pictures: Pictures, file: Path, line: Line, cache: Cache, patch: int) -> None:
    """Add the pages of a file that are large enough, or say why there is none."""
    if line.refused:
        pictures.unreadable.append((file, line.refused))
        return
    pages = cache.pictures(file, line)
    large = [page for page in pages if min(page.shape[:2]) >= patch]
    if not large:
        height, width = pages[0].shape[:2]
        pictures.small.append((file, f"is {width}x{height}, smaller than a patch of {patch}"))
    pictures.arrays.extend(large)
    pictures.names.extend([file.name] * len(large))
    pictures.files.extend([file] * len(large))
    pictures.contents.extend([line.sha256] * len(large))


def gather(sources: dict[str, Any], config: TrainConfig) -> tuple[Pictures, Pictures]:
    """(to learn from, to score on): the given validation pictures, else those whose SHA-256 is smallest, one in twenty, 4 at most.

    What is scored on is not learned from, nor is any copy of it: pages of one file stay together, and the name of a file or its
    metadata play no part. Of fewer than ten pictures none is held out; the same are in both then.
    """
    photos = load([Path(path) for path in sources["photos"]], config)
    if sources["validation"]:
        scored = load([Path(path) for path in sources["validation"]], config)
        held_out = set(scored.contents)
    else:
        distinct = sorted(set(photos.contents))
        if len(distinct) < FEW:
            return photos, photos
        held_out = set(distinct[: min(SCORED, max(1, len(distinct) // ONE_IN))])
        scored = photos.where(held_out.__contains__)
    learned = photos.where(lambda content: content not in held_out)
    if not learned.arrays:
        raise BadSetting("every picture to learn from is a validation picture too; give others to --validation, or none.")
    return learned, scored


# --- the same pictures as before? -------------------------------------------------------------------------------------------


def fingerprint(pictures: Pictures) -> str:
    """SHA-256 over what is learned from, in the order in which it is drawn from."""
    return hashlib.sha256("\n".join(pictures.contents).encode()).hexdigest()


def keep(run: Path, *sets: Pictures) -> None:
    """Write down in a run folder what it learns from and is scored on: no names, only hashes of contents and names."""
    atomic.write_bytes(run / "pictures.txt", "".join(line + "\n" for line in _listed(sets)).encode())


def changes(run: Path, *sets: Pictures) -> str:
    """How the pictures differ from those that `keep` wrote down, in words; empty if they do not, or if nothing was."""
    if not (run / "pictures.txt").exists():
        return ""
    before, now = (run / "pictures.txt").read_text().splitlines(), _listed(sets)
    if [line[:64] for line in before] == [line[:64] for line in now]:
        return ""
    old, new = ({line[65:]: line[:64] for line in lines} for lines in (before, now))
    changed = sum(old[name] != new[name] for name in old.keys() & new.keys())
    counts = {"changed": changed, "gone": len(old.keys() - new.keys()), "new": len(new.keys() - old.keys())}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "another order"


def _listed(sets: Sequence[Pictures]) -> list[str]:
    return [
        f"{content} {hashlib.sha256(os.fsencode(file)).hexdigest()[:16]}"
        for pictures in sets
        for content, file in zip(pictures.contents, pictures.files, strict=True)
    ]
