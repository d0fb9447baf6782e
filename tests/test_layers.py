"""Imports go down only: the core runs without torch, and `import unnoise` loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unnoise

SOURCE = Path(unnoise.__file__).parent
LAYERS = [
    {
        "errors", "notation", "config", "atomic", "image", "keyed", "ranges", "level", "nlf", "camera", "profiles", "noise", "cropped", "cache", "collection", "targets", "data", "tiling", "metrics",
        "figures", "artefact",
    },
    {
        "denoiser", "ledger", "batch", "processes", "store", "desk", "joining", "cluster", "preview", "peers", "tuned", "testset", "judging", "learned", "verdict", "evaluate", "report", "runs",
        "doctor", "suitable", "bundled", "auto", "mask", "heldout", "classical", "referee", "flats", "invented", "diagnosis", "advice", "impulses", "series", "chart", "grid", "floors",
    },
    {"model", "losses", "perceptual", "checkpoint", "muon", "feed", "train", "settle", "run", "team", "keeper", "export", "quantise"},
    {"cli", "cleaning", "ownnoise", "rehearsal", "distance", "shell", "console", "__main__", "demo", "server"},
]  # fmt: skip
PACKAGES = [  # what each layer may import besides the standard library; and what the layers below it may
    {"numpy", "PIL", "tifffile", "safetensors"},
    {"onnxruntime", "rich", "skimage", "scipy", "pywt", "cv2", "bm3d", "fsspec", "ray", "pyarrow"},
    {"torch", "onnx"},
    {"cyclopts", "starlette", "uvicorn"},
]
PUBLIC = [
    "Gaussian", "Camera", "Clip", "Profile", "SaltAndPepper", "Masking", "BlockMasking", "parse", "Denoiser", "denoise", "load", "load_autoencoder",
    "train", "resume", "losses", "perceptual", "__version__",
]  # fmt: skip


class Imports(ast.NodeVisitor):
    """The dotted names that a module imports, anywhere but under `if TYPE_CHECKING:`."""

    def __init__(self, source, package):
        self.package, self.names = package.split("."), []
        self.visit(ast.parse(source))

    def visit_If(self, node):
        checking = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in node.orelse if checking else ast.iter_child_nodes(node):
            self.visit(child)

    def visit_Import(self, node):
        self.names += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node):
        base = self.package[: len(self.package) - node.level + 1] if node.level else []
        base += [node.module] if node.module else []
        self.names += [".".join([*base, alias.name]) for alias in node.names]

    def visit_Call(self, node):
        called, known = ast.unparse(node.func), node.args and isinstance(node.args[0], ast.Constant)
        if known and called in ("importlib.import_module", "import_module", "__import__"):
            name = str(node.args[0].value)
            self.names.append(f"{'.'.join(self.package)}{name}" if name.startswith(".") else name)
        self.generic_visit(node)


def layer_of(module):
    return next((level for level, modules in enumerate(LAYERS) if module in modules), None)


def offences(path, source):
    """What the module at `path`, relative to the package, imports against the rule."""
    here = path.parts[0].removesuffix(".py")
    layer = layer_of(here)
    if layer is None:
        return [f"{here} is in no layer"]
    found = []
    for name in Imports(source, ".".join(["unnoise", *path.parts[:-1]])).names:
        package, *inner = name.split(".")
        if package == "unnoise":
            allowed = inner == ["__version__"] or (
                bool(inner) and (layer_of(inner[0]) or 0) <= layer and inner[0] in set().union(*LAYERS)
            )
        elif name.startswith("safetensors.torch"):
            allowed = layer >= 2
        else:
            allowed = package in sys.stdlib_module_names or any(package in packages for packages in PACKAGES[: layer + 1])
        if not allowed:
            found.append(f"{here}, of layer {layer}, imports {name}")
    return found


MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", [path for path in MODULES if path != Path("__init__.py")], ids=str)
def test_imports_go_down(path):
    """Fails if a module imports a layer above its own or a package its layer does without, or has no layer yet."""
    assert offences(path, (SOURCE / path).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("noise.py", "import torch", ["torch"]),
        ("noise.py", "import torch.nn as nn, os, numpy.typing", ["torch.nn"]),
        ("denoiser.py", "def run():\n    from torch import nn", ["torch.nn"]),
        ("denoiser.py", "import onnxruntime, rich.table\nfrom . import artefact, __version__", []),
        ("artefact.py", "import onnxruntime", ["onnxruntime"]),
        ("artefact.py", "from safetensors import safe_open\nimport safetensors.numpy", []),
        ("artefact.py", "from safetensors.torch import load_file", ["safetensors.torch.load_file"]),
        ("checkpoint.py", "from safetensors.torch import load_file", []),
        ("denoiser.py", "from .model import Autoencoder", ["unnoise.model.Autoencoder"]),
        ("denoiser.py", "from . import tiling, train", ["unnoise.train"]),
        ("denoiser.py", "from unnoise import losses", ["unnoise.losses"]),
        ("denoiser.py", "import unnoise.export", ["unnoise.export"]),
        ("denoiser.py", "import unnoise", ["unnoise"]),
        ("noise.py", "from . import load_autoencoder", ["unnoise.load_autoencoder"]),
        ("image/png.py", "from ..config import TrainConfig\nfrom . import tiff\nfrom .tiff import read", []),
        ("image/png.py", "from ..denoiser import load\nfrom .. import report", ["unnoise.denoiser.load", "unnoise.report"]),
        ("report.py", "import importlib\nx = importlib.import_module('torch')", ["torch"]),
        ("report.py", "x = importlib.import_module('.model', __package__)", ["unnoise.model"]),
        ("report.py", "if TYPE_CHECKING:\n    from .model import Code\nelse:\n    import torch", ["torch"]),
        ("figures.py", "try:\n    import cv2\nexcept ImportError:\n    pass", ["cv2"]),
        ("model.py", "import cyclopts\nfrom .cli import main", ["cyclopts", "unnoise.cli.main"]),
        ("cli.py", "import cyclopts, torch\nfrom . import train, noise", []),
    ],
)
def test_the_checker_sees_an_offence(path, source, found):
    """Fails if the test above is blind to a way of importing, or cries wolf."""
    path = Path(path)
    here = path.parts[0].removesuffix(".py")
    assert offences(path, source) == [f"{here}, of layer {layer_of(here)}, imports {name}" for name in found]


def test_the_checker_sees_a_module_without_a_layer():
    """Fails if a new module is in nobody's charge."""
    assert offences(Path("utils.py"), "") == ["utils is in no layer"]


