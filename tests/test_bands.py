"""Pictures that pass through in bands of rows: the same pixels as in one piece, and never all of them in memory."""

import io
import itertools
import re
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import tifffile
from conftest import refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unnoise import image
from unnoise.errors import ImageError
from unnoise.image import Bands, picture, png, pnm, tiff

RNG = np.random.default_rng(0)


def samples(*shape, kind=np.uint8):
    return RNG.integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def photo(*shape, kind=np.uint8):
    """Smooth with some noise, so that a coder has a reason to choose each of PNG's filters somewhere."""
    rows, columns = np.indices(shape[:2])
    smooth = np.sin(rows / 9) + np.cos(columns / 7) + (rows > shape[0] / 2) * columns / shape[1]
    smooth = smooth[..., None] + np.arange(shape[2]) if len(shape) == 3 else smooth
    top = np.iinfo(kind).max
    noise = RNG.normal(0, 0.003, smooth.shape) * (rows % 40 > 20).reshape(*shape[:2], *[1] * (len(shape) - 2))
    return ((smooth - smooth.min()) / (np.ptp(smooth) + 1) * top + noise * top).clip(0, top).astype(kind)


# --- bands themselves -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data())
def test_windows_are_the_rows_of_the_picture(data):
    """Fails if a row is lost, doubled or let go too early, wherever bands and windows end."""
    pixels = np.arange(data.draw(st.integers(1, 60)) * 6).reshape(-1, 2, 3)
    cuts = data.draw(st.lists(st.integers(1, len(pixels)), unique=True))
    edges = [0, *sorted({*cuts, len(pixels)})]
    bands = [pixels[a:b] for a, b in itertools.pairwise(edges)]
    ranges, first, last = [], 0, 0
    while last < len(pixels):
        first = data.draw(st.integers(first, last))
        last = data.draw(st.integers(max(last, first + 1), len(pixels)))
        ranges.append((first, last))
    windows = list(Bands(pixels.shape, iter(bands)).windows(ranges))
    assert len(windows) == len(ranges)
    for (first, last), window in zip(ranges, windows, strict=True):
        np.testing.assert_array_equal(window, pixels[first:last])
    np.testing.assert_array_equal(Bands(pixels.shape, iter(bands)).whole(), pixels)
    rows = data.draw(st.integers(1, 70))
    pieces = list(Bands(pixels.shape, iter(bands)).of_rows(rows))
    assert {len(piece) for piece in pieces[:-1]} <= {rows}
    np.testing.assert_array_equal(np.concatenate(pieces), pixels)


def test_a_band_is_let_go_before_the_next_one_is_read():
    """Fails if reading keeps a band alive that has been passed on: two of them are what does not fit into memory."""
    import gc
    import weakref

    alive = []

    def bands():
        for _ in range(4):
            gc.collect()
            assert [ref for ref in alive if ref() is not None] == []
            band = np.zeros((7, 3))
            alive.append(weakref.ref(band))
            yield band
            del band

    for _ in Bands((28, 3), bands()).of_rows(5):
        pass
    assert len(alive) == 4


def test_packing_beside_keeps_the_order(monkeypatch, tmp_path):
    """Fails if parts that are packed at once change places, or the bytes of a file depend on how many are."""
    times = iter(RNG.permutation(20) / 500)

    def slow(item):
        time.sleep(next(times))
        return item

    assert list(picture.beside(slow, range(20))) == list(range(20))
    pixels, files = photo(700, 900, 3), []
    for packers in (1, 3):
        monkeypatch.setattr(picture, "PACKERS", packers)
        for ending in (".png", ".tif"):
            image.write(tmp_path / f"{packers}{ending}", pixels, image.Picture(pixels, "TIFF", 8, {"packed": True}))
            files.append((tmp_path / f"{packers}{ending}").read_bytes())
    assert files[:2] == files[2:]


# --- from files, in bands ---------------------------------------------------------------------------------------------------------


def bands_of(path):
    with_bands = image.pages(path)
    bands = list(next(with_bands).pixels.bands)
    with_bands.close()
    return bands


