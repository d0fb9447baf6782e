"""What a run learns from: the pictures in folders, apart from those it is scored on, and whether they are still the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import atomic
from .cache import Cache, Line, Streamed, place
from .config import TrainConfig
from .errors import BadSetting, ImageError

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


def listed(files: Sequence[LeftOut]) -> list[dict[str, str]]:
    """The same for a JSON document."""
    return [{"source": str(file), "reason": reason} for file, reason in files]


@dataclass(frozen=True)
class Pictures:
    """Pictures, (H, W) or (H, W, 3) uint8 or uint16, and what became of the other files.

    `arrays`: their pixels, or what decodes them. `files`: where each is from; `contents`: the SHA-256 of all that its file holds,
    as it is learned from; `folders`: which of the given folders it is from, whose share of the draws is in `weights`, if
    any; `noisy`: in the same order, the same pictures with their own noise, if there are such.
    """

    arrays: list[Array | Streamed]
    names: list[str]
    unreadable: list[LeftOut] = field(default_factory=list)
    small: list[LeftOut] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    folders: list[int] = field(default_factory=list)
    weights: tuple[float, ...] = ()
    noisy: Pictures | None = None

    def __post_init__(self) -> None:
        areas = np.array([array.shape[0] * array.shape[1] for array in self.arrays], np.float64)
        if self.weights:
            whole = np.bincount(self.folders, areas, len(self.weights))
            areas *= (np.array(self.weights) / np.maximum(whole, 1))[self.folders]
        object.__setattr__(self, "_reach", np.cumsum(areas / (areas.sum() or 1)))
        object.__setattr__(self, "_drawable", int(np.count_nonzero(areas)))
        object.__setattr__(self, "_decoded", OrderedDict())
        object.__setattr__(self, "_lost", set())

    @property
    def streamed(self) -> bool:
        """Whether any of them has to be decoded whenever it is drawn."""
        each = self.arrays + (self.noisy.arrays if self.noisy else [])
        return any(isinstance(array, Streamed) for array in each)

    def drawn(self, rng: np.random.Generator) -> int:
        """The place of one of the pictures, each as likely as it is large.

        One that can no longer be read is left out, and another drawn. Raises ImageError if more than a fifth are like that.
        """
        reach, lost = self.__dict__["_reach"], self.__dict__["_lost"]
        while True:
            index = min(int(np.searchsorted(reach, rng.random())), len(self.arrays) - 1)
            if index in lost:
                continue
            try:
                for pictures in [self, self.noisy] if self.noisy else [self]:
                    pictures.pixels(index)
                return index
            except ImageError as error:
                lost.add(index)
                self._tell(self.files[index], str(error), len(lost))

    def _tell(self, file: Path, reason: str, lost: int) -> None:
        if all(file != other for other, _ in self.unreadable):
            self.unreadable.append((file, reason))
        drawable = self.__dict__["_drawable"]
        if lost > UNREADABLE * drawable:
            raise ImageError(
                f"{lost} of {drawable} pictures can no longer be read, the last of them {file} ({reason.rstrip('.')}); "
                "restore them, then go on with --resume."
            )

    def pixels(self, index: int) -> Array:
        """A picture's pixels: from the cache, among the last decoded, or decoded now. Raises ImageError."""
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
        return self.of([index for index, content in enumerate(self.contents) if wanted(content)])

    def of(self, chosen: Sequence[int]) -> Pictures:
        """Those at the chosen places."""
        each = ("arrays", "names", "files", "contents", "folders")
        lists: dict[str, Any] = {name: [getattr(self, name)[index] for index in chosen] for name in each}
        return replace(self, **lists, noisy=self.noisy and self.noisy.of(chosen))


