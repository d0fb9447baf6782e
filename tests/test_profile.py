"""A camera's noise: measured in flats and frames whose noise is known, kept in a file, and put on pictures again."""

import json
import struct

import numpy as np
import pytest
import skimage
from conftest import TINY, refusal

import unnoise
from unnoise import image, profiles
from unnoise.errors import BadSetting, ImageError
from unnoise.flats import measured
from unnoise.keyed import keyed_rng
from unnoise.nlf import LevelFunction
from unnoise.noise import Profile, brief, parse
from unnoise.profiles import Group, filled_in
from unnoise.run import train
from unnoise.server.lecture import asked
from unnoise.tuned import known_sigma

LIMIT = 10**8
GAIN, READ, COLOURS = (8e-4, 5e-4, 1.2e-3), (0.006, 0.004, 0.008), (0.5, 0.2, 0.4)


def autocorrelation(taps):
    """(4, 4) of a filter (7, 7): the sums of products, at each shift down and across, over that at none."""
    padded = np.pad(taps, ((0, 3), (3, 3)))
    sums = [[(taps * padded[down : down + 7, across : across + 7]).sum() for across in range(3, 7)] for down in range(4)]
    return np.array(sums) / sums[0][0]


def kernel(sigma):
    along = np.exp(-np.square(np.arange(-3, 4)) / (2 * sigma**2))
    return np.outer(along, along)


def sharpened():
    taps = np.zeros((7, 7))
    taps[3, 2:5], taps[2:5, 3] = -0.15, -0.15
    taps[3, 3] = 1.6
    return taps


CORRELATION = tuple(autocorrelation(kernel(0.6)).ravel().tolist())
WHITE, TIED = Group(GAIN, READ), Group(GAIN, READ, CORRELATION, COLOURS, 800)


def exif(iso, model=b"Box Brownie\0"):
    """EXIF of a camera's name and ISO, by the standard's layout."""
    inner_at = 8 + 2 + 2 * 12 + 4
    name_at = inner_at + 2 + 12 + 4
    head = b"II*\0" + struct.pack("<I", 8)
    outer = struct.pack("<HHHIIHHIII", 2, 0x0110, 2, len(model), name_at, 0x8769, 4, 1, inner_at, 0)
    inner = struct.pack("<HHHIHHI", 1, 0x8827, 3, 1, iso, 0, 0)
    return head + outer + inner + model


def wall(exposure, height=256, width=320):
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (exposure * (1 - 0.2 * (rows**2 + columns**2)))[..., None].repeat(3, 2).astype(np.float32)


def save(folder, name, pixels, noise=None, key=0, depth=16, **keep):
    folder.mkdir(parents=True, exist_ok=True)
    noisy = pixels if noise is None else noise(pixels, keyed_rng(5, index=key))[0]
    image.write(folder / name, noisy, image.Picture(noisy, "TIFF", depth, keep))


def flats(folder, group=WHITE, **keep):
    for at, exposure in enumerate((0.1, 0.2, 0.4, 0.7)):
        save(folder, f"{at}.tif", wall(exposure), Profile((group,)), at, **keep)
    return folder


def photo():
    return (image.read(f"{skimage.__path__[0]}/data/astronaut.png").pixels * 0.9 + 0.05)[:256, :256]


def levels(group):
    return [LevelFunction.from_json(channel) for channel in group["channels"]]


# --- on a picture ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [WHITE, TIED], ids=["white", "tied"])
@pytest.mark.parametrize("value", [0.0, 0.2, 0.9])
def test_the_variance_is_gain_and_read(group, value):
    """Fails if the filter or the mixing of colours changes the variance, channels are swapped, or read is taken for a variance."""
    clean = np.full((200, 200, 3), value, np.float32)
    noisy, mask = Profile((group,))(clean, keyed_rng(1))
    variances = np.square(noisy - clean).mean((0, 1))
    np.testing.assert_allclose(variances, np.array(GAIN) * value + np.square(READ), rtol=0.06)  # 4 standard errors, correlated
    assert noisy.dtype == np.float32
    assert mask.all()
    assert (clean == np.float32(value)).all()


