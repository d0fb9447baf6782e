"""Every kind of picture file: exact both ways at every depth, page by page, with what the file says of itself.

What our writers wrote is read by another program's reader, or by arithmetic here; what our readers read was built by one.
"""

import io
import itertools
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from conftest import refusal
from PIL import Image as Pillow
from PIL import ImageCms, ImageFile, ImageSequence
from test_image import MAKE, ORIENTATION, STORED, exif, png, quadrants, random, saved

from unnoise import image
from unnoise.errors import ImageError

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><!-- a place and a name --></x:xmpmeta>"
EXPOSURE, GPS_LATITUDE = 0x829A, 2
SHAPES = {1: (9, 7), 2: (9, 7, 2), 3: (9, 7, 3), 4: (9, 7, 4)}
HOLDS = [  # kind, ending, depths, channels: what each can hold without loss
    ("PNG", ".png", (1, 2, 4), (1,)),
    ("PNG", ".png", (8, 16), (1, 2, 3, 4)),
    ("TIFF", ".tif", (1,), (1,)),
    ("TIFF", ".tif", (8, 16, 32), (1, 2, 3, 4)),
    ("PNM", ".ppm", (1, 2, 5), (1,)),
    ("PNM", ".ppm", (8, 16), (1, 3)),
    ("BMP", ".bmp", (1,), (1,)),
    ("BMP", ".bmp", (8,), (1, 3, 4)),
    ("WebP", ".webp", (8,), (3, 4)),
    ("GIF", ".gif", (8,), (1, 3)),
]
CASES = [(kind, ending, depth, channels) for kind, ending, depths, some in HOLDS for depth in depths for channels in some]


def samples(channels, depth, seed=3):
    """Whole numbers of which every low bit counts, the smallest and the largest among them."""
    top = 2**depth - 1
    values = np.random.default_rng(seed).integers(0, top, SHAPES[channels], np.uint64, endpoint=True)
    values.flat[:2] = 0, top
    return values


def as_floats(values, depth):
    return values.astype(np.float64) / (2**depth - 1)


def written(path, values, depth, kind, **keep):
    """The picture of these whole numbers, written as `kind`."""
    like = image.Picture(as_floats(values, depth), kind, depth, keep)
    image.write(path, like.pixels, like, kind=kind)
    return path


# --- whole numbers and floats ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "ending", "depth", "channels"), CASES)
def test_every_kind_comes_back(tmp_path, kind, ending, depth, channels):
    """Fails if a writer or a reader loses a bit, a channel or the depth."""
    values = samples(channels, depth)
    path = written(tmp_path / f"a{ending}", values, depth, kind, lossless=True)
    read = image.read(path)
    shown = 8 if kind == "PNM" and 1 < depth < 8 else depth
    assert (read.kind, read.depth, read.pixels.shape, read.frames) == (kind, shown, values.shape, 1)
    np.testing.assert_array_equal(np.rint(read.pixels.astype(np.float64) * (2**depth - 1)), values)
    assert read.pixels.dtype == (np.float64 if depth == 32 else np.float32)


