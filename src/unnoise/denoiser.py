"""A trained model at work, on onnxruntime: built once, called often, never needs torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from . import artefact, bundled
from .config import OWN, PAIRS
from .errors import BadSetting, ImageError, ModelError
from .image.picture import LUMA, WHOLE, Bands, as_floats
from .noise import BlockMasking, Mask, Masking, check_image, check_shape, parse, parts_of
from .tiling import Span, check_side, padded, reflected, smallest_side, spans

Array = npt.NDArray[Any]
Watch = Callable[[int], None]  # told how many pixels have been done since it was told before
Quality = Literal["normal", "high"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)


class Network:
    """An ONNX model of contract v1 for batches of any height and width: padded by reflection, run, cut back."""

    def __init__(self, onnx: bytes, grid: int, threads: int = 0) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # nothing here speaks to anybody
        options = onnxruntime.SessionOptions()
        # More threads than processors would only be in each other's way.
        options.intra_op_num_threads = min(threads or physical_cores(), os.cpu_count() or 1)
        options.enable_mem_pattern = False  # planned ahead for each shape of a tile, it takes twice the memory and no less time
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own kinds for what it cannot load
            raise ModelError(f"onnxruntime cannot load the model ({type(error).__name__}); export it again.") from None
        self.grid = grid
        self.thread = ThreadPoolExecutor(1)

    def __call__(self, batch: Array) -> Array:
        """(N, C, H, W) float32 to the same."""
        import onnxruntime

        height, width = batch.shape[2:]
        if height % self.grid or width % self.grid:
            rows, columns = reflected(height, padded(height, self.grid)), reflected(width, padded(width, self.grid))
            batch = batch[:, :, rows[:, None], columns]
        noisy = np.ascontiguousarray(batch, np.float32)
        options = onnxruntime.RunOptions()
        try:  # on a thread of its own, so that Ctrl-C need not wait for the end of a tile
            restored = self.thread.submit(self.session.run, ["restored"], {"noisy": noisy}, options).result()[0]
        except Exception as error:  # onnxruntime raises its own kinds, mostly for want of memory
            raise ImageError(
                f"a tile of {height}x{width} pixels does not go through the model ({type(error).__name__}); choose a smaller tile."
            ) from None
        except BaseException:
            options.terminate = True
            raise
        return np.asarray(restored)[:, :, :height, :width]


class Denoiser:
    """A model from a run folder, a model.onnx or a bundled model's name; a run folder or file there goes before a name.

    `card` is what the file says of itself; `tile` its tile side in pixels; `gray` the model that takes the gray pictures, where a
    bundled one comes as a pair; `sha256` tells models apart. `threads`: 0 is one a physical core. `quality`: "high" is the mean
    over the eight flips and turns of a picture, each turned back (Timofte et al. 2016, doi:10.1109/CVPR.2016.206), in eight times the
    time. Raises ModelError for a file that unnoise did not write, or that has changed since.
    """

    gray: Denoiser | None = None
    quality: Quality = "normal"

    def __init__(self, path: Path | str, threads: int = 0, quality: Quality = "normal") -> None:
        check_threads(threads)
        check_quality(quality)
        self.quality = quality
        file, *others = bundled.files(path)
        onnx, self.card = artefact.read_onnx(file)
        self.channels, self.grid, self.overlap, self.tile = contract_of(file, self.card)
        self.network = Network(onnx, self.grid, threads)
        if others:
            self.gray = Denoiser(others[0], threads, quality)
        self.sha256 = " ".join(one.card["sha256"] for one in (self, self.gray) if one)

    def denoise(
        self, image: Array, strength: float = 1.0, tile: int | None = None, grain: float = 0.0, mask: Mask | None = None
    ) -> Array:
        """The restored picture, of the shape and dtype of `image`: (H, W), (H, W, C), or a batch (N, H, W, C), one by one.

        Floats are in [0, 1] and come back unclipped; uint8 and uint16 come back rounded and clipped. Alpha passes through. A
        gray picture goes through a colour model as three equal channels, averaged; a colour picture through a gray model
        channel by channel. `strength`: 0 gives the picture back, 1 the model's whole answer. `grain`: this share of what was
        taken from the brightness of a pixel is given back to all its channels alike. `tile`: side in pixels of the tiles,
        which bounds the memory beside the picture and its answer; 0 is one piece, None the model's own; the answer is the
        same within float rounding (1e-5). `mask`: bool, of the shape of `image` or without its channels, True where a pixel is missing,
        for a model that fills in: these pixels are 0 for it, whatever they hold, NaN too, and they alone are taken from its answer.

        Raises ImageError for NaN, infinity, what looks like 0 to 255 and a mask that does not fit, BadSetting for a strength or
        grain outside [0, 1], or beside a mask, and a tile too small for the model; ModelError for a mask where the model does not fill in.
        """
        several = isinstance(image, np.ndarray) and image.ndim == 4
        if mask is not None and not isinstance(image, np.ndarray):
            check_image(image)  # which refuses it
        lost = None if mask is None else missing_pixels(mask, image.shape, several)
        known = (
            image
            if lost is None
            else np.where(lost.reshape(*lost.shape, *[1] * (image.ndim - lost.ndim)), image.dtype.type(0), image)
        )
        for one in known if several else [known]:
            (check_shape if getattr(one, "dtype", None) in WHOLE else check_image)(one)
        answer = np.empty_like(image)
        each = (
            zip(image, answer, [None] * len(image) if lost is None else lost, strict=True)
            if several
            else [(image, answer, lost)]
        )
        for noisy, restored, where in each:
            top = 0
            for band in self.in_bands(Bands.of(noisy), strength, tile, grain, mask=where).bands:
                restored[top : top + len(band)] = band
                top += len(band)
        return answer

    def in_bands(
        self,
        picture: Bands,
        strength: float = 1.0,
        tile: int | None = None,
        grain: float = 0.0,
        watch: Watch = lambda pixels: None,
        mask: Mask | None = None,
    ) -> Bands:
        """As `denoise`, for a picture that never lies in memory as a whole: of it, no more than a row of tiles at a time.

        mask: (H, W). What is not finite is not noticed here. `watch` is told the pixels of each tile that is done. Raises ImageError, when it
        comes to them, for rows whose median is above 2, as those of floats from 0 to 255.
        """
        if self.gray and (len(picture.shape) == 2 or picture.shape[2] < 3):
            return self.gray.in_bands(picture, strength, tile, grain, watch, mask)
        tile = self.tile if tile is None else tile
        check_side(tile, self.grid, self.overlap)
        check_shares(strength=strength, grain=grain)
        if mask is not None:
            self.check_fills()
        if mask is not None and (strength != 1 or grain):
            raise BadSetting(
                "with a mask, what is missing is filled in, and nothing else changes: leave strength and grain out."
            )
        if strength == 0:
            return picture
        keep = 1 - strength, strength * grain
        return Bands(picture.shape, self._restored(picture, tile, keep, watch, mask))

    def check_fills(self) -> None:
        """Raise ModelError if no noise that the model has learned from leaves anything out to be filled in."""
        parts = [part for noise in artefact.noises(self.card) if noise not in (PAIRS, OWN) for part in parts_of(parse(noise))]
        if not any(isinstance(part, Masking | BlockMasking) for part in parts):
            raise ModelError(
                "the model has not learned to fill in what a mask leaves out; choose one that has, such as missing."
            )

    def tiling_difference(self, image: Array, tile: int | None = None) -> tuple[float, int, int]:
        """(the largest difference between `image` denoised in tiles and in one piece, the tile side, the number of tiles).

        image: as in `denoise`, one picture. A side that would leave it in one piece is made smaller, if the model allows it.
        """
        image = as_floats(image)
        side, longer = tile or self.tile, padded(max(image.shape[:2]), self.grid)
        if side >= longer:
            side = max(smallest_side(self.grid, self.overlap), padded(longer // 2, self.grid) + self.overlap)
        difference = np.abs(self.denoise(image, tile=side) - self.denoise(image, tile=0)).max()
        rows, columns = (len(spans(length, side, self.grid, self.overlap)) for length in image.shape[:2])
        return float(difference), side, rows * columns

    def _restored(
        self, picture: Bands, tile: int, keep: tuple[float, float], watch: Watch, mask: Mask | None
    ) -> Iterator[Array]:
        """Row of tiles after row of tiles; of the picture, the rows that each of them sees are held."""
        height, width = picture.shape[:2]
        rows, columns = (spans(length, tile, self.grid, self.overlap) for length in (height, width))
        down, across = (reflected(length, padded(length, self.grid)) for length in (height, width))
        # Reflection at the lower edge may look a cell of the grid above the last tile.
        seen = [(max(row.first - self.grid, 0), min(row.last, height)) for row in rows]
        for row, (first, _), held in zip(rows, seen, picture.windows(seen), strict=True):
            if held.dtype.kind == "f" and (median := float(np.median(held[::8, ::8]))) > 2:
                raise ImageError(f"has values with a median of {median:g}: expected 0 to 1; divide them by 255.")
            answer = held[row.start - first : row.stop - first].copy()
            for column in columns:
                at = down[row.first : row.last, None], across[column.first : column.last]
                noisy, ours = as_floats(_colours(held)[at[0] - first, at[1]]), (_inner(row), _inner(column))
                place = _colours(answer)[:, column.start : column.stop]
                if mask is None:
                    _put(_blended(noisy[ours], self._run(noisy)[ours], *keep), place)
                elif (lost := mask[at])[ours].any():
                    noisy[lost] = 0
                    _put(self._run(noisy)[ours], place, lost[ours])
                watch(place.shape[0] * place.shape[1])
            yield answer
            del answer  # before the next one is made

    def _run(self, noisy: Array) -> Array:
        """(H, W, 1 or 3) floats on the grid to the same, once or in every position."""
        if self.quality == "normal":
            return through(self.network, self.channels, noisy)
        mean = np.zeros_like(noisy)
        for position in range(8):
            mean += _laid(through(self.network, self.channels, _laid(noisy, position)), position, back=True) / 8
        return mean


def through(network: Callable[[Array], Array], channels: int, noisy: Array) -> Array:
    """(H, W, 1 or 3) floats to the same, through a network of 1 or 3 channels: see `Denoiser.denoise`."""
    batch = np.moveaxis(noisy, 2, 0)[None]  # (1, C, H, W)
    if channels == 3:
        restored = network(np.broadcast_to(batch, (1, 3, *batch.shape[2:])))
        restored = restored.mean(1, keepdims=True) if batch.shape[1] == 1 else restored
    else:
        restored = np.concatenate([network(batch[:, channel : channel + 1]) for channel in range(batch.shape[1])], 1)
    return np.moveaxis(restored[0], 0, 2)


def load(path: Path | str, threads: int = 0, quality: Quality = "normal") -> Denoiser:
    """A Denoiser from a run folder, a model.onnx or a bundled model's name, see there."""
    return Denoiser(path, threads, quality)


