"""Model files: what they hold, what is refused, and the denoiser that runs them, against the torch module they came from."""

import copy
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
import skimage.data
import torch
from conftest import Bomb, refusal
from test_model import CONV, DENSE, UNET, network

import unnoise
from unnoise import artefact, export
from unnoise.config import MODELS
from unnoise.errors import BadSetting, ImageError, ModelError
from unnoise.notation import str_of

PHOTO = skimage.data.chelsea()[100:161, 150:197].astype(np.float32) / 255  # 61 x 47: no side is a multiple of a grid
TENSORS = {"layer.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "layer.bias": np.full(3, 0.1), "step": np.arange(5)}


def exported(folder, shape, channels):
    """(the torch module, the folder with its model.safetensors and model.onnx)."""
    net = network(shape, channels)
    card = {"architecture": str_of(MODELS, shape), "noise": ["gaussian:25/255"]}
    export.export(net, card, folder, PHOTO[..., :channels])
    return net, folder


@pytest.fixture(scope="session")
def colour(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("colour"), UNET, 3)


@pytest.fixture(scope="session")
def gray(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("gray"), DENSE, 1)


@pytest.fixture(scope="session")
def conv(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("conv"), CONV, 3)


def on_torch(net, image):
    """What the torch module makes of (H, W, C)."""
    with torch.inference_mode():
        return np.moveaxis(net(torch.from_numpy(np.moveaxis(image, 2, 0)[None].copy())).numpy()[0], 0, 2)


def same(tensors, expected):
    return tensors.keys() == expected.keys() and all(
        (tensors[name].dtype, tensors[name].shape) == (tensor.dtype, tensor.shape) and np.array_equal(tensors[name], tensor)
        for name, tensor in expected.items()
    )


def hand_made(header, content=b""):
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def one_tensor(dtype="F32", numbers=1, **metadata):
    """A sound safetensors file of four bytes."""
    tensor = {"dtype": dtype, "shape": [numbers], "data_offsets": [0, 4]}
    return hand_made({"__metadata__": metadata, "a": tensor}, bytes(4))


# --- safetensors ---------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    """Fails if a tensor's type, shape, order in memory or name is lost, or the card is."""
    tensors = TENSORS | {
        "half": np.array([0.1], np.float16), "none": np.zeros((0, 3), bool), "turned": TENSORS["layer.weight"].T[::-1],
    }  # fmt: skip
    artefact.write(tmp_path / "new" / "a.safetensors", tensors, {"licence": "CC0-1.0", "noise": ["masking:0.3"], "größe": 3.5})
    read, card = artefact.read(tmp_path / "new" / "a.safetensors")
    assert same(read, tensors)
    assert {key: card[key] for key in ("format", "licence", "noise", "größe")} == {
        "format": 1, "licence": "CC0-1.0", "noise": ["masking:0.3"], "größe": 3.5,
    }  # fmt: skip
    with safetensors.safe_open(tmp_path / "new" / "a.safetensors", "numpy") as file:  # as others read it
        assert json.loads(file.metadata()["unnoise"]) == card


def test_single_numbers_keep_their_shape(tmp_path):
    """Fails if a tensor without axes, as AdamW counts its steps in, comes back with one."""
    artefact.write(tmp_path / "a.safetensors", {"step": np.array(3.0)}, {})
    assert artefact.read(tmp_path / "a.safetensors")[0]["step"].shape == ()


def test_equal_tensors_make_equal_files(tmp_path):
    """Fails if a file depends on the order of its tensors' making, or on anything but tensors and card."""
    artefact.write(tmp_path / "a", TENSORS, {"noise": "x"})
    artefact.write(tmp_path / "b", dict(reversed(TENSORS.items())), {"noise": "x"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_flipped_bits_are_refused(tmp_path):
    """Fails if a changed bit changes a tensor or a word of the card unnoticed: safetensors itself checks none."""
    artefact.write(tmp_path / "a", TENSORS, {"licence": "CC0-1.0"})
    whole, read = (tmp_path / "a").read_bytes(), 0
    _, card = artefact.read(tmp_path / "a")
    header = range(8 * whole.index(b"}", whole.index(b"unnoise")))  # the card lies here: every bit of it
    content = np.random.default_rng(8).choice(8 * len(whole), 50, replace=False)
    for bit in (*header, *content):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a").write_bytes(changed)
        try:
            tensors, found = artefact.read(tmp_path / "a")
        except ModelError:
            continue
        read += 1
        assert same(tensors, TENSORS)
        assert found == card
    assert read <= 10  # spaces of JSON


def test_cut_files_are_refused(tmp_path):
    """Fails if a file cut at any byte is read, or raises anything but ModelError."""
    artefact.write(tmp_path / "a", TENSORS, {})
    whole = (tmp_path / "a").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(ModelError):
            artefact.read(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read as safetensors"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "cannot be read as safetensors"),
        (struct.pack("<Q", 2**63) + b"{}", "cannot be read as safetensors"),
        (hand_made({"a": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}), "cannot be read as safetensors"),
        (one_tensor(), "there is no card of unnoise in it"),
        (one_tensor(unnoise="no JSON"), "there is no card of unnoise in it"),
        (one_tensor(unnoise="[1]"), "there is no card of unnoise in it"),
        (one_tensor(unnoise='{"format": 2}'), "has format 2, and this version reads 1; update unnoise"),
        (one_tensor(unnoise='{"format": 1}'), "SHA-256 differs"),
        (one_tensor(unnoise='{"format": 1, "sha256": 3}'), "SHA-256 differs"),
        pytest.param(
            one_tensor(unnoise="[" * 10**5), "there is no card of unnoise in it",
        ),
        pytest.param(
            one_tensor("F8_E4M3", 4), "cannot be read as safetensors",
        ),
    ],
    ids=["empty", "PNG", "header of 2^63", "1 TB", "no card", "no JSON", "list", "format", "no digest", "wrong digest", "deep", "float8"],
)  # fmt: skip
def test_hostile_files_are_one_sentence(tmp_path, content, says):
    """Fails if a file that unnoise did not write is read, or stops the reader by another error."""
    (tmp_path / "a.safetensors").write_bytes(content)
    assert says in refusal(lambda: artefact.read(tmp_path / "a.safetensors"), ModelError)


@pytest.mark.parametrize(
    ("name", "load"),
    [("model.safetensors", artefact.read), ("model.safetensors", unnoise.load_autoencoder), ("model.onnx", unnoise.load)],
)
def test_nothing_is_unpickled(tmp_path, name, load):
    """Fails if a pickle under a model's name is executed: loading it would make a file."""
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "made")))
    refusal(lambda: load(tmp_path / name), ModelError)
    assert not (tmp_path / "made").exists()
    pickle.loads((tmp_path / name).read_bytes())
    assert (tmp_path / "made").exists()  # it would have