def test_the_noise_is_as_correlated_as_was_asked_for():
    """Fails if the filter has another autocorrelation, or colours are tied in another order."""
    clean = np.full((600, 600, 3), 0.5, np.float32)
    noise = Profile((TIED,))(clean, keyed_rng(2))[0] - clean
    noise /= noise.std((0, 1))
    for down, across in ((0, 1), (1, 0), (1, 1), (2, 0), (0, 3)):
        found = np.mean(noise[: 600 - down, : 600 - across] * noise[down:, across:])
        assert found == pytest.approx(CORRELATION[4 * down + across], abs=0.01)
    pairs = [np.mean(noise[..., a] * noise[..., b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(pairs, COLOURS, atol=0.01)


@pytest.mark.parametrize(
    "taps", [kernel(0.5), kernel(1.0), sharpened(), np.pad(np.ones((3, 3)), 2)], ids=["soft", "softer", "sharp", "box"]
)
def test_the_filter_has_the_autocorrelation(taps):
    """Fails if the filter's root is wrong, or is not bettered where it must be cut to its size."""
    wanted = autocorrelation(taps)
    found = profiles.filter_of(tuple(wanted.ravel().tolist())).astype(float)
    assert np.square(found).sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(autocorrelation(found), wanted, atol=0.01)


def test_gray_alpha_and_doubles():
    """Fails if a gray picture gets a channel's noise, not brightness's, if alpha is touched, or the type changes."""
    gray = np.full((300, 300), 0.5)
    noisy, _ = Profile((TIED,))(gray, keyed_rng(3))
    sigmas, shares = np.sqrt(np.array(GAIN) * 0.5 + np.square(READ)), np.array([0.299, 0.587, 0.114])
    tied = np.array([[1, 0.5, 0.2], [0.5, 1, 0.4], [0.2, 0.4, 1]])
    assert noisy.dtype == np.float64
    assert (noisy - gray).std() == pytest.approx(np.sqrt((sigmas * shares) @ tied @ (sigmas * shares)), rel=0.03)
    clear = np.dstack([wall(0.5), np.full((256, 320), 0.25, np.float32)])
    noisy, mask = Profile((WHITE,))(clear, keyed_rng(3))
    assert (noisy[..., 3] == 0.25).all()
    assert mask[..., :3].all()
    assert not mask[..., 3].any()
    coloured, _ = Profile((Group((0.0,), (0.1,)),))(np.zeros((200, 200, 3), np.float32), keyed_rng(3))
    assert (
        np.abs(np.corrcoef(coloured.reshape(-1, 3).T) - np.eye(3)).max() < 0.02
    )  # a gray camera's noise, in each channel by itself
    assert coloured.std() == pytest.approx(0.1, rel=0.02)


def test_each_call_draws_a_group():
    """Fails if one ISO alone is used, or the draw is not the generator's."""
    noise = Profile((Group((0.0,), (0.0,), iso=100), Group((0.0,), (0.2,), iso=200)))
    clean = np.full((20, 20), 0.5, np.float32)
    loud = [noise(clean, keyed_rng(4, index=at))[0].std() > 0.1 for at in range(200)]
    assert 70 < sum(loud) < 130  # 4 standard errors
    np.testing.assert_array_equal(noise(clean, keyed_rng(4))[0], noise(clean, keyed_rng(4))[0])


def test_the_text_holds_the_figures():
    """Fails if a figure is lost in the text, or a sum cannot be read again."""
    noise = Profile((WHITE, TIED)) + unnoise.Masking(fraction=0.1)
    assert known_sigma(noise) is None  # for the classical methods
    again = parse(str(noise))
    assert str(again) == str(noise)
    np.testing.assert_allclose(again.parts[0].groups[1].correlation, CORRELATION, rtol=1e-4)
    assert again.parts[0].groups[1].iso == 800
    assert brief(str(noise)) == "profile:iso=800+masking:fraction=0.1".replace("fraction=", "")


# --- measured ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [WHITE, TIED], ids=["white", "tied"])
@pytest.mark.parametrize("same_scene", [False, True])
def test_known_noise_is_found(group, same_scene, tmp_path):
    """Fails if gain, read or their errors are off, if a scene is not cancelled, or what the plane takes of correlated noise is not given back."""
    if same_scene:
        for at in range(3):
            save(tmp_path / "frames", f"{at}.tif", photo(), Profile((group,)), at)
    else:
        flats(tmp_path / "frames", group)
    (found,) = measured([tmp_path / "frames"], same_scene, LIMIT)["groups"]
    for level, gain, read in zip(levels(found), GAIN, READ, strict=True):
        assert abs(level.gain.value - gain) < 4 * level.gain.error
        assert abs(level.read.value - read) < 4 * level.read.error
        assert level.gain.error < (0.06 if same_scene else 0.02) * gain
        assert float(level.sigma(0.5)) == pytest.approx(np.sqrt(gain * 0.5 + read**2), rel=0.025)
    if group is WHITE:
        assert found["correlation"] is None
        assert found["colours"] is None
    else:
        np.testing.assert_allclose(np.ravel(found["correlation"]["table"]), CORRELATION, atol=0.02)
        np.testing.assert_allclose(found["colours"]["table"], COLOURS, atol=0.02)
    assert found["misfit"] < 0.03


def test_texture_in_a_corner_is_left_out(tmp_path):
    """Fails if a thing that lies on the even surface raises the noise."""
    for at, exposure in enumerate((0.2, 0.5)):
        pixels = wall(exposure)
        pixels[:80, :80] = photo()[100:180, 100:180]
        save(tmp_path, f"{at}.tif", pixels, Profile((WHITE,)), at)
    (found,) = measured([tmp_path], False, LIMIT)["groups"]
    for level, gain, read in zip(levels(found), GAIN, READ, strict=True):
        assert float(level.sigma(0.4)) == pytest.approx(np.sqrt(gain * 0.4 + read**2), rel=0.02)


def test_each_iso_is_a_group(tmp_path):
    """Fails if ISO of one camera are mixed, or folders without EXIF are, or the file does not give back what was measured."""
    loud = Group(tuple(4 * gain for gain in GAIN), READ)
    flats(tmp_path / "all", WHITE, exif=exif(100))
    flats(tmp_path / "all" / "more", loud, exif=exif(800))
    flats(tmp_path / "all" / "bare", WHITE)
    found = measured([tmp_path / "all"], False, LIMIT)
    assert [group["iso"] for group in found["groups"]] == [None, 100, 800]
    assert found["camera"] == "Box Brownie"
    file = tmp_path / "camera.json"
    file.write_text(json.dumps({"format": profiles.FORMAT, "version": 1, **found}))
    assert len(Profile.of(file).groups) == 3
    (group,) = Profile.of(file, 800).groups
    assert group.gain[0] == pytest.approx(4 * GAIN[0], rel=0.02)
    assert filled_in(f"profile:file={file},iso=800+masking:0.1") == f"{Profile.of(file, 800)}+masking:0.1"
    assert "of ISO 100, 800" in refusal(lambda: Profile.of(file, 400))


def test_what_cannot_be_measured_is_said_in_one_sentence(tmp_path):
    """Fails if a picture that tells nothing of noise gives figures, or is refused without a reason."""
    save(tmp_path / "saturated", "a.tif", np.ones((100, 100, 3), np.float32))
    save(tmp_path / "texture", "a.tif", photo())
    save(tmp_path / "small", "a.tif", wall(0.5, 10, 10), Profile((WHITE,)))
    save(tmp_path / "alone", "a.tif", wall(0.5), Profile((WHITE,)))
    (tmp_path / "none").mkdir()
    for folder, same_scene, words in (
        ("saturated", False, "too light"),
        ("texture", False, "texture nearly everywhere"),
        ("small", False, "smaller than 16 pixels"),
        ("none", False, "there is no picture"),
        ("alone", True, "the only frame of its scene"),
    ):
        assert words in refusal(lambda folder=folder, same=same_scene: measured([tmp_path / folder], same, LIMIT))
    flats(tmp_path / "mixed", WHITE)
    save(tmp_path / "mixed", "white.tif", np.ones((100, 100, 3), np.float32))
    told = measured([tmp_path / "mixed"], False, LIMIT)
    assert [one["source"] for one in told["left_out"]] == [str(tmp_path / "mixed" / "white.tif")]
    assert len(told["groups"][0]["pictures"]) == 4


def test_frames_that_do_not_fit_are_named(tmp_path):
    """Fails if frames of other sizes, places, light or the same bits give figures."""
    noise, scene = Profile((WHITE,)), photo()
    for name, other in (("size", scene[:200]), ("shifted", np.roll(scene, 3, 1)), ("light", scene * 0.7)):
        save(tmp_path / name, "a.tif", scene, noise, 1)
        save(tmp_path / name, "b.tif", other, noise, 2)
    for name in "ab":
        save(tmp_path / "same", f"{name}.tif", scene, noise, 1)
    for name, words in (
        ("size", "have one size"),
        ("shifted", "0 pixels up and 3 right"),
        ("light", "exposed alike"),
        ("same", "the same to the last bit"),
    ):
        assert words in refusal(lambda name=name: measured([tmp_path / name], True, LIMIT), ImageError)


def test_two_cameras_are_not_mixed(tmp_path):
    """Fails if the noise of two cameras becomes one."""
    save(tmp_path, "a.tif", wall(0.5), Profile((WHITE,)), 1, exif=exif(100))
    save(tmp_path, "b.tif", wall(0.5), Profile((WHITE,)), 2, exif=exif(100, b"Leica I\0"))
    assert "of 2 cameras" in refusal(lambda: measured([tmp_path], False, LIMIT))


# --- files and commands ------------------------------------------------------------------------------------------------------


def test_no_profile_is_named_and_no_text_opens_a_file(tmp_path):
    """Fails if a wrong file is taken, or what a page or a model file says can open files here."""
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "newer.json").write_text(json.dumps({"format": profiles.FORMAT, "version": 99}))
    (tmp_path / "broken.json").write_text(json.dumps({"format": profiles.FORMAT, "version": 1, "groups": [{"channels": 3}]}))
    for name, words in (
        ("other", "is no profile"),
        ("newer", "of version 99"),
        ("broken", "is damaged"),
        ("gone", "cannot be opened"),
    ):
        assert words in refusal(lambda name=name: Profile.of(tmp_path / f"{name}.json"))
    assert "profile:FILE,iso=NUMBER" in refusal(lambda: filled_in("profile:camera.json,iso=high"))
    for read in (parse, asked):
        assert "expected the figures" in refusal(lambda read=read: read("profile:/etc/passwd"))
    for wrong in (
        "",
        "gain=2,read=0.1",
        "gain=0.1,read=0.1x0.1",
        "gain=0.1,read=nan",
        "gain=0.1,read=0.1,correlation=1x0.5",
        "gain=0.1",
    ):
        with pytest.raises(BadSetting, match="expected"):
            parse(f"profile:{wrong}")


def test_the_commands(tmp_path, cli):
    """Fails if the file does not say what it is of, corrupt puts on another noise, or a file is replaced unasked."""
    flats(tmp_path / "flats", exif=exif(800))
    done = cli("profile", tmp_path / "flats", "-o", tmp_path / "camera.json", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert told == json.loads((tmp_path / "camera.json").read_text())
    assert told["command"].startswith("unnoise profile ")
    assert told["groups"][0]["pixels"] > 250_000
    assert "ISO 800: 4 pictures" in done.err
    assert "not told apart" not in done.err
    for at in range(2):
        save(tmp_path / "one", f"{at}.tif", np.full((200, 200), 0.5, np.float32), Profile((Group((8e-4,), (0.006,)),)), at)
    assert "not told apart" in cli("profile", tmp_path / "one", "-o", tmp_path / "one.json").out
    assert "exists already" in cli("profile", tmp_path / "flats", "-o", tmp_path / "camera.json").sentence
    assert "has none of them in its name" in cli("profile", tmp_path / "flats", "-o", tmp_path / "a+b.json").sentence
    save(tmp_path / "clean", "a.tif", wall(0.5))
    noise = f"profile:{tmp_path / 'camera.json'},iso=800"
    assert cli("corrupt", tmp_path / "clean", "-o", tmp_path / "noisy", "--noise", noise).code == 0
    clean, noisy = (image.read(tmp_path / file).pixels for file in ("clean/a.tif", "noisy/a.png"))
    np.testing.assert_allclose((noisy - clean).std((0, 1)), np.sqrt(np.array(GAIN) * clean.mean() + np.square(READ)), rtol=0.02)


def test_a_run_keeps_the_figures(tmp_path, photos, exported):
    """Fails if a run cannot go on, or does not tell its noise, when the profile is gone."""
    flats(tmp_path / "flats")
    file = tmp_path / "camera.json"
    file.write_text(json.dumps({"format": profiles.FORMAT, "version": 1, **measured([tmp_path / "flats"], False, LIMIT)}))
    train(photos, tmp_path / "run", noise=f"profile:{file}", steps=2, patch=32, batch=2, **TINY)
    figures = str(Profile.of(file))
    file.unlink()
    unnoise.resume(tmp_path / "run", continue_for="steps=2")
    assert len(exported) == 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["noise"] == [figures]