def check_shares(**shares: float) -> None:
    """Raise BadSetting for a `strength` or `grain` outside [0, 1]."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise BadSetting(f"{name}={share!r}: expected a share from 0 (nothing) to 1 (all of it).")


def check_quality(quality: str) -> None:
    """Raise BadSetting for what is no quality."""
    if quality not in QUALITIES:
        raise BadSetting(f"quality={quality!r}: expected normal, or high, which takes eight times as long.")


def check_threads(threads: int) -> None:
    """Raise BadSetting for a number of threads outside 0 to 1024."""
    if not 0 <= threads <= 1024:
        raise BadSetting(f"threads={threads}: expected 1 to 1024, or 0 for one a physical core.")


def physical_cores() -> int:
    """How many physical cores this process may run on; 0, which leaves it to onnxruntime, where the system does not tell."""
    try:
        cores = os.sched_getaffinity(0)
        return len({Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text() for core in cores})
    except (AttributeError, OSError):
        return 0


def contract_of(file: Path, card: artefact.Card) -> tuple[int, int, int, int]:
    """(channels, alignment, overlap, tile side) of a card, if it follows contract v1. Raises ModelError."""
    channels, grid, overlap, tile = (card.get(key) for key in ("channels", "alignment", "overlap", "tile"))
    if card.get("contract") != 1 or channels not in (1, 3) or not isinstance(grid, int) or grid < 1:
        raise ModelError(f"{file} does not follow contract v1; export it again with this version.")
    if not isinstance(overlap, int) or not isinstance(tile, int) or overlap < 0 or overlap % grid or tile < grid + 2 * overlap:
        raise ModelError(
            f"{file} does not say how to tile a picture, as older versions did not; export it again (unnoise export RUN -o model.onnx)."
        )
    return channels, grid, overlap, tile


def _colours(picture: Array) -> Array:
    """A view of (H, W, 1 or 3): without alpha, and with an axis for the channels."""
    return picture[..., None] if picture.ndim == 2 else picture[..., : 3 if picture.shape[2] > 2 else 1]


def _blended(noisy: Array, restored: Array, noise: float, grain: float) -> Array:
    """(H, W, C): the restored pixels, with these shares of what was removed, and of its brightness alone, put back."""
    if not noise and not grain:
        return restored
    removed = noisy - restored
    after = restored + noise * removed
    if grain:
        brightness = removed @ LUMA if removed.shape[2] == 3 else removed[..., 0]
        after = after + grain * brightness[..., None]
    return after


def missing_pixels(mask: Mask, shape: tuple[int, ...], several: bool = False) -> Mask:
    """A mask of that shape, or without its channels, as (H, W); `several`: of a batch, as (N, H, W). Raises ImageError."""
    flat = shape[: 3 if several else 2]
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape not in (shape, flat):
        what = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ImageError(f"mask={what}: expected bool of the picture's shape {flat}, True where a pixel is missing.")
    return mask if mask.shape == flat else np.asarray(mask[..., : 3 if shape[-1] > 2 else 1].any(-1))  # alpha is never missing


def _laid(picture: Array, position: int, back: bool = False) -> Array:
    """(H, W, C) in one of the eight positions that flips and turns give it; or back from there."""
    turns, flipped = position % 4, position >= 4
    if back:
        turned = np.rot90(picture, -turns)
        return turned[:, ::-1] if flipped else turned
    return np.rot90(picture[:, ::-1] if flipped else picture, turns)


def _put(pixels: Array, place: Array, where: Mask | slice = slice(None)) -> None:
    """Write floats over pixels of the same shape, there or everywhere; as whole numbers, clipped and rounded, if those are."""
    top, chosen = WHOLE.get(place.dtype), pixels[where]
    place[where] = chosen if top is None else np.rint(np.clip(chosen, 0, 1) * top)


def _inner(span: Span) -> slice:
    """The pixels of a tile that are kept."""
    return slice(span.start - span.first, span.stop - span.first)
