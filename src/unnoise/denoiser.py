"""A trained model at work, on onnxruntime: built once, called often, never needs torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import artefact
from .errors import BadSetting, ImageError, ModelError
from .noise import check_image, check_shape
from .tiling import Span, check_side, padded, reflected, smallest_side, spans

Array = npt.NDArray[Any]
LARGEST = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # what stands for 1.0 in pictures of whole numbers


class Network:
    """An ONNX model of contract v1 for batches of any height and width: padded by reflection, run, cut back."""

    def __init__(self, onnx: bytes, grid: int, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or physical_cores()
        options.enable_mem_pattern = False  # planned ahead for each shape of a tile, it takes twice the memory and no less time
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own kinds for what it cannot load
            raise ModelError(f"onnxruntime cannot load the model ({type(error).__name__}); export it again.") from None
        self.grid = grid

    def __call__(self, batch: Array) -> Array:
        """(N, C, H, W) float32 to the same."""
        height, width = batch.shape[2:]
        rows, columns = reflected(height, padded(height, self.grid)), reflected(width, padded(width, self.grid))
        noisy = np.ascontiguousarray(batch[:, :, rows][:, :, :, columns], np.float32)
        try:
            restored = self.session.run(["restored"], {"noisy": noisy})[0]
        except Exception as error:  # onnxruntime raises its own kinds, mostly for want of memory
            raise ImageError(
                f"a tile of {height}x{width} pixels does not go through the model ({type(error).__name__}); choose a smaller tile."
            ) from None
        return np.asarray(restored)[:, :, :height, :width]


class Denoiser:
    """A model from a run folder or a model.onnx. `card` is what the file says of itself; `tile` is its tile side in pixels.

    `threads`: 0 is one a physical core. Raises ModelError for a file that unnoise did not write, or that has changed since.
    """

    def __init__(self, path: Path | str, threads: int = 0) -> None:
        path = Path(path)
        if not 0 <= threads <= 1024:
            raise BadSetting(f"threads={threads}: expected 1 to 1024, or 0 for one a physical core.")
        if not path.exists():
            raise ModelError(f"{path} does not exist; give a run folder or a model.onnx.")
        file = path / "model.onnx" if path.is_dir() else path
        if not file.exists():
            raise ModelError(
                f"{path} holds no model.onnx; expected the folder of a finished run: unnoise train --resume {path}"
            )
        onnx, self.card = artefact.read_onnx(file)
        self.channels, self.grid, self.overlap, self.tile = _contract(file, self.card)
        self.network = Network(onnx, self.grid, threads)

    def denoise(self, image: Array, strength: float = 1.0, tile: int | None = None) -> Array:
        """The restored picture, of the shape and dtype of `image`: (H, W), (H, W, C), or a batch (N, H, W, C), one by one.

        Floats are in [0, 1] and come back unclipped; uint8 and uint16 come back rounded and clipped. Alpha passes through. A
        gray picture goes through a colour model as three equal channels, averaged; a colour picture through a gray model
        channel by channel. `strength`: 0 gives the picture back, 1 the model's whole answer. `tile`: side in pixels of the
        tiles, which bounds the memory beside the picture and its answer; 0 is one piece, None the model's own; the answer is
        the same within float rounding (1e-5).

        Raises ImageError for NaN, infinity and what looks like 0 to 255, BadSetting for a strength outside [0, 1] and a tile
        too small for the model.
        """
        tile = self.tile if tile is None else tile
        check_side(tile, self.grid, self.overlap)
        if not 0 <= strength <= 1:
            raise BadSetting(f"strength={strength!r}: expected 0 (nothing) to 1 (all that the model does).")
        several = isinstance(image, np.ndarray) and image.ndim == 4
        for one in image if several else [image]:
            (check_shape if getattr(one, "dtype", None) in LARGEST else check_image)(one)
        answer = image.copy()
        if strength > 0:
            for noisy, restored in zip(image, answer, strict=True) if several else [(image, answer)]:
                self._restore(noisy, restored, strength, tile)
        return answer

    def tiling_difference(self, image: Array, tile: int | None = None) -> tuple[float, int, int]:
        """(the largest difference between `image` denoised in tiles and in one piece, the tile side, the number of tiles).

        image: as in `denoise`, one picture. A side that would leave it in one piece is made smaller, if the model allows it.
        """
        if image.dtype in LARGEST:
            image = image.astype(np.float32) / LARGEST[image.dtype]
        side, longer = tile or self.tile, padded(max(image.shape[:2]), self.grid)
        if side >= longer:
            side = max(smallest_side(self.grid, self.overlap), padded(longer // 2, self.grid) + self.overlap)
        difference = np.abs(self.denoise(image, tile=side) - self.denoise(image, tile=0)).max()
        rows, columns = (len(spans(length, side, self.grid, self.overlap)) for length in image.shape[:2])
        return float(difference), side, rows * columns

    def _restore(self, noisy: Array, answer: Array, strength: float, tile: int) -> None:
        """Write over the colours of `answer`, a copy of `noisy`, tile by tile."""
        noisy, answer = _colours(noisy), _colours(answer)
        height, width = noisy.shape[:2]
        rows, columns = reflected(height, padded(height, self.grid)), reflected(width, padded(width, self.grid))
        for row in spans(height, tile, self.grid, self.overlap):
            for column in spans(width, tile, self.grid, self.overlap):
                seen = noisy[rows[row.first : row.last, None], columns[column.first : column.last]]
                restored = self._run(_as_floats(seen))[_inner(row), _inner(column)]
                place = slice(row.start, row.stop), slice(column.start, column.stop)
                before = _as_floats(noisy[place])
                after = before + strength * (restored - before)
                largest = LARGEST.get(answer.dtype)
                answer[place] = after if largest is None else np.rint(np.clip(after, 0, 1) * largest)

    def _run(self, noisy: Array) -> Array:
        """(H, W, 1 or 3) floats on the grid to the same, through a model of either kind."""
        batch = np.moveaxis(noisy, 2, 0)[None]  # (1, C, H, W)
        if self.channels == 3:
            restored = self.network(np.broadcast_to(batch, (1, 3, *batch.shape[2:])))
            restored = restored.mean(1, keepdims=True) if batch.shape[1] == 1 else restored
        else:
            restored = np.concatenate([self.network(batch[:, channel : channel + 1]) for channel in range(batch.shape[1])], 1)
        return np.moveaxis(restored[0], 0, 2)


def load(path: Path | str, threads: int = 0) -> Denoiser:
    """A Denoiser from a run folder or a model.onnx. `threads`: 0 is one a physical core."""
    return Denoiser(path, threads)


def denoise(image: Array, model: Path | str, strength: float = 1.0, tile: int | None = None) -> Array:
    """Denoise a picture, or a batch, with the model of a run folder or file: `load(model).denoise(image, strength, tile)`.

    image: (H, W), (H, W, C) or (N, H, W, C); floats in [0, 1], uint8 or uint16. What comes back has its shape and dtype.
    """
    return load(model).denoise(image, strength, tile)


def physical_cores() -> int:
    """How many physical cores this process may run on; 0, which leaves it to onnxruntime, where the system does not tell."""
    try:
        cores = os.sched_getaffinity(0)
        return len({Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text() for core in cores})
    except (AttributeError, OSError):
        return 0


def _contract(file: Path, card: artefact.Card) -> tuple[int, int, int, int]:
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


def _as_floats(picture: Array) -> Array:
    """Whole numbers to float32 in [0, 1]; floats as they are."""
    largest = LARGEST.get(picture.dtype)
    return picture if largest is None else np.divide(picture, np.float32(largest), dtype=np.float32)


def _inner(span: Span) -> slice:
    """The pixels of a tile that are kept."""
    return slice(span.start - span.first, span.stop - span.first)