def test_the_package_itself_imports_only_the_standard_library():
    """Fails if `import unnoise` waits for numpy, or for a module that does."""
    body = ast.parse((SOURCE / "__init__.py").read_text("utf-8")).body
    top = [node for node in body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names = Imports(ast.unparse(ast.Module(top, [])), "unnoise").names
    assert names
    assert [name for name in names if name.partition(".")[0] not in sys.stdlib_module_names] == []


def in_a_child(code):
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return child.stdout.split()


def test_import_is_light():
    """Fails if `import unnoise` loads something heavy in a way that no reading of the source shows."""
    assert (
        in_a_child(
            "import sys, unnoise; print(*{'torch', 'onnxruntime', 'numpy', 'PIL', 'tifffile', 'skimage'} & sys.modules.keys())"
        )
        == []
    )


def test_public_names_are_these():
    """Fails if a public name is lost, renamed or added by accident: each of them is a promise."""
    assert unnoise.__all__ == PUBLIC
    with pytest.raises(AttributeError, match="module 'unnoise' has no attribute 'Gausian'"):
        _ = unnoise.Gausian


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name):
    """Fails if a name that is loaded on first use has no home."""
    value = getattr(unnoise, name)
    assert value is getattr(unnoise, name)
    assert getattr(value, "__name__", name).removeprefix("unnoise.") == name


def test_train_stays_the_function():
    """Fails if importing the module unnoise.train, in either order, puts it in the place of the function unnoise.train."""
    kinds = "import unnoise{0}; a = unnoise.train; import unnoise.train; from unnoise import train as b; print(*(type(x).__name__ for x in (a, unnoise.train, b)))"
    for first in ("", ".train"):
        assert in_a_child(kinds.format(first)) == ["function"] * 3
