"""Denoising autoencoders for images: train one on your own pictures, see what it learned, run it anywhere.

Every public name is loaded when it is first used, so `import unnoise` loads neither torch nor onnxruntime.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import losses as losses
    from . import perceptual as perceptual
    from .auto import denoise as denoise
    from .denoiser import Denoiser as Denoiser
    from .denoiser import load as load
    from .export import load_autoencoder as load_autoencoder
    from .noise import BlockMasking as BlockMasking
    from .noise import Camera as Camera
    from .noise import Clip as Clip
    from .noise import Gaussian as Gaussian
    from .noise import Masking as Masking
    from .noise import Profile as Profile
    from .noise import SaltAndPepper as SaltAndPepper
    from .noise import parse as parse
    from .run import resume as resume
    from .run import train as train

__version__ = "0.1.0"

# From 1.32 on, onnxruntime keeps a device number and its events on the disk, to send them to its maker, unless told before it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Gaussian": "noise",
    "Camera": "noise",
    "Clip": "noise",
    "Profile": "noise",
    "SaltAndPepper": "noise",
    "Masking": "noise",
    "BlockMasking": "noise",
    "parse": "noise",
    "Denoiser": "denoiser",
    "denoise": "auto",
    "load": "denoiser",
    "load_autoencoder": "export",
    "train": "run",
    "resume": "run",
    "losses": "",
    "perceptual": "",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unnoise' has no attribute {name!r}")
    from .errors import needed_by

    with needed_by(f"unnoise.{name}", "train"):
        module = importlib.import_module(f"unnoise.{_HOMES[name] or name}")
    value = getattr(module, name) if _HOMES[name] else module
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps `unnoise.train` the function: importing the module of that name would otherwise take its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "train" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
