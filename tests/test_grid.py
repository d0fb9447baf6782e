"""What lies on a grid of pixels is told: JPEG's blocks and where they begin, banding, a mosaic, dead and hot pixels."""

import io

import numpy as np
import pytest
from PIL import Image
from test_doctor import as_in_a_file, photo, spoilt

from unnoise import doctor
from unnoise.grid import Stuck, sticking_out


def half(name="coffee.png"):
    """A photo at half its size, without the traces of its own JPEG."""
    picture = photo(name)
    high, wide = (length // 2 * 2 for length in picture.shape[:2])
    return picture[:high, :wide].reshape(high // 2, 2, wide // 2, 2, 3).mean((1, 3))


def found(picture):
    return doctor.examine(as_in_a_file(picture)).grid


@pytest.mark.parametrize(("down", "across"), [(0, 0), (3, 5)])
def test_the_blocks_of_a_jpeg(down, across):
    """Fails if blocks are seen where there are none, or at another place than they are, or rows are taken for columns."""
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * half()).astype(np.uint8)).save(file, "JPEG", quality=60)
    grid = found((np.asarray(Image.open(file)) / np.float32(255))[down:, across:])
    assert grid.words == (f"JPEG's blocks from ({-down % 8}, {-across % 8})",)
    assert grid.corner == (-down % 8, -across % 8)
    assert found(half()).words == ()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sigma", [0, 8])
def test_banding(axis, sigma):
    """Fails if rows are taken for columns, their deviation is off by a fifth, or noise or edges count as bands."""
    clean = spoilt(f"gaussian:{sigma}/255", half("chelsea.png"))
    assert not any("banding" in word for word in found(clean).words)
    shape = [1, 1, 1]
    shape[axis] = clean.shape[axis]
    grid = found(clean + np.random.default_rng(3).standard_normal(shape) * 2 / 255)
    assert 255 * (grid.rows, grid.columns)[axis].value == pytest.approx(2, rel=0.2)
    assert [word.partition(" by ")[0] for word in grid.words] == [f"banding of {('rows', 'columns')[axis]}"]


def test_a_mosaic():
    """Fails if the pixels that a camera measured are not told from those it made up, wherever the mosaic begins, or white noise has such a pattern."""
    noisy = spoilt("camera:sigma=8/255", photo("chelsea.png"), 1)
    first, beside = found(noisy), found(noisy[:, 1:])
    assert "a mosaic's chessboard in the noise" in first.words
    assert first.mosaic.value == pytest.approx(-beside.mosaic.value, abs=0.05)
    assert abs(found(spoilt("gaussian:8/255", photo("chelsea.png"))).mosaic.value) < 0.05


# --- single pixels ------------------------------------------------------------------------------------------------------------


def test_pixels_that_stick_out():
    """Fails if an edge or a line sticks out, a pixel beside another one does not, or dark and bright are mixed up."""
    plane = np.full((20, 20), 0.5, np.float32)
    plane[:, 10:] = 0.8
    plane[3, :] = 0
    plane[8, 4], plane[8, 5], plane[15, 15] = 1, 1, 0.1
    brighter, darker = sticking_out(plane[..., None], 0.1 / 6)
    assert np.argwhere(brighter).tolist() == [[8, 4], [8, 5]]
    assert np.argwhere(darker).tolist() == [[15, 15]]


def scenes(number):
    """Parts of a photo, none of them like another, with noise of 4/255 and, each, 0.2 % of impulses."""
    picture = photo("chelsea.png")
    for index in range(number):
        part = picture[13 * index : 13 * index + 200, 31 * index : 31 * index + 200]
        yield as_in_a_file(spoilt("gaussian:4/255+salt-and-pepper:0.002", part, index))


@pytest.mark.parametrize("number", [3, 7])
def test_hot_and_dead_pixels_of_a_series(number):
    """Fails if those at the same place in all photos but one are not found, impulses that come and go are, or rows are columns."""
    stuck, clean = Stuck(), Stuck()
    for index, scene in enumerate(scenes(number)):
        clean.add(scene, 4 / 255)
        bad = scene.copy()
        if index != 1 or number < 4:
            bad[50, 120], bad[150, 60], bad[20, 30] = 1, 0, (1, 0, 1)
        stuck.add(bad, 4 / 255)
    assert clean.found() == []
    (told,) = stuck.found()
    assert {(150, 60), (50, 120)} <= set(told["first"]) <= {(20, 30), (150, 60), (50, 120)}
    assert (told["height"], told["width"], told["photos"]) == (200, 200, number)
    assert told["share"] == len(told["first"]) / 200**2


def test_two_photos_tell_nothing_of_stuck_pixels():
    stuck = Stuck()
    for _ in range(2):
        stuck.add(np.pad([[1.0]], 10, constant_values=0.5)[..., None], 0)
    assert stuck.found() == []