@pytest.mark.parametrize(
    ("kind", "ending", "depth", "channels"),
    [case for case in CASES if case[0] == "TIFF" or (case[2] == 8 and case[0] != "PNM")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_other_readers_see_the_same(tmp_path, kind, ending, depth, channels, packed):
    """Fails if only our own reader understands what our writer writes."""
    values = samples(channels, depth)
    path = written(tmp_path / f"a{ending}", values, depth, kind, lossless=True, packed=packed, order=">" if packed else "<")
    if kind == "TIFF" and not (packed and depth > 8):  # without imagecodecs, tifffile inflates but knows no differences
        page = tifffile.TiffFile(path).pages[0]
        assert page.bitspersample == depth
        if not packed:
            np.testing.assert_array_equal(page.asarray(), values)
    if depth == 8 or (channels == 1 and depth < 32):
        with Pillow.open(path) as other:
            seen = other.convert("RGB") if kind == "GIF" and channels == 3 else other
            np.testing.assert_array_equal(np.asarray(seen), values)


def unfiltered(rows, step):
    """PNG scanlines of filters 0 to 2 as bytes, by the letter of the specification."""
    above = [0] * (len(rows[0]) - 1)
    for row in rows:
        out = []
        for at, value in enumerate(row[1:]):
            left = out[at - step] if at >= step else 0
            out.append((value + {0: 0, 1: left, 2: above[at]}[row[0]]) % 256)
        yield bytes(out)
        above = out


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_of_sixteen_bits_by_arithmetic(tmp_path, channels):
    """Fails if 16-bit colour, which Pillow halves, is not what the specification says, in either direction."""
    values = samples(channels, 16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(7, 9, 16, {2: 4, 3: 2, 4: 6}[channels], rows))
    np.testing.assert_array_equal(image.read(tmp_path / "a.png").pixels, values.astype(np.float32) / np.float32(65535))
    data = written(tmp_path / "b.png", values, 16, "PNG").read_bytes()
    packed, at = b"", 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    raw = zlib.decompress(packed)
    width = 1 + 14 * channels
    lines = unfiltered([raw[start : start + width] for start in range(0, len(raw), width)], 2 * channels)
    np.testing.assert_array_equal(np.frombuffer(b"".join(lines), ">u2").reshape(values.shape), values)


def test_png_of_sixteen_bits_in_several_parts(tmp_path):
    """Fails if a tall picture, filtered some rows at a time, loses the row above a part; Pillow reads the high bytes."""
    row = np.random.default_rng(4).integers(0, 60_000, (1, 500, 3))
    down = row + np.arange(900)[:, None, None]  # each row is nearer to the one above than to its own neighbours
    path = written(tmp_path / "a.png", down, 16, "PNG")
    np.testing.assert_array_equal(np.rint(image.read(path).pixels * 65535), down)
    with Pillow.open(path) as other:
        np.testing.assert_array_equal(np.asarray(other), down >> 8)


def test_png_checksums(tmp_path):
    """Fails if damaged pixels come in, or damage in what is not needed is refused, or believed."""
    data = bytearray(png(1, 1, 8, 2, bytes(4), (b"pHYs", struct.pack(">IIB", 11811, 11811, 1))))
    assert "dpi" in image.read(_put(tmp_path / "a.png", data)).keep
    data[data.index(b"pHYs") + 4] ^= 1
    assert "dpi" not in image.read(_put(tmp_path / "a.png", data)).keep
    data[data.index(b"IDAT") + 5] ^= 1
    assert "a checksum is wrong" in refusal(lambda: image.read(_put(tmp_path / "a.png", data)), ImageError)


def _put(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits_is_written_as_such(tmp_path, depth):
    """Fails if a depth is named in the header that the rows do not have."""
    values = samples(1, depth)
    with Pillow.open(written(tmp_path / "a.png", values, depth, "PNG")) as other:
        np.testing.assert_array_equal(np.asarray(other.convert("L")), values * (255 // (2**depth - 1)))
    assert (tmp_path / "a.png").read_bytes()[24] == depth


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_floats_stay_floats(tmp_path, dtype, channels):
    """Fails if a TIFF of floats is clipped, rounded or written with fewer bits."""
    values = np.random.default_rng(1).normal(0.5, 1, SHAPES[channels]).astype(dtype)
    how = {"photometric": "rgb", **({"extrasamples": ["unassalpha"]} if channels == 4 else {})} if channels > 1 else {}
    tifffile.imwrite(tmp_path / "a.tif", values, **how)
    read = image.read(tmp_path / "a.tif")
    assert (read.floating, read.depth) == (True, values.itemsize * 8)
    image.write(tmp_path / "b.tif", read.pixels, read)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), values)
    assert tifffile.imread(tmp_path / "b.tif").dtype == dtype
    assert "outside 0..1" in refusal(lambda: image.write(tmp_path / "b.png", read.pixels, read), ImageError)


def test_floats_within_the_range_may_become_whole(tmp_path):
    """Fails if a float picture cannot be saved as PNG, or is saved in 8 bits."""
    tifffile.imwrite(tmp_path / "a.tif", np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10))
    read = image.read(tmp_path / "a.tif")
    image.write(tmp_path / "a.png", read.pixels, read)
    np.testing.assert_array_equal(np.asarray(Pillow.open(tmp_path / "a.png")).ravel(), np.rint(np.linspace(0, 65535, 60)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(tmp_path, value):
    """Fails if a NaN comes in, to spread over the picture."""
    array = np.full((6, 10), 0.5, np.float32)
    array[-1, -1] = value
    tifffile.imwrite(tmp_path / "a.tif", array)
    assert "NaN or infinity" in refusal(lambda: image.read(tmp_path / "a.tif"), ImageError)


# --- TIFF, as others write it -----------------------------------------------------------------------------------------------------


LAYOUTS = [
    {"compression": "zlib"}, {"tile": (16, 16)}, {"tile": (16, 32), "compression": "zlib"}, {"rowsperstrip": 1},
    {"planarconfig": "separate"}, {"planarconfig": "separate", "tile": (16, 16)}, {"byteorder": ">"}, {"bigtiff": True},
    {"compression": "zlib", "predictor": 2}, {"compression": "zlib", "predictor": 2, "byteorder": ">"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "dtype"),
    # of floats, tifffile writes no differences without imagecodecs; the test below makes them by hand
    [
        (how, dtype)
        for how in LAYOUTS
        for dtype in ("uint8", "uint16", "uint32", "float32")
        if "predictor" not in how or dtype[0] == "u"
    ],
    ids=str,
)
def test_tiff_of_every_layout(tmp_path, how, dtype):
    """Fails if strips, tiles, planes, byte orders or differences are put together wrongly; 37 x 21 fits no tile."""
    values = np.random.default_rng(2).integers(0, 2**32, (37, 21, 3), np.uint32).astype(dtype)
    values = values / np.float32(2**32) if dtype == "float32" else values
    stored = np.moveaxis(values, 2, 0) if "planarconfig" in how else values
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **how)
    read = image.read(tmp_path / "a.tif")
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    np.testing.assert_array_equal(np.rint(read.pixels.astype(float) * top) if top > 1 else read.pixels, values)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_differences_of_floats(tmp_path, order):
    """Fails if Photoshop's way of packing floats is misread: bytes of a row by rank, highest first, each less the one before."""
    values = np.random.default_rng(2).random((5, 8, 3), np.float32)
    ranked = values.reshape(5, 24).astype(">f4").view(np.uint8).reshape(5, 24, 4).transpose(0, 2, 1).reshape(5, -1, 3)
    steps = np.diff(ranked, axis=1, prepend=np.zeros((5, 1, 3), np.uint8))
    packed = zlib.compress(steps.tobytes())
    tifffile.imwrite(
        tmp_path / "a.tif", iter([packed]), shape=values.shape, dtype="float32", photometric="rgb", compression=8, rowsperstrip=5,
        byteorder=order, extratags=[(65000, 3, 1, 3, True)],
    )  # fmt: skip
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data.replace(struct.pack(order + "HH", 65000, 3), struct.pack(order + "HH", 317, 3)))
    np.testing.assert_array_equal(image.read(tmp_path / "a.tif").pixels, values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg", "group4", "raw"])
@pytest.mark.parametrize("turn", [1, 6])
def test_tiff_of_every_compression(tmp_path, compression, turn):
    """Fails if a packing is misread, or the orientation is applied twice by the two libraries, or never."""
    upright = quadrants() > 100 if compression == "group4" else quadrants()
    upright = upright[..., 0] if compression == "group4" else upright
    stored = np.ascontiguousarray(STORED[turn](upright))
    how = {"quality": 95} if compression == "jpeg" else {}
    saved(tmp_path / "a.tif", stored, compression=compression, tiffinfo={274: turn}, **how)
    read = image.read(tmp_path / "a.tif")
    assert read.depth == (1 if compression == "group4" else 8)
    expected = upright.astype(float) / (1 if compression == "group4" else 255)
    np.testing.assert_allclose(read.pixels, expected, atol=0.03 if compression == "jpeg" else 1e-7)
    image.write(tmp_path / "b.tif", read.pixels, read)
    with Pillow.open(tmp_path / "b.tif") as out:
        assert out.tag_v2[274] == 1
        assert out.size == (24, 16)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", [".tif", ".webp", ".png", ".jpg"])
def test_every_orientation_of_every_kind(tmp_path, ending, orientation):
    """Fails if one of the eight turns is another in one kind, or is still told in the output."""
    stored = np.ascontiguousarray(STORED[orientation](quadrants()))
    how = {
        ".tif": {"tiffinfo": {274: orientation}},
        ".webp": {"lossless": True},
        ".jpg": {"quality": 95, "subsampling": 0},
    }.get(ending, {})
    saved(tmp_path / f"a{ending}", stored, **({} if ending == ".tif" else {"exif": exif(orientation)}), **how)
    read = image.read(tmp_path / f"a{ending}")
    np.testing.assert_allclose(read.pixels, quadrants() / 255, atol=0.02 if ending == ".jpg" else 1e-6)
    image.write(tmp_path / f"b{ending}", read.pixels, read)
    with Pillow.open(tmp_path / f"b{ending}") as out:
        assert out.getexif()[ORIENTATION] == 1
        assert out.size == (24, 16)


def test_tiff_of_ink_and_of_alpha_that_is_multiplied_in(tmp_path):
    """Fails if CMYK comes in as four colours, or colours stay darkened by their alpha."""
    ink = random(6, 5, 4)
    tifffile.imwrite(tmp_path / "ink.tif", ink, photometric="separated")
    share = ink / 255
    expected = (1 - share[..., :3]) * (1 - share[..., 3:])
    np.testing.assert_allclose(image.read(tmp_path / "ink.tif").pixels, expected, atol=1e-6)
    straight, alpha = random(6, 5, 3) / np.float32(255), np.full((6, 5, 1), 0.5, np.float32)
    tifffile.imwrite(
        tmp_path / "a.tif", np.concatenate([straight * alpha, alpha], 2), photometric="rgb", extrasamples=["assocalpha"]
    )
    np.testing.assert_allclose(image.read(tmp_path / "a.tif").pixels, np.concatenate([straight, alpha], 2), atol=1e-6)


@pytest.mark.parametrize(
    ("array", "how", "says"),
    [
        (np.zeros((6, 5), np.int16), {}, "signed whole numbers of 16 bits"),
        (np.zeros((6, 5), np.uint64), {}, "whole numbers of 64 bits"),
        (np.zeros((6, 5), np.complex64), {}, "complex numbers"),
        (np.zeros((6, 5, 6), np.uint8), {"photometric": "rgb"}, "6 samples a pixel where 3"),
        (np.zeros((6, 5), np.uint8), {"photometric": "cfa"}, "camera raw"),
        (np.zeros((6, 5), np.uint8), {"subfiletype": 1}, "begins with a preview"),
    ],
)
def test_tiff_that_is_no_picture(tmp_path, array, how, says):
    """Fails if measurements, raw sensors or thumbnails come in as pictures."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        for _ in range(2):
            out.write(array, **({"photometric": "minisblack"} | how))
    assert says in refusal(lambda: image.read(tmp_path / "a.tif"), ImageError)


# --- pages and frames -------------------------------------------------------------------------------------------------------------


def halved(pixels):
    return image.Bands(pixels.shape, (band / 2 if band.dtype.kind == "f" else band // 2 for band in pixels.bands))


def test_all_pages_arrive(tmp_path):
    """Fails if a page vanishes, or takes the size, the depth or the pixels of another."""
    pages = [np.full((4 + n, 6, 3), 10 * n, np.uint16 if n == 1 else np.uint8) for n in range(3)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        for page in pages:
            out.write(page, photometric="rgb")
    assert image.read(tmp_path / "a.tif").frames == 3
    assert image.convert(tmp_path / "a.tif", tmp_path / "b.tif", halved) == ""
    with tifffile.TiffFile(tmp_path / "b.tif") as copy:
        assert len(copy.pages) == 3
        for page, before in zip(copy.pages, pages, strict=True):
            assert page.asarray().dtype == before.dtype
            np.testing.assert_array_equal(page.asarray(), before // 2)
    for ending in (".png", ".jpg", ".bmp"):
        words = refusal(
            lambda ending=ending: image.convert(tmp_path / "a.tif", tmp_path / f"b{ending}", halved, "PNG"), ImageError
        )
        assert "holds 3 pages or frames" in words


def test_pages_come_one_at_a_time(tmp_path):
    """Fails if all pages are decoded before the first is there, or a file of two good pages and a cut one is half copied."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        for _ in range(3):
            out.write(np.zeros((50, 50), np.uint8), metadata=None)
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-2000])  # of the third's 2,500
    pages = image.frames(tmp_path / "a.tif")
    assert [next(pages).pixels.shape for _ in range(2)] == [(50, 50)] * 2
    with pytest.raises(ImageError, match="damaged"):
        next(pages)
    with pytest.raises(ImageError, match="damaged"):
        image.convert(tmp_path / "a.tif", tmp_path / "b.tif", halved)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_previews_are_said_to_be_left_out(tmp_path):
    """Fails if a reduced copy is denoised as if it were a page, or vanishes without a word."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        out.write(np.zeros((50, 50), np.uint8))
        out.write(np.zeros((5, 5), np.uint8), subfiletype=1)
    assert image.read(tmp_path / "a.tif").frames == 1
    assert "without 1 previews" in image.convert(tmp_path / "a.tif", tmp_path / "b.tif", halved)


def film(kind, alpha=False, frames=4):
    """Frames of few colours, no two alike, and how long each is shown."""
    arrays = []
    for n in range(frames):
        array = np.zeros((16, 24, 4 if alpha else 3), np.uint8)
        array[4 * n : 4 * n + 4, :, n % 3] = 60 * n + 15
        if alpha:
            array[4 * n : 4 * n + 4, 5:, 3] = 255
            array[array[..., 3] == 0] = 0
        arrays.append(array)
    return arrays, [100, 200, 300, 400][:frames]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", ["GIF", "WebP"])
def test_all_frames_arrive(tmp_path, kind, alpha):
    """Fails if a frame vanishes, shows the one before it through, or is shown for another time; Pillow reads them back."""
    arrays, shown = film(kind, alpha)
    pictures = [Pillow.fromarray(array) for array in arrays]
    how = {"lossless": True, "exact": True, "kmin": 0, "kmax": 1} if kind == "WebP" else {"disposal": 2}
    pictures[0].save(tmp_path / "a", kind, save_all=True, append_images=pictures[1:], duration=shown, loop=3, **how)
    read = list(image.frames(tmp_path / "a"))
    assert [picture.frames for picture in read] == [4] * 4
    for picture, array in zip(read, arrays, strict=True):
        seen = np.rint(picture.pixels * 255).astype(np.uint8)
        np.testing.assert_array_equal(seen[..., :3] * (seen[..., 3:] > 0 if alpha else 1), array[..., :3])
    image.convert(tmp_path / "a", tmp_path / "b", lambda bands: bands)
    with Pillow.open(tmp_path / "b") as copy:
        assert copy.n_frames == 4
        assert copy.info["loop"] == 3
        for frame, array, time in zip(ImageSequence.Iterator(copy), arrays, shown, strict=True):
            frame.load()
            assert frame.info["duration"] == time
            seen = np.asarray(frame.convert("RGBA"))
            np.testing.assert_array_equal(seen[..., :3] * (seen[..., 3:] > 0), array[..., :3])
            np.testing.assert_array_equal(seen[..., 3] > 0, array[..., 3] > 0 if alpha else True)


def test_a_gif_of_many_colours_gets_the_nearest(tmp_path):
    """Fails if a palette is made of anything but the picture, or its clear pixels are seen. 4,000 colours, of which 255 stay."""
    across, down = np.meshgrid(np.arange(80), np.arange(50))
    array = np.stack([3 * across, 5 * down, 0 * down, np.where(across < 9, 0, 255)], 2).astype(np.uint8)
    image.write(tmp_path / "a.gif", array / 255)
    with Pillow.open(tmp_path / "a.gif") as out:
        seen = np.asarray(out.convert("RGBA")).astype(int)
    np.testing.assert_array_equal(seen[..., 3], array[..., 3])
    assert np.abs(seen - array)[:, 9:, :3].mean() < 6  # 16 x 16 cells of 15 levels: 3.75 on average


def test_pnm_one_after_another(tmp_path):
    """Fails if the second picture of a file of several is lost, or a comment or a largest value is misread."""
    (tmp_path / "a.ppm").write_bytes(b"P5 # a comment\n2 1\n# 100\n100\n\x00\x64P6\n1 1 1023\n\0\0\x01\xff\x03\xffP4 3 1\n\xa0")
    read = list(image.frames(tmp_path / "a.ppm"))
    assert [(picture.depth, picture.frames) for picture in read] == [(8, 3), (16, 3), (1, 3)]
    for picture, expected in zip(read, [[[0, 1]], [[[0, 511 / 1023, 1]]], [[0, 1, 0]]], strict=True):
        np.testing.assert_allclose(picture.pixels, expected, atol=1e-7)
    image.convert(tmp_path / "a.ppm", tmp_path / "b.ppm", lambda bands: bands)
    assert (tmp_path / "b.ppm").read_bytes() == b"P5\n2 1\n100\n\x00\x64P6\n1 1\n1023\n\0\0\x01\xff\x03\xffP4\n3 1\n\xa0"


def test_pnm_in_digits(tmp_path):
    """Fails if digits are misread, or bits that stand without gaps."""
    for text, expected in [
        (b"P2 2 2 9\n0 9\n# a comment\n3 6", [[0, 1], [1 / 3, 2 / 3]]),
        (b"P1\n3 2\n010 11\n1", [[1, 0, 1], [0, 0, 0]]),
    ]:
        (tmp_path / "a.pgm").write_bytes(text)
        np.testing.assert_allclose(image.read(tmp_path / "a.pgm").pixels, expected, atol=1e-7)


# --- what a file says of itself -----------------------------------------------------------------------------------------------------


def camera(orientation=1, padding=0):
    """EXIF as a camera writes it: maker, exposure and place in three directories; and bytes that belong to none."""
    tags = exif(orientation)
    tags.get_ifd(0x8769)[EXPOSURE] = 0.005
    tags.get_ifd(0x8825)[GPS_LATITUDE] = (52.0, 31.0, 12.5)
    return tags.tobytes() + bytes(padding)


def spoken(path, kind, **more):
    """A file of `kind`, of Pillow's making, that says all it can."""
    how = {"exif": camera(), "icc_profile": PROFILE, **more}
    if kind == "TIFF":
        tags = Pillow.Exif()
        tags.load(camera())
        how |= {"exif": tags, "dpi": (300, 300)}
    if kind in ("JPEG", "WebP"):
        how["xmp"] = XMP
    if kind in ("JPEG", "PNG"):
        how["dpi"] = (300, 300)
    if kind == "WebP":
        how["lossless"] = True
    Pillow.fromarray(quadrants()).save(path, kind, **how)
    return path


@pytest.mark.parametrize("first", ["JPEG", "PNG", "TIFF", "WebP"])
@pytest.mark.parametrize("second", ["JPEG", "PNG", "TIFF", "WebP"])
def test_exif_profile_xmp_and_resolution_arrive(tmp_path, first, second):
    """Fails if the camera, the place, the colours, the words or the size of a print are lost between two kinds."""
    words = image.convert(spoken(tmp_path / "a", first), tmp_path / "b", lambda bands: bands, second)
    assert words == ("is written without its resolution." if second == "WebP" and first != "WebP" else "")
    with Pillow.open(tmp_path / "b") as out:
        tags = out.getexif()
        assert tags[MAKE] == "Maker of cameras"
        assert tags.get_ifd(0x8769)[EXPOSURE] == pytest.approx(0.005)
        assert [float(part) for part in tags.get_ifd(0x8825)[GPS_LATITUDE]] == [52, 31, 12.5]
        assert out.info["icc_profile"] == PROFILE
        if second != "WebP" and first != "WebP":
            assert out.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    if first in ("JPEG", "WebP"):
        assert XMP in (tmp_path / "b").read_bytes()
        with Pillow.open(tmp_path / "b") as out:
            found = out.info.get("xmp") or out.info.get("XML:com.adobe.xmp")
            assert XMP.decode() in (found if isinstance(found, str) else found.decode())


def test_exif_is_passed_on_byte_for_byte(tmp_path):
    """Fails if EXIF is parsed and written anew between kinds that hold it whole: makers' notes would lose their places."""
    before = camera(padding=5000)
    saved(tmp_path / "a.jpg", quadrants(), exif=before)
    for kind in ("JPEG", "PNG", "WebP"):
        image.convert(tmp_path / "a.jpg", tmp_path / kind, lambda bands: bands, kind)
        assert before.removeprefix(b"Exif\0\0") in (tmp_path / kind).read_bytes()


def test_the_thumbnail_of_a_turned_picture_is_unlinked(tmp_path):
    """Fails if a viewer finds a thumbnail that lies on its side, or one that belongs to an upright picture is lost."""
    blob = (
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0"
        + struct.pack("<HHI", 6, 0, 26)
        + struct.pack("<HHHIIHH", 1, 259, 3, 1, 6, 0, 0)
    )
    for orientation, link in ((6, 0), (1, 26)):
        data = blob[:24] + bytes([orientation]) + blob[25:]
        read = image.read(saved(tmp_path / "a.jpg", quadrants(), exif=data))
        assert struct.unpack_from("<I", read.keep["exif"], 22)[0] == link


def test_exif_too_long_for_a_jpeg_is_said(tmp_path):
    """Fails if EXIF of 70 kB is dropped without a word, or a half of it is written."""
    saved(tmp_path / "a.png", quadrants(), exif=camera(padding=70_000))
    words = refusal(lambda: image.convert(tmp_path / "a.png", tmp_path / "b.jpg", halved, "JPEG"), ImageError)
    assert "70 kB of EXIF" in words
    assert not (tmp_path / "b.jpg").exists()
    image.convert(tmp_path / "a.png", tmp_path / "b.png", halved)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "PNM"])