def load(paths: Sequence[Path], config: TrainConfig) -> Pictures:
    """Every picture at or below `paths` that a run can learn from.

    Raises BadSetting when none is left, or more than a fifth of the pictures cannot be read.
    """
    found, asked = [(folder, file) for folder, path in enumerate(paths) for file in find(path)], set(paths)
    files = [file for _, file in found]
    cache = Cache(place(config.cache), config.channels, round(config.max_megapixels * 1e6), round(config.cache_gb * 1e9))
    pictures = Pictures([], [])
    for (folder, file), line in zip(found, cache.look(files), strict=True):
        if line.picture or file in asked:  # in a folder of pictures there may be other files
            _sort_in(pictures, file, line, cache, config.crop)
            pictures.folders.extend([folder] * (len(pictures.arrays) - len(pictures.folders)))
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
            f"{where}: every picture is smaller than a patch of {config.crop}; use larger pictures or a smaller --patch."
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
    paths = [Path(path) for path in sources["photos"]]
    photos = _weighed(load(paths, config), paths, config)
    if sources.get("noisy"):
        if sources["validation"]:
            raise BadSetting(
                "--validation has no noisy partners; leave it out with --noisy, and some of the pairs are held out."
            )
        photos = _paired(photos, paths, Path(sources["noisy"][0]), config)
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


def _weighed(photos: Pictures, paths: list[Path], config: TrainConfig) -> Pictures:
    """Each of the folders with its share of the draws."""
    if not config.weights:
        return photos
    weights = config.shares
    if len(weights) != len(paths):
        raise BadSetting(f"--weights {config.weights}: expected one for each of the {len(paths)} folders or files.")
    for index, (path, weight) in enumerate(zip(paths, weights, strict=True)):
        if weight and index not in photos.folders:
            raise BadSetting(f"--weights {config.weights}: {path} holds nothing to learn from; leave it out.")
    return replace(photos, weights=weights)


def _paired(clean: Pictures, paths: list[Path], folder: Path, config: TrainConfig) -> Pictures:
    """Each clean picture with the noisy one at the same place below `folder`; those without a fitting one are left out."""
    if len(paths) != 1 or not paths[0].is_dir() or not folder.is_dir():
        raise BadSetting("--noisy: expected one folder of clean pictures and one of noisy ones, with the same names in both.")
    noisy = load([folder], config)
    places: dict[tuple[Path, int], int] = {}
    for index, key in enumerate(_places(noisy, folder)):
        places.setdefault(key, index)
    chosen: list[tuple[int, int]] = []
    for index, key in enumerate(_places(clean, paths[0])):
        partner = places.get(key)
        if partner is None:
            clean.small.append((clean.files[index], f"has no noisy partner {key[0]} in {folder}"))
        elif noisy.arrays[partner].shape != clean.arrays[index].shape:
            clean.small.append((clean.files[index], "has a noisy partner of another size, or gray where it is in colour"))
        else:
            chosen.append((index, partner))
    if not chosen:
        raise BadSetting(f"--noisy {folder}: no picture there has the name and size of one in {paths[0]}.")
    noisy = noisy.of([partner for _, partner in chosen])
    return replace(clean.of([index for index, _ in chosen]), noisy=noisy)


def _places(pictures: Pictures, root: Path) -> Iterator[tuple[Path, int]]:
    """(path below `root` without its ending, page) of each picture."""
    pages: Counter[Path] = Counter()
    for file in pictures.files:
        yield file.relative_to(root).with_suffix(""), pages[file]
        pages[file] += 1


# --- the same pictures as before? -------------------------------------------------------------------------------------------


def fingerprint(pictures: Pictures) -> str:
    """SHA-256 over what is learned from, in the order in which it is drawn from."""
    contents = pictures.contents + (pictures.noisy.contents if pictures.noisy else [])
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


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


def learned_from(model: Path) -> tuple[set[str], str]:
    """(the contents that `keep` wrote down beside a model, its `channels`); none where it is not in its run folder."""
    run = model if model.is_dir() else model.parent
    try:
        listed = {line[:64] for line in (run / "pictures.txt").read_text().splitlines()}
        return listed, str(json.loads((run / "config.json").read_text())["config"]["channels"])
    except (OSError, ValueError, KeyError, TypeError):
        return set(), ""


def _listed(sets: Sequence[Pictures]) -> list[str]:
    return [
        f"{content} {hashlib.sha256(os.fsencode(file)).hexdigest()[:16]}"
        for one in sets
        for pictures in ([one, one.noisy] if one.noisy else [one])
        for content, file in zip(pictures.contents, pictures.files, strict=True)
    ]