@pytest.fixture
def narrow(monkeypatch):
    """Bands of a few rows, so that small files have many."""
    for module in (png, pnm, tiff):
        monkeypatch.setattr(module, "BAND", 700)


PNGS = [photo(90, 61), photo(90, 61, 3), photo(90, 61, 4), photo(90, 61, kind=np.uint16)]


@pytest.mark.parametrize("pixels", PNGS, ids=["gray", "colour", "alpha", "gray 16"])
def test_png(pixels, narrow, tmp_path):
    """Fails if a row's filter looks at another row than the one above it, where a band begins: other coders' files."""
    Image.fromarray(pixels).save(tmp_path / "a.png")
    filters = set(_scanlines((tmp_path / "a.png").read_bytes(), pixels[0].nbytes)[:, 0].tolist())
    assert pixels.dtype == np.uint16 or filters & {3, 4}, "a picture that needs no filter shows nothing"
    bands = bands_of(tmp_path / "a.png")
    assert len(bands) > 5
    np.testing.assert_array_equal(np.concatenate(bands), pixels)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits(depth, narrow, tmp_path):
    """Fails as above, for gray and for palettes: rows that end within a byte."""
    indices = samples(77, 83) >> (8 - depth)
    table = samples(2**depth, 3)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(table.tobytes())
    picture.save(tmp_path / "a.png", bits=depth)
    np.testing.assert_array_equal(np.concatenate(bands_of(tmp_path / "a.png")), table[indices])
    image.write(tmp_path / "b.png", indices / (2**depth - 1), image.Picture(indices, "PNG", depth))
    np.testing.assert_allclose(np.concatenate(bands_of(tmp_path / "b.png")), indices / (2**depth - 1), atol=1e-7)
    assert Image.open(tmp_path / "b.png").size == (83, 77)


def _scanlines(data, row):
    stream, at = b"", 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        stream += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return np.frombuffer(zlib.decompress(stream), np.uint8).reshape(-1, row + 1)