def test_what_a_kind_cannot_hold_is_said(tmp_path, kind):
    """Fails if EXIF and profile go down in silence."""
    words = image.convert(spoken(tmp_path / "a", "PNG"), tmp_path / "b", halved, kind)
    assert words.startswith("is written without its colour profile and its EXIF")


def test_the_words_of_a_tiff_arrive(tmp_path):
    """Fails if XMP, or the name of a picture, is lost on the way from or to a TIFF of any byte order."""
    for order in "<>":
        tags = [(700, 1, len(XMP), XMP, True), (315, 2, 0, "A painter", True)]
        tifffile.imwrite(tmp_path / "a.tif", quadrants(), photometric="rgb", metadata=None, extratags=tags, byteorder=order)
        image.convert(tmp_path / "a.tif", tmp_path / "b.jpg", halved, "JPEG", overwrite=True)
        assert XMP in (tmp_path / "b.jpg").read_bytes()
        image.convert(tmp_path / "b.jpg", tmp_path / "c.tif", halved, "TIFF", overwrite=True)
        with tifffile.TiffFile(tmp_path / "c.tif") as file:
            assert file.pages[0].tags.valueof(700) == XMP
            assert file.pages[0].tags.valueof(315) == "A painter"
            assert file.byteorder == order


@pytest.mark.parametrize(("kind", "words"), [("WebP", "the lower 8 of its 16 bits"), ("PNG", "")])
def test_lost_bits_are_said(tmp_path, kind, words):
    """Fails if 16 bits become 8 in silence."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 5), np.uint16))
    assert words in image.convert(tmp_path / "a.tif", tmp_path / "b", halved, kind)
    assert bool(words) == bool(image.lost(image.read(tmp_path / "a.tif"), kind))


def test_png_words_and_colours_are_passed_on(tmp_path):
    """Fails if the gamma or a title of a PNG is lost from PNG to PNG."""
    told = [(b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Title\0A cat"), (b"pHYs", struct.pack(">IIB", 11811, 5906, 1))]
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 2, bytes(4), *told))
    image.convert(tmp_path / "a.png", tmp_path / "b.png", halved)
    with Pillow.open(tmp_path / "b.png") as out:
        assert (out.info["gamma"], out.info["Title"]) == (0.45455, "A cat")
    assert told[2][1] in (tmp_path / "b.png").read_bytes()


def test_jpeg_keeps_iptc_and_comments(tmp_path):
    """Fails if a caption is lost: photo agencies keep it in Photoshop's segment."""
    caption = b"Photoshop 3.0\08BIM\4\4\0\0\0\0\0\x0a\x1c\2\x78\0\5A cat\0"
    segment = b"\xff\xed" + struct.pack(">H", len(caption) + 2) + caption
    saved(tmp_path / "a.jpg", quadrants(), extra=segment, comment=b"by hand")
    image.convert(tmp_path / "a.jpg", tmp_path / "b.jpg", halved)
    assert segment in (tmp_path / "b.jpg").read_bytes()
    with Pillow.open(tmp_path / "b.jpg") as out:
        assert out.info["comment"] == b"by hand"


