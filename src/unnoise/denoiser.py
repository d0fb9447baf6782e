"""A trained model at work, on onnxruntime: built once, called often, never needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import artefact
from .errors import BadSetting, ModelError
from .noise import check_image
from .tiling import padded, reflected

Array = npt.NDArray[Any]


class Network:
    """An ONNX model of contract v1 for batches of any height and width: padded by reflection, run, cut back."""

    def __init__(self, onnx: bytes, grid: int, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
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
        restored = self.session.run(["restored"], {"noisy": noisy})[0]
        return np.asarray(restored)[:, :, :height, :width]


class Denoiser:
    """A model from a run folder or a model.onnx. `card` is what the file says of itself.

    Raises ModelError for a file that unnoise did not write, or that has changed since.
    """

    def __init__(self, path: Path | str, threads: int = 0) -> None:
        path = Path(path)
        if not path.exists():
            raise ModelError(f"{path} does not exist; give a run folder or a model.onnx.")
        file = path / "model.onnx" if path.is_dir() else path
        if not file.exists():
            raise ModelError(
                f"{path} holds no model.onnx; expected the folder of a finished run: unnoise train --resume {path}"
            )
        onnx, self.card = artefact.read_onnx(file)
        channels, grid = self.card.get("channels"), self.card.get("alignment")
        if self.card.get("contract") != 1 or channels not in (1, 3) or not isinstance(grid, int) or grid < 1:
            raise ModelError(f"{file} does not follow contract v1; export it again with this version.")
        self.channels: int = channels
        self.network = Network(onnx, grid, threads)

    def denoise(self, image: Array, strength: float = 1.0) -> Array:
        """The restored picture, of the shape and dtype of `image`: (H, W) or (H, W, C) floats in [0, 1], not clipped.

        Alpha passes through. A gray picture goes through a colour model as three equal channels, averaged; a colour picture
        through a gray model channel by channel. `strength`: 0 gives the picture back, 1 the model's whole answer.
        Raises ImageError for NaN, infinity and what looks like 0 to 255, BadSetting for a strength outside [0, 1].
        """
        check_image(image)
        if not 0 <= strength <= 1:
            raise BadSetting(f"strength={strength!r}: expected 0 (nothing) to 1 (all that the model does).")
        if strength == 0:
            return image.copy()
        colours = image[..., None] if image.ndim == 2 else image[..., : 3 if image.shape[2] > 2 else 1]
        batch = np.moveaxis(colours, 2, 0)[None]  # (1, C, H, W)
        if self.channels == 3:
            restored = self.network(np.broadcast_to(batch, (1, 3, *batch.shape[2:])))
            restored = restored.mean(1, keepdims=True) if batch.shape[1] == 1 else restored
        else:
            restored = np.concatenate([self.network(batch[:, channel : channel + 1]) for channel in range(batch.shape[1])], 1)
        answer = image.copy()
        target = answer[..., None] if image.ndim == 2 else answer
        target[..., : colours.shape[2]] += strength * (np.moveaxis(restored[0], 0, 2) - colours)
        return answer


def load(path: Path | str, threads: int = 0) -> Denoiser:
    """A Denoiser from a run folder or a model.onnx. `threads`: 0 lets onnxruntime take the cores."""
    return Denoiser(path, threads)


def denoise(image: Array, model: Path | str, strength: float = 1.0) -> Array:
    """Denoise one picture with the model of a run folder or file: `load(model).denoise(image, strength)`."""
    return load(model).denoise(image, strength)