def test_the_torch_module_comes_back(colour):
    """Fails if a weight is lost between the trained network and `load_autoencoder`, from folder or file."""
    net, folder = colour
    for path in (folder, folder / "model.safetensors", str(folder)):
        loaded = unnoise.load_autoencoder(path)
        assert (loaded.model, loaded.channels, loaded.training) == (UNET, 3, False)
        np.testing.assert_array_equal(on_torch(loaded, PHOTO), on_torch(net, PHOTO))


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ({"architecture": "dense", "channels": 3}, "its tensors do not fit its architecture dense"),
        pytest.param(
            {"step": 100, "config": {}}, "",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_model(tmp_path, card, says):
    """Fails if a sound file of unnoise that holds no model, such as a checkpoint, is more than one sentence."""
    artefact.write(tmp_path / "a.safetensors", TENSORS, card)
    assert says in refusal(lambda: unnoise.load_autoencoder(tmp_path / "a.safetensors"), ModelError)


# --- ONNX ----------------------------------------------------------------------------------------------------------------------


def test_the_card_is_in_the_onnx_file(colour):
    """Fails if the appended card is not what another protobuf reader finds, the file is no valid ONNX, or the contract moved."""
    data, card = artefact.read_onnx(colour[1] / "model.onnx")
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model)
    assert json.loads({entry.key: entry.value for entry in model.metadata_props}["unnoise"]) == card
    assert [one.name for one in model.graph.input] == ["noisy"]
    assert [one.name for one in model.graph.output] == ["restored"]
    expected = {"format": 1, "contract": 1, "alignment": 8, "channels": 3, "noise": ["gaussian:25/255"]}
    expected |= {"receptive_field": 100, "overlap": 48, "tile": 1024}
    assert {key: card[key] for key in expected} == expected