# --- JPEG ---------------------------------------------------------------------------------------------------------------------------


def test_jpeg_of_ink(tmp_path):
    """Fails if CMYK comes in inverted or as four colours: Adobe's inks are (1 - C)(1 - K) to a screen."""
    ink = np.kron(random(2, 2, 4), np.ones((16, 16, 1), np.uint8))
    saved(tmp_path / "a.jpg", ink, "CMYK", quality=100, subsampling=0)
    share = ink / 255
    np.testing.assert_allclose(image.read(tmp_path / "a.jpg").pixels, (1 - share[..., :3]) * (1 - share[..., 3:]), atol=0.02)
    image.convert(tmp_path / "a.jpg", tmp_path / "b.jpg", lambda bands: bands)
    with Pillow.open(tmp_path / "b.jpg") as out:
        assert out.mode == "RGB"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(96, 128), (96, 128, 3)])
def test_a_jpeg_without_its_last_rows_is_refused(tmp_path, shape, share):
    """Fails if a picture that ends early, end marker and all, comes out gray below. Pillow says nothing there."""
    data = saved(tmp_path / "a.jpg", random(*shape), quality=80).read_bytes()
    begin = data.index(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[: begin + int(share * (len(data) - begin))].rstrip(b"\xff") + b"\xff\xd9")
    assert "damaged" in refusal(lambda: image.read(tmp_path / "a.jpg"), ImageError)