@pytest.mark.parametrize("shape", [(90, 61), (90, 61, 2), (90, 61, 3), (90, 61, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_written_in_bands(shape, kind, narrow, tmp_path):
    """Fails if a row is filtered by another row than the one above it; Pillow reads what it can (8 bits, gray of 16)."""
    pixels = photo(*shape, kind=kind)
    like = image.Picture(pixels, "PNG", pixels.itemsize * 8)
    image.write(tmp_path / "a.png", pixels, like)
    np.testing.assert_array_equal(np.concatenate(bands_of(tmp_path / "a.png")), pixels)
    if kind == np.uint8 or len(shape) == 2:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    lines = _scanlines((tmp_path / "a.png").read_bytes(), pixels[0].nbytes)
    assert len(lines) == 90
    assert set(lines[:, 0].tolist()) == {1, 2}


@pytest.mark.parametrize("damage", ["checksum of a chunk", "checksum of the stream", "rows", "the end"])
def test_a_png_that_turns_out_damaged_late_leaves_nothing(damage, narrow, tmp_path):
    """Fails if what is found only at the last row, when most of the output has been written, leaves that output behind."""
    buffer = io.BytesIO()
    Image.fromarray(samples(60, 50)).save(buffer, "PNG")
    lines = _scanlines(buffer.getvalue(), 50)
    stream = zlib.compress(lines[:-3].tobytes() if damage == "rows" else lines.tobytes())
    stream = stream[:-1] + bytes([stream[-1] ^ 1]) if damage == "checksum of the stream" else stream
    header = struct.pack(">IIBBBBB", 50, 60, 8, 0, 0, 0, 0)
    chunks = [png._chunk(b"IHDR", header), *(png._chunk(b"IDAT", stream[at : at + 99]) for at in range(0, len(stream), 99))]
    if damage == "checksum of a chunk":
        chunks[-1] = chunks[-1][:-1] + bytes([chunks[-1][-1] ^ 1])
    data = png.SIGNATURE + b"".join([*chunks, png._chunk(b"IEND", b"")])
    (tmp_path / "a.png").write_bytes(data[:-20] if damage == "the end" else data)
    assert "damaged" in refusal(lambda: image.convert(tmp_path / "a.png", tmp_path / "b.png", lambda bands: bands), ImageError)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


TIFFS = {
    "one strip": {"rowsperstrip": 90},
    "strips": {"rowsperstrip": 7},
    "packed strips": {"rowsperstrip": 7, "compression": "zlib"},
    "predicted": {"rowsperstrip": 11, "compression": "zlib", "predictor": True},
    "tiles": {"tile": (32, 48)},
    "packed tiles": {"tile": (32, 48), "compression": "zlib"},
    "planes": {"planarconfig": "separate", "rowsperstrip": 90},
    "planes of tiles": {"planarconfig": "separate", "tile": (32, 48)},
    "other bytes first": {"rowsperstrip": 90, "byteorder": ">"},
}


@pytest.mark.parametrize("name", TIFFS)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_tiff(name, kind, narrow, tmp_path):
    """Fails if a strip or tile lands in another place, or a strip that is not packed is read whole."""
    shape = (3, 90, 61) if name.startswith("planes") else (90, 61, 3)
    pixels = RNG.random(shape, np.float32) if kind == np.float32 else samples(*shape, kind=kind)
    options = dict(TIFFS[name])
    if kind == np.float32:
        options.pop("predictor", None)  # tifffile writes that of floats only with imagecodecs
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=options.pop("byteorder", None)) as out:
        out.write(pixels, photometric="rgb", **options)
    bands = bands_of(tmp_path / "a.tif")
    assert len(bands) > 2
    np.testing.assert_array_equal(np.concatenate(bands), np.moveaxis(pixels, 0, 2) if name.startswith("planes") else pixels)
    assert {band.dtype for band in bands} == {np.dtype(kind)}


@pytest.mark.parametrize("kind", [bool, np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(90, 61), (90, 61, 3)])
def test_pnm(kind, shape, narrow, tmp_path):
    """Fails if a band of rows is read from another place; bitmaps end their rows within a byte."""
    if kind is bool and len(shape) == 3:
        pytest.skip("a bitmap has no colours")
    pixels = samples(*shape) > 99 if kind is bool else samples(*shape, kind=kind)
    if kind is bool:
        data = b"P4 61 90\n" + np.packbits(~pixels, axis=1).tobytes()
    else:
        data = (
            b"P%d 61 90 %d\n" % (len(shape) + 3, np.iinfo(kind).max)
            + pixels.astype(">u2" if kind == np.uint16 else kind).tobytes()
        )
    (tmp_path / "a.pnm").write_bytes(data)
    bands = bands_of(tmp_path / "a.pnm")
    assert len(bands) > (1 if kind is bool else 5)
    np.testing.assert_array_equal(np.concatenate(bands), pixels)


# --- memory -----------------------------------------------------------------------------------------------------------------------


CONVERT = """
import re, sys
from pathlib import Path
from unnoise import image
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
small, large = Path(sys.argv[1]), Path(sys.argv[2])
image.convert(small, small.with_name("small" + small.suffix), lambda bands: bands)
before = peak()
image.convert(large, large.with_name("out" + large.suffix), lambda bands: bands)
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("ending", [".tif", ".ppm", ".png"])
def test_a_large_picture_never_lies_in_memory(ending, tmp_path):
    """Fails if reading or writing holds a picture of 72 MB, which it need not: half of it more than for a small one is allowed."""
    pixels = np.broadcast_to(samples(100, 6000, 3), (40, 100, 6000, 3)).reshape(4000, 6000, 3)
    image.write(tmp_path / f"a{ending}", pixels[:10, :10])
    image.write(tmp_path / f"b{ending}", pixels)
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, tmp_path / f"a{ending}", tmp_path / f"b{ending}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"\d+\n", done.stdout)
    assert int(done.stdout) < 36_000
    assert image.read(tmp_path / f"out{ending}").pixels.shape == (4000, 6000, 3)