def test_altered_onnx_files_are_refused(tmp_path, colour):
    """Fails if one changed byte of the network or of the card, anywhere, goes unnoticed."""
    whole = (colour[1] / "model.onnx").read_bytes()
    card_begins = whole.rindex(b'{"')
    network, card = np.random.default_rng(9).choice(card_begins, 40), range(card_begins, len(whole), 7)
    for at in (*network, *card):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        (tmp_path / "a.onnx").write_bytes(changed)
        refusal(lambda: artefact.read_onnx(tmp_path / "a.onnx"), ModelError)


def test_nothing_may_follow_the_card(tmp_path, colour):
    """Fails if a second graph, appended, replaces parts of the network that the checksum vouches for."""
    whole = (colour[1] / "model.onnx").read_bytes()
    more = onnx.ModelProto(graph=onnx.GraphProto(name="another")).SerializeToString()
    (tmp_path / "a.onnx").write_bytes(whole + more)
    refusal(lambda: artefact.read_onnx(tmp_path / "a.onnx"), ModelError)


TILED = {"contract": 1, "channels": 3, "alignment": 8, "overlap": 48, "tile": 1024}


def stamp(card):
    """The least that is protobuf, with a card."""
    return artefact.stamped(b"\x08\x08", card)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "there is no card of unnoise in it"),
        (bytes(range(256)) * 4, "there is no card of unnoise in it"),
        (onnx.ModelProto(producer_name="pytorch").SerializeToString(), "there is no card of unnoise in it"),
        (
            onnx.ModelProto(metadata_props=[onnx.StringStringEntryProto(key="licence", value="MIT")]).SerializeToString(),
            "there is no card of unnoise in it",
        ),
        (stamp({"format": 7}), "has format 7, and this version reads 1"),
        (stamp({}), "does not follow contract v1"),
        (stamp({"contract": 2, "channels": 3, "alignment": 8}), "does not follow contract v1"),
        (stamp({"contract": 1, "channels": 4, "alignment": 8}), "does not follow contract v1"),
        (stamp({"contract": 1, "channels": 3, "alignment": 0}), "does not follow contract v1"),
        (
            stamp({"contract": 1, "channels": 3, "alignment": 8}),
            "does not say how to tile a picture, as older versions did not",
        ),
        (stamp(TILED | {"overlap": None}), "export it again (unnoise export RUN -o model.onnx)."),
        (stamp(TILED | {"overlap": 44}), "does not say how to tile"),
        (stamp(TILED | {"overlap": -8}), "does not say how to tile"),
        (stamp(TILED | {"tile": 103}), "does not say how to tile"),
        (stamp(TILED | {"tile": "large"}), "does not say how to tile"),
        (stamp(TILED), "onnxruntime cannot load the model"),
        (None, "does not exist; give a run folder"),
    ],
    ids=[
        "empty",
        "bytes",
        "no card",
        "foreign card",
        "format",
        "no contract",
        "contract",
        "channels",
        "alignment",
        "no overlap, no tile",
        "no overlap",
        "overlap off the grid",
        "overlap below 0",
        "tile all overlap",
        "tile in words",
        "network",
        "missing",
    ],
)
def test_foreign_onnx_files_are_one_sentence(tmp_path, content, says):
    """Fails if a file that does not follow the contract runs, or its error is onnxruntime's."""
    if content is not None:
        (tmp_path / "a.onnx").write_bytes(content)
    assert says in refusal(lambda: unnoise.load(tmp_path / "a.onnx"), ModelError)


OUTSIDE = onnx.TensorProto(
    name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL,
    external_data=[onnx.StringStringEntryProto(key="location", value="../../etc/passwd")],
)  # fmt: skip
BRANCH = onnx.GraphProto(name="branch")


def node(**attribute):
    return onnx.GraphProto(node=[onnx.NodeProto(op_type="If", attribute=[onnx.AttributeProto(name="value", **attribute)])])