@pytest.mark.parametrize(
    "how", [{"progressive": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}, {"optimize": True}]
)
@pytest.mark.parametrize("shape", [(8, 8), (33, 41, 3), (300, 200, 3)])
def test_sound_jpegs_of_every_make_are_read(tmp_path, monkeypatch, shape, how):
    """Fails if the check for missing rows refuses a whole file, or changes a pixel of it."""
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**24)  # room for Pillow to write them
    for quality, sampling in itertools.product((5, 75, 100), (0, 2)):
        path = saved(tmp_path / "a.jpg", random(*shape), quality=quality, subsampling=sampling, **how)
        with Pillow.open(path) as other:
            np.testing.assert_array_equal(image.read(path).pixels, np.asarray(other, np.float32) / np.float32(255))
        image.convert(path, tmp_path / "b.jpg", lambda bands: bands, overwrite=True)


@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [80, 89, 95, 100])
def test_noise_in_fine_tables_can_be_written(tmp_path, capfd, sampling, quality):
    """Fails if a progressive JPEG of high quality, which needs more room than Pillow makes, is refused, or libjpeg complains."""
    read = image.read(saved(tmp_path / "a.jpg", quadrants(), quality=quality, subsampling=sampling, progressive=True))
    image.write(tmp_path / "b.jpg", random(300, 200, 3) / 255, read)
    with Pillow.open(tmp_path / "b.jpg") as out:
        assert out.quantization == Pillow.open(tmp_path / "a.jpg").quantization
    assert capfd.readouterr().err == ""


