"""Models that have learned to mend what noise replaced leave all else as it is."""

import numpy as np
import pytest
import torch
from conftest import SKIMAGE, TINY

import unnoise
from unnoise import artefact, export, image, load
from unnoise.config import UNet
from unnoise.model import Autoencoder
from unnoise.noise import parse, spoilt

CLEAN = image.read(SKIMAGE / "chelsea.png").pixels[:64, :72]


def card(*noises):
    return {"training": {"noise": list(noises)}}


@pytest.mark.parametrize(
    ("noises", "mends"),
    [
        (["masking:0.3"], "missing pixels"),
        (["masking:0.3", "blocks:count=3,size=8"], "missing pixels"),
        (["masking:0.3+blocks:count=3,size=8"], "missing pixels"),
        (["masking:fraction=0.3,per=channel"], "impulses"),
        (["salt-and-pepper:0.1", "masking:0.3"], "impulses"),
        (["salt-and-pepper:fraction=0.1,values=uniform"], "impulses"),
        (["salt-and-pepper:0.1+gaussian:0.1"], ""),
        (["masking:0.3", "gaussian:0.1"], ""),
        (["camera:0.1"], ""),
        (["pairs"], ""),
        ([], ""),
    ],
)
def test_the_noise_decides(noises, mends):
    assert export.mends_of(card(*noises)) == mends


def test_a_card_without_training_mends_nothing():
    assert export.mends_of({}) == export.mends_of({"training": "long"}) == ""


@pytest.mark.parametrize(("noise", "mends"), [("masking:0.3", "missing pixels"), ("gaussian:0.1", "")])
def test_the_card_of_a_run_decides(noise, mends, photos, tmp_path, monkeypatch):
    """Fails if a run ends with a model that changes all, since its card is not one that was read from a file."""
    cards = []
    monkeypatch.setattr("unnoise.run.export", lambda model, card, *rest: cards.append(card))
    unnoise.train(photos, tmp_path / "run", noise=noise, steps=1, **{**TINY, "model": "dense:hidden=16,code=8"})
    assert export.mends_of(cards[0]) == mends


@pytest.fixture(scope="module")
def net():
    """A network of no use, whose answer is near its input."""
    torch.manual_seed(3)
    model = Autoencoder(UNet((16,), (1,), fold=1), 3)
    with torch.no_grad():
        for layer in (model.encoder.head, model.decoder.tail):
            layer.weight.mul_(0.2)
            for channel in range(3):
                layer.weight[channel, channel, 1, 1] += 1
    return model.eval()


def written(net, path, *noises):
    """The answers of torch, and of the file that is exported."""
    path.mkdir()
    export.export(net, {**card(*noises), "architecture": "unet:widths=16,blocks=1,fold=1"}, path, CLEAN)
    model = load(path)
    return (
        model,
        lambda noisy: net(torch.from_numpy(noisy.transpose(2, 0, 1)[None].copy()))[0].detach().numpy().transpose(1, 2, 0),
    )


def test_what_is_not_missing_stays(net, tmp_path):
    """Fails if a known pixel changes by a bit, a missing one is not the network's, or the card does not say it."""
    model, answer = written(net, tmp_path / "run", "masking:0.3")
    noisy = spoilt(CLEAN, parse("masking:0.3"), 1, 0)
    noisy[5, 5, :2] = 0  # one channel is left: not missing
    lost = (noisy == 0).all(2)
    restored = model.denoise(noisy)
    np.testing.assert_array_equal(restored[~lost], noisy[~lost])
    np.testing.assert_allclose(restored[lost], answer(noisy)[lost], atol=1e-5)
    assert np.abs(answer(noisy) - noisy)[~lost].max() > 0.05
    assert model.card["mends"] == "missing pixels"
    assert artefact.read(tmp_path / "run" / "model.safetensors")[1]["mends"] == "missing pixels"
    export.export_again(tmp_path / "run", tmp_path / "again.onnx", float16=True)
    np.testing.assert_array_equal(load(tmp_path / "again.onnx").denoise(noisy)[~lost], noisy[~lost])


def test_what_is_close_stays(net, tmp_path):
    """Fails if a value near the answer changes, one far from it is not mended, or there is a jump between, which tiles would show."""
    model, answer = written(net, tmp_path / "run", "salt-and-pepper:0.2")
    noisy = spoilt(CLEAN, parse("salt-and-pepper:0.2"), 1, 0)
    change, restored = answer(noisy) - noisy, model.denoise(noisy)
    low, high = export.CLOSE
    near, far = np.abs(change) < low - 1e-5, np.abs(change) > high + 1e-5
    assert min(near.mean(), far.mean(), (~near & ~far).mean()) > 0.02
    np.testing.assert_allclose(restored[near], noisy[near], atol=1e-7)
    np.testing.assert_allclose(restored[far], answer(noisy)[far], atol=1e-5)
    between = ~near & ~far
    share = (np.abs(change) - low) / (high - low)
    np.testing.assert_allclose((restored - noisy)[between], (share * change)[between], atol=1e-4)


def test_it_is_the_same_in_tiles_and_in_gray(net, tmp_path):
    """Fails if a value is mended in one piece and left alone in tiles, or a gray picture comes out in another way than its three channels."""
    model, _ = written(net, tmp_path / "run", "salt-and-pepper:0.2")
    noisy = spoilt(np.tile(CLEAN, (2, 2, 1)), parse("salt-and-pepper:0.2"), 1, 0)
    np.testing.assert_allclose(model.denoise(noisy, tile=48), model.denoise(noisy, tile=0), atol=1e-5)
    three = np.repeat(noisy[..., :1], 3, 2)
    np.testing.assert_allclose(model.denoise(noisy[..., 0]), model.denoise(three).mean(2), atol=1e-6)


def test_whole_numbers_that_need_no_mending_stay_in_every_position(net, tmp_path):
    """Fails if --quality high, or gray through a model for colour, changes a known pixel of a file."""
    written(net, tmp_path / "run", "masking:0.3")
    noisy = np.rint(spoilt(CLEAN, parse("masking:0.3"), 1, 0) * 255).astype(np.uint8)
    for picture in (noisy, noisy[..., 0]):
        known = picture.any(2) if picture.ndim == 3 else picture > 0
        restored = load(tmp_path / "run", quality="high").denoise(picture)
        np.testing.assert_array_equal(restored[known], picture[known])


def test_other_noise_changes_all(net, tmp_path):
    model, answer = written(net, tmp_path / "run", "gaussian:0.1")
    np.testing.assert_allclose(model.denoise(CLEAN), answer(CLEAN), atol=1e-5)
    assert "mends" not in model.card