@pytest.mark.parametrize(
    "model",
    [
        onnx.ModelProto(graph=onnx.GraphProto(initializer=[OUTSIDE])),
        onnx.ModelProto(graph=node(t=OUTSIDE)),
        onnx.ModelProto(graph=node(tensors=[OUTSIDE])),
        onnx.ModelProto(graph=onnx.GraphProto(sparse_initializer=[onnx.SparseTensorProto(values=OUTSIDE)])),
        onnx.ModelProto(graph=node(g=BRANCH)),
        onnx.ModelProto(graph=node(graphs=[BRANCH])),
        onnx.ModelProto(functions=[onnx.FunctionProto(name="f")]),
        onnx.ModelProto(training_info=[onnx.TrainingInfoProto(initialization=BRANCH)]),
    ],
    ids=["tensor", "constant", "constants", "sparse", "branch", "branches", "function", "training"],
)
def test_a_network_that_reads_other_files_is_refused(tmp_path, model):
    """Fails if a file with a sound card makes onnxruntime read a file of its choice, or hides that where no one looks."""
    (tmp_path / "a.onnx").write_bytes(artefact.stamped(model.SerializeToString(), TILED))
    said = refusal(lambda: unnoise.load(tmp_path / "a.onnx"), ModelError)
    assert "reads other files or runs graphs inside it" in said


@pytest.mark.parametrize("load", [artefact.read, artefact.read_onnx])
def test_what_is_no_file_or_far_too_large(tmp_path, load):
    """Fails if a pipe is waited for, or gigabytes are read before a word is said."""
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refusal(lambda: load(tmp_path / "pipe"), ModelError)
    assert "is no regular file" in refusal(lambda: load(tmp_path), ModelError)
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**33)  # holds nothing on the disk
    assert "has 8192 MiB: expected" in refusal(lambda: load(tmp_path / "large"), ModelError)


@pytest.mark.parametrize(
    "content",
    [
        b"\x08\x08" * (artefact.MOST_FIELDS + 1),  # two bytes a field: a loop in Python over all of a large file takes minutes
        artefact._field(7, b"\x08\x08" * (artefact.MOST_FIELDS + 1)),
        artefact.stamped(b"\x08\x08", TILED | {"licence": "x" * 2**20}),
    ],
    ids=["fields", "fields inside", "card"],
)
def test_more_than_a_model_needs_is_refused(tmp_path, content):
    """Fails if a hostile file of allowed size takes long, or fills memory with its card."""
    (tmp_path / "a.onnx").write_bytes(content if b"unnoise" in content else artefact.stamped(content, TILED))
    assert "there is no card of unnoise in it" in refusal(lambda: artefact.read_onnx(tmp_path / "a.onnx"), ModelError)