def test_the_second_view_of_a_phone_is_said_to_be_left_out(tmp_path):
    """Fails if a photo with a second picture inside is refused, read as two, or loses one without a word."""
    pictures = [Pillow.fromarray(quadrants()), Pillow.fromarray(255 - quadrants())]
    pictures[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pictures[1:], quality=95)
    read = image.read(tmp_path / "a.jpg")
    assert (read.kind, read.frames) == ("JPEG", 1)
    np.testing.assert_allclose(read.pixels[2, 2], quadrants()[2, 2] / 255, atol=0.03)
    assert "without the further pictures" in image.convert(tmp_path / "a.jpg", tmp_path / "b.jpg", halved)


# --- limits -------------------------------------------------------------------------------------------------------------------------


def zeros_deflated(size):
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(size >> 20)) + packer.flush()


@pytest.mark.parametrize("what", ["profile", "strip", "tile"])
def test_what_grows_beyond_all_use_is_refused(tmp_path, what):
    """Fails if 64 MB come out of 64 kB where a few bytes are expected: of real bombs, gigabytes would."""
    bomb = zeros_deflated(2**26)
    if what == "profile":
        (tmp_path / "a").write_bytes(png(1, 1, 8, 2, bytes(4), (b"iCCP", b"p\0\0" + bomb)))
    else:
        how = {"tile": (16, 16)} if what == "tile" else {"rowsperstrip": 16}
        with open(tmp_path / "a", "wb") as file:
            tifffile.imwrite(file, iter([bomb]), shape=(16, 16, 3), dtype="uint8", photometric="rgb", compression=8, **how)
    assert "more than" in refusal(lambda: image.read(tmp_path / "a"), ImageError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WebP", "GIF", "BMP", "PPM"])
def test_the_limit_is_of_pixels_and_can_be_raised(tmp_path, kind):
    """Fails if one kind is read beyond the limit, or the error does not name the way to raise it."""
    saved(tmp_path / "a", random(40, 50, 3), format=kind)
    assert image.read(tmp_path / "a", max_pixels=2000).pixels.shape == (40, 50, 3)
    words = refusal(lambda: image.read(tmp_path / "a", max_pixels=1999), ImageError)
    assert "more than the limit" in words
    assert "--max-megapixels" in words


def test_a_gif_frame_beyond_the_first_is_measured(tmp_path):
    """Fails if a later frame that reaches far outside a small GIF makes room for itself."""
    pictures = [Pillow.fromarray(random(4, 4) // 2 + 128 * n) for n in range(2)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], optimize=False)
    data = bytearray((tmp_path / "a.gif").read_bytes())
    frame = data.rindex(b"\x2c" + struct.pack("<HHHH", 0, 0, 4, 4))
    data[frame + 5 : frame + 9] = struct.pack("<HH", 10_000, 13_000)  # within Pillow's own limit
    (tmp_path / "a.gif").write_bytes(data)
    frames = image.frames(tmp_path / "a.gif")
    assert next(frames).pixels.shape[:2] == (4, 4)
    assert "130 megapixels, more than the limit" in refusal(lambda: next(frames), ImageError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "LZW", "WebP", "GIF", "BMP", "PNM", "16-bit PNG"])
def test_changed_bytes_never_crash(tmp_path, kind):
    """Fails if random damage raises anything but an ImageError, or gives pixels that are no numbers in [0, 1]."""
    path, rng = tmp_path / "a", np.random.default_rng(9)
    if kind in ("PNM", "16-bit PNG"):
        written(path, samples(3, 16), 16, kind.split()[-1])
    else:
        how = {"compression": "tiff_lzw"} if kind == "LZW" else {}
        saved(
            path,
            random(24, 20, 3),
            format="TIFF" if kind == "LZW" else kind,
            **how,
            **({"exif": camera()} if kind == "JPEG" else {}),
        )
    whole, read = path.read_bytes(), 0
    for number in range(250):
        changed = bytearray(whole)
        reach = len(changed) if number % 2 else min(len(changed), 200)
        for spot in rng.integers(4, reach, 1 + number % 4):
            changed[spot] = rng.integers(256)
        path.write_bytes(changed)
        try:
            for picture in image.frames(path):
                assert np.isfinite(picture.pixels).all()
                read += 1
        except ImageError:
            continue
    assert read < 250  # the damage is seen


def test_encoded_gives_bytes_of_every_kind():
    """Fails if a kind can be written to a path only."""
    for kind, magic in {
        "PNG": b"\x89PNG",
        "JPEG": b"\xff\xd8",
        "TIFF": b"II*\0",
        "WebP": b"RIFF",
        "GIF": b"GIF8",
        "BMP": b"BM",
    }.items():
        data = image.encoded(quadrants() / 255, kind)
        assert data.startswith(magic)
        assert Pillow.open(io.BytesIO(data)).size == (24, 16)


def test_a_picture_is_written_as_it_is(tmp_path):
    """Fails if writing changes the caller's picture."""
    picture = image.Picture(np.array([[-1.0, 2.0]]), "TIFF", 8, {"packed": True})
    image.write(tmp_path / "a.tif", picture.pixels, picture)
    assert picture == replace(picture)
    assert picture.pixels.tolist() == [[-1, 2]]


# --- what a review found ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", [1, 2, 3])
def test_digits_that_are_missing_are_not_made_up(sort, tmp_path):
    """Fails if the samples that a cut file lacks are whatever lies in memory; much white space is no damage."""
    top = b"" if sort == 1 else b" 7"
    whole = b"P%d 20 30%s\n" % (sort, top) + b"1     " * (600 * (3 if sort == 3 else 1))
    assert (image.read(_put(tmp_path / "a.pnm", whole)).pixels == (0 if sort == 1 else np.float32(1 / 7))).all()
    assert "cut short" in refusal(lambda: image.read(_put(tmp_path / "b.pnm", whole[: len(whole) // 2])), ImageError)
    gaps = whole[:20] + b" " * 10**6 + whole[20:]
    assert "white space" in refusal(lambda: image.read(_put(tmp_path / "c.pnm", gaps)), ImageError)


def test_more_pictures_than_are_read_are_refused(tmp_path, monkeypatch):
    """Fails if those beyond the limit vanish unsaid."""
    monkeypatch.setattr("unnoise.image.pnm.MAX_FRAMES", 3)
    one = b"P5 1 1 255\n\x07"
    assert image.read(_put(tmp_path / "a.pgm", 3 * one)).frames == 3
    assert "more than 3 pictures" in refusal(lambda: image.read(_put(tmp_path / "b.pgm", 4 * one)), ImageError)


def test_inks_lose_their_profile_and_a_fourth_channel_its_meaning_is_kept(tmp_path):
    """Fails if RGB carries the profile of inks, or a channel that nobody called alpha becomes alpha."""
    inks = np.zeros((5, 6, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", iccprofile=b"x" * 200)
    image.convert(tmp_path / "a.tif", tmp_path / "b.tif", lambda bands: bands)
    assert "icc_profile" not in image.read(tmp_path / "b.tif").keep
    infrared = np.random.default_rng(0).integers(0, 255, (5, 6, 4), np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", infrared, photometric="rgb", extrasamples=["unspecified"])
    image.convert(tmp_path / "c.tif", tmp_path / "d.tif", lambda bands: bands)
    with tifffile.TiffFile(tmp_path / "d.tif") as copy:
        assert [int(value) for value in copy.pages[0].extrasamples] == [0]
        np.testing.assert_array_equal(copy.asarray(), infrared)