def test_a_folder_without_a_model(tmp_path):
    """Fails if an unfinished run is an error without the command that goes on with it, or that is said of other folders."""
    with pytest.raises(ModelError, match=r"holds no model.onnx; give the folder of a finished run\.$"):
        unnoise.load(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(ModelError, match=rf"holds no model.onnx; .*: unnoise train --resume {tmp_path}"):
        unnoise.load(tmp_path)


# --- parity --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["colour", "gray", "conv"])
def test_exported_and_original_agree(run, request):
    """Fails if onnxruntime computes anything else than torch, at sizes that are no multiple of the grid, or down to one pixel."""
    net, folder = request.getfixturevalue(run)
    onnx_bytes, _ = artefact.read_onnx(folder / "model.onnx")
    for probe in (PHOTO, PHOTO[:1, :1], PHOTO[:3, :46]):
        assert export.check_parity(net, onnx_bytes, probe[..., : net.channels]) <= 1e-5  # float32 sums in another order


def test_a_difference_is_refused(tmp_path, monkeypatch, colour):
    """Fails if export writes a model that differs from the trained one by more than 1e-4: this one does by just its last bias."""
    net, folder = colour
    altered, onnx_bytes = copy.deepcopy(net), (folder / "model.onnx").read_bytes()
    bias = altered.decoder.tail.bias.data
    bias[0] += 5e-5
    assert export.check_parity(altered, onnx_bytes, PHOTO) == pytest.approx(5e-5, abs=1e-5)  # float32 sums in another order
    bias[0] += 1e-4
    assert "differs from the trained one by 0.00015" in refusal(
        lambda: export.check_parity(altered, onnx_bytes, PHOTO), ModelError
    )
    monkeypatch.setattr(export, "to_onnx", lambda model, *last: onnx_bytes)
    refusal(lambda: export.export(altered, {}, tmp_path, PHOTO), ModelError)
    assert not (tmp_path / "model.onnx").exists()
    bias[0] = torch.nan
    refusal(lambda: export.check_parity(altered, onnx_bytes, PHOTO), ModelError)


# --- weights in float16 ----------------------------------------------------------------------------------------------------------


def rounded(net):
    """A copy whose weights are what float16 holds of them."""
    net = copy.deepcopy(net)
    for weight in net.parameters():
        weight.data = weight.data.half().float()
    return net


@pytest.mark.parametrize("run", ["colour", "gray", "conv"])
def test_weights_in_float16(run, request, tmp_path):
    """Fails if a weight or bias is stored otherwise than asked, the contract moves, the network is not that of the rounded
    weights, or onnxruntime runs another graph than that of the float32 file: casts that stay would cost time at every tile."""
    net, folder = request.getfixturevalue(run)
    files = {}
    for float16 in (True, False):
        files[float16] = tmp_path / f"{float16}.onnx"
        card = export.export_again(folder, files[float16], float16=float16)
        assert card.get("weights") == ("float16" if float16 else None)
    half, whole = (onnx.load(files[float16]) for float16 in (True, False))
    onnx.checker.check_model(half)
    kinds = {tensor.data_type for tensor in half.graph.initializer} - {onnx.TensorProto.INT64}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert [half.graph.input, half.graph.output] == [whole.graph.input, whole.graph.output]
    data, _ = artefact.read_onnx(files[True])
    assert export.check_parity(rounded(net), data, PHOTO[..., : net.channels]) <= 1e-5
    assert loaded_nodes(files[True]) == loaded_nodes(files[False])


def loaded_nodes(file):
    """How many nodes of each kind onnxruntime runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(file.with_suffix(".optimised")), 4
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return Counter((node.domain, node.op_type) for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_safetensors_in_float16(colour, tmp_path):
    """Fails if the file of weights holds more than half as much, or comes back as anything but the rounded network in float32."""
    net, folder = colour
    export.export_again(folder, tmp_path / "half.safetensors", float16=True)
    tensors, card = artefact.read(tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}
    assert (card["weights"], card["receptive_field"], card["noise"]) == ("float16", 100, ["gaussian:25/255"])
    loaded = unnoise.load_autoencoder(tmp_path / "half.safetensors")
    np.testing.assert_array_equal(on_torch(loaded, PHOTO), on_torch(rounded(net), PHOTO))
    export.export_again(tmp_path / "half.safetensors", tmp_path / "whole.safetensors")
    tensors, card = artefact.read(tmp_path / "whole.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
    assert "weights" not in card


def test_what_float16_cannot_hold_is_refused(colour, tmp_path):
    """Fails if a weight becomes infinite on the way."""
    net = copy.deepcopy(colour[0])
    net.encoder.head.weight.data[0, 0, 0, 0] = 7e4
    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    artefact.write(tmp_path / "a.safetensors", tensors, {"architecture": str_of(MODELS, UNET), "channels": 3})
    for name in ("b.onnx", "b.safetensors"):
        words = refusal(
            lambda name=name: export.export_again(tmp_path / "a.safetensors", tmp_path / name, float16=True), ModelError
        )
        assert "encoder.head.weight does not fit into float16" in words
        assert not (tmp_path / name).exists()


# --- the denoiser --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colour_model(colour):
    return unnoise.load(colour[1], threads=1)


@pytest.fixture(scope="module")
def gray_model(gray):
    return unnoise.load(gray[1] / "model.onnx", threads=1)


GRAY = PHOTO[..., 0]
ALPHA = np.linspace(-1, 2, GRAY.size, dtype=np.float32).reshape(*GRAY.shape, 1)
PICTURES = {
    "gray": GRAY,
    "gray, three axes": GRAY[..., None],
    "gray+alpha": np.dstack([GRAY, ALPHA]),
    "colour": PHOTO,
    "colour+alpha": np.dstack([PHOTO, ALPHA]),
    "float64": PHOTO.astype(np.float64),
    "one pixel": PHOTO[:1, :1],
    "a view": PHOTO[::-2, ::3],
    "outside": PHOTO * 3 - 1,
}


@pytest.mark.parametrize("name", PICTURES)
def test_colour_model(colour, colour_model, name):
    """Fails if channels are exchanged, alpha goes through the model, gray is not the mean of three, or anything is clipped."""
    image, before = PICTURES[name], PICTURES[name].copy()
    restored = colour_model.denoise(image)
    values = image[..., None] if image.ndim == 2 else image[..., :3] if image.shape[2] > 2 else image[..., :1]
    expected = on_torch(colour[0], np.broadcast_to(values, (*values.shape[:2], 3)).astype(np.float32))
    expected = expected if values.shape[2] == 3 else expected.mean(2, keepdims=True)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)
    answer = restored.reshape(*image.shape[:2], -1)
    np.testing.assert_allclose(answer[..., : values.shape[2]], expected, atol=1e-5)  # float32 sums in another order
    if "alpha" in name:
        np.testing.assert_array_equal(restored[..., -1], image[..., -1])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", PICTURES)
def test_gray_model(gray, gray_model, name):
    """Fails if a colour picture does not go through a gray model channel by channel, each as a gray picture would."""
    image, restored = PICTURES[name], gray_model.denoise(PICTURES[name])
    whole, answer = image.reshape(*image.shape[:2], -1), restored.reshape(*image.shape[:2], -1)
    for channel in range(whole.shape[2] - ("alpha" in name)):
        expected = on_torch(gray[0], whole[..., channel : channel + 1].astype(np.float32))
        np.testing.assert_allclose(answer[..., channel : channel + 1], expected, atol=1e-5)  # float32 sums in another order
    if "alpha" in name:
        np.testing.assert_array_equal(restored[..., -1], image[..., -1])


@pytest.mark.parametrize("name", PICTURES)
def test_strength(colour_model, name):
    """Fails if strength 0 changes a bit, or strength between 0 and 1 is not the same way between picture and answer."""
    image = PICTURES[name]
    assert colour_model.denoise(image, strength=0).tobytes() == image.tobytes()
    whole = colour_model.denoise(image).astype(np.float64)
    quarter = colour_model.denoise(image, strength=0.25)
    np.testing.assert_allclose(quarter, 0.75 * image + 0.25 * whole, atol=1e-6)  # float32


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("strength", [0.5, 1])
def test_grain(colour_model, name, strength):
    """Fails if grain is not the removed brightness, alike in all channels: what is taken of it is 1 - grain, of colour all."""
    image, luma = PICTURES[name], np.array([0.299, 0.587, 0.114])
    even, grainy = (colour_model.denoise(image, strength, grain=share).astype(np.float64) for share in (0, 0.4))
    if image.ndim == 3 and image.shape[2] > 2:
        given_back = (grainy - even)[..., :3]
        removed = (image - even)[..., :3] @ luma
        np.testing.assert_allclose(given_back, np.repeat(0.4 * removed[..., None], 3, axis=2), atol=1e-6)
    else:
        np.testing.assert_allclose(grainy, even + 0.4 * (image - even), atol=1e-6)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_whole_numbers_come_back_as_whole_numbers(colour_model, dtype, largest, strength):
    """Fails if uint8 and uint16 are scaled wrongly, cut down instead of rounded, or wrap round where the model goes outside [0, 1]."""
    image = np.dstack([np.rint(PHOTO * largest), np.full(GRAY.shape, largest // 3)]).astype(dtype)
    image[:20, :20, :3], image[20:40, :20, :3] = 0, largest
    before = image.copy()
    as_floats = image[..., :3] / np.float64(largest)
    restored = colour_model.denoise(image, strength)
    whole = largest * colour_model.denoise(as_floats, strength)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)
    assert np.abs(restored[..., :3] - np.clip(whole, 0, largest)).max() <= 0.5 + 1e-6 * largest  # rounded; float32
    assert strength == 0 or whole.min() < -1 or whole.max() > largest + 1  # there was something to clip
    np.testing.assert_array_equal(restored[..., 3], image[..., 3])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("image", [PHOTO, GRAY[..., None], (PHOTO * 255).astype(np.uint8)], ids=["colour", "gray", "uint8"])
def test_a_batch_is_its_pictures(colour_model, image):
    """Fails if pictures of a batch are mixed, or one of them is not denoised as it would be alone."""
    batch = np.stack([image, image[::-1], image // 2])
    expected = np.stack([colour_model.denoise(one, 0.5) for one in batch])
    restored = colour_model.denoise(batch, 0.5)
    assert restored.dtype == image.dtype
    np.testing.assert_array_equal(restored, expected)
    assert colour_model.denoise(batch[:0]).shape == (0, *image.shape)


def test_threads(colour):
    """Fails if the number of threads does not reach onnxruntime, the default counts logical cores, or more are started than can run."""
    assert unnoise.load(colour[1], threads=1).network.session.get_session_options().intra_op_num_threads == 1
    assert unnoise.load(colour[1], threads=999).network.session.get_session_options().intra_op_num_threads == os.cpu_count()
    default = unnoise.load(colour[1]).network.session.get_session_options().intra_op_num_threads
    cores = Path("/proc/cpuinfo")
    if not cores.exists() or "core id" not in cores.read_text() or len(os.sched_getaffinity(0)) != os.cpu_count():
        pytest.skip("there is nothing to count the physical cores by")
    described = [dict(re.findall(r"^([\w ]+?)\s*: (.*)$", one, re.M)) for one in cores.read_text().split("\n\n") if one.strip()]
    assert default == len({(one["physical id"], one["core id"]) for one in described})
    for threads in (-1, 1025):
        assert f"threads={threads}: expected 1 to 1024" in refusal(
            lambda n=threads: unnoise.load(colour[1], threads=n), BadSetting
        )


def test_denoise_is_load_and_denoise(colour, colour_model):
    """Fails if the function that is used once gives another answer than the model that is used often."""
    np.testing.assert_allclose(
        unnoise.denoise(PHOTO, colour[1], 0.5, 104), colour_model.denoise(PHOTO, 0.5), atol=1e-5
    )  # threads


@pytest.mark.parametrize(
    ("image", "strength", "kind", "says"),
    [
        (np.full((4, 4), np.nan), 1, ImageError, "a picture with NaN or infinity"),
        (np.zeros((4, 4), np.int32), 1, ImageError, "a picture of int32: expected float32"),
        (np.zeros((4, 4), bool), 1, ImageError, "a picture of bool: expected float32"),
        (np.zeros((4, 0), np.uint8), 1, ImageError, "a picture of (4, 0)"),
        (np.zeros((3, 64, 64), np.uint8), 1, ImageError, "move the channels to the end"),
        (np.zeros((2, 3, 64, 64), np.float32), 1, ImageError, "move the channels to the end"),
        (np.stack([PHOTO, PHOTO * np.nan]), 1, ImageError, "a picture with NaN or infinity"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), 1, ImageError, "a picture of (1, 1, 8, 8, 3)"),
        (np.full((4, 4, 3), 140.0), 1, ImageError, "divide by 255"),
        (np.zeros((3, 64, 64), np.float32), 1, ImageError, "move the channels to the end"),
        ([[0.5]], 1, ImageError, "a picture of list"),
        (PHOTO, 1.5, BadSetting, "strength=1.5: expected a share from 0 (nothing) to 1"),
        (PHOTO, -0.1, BadSetting, "strength=-0.1: expected"),
        (PHOTO, float("nan"), BadSetting, "strength=nan: expected"),
    ],
)
def test_what_cannot_be_denoised(colour_model, image, strength, kind, says):
    """Fails if the model runs on what is no picture in floats, or overshoots its answer."""
    assert says in refusal(lambda: colour_model.denoise(image, strength), kind)


def test_denoising_needs_no_torch(colour):
    """Fails if running a model imports torch: the core is installed without it."""
    code = "import sys, numpy, unnoise; unnoise.load(sys.argv[1]).denoise(numpy.zeros((9, 9))); print('torch' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code, colour[1]], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "False"


def test_the_runtime_keeps_nothing_of_its_user(run, tmp_path, environment):
    """Fails if onnxruntime keeps a device number and a file of events, as it does from 1.32 on unless it is told in time."""
    code = "import sys, unnoise, numpy; unnoise.load(sys.argv[1]).denoise(numpy.zeros((20, 30), numpy.float32))"
    there = {**environment, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    there.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code, run], env=there, check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
