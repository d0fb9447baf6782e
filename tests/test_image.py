"""Picture files come in exactly or are refused by name, and go out whole or not at all."""

import errno
import os
import signal
import struct
import zlib

import numpy as np
import pytest
from conftest import refusal
from PIL import Image as Pillow
from PIL import ImageCms

from unnoise import image
from unnoise.errors import ImageError

MAKE, ORIENTATION = 0x010F, 0x0112  # EXIF tags
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def png(width, height, depth, colour, rows, *between):
    """The bytes of a PNG of these raw rows, each with its filter byte; `between`: (kind, content) of further chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *between, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def random(*shape):
    return np.random.default_rng(6).integers(0, 256, shape, np.uint8)


def quadrants(height=16, width=24):
    """An RGB picture that no turn or mirror leaves as it is, of flat colours that JPEG hardly changes."""
    array = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]):
        row, column = divmod(index, 2)
        array[row * height // 2 :, column * width // 2 :] = colour
    return array


def saved(path, array, mode=None, **settings):
    Pillow.fromarray(array, mode).save(path, **settings)
    return path


def exif(orientation=1):
    tags = Pillow.Exif()
    tags[MAKE], tags[ORIENTATION] = "Maker of cameras", orientation
    return tags


# --- exact ------------------------------------------------------------------------------------------------------------------


def palette_with_alpha():
    colours, alpha = random(16, 3), random(16)
    picture = Pillow.fromarray(LEVELS % 16, "P")
    picture.putpalette(colours.tobytes())
    return (picture, {"transparency": alpha.tobytes()}), np.column_stack([colours, alpha])[LEVELS % 16]


def palette():
    picture = Pillow.fromarray(LEVELS, "P")
    picture.putpalette(random(256, 3).tobytes())
    return (picture, {}), random(256, 3)[LEVELS]


def plain(array):
    return (Pillow.fromarray(array), {}), array


@pytest.mark.parametrize(
    ("make", "depth"),
    [
        (lambda: plain(LEVELS), 8),
        (lambda: plain(random(9, 7, 2)), 8),
        (lambda: plain(random(9, 7, 3)), 8),
        (lambda: plain(random(9, 7, 4)), 8),
        (lambda: plain(random(1, 1, 3)), 8),
        (lambda: plain(LEVELS > 99), 1),
        (palette, 8),
        (palette_with_alpha, 8),
        (lambda: plain(np.arange(65536, dtype=np.uint16).reshape(256, 256)), 16),
    ],
    ids=["gray", "gray+alpha", "RGB", "RGBA", "1x1", "1-bit", "palette", "palette+alpha", "16-bit gray"],
)
def test_png_round_trip(tmp_path, make, depth):
    """Fails if a level is lost or moved on the way in or out, or a layout is read as another."""
    (picture, settings), expected = make()
    picture.save(tmp_path / "in.png", **settings)
    read, top = image.read(tmp_path / "in.png"), 2**depth - 1
    assert (read.kind, read.depth, read.pixels.dtype, read.pixels.shape) == ("PNG", depth, np.float32, expected.shape)
    np.testing.assert_array_equal(read.pixels, expected.astype(np.float32) / np.float32(top))
    image.write(tmp_path / "out.png", read.pixels, read)
    with Pillow.open(tmp_path / "out.png") as out:
        np.testing.assert_array_equal(np.asarray(out), expected)
    np.testing.assert_array_equal(image.read(tmp_path / "out.png").pixels, read.pixels)


def read_with_transparent(path, depth, colour, row, transparent):
    """The pixels of a PNG of 2 x 1 pixels in which one colour (or gray) is called transparent."""
    between = (b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    path.write_bytes(png(2, 1, depth, colour, row, between))
    return image.read(path).pixels


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent", "expected"),
    [
        (8, 2, bytes([0, 1, 2, 3, 4, 5, 6]), (1, 2, 3), [[1, 2, 3, 0], [4, 5, 6, 255]]),
        (8, 0, bytes([0, 7, 9]), (9,), [[7, 255], [9, 0]]),
        (1, 0, bytes([0, 0b01000000]), (0,), [[0, 0], [255, 255]]),
    ],
    ids=["RGB", "gray", "1-bit"],
)
def test_png_with_one_transparent_colour(tmp_path, depth, colour, row, transparent, expected):
    """Fails if the one colour that a PNG calls transparent comes out opaque."""
    pixels = read_with_transparent(tmp_path / "a.png", depth, colour, row, transparent)
    np.testing.assert_allclose(pixels, [np.array(expected) / 255], atol=1e-7)  # float32


@pytest.mark.parametrize(
    ("depth", "row", "transparent", "expected"),
    [
        (2, bytes([0, 0b01100000]), 1, [[1 / 3, 0], [2 / 3, 1]]),
        (16, struct.pack(">xHH", 257, 514), 257, [[1 / 255, 0], [2 / 255, 1]]),
        (16, struct.pack(">xHH", 257, 258), 257, [[257 / 65535, 0], [258 / 65535, 1]]),
    ],
    ids=["2-bit", "16-bit", "16-bit, low byte"],
)
def test_png_with_one_transparent_gray(tmp_path, depth, row, transparent, expected):
    """Fails if a transparent gray comes out opaque, or another gray does not."""
    pixels = read_with_transparent(tmp_path / "a.png", depth, 0, row, (transparent,))
    np.testing.assert_allclose(pixels, [expected], atol=1e-7)  # float32


@pytest.mark.parametrize("quality", [50, 100])
@pytest.mark.parametrize("shape", [(16, 24), (17, 23, 3)])
def test_jpeg_is_read_as_it_decodes(tmp_path, shape, quality):
    """Fails if a JPEG's levels are scaled, or its gray becomes three channels."""
    path = saved(tmp_path / "a.jpg", random(*shape), quality=quality)
    read = image.read(path)
    assert (read.kind, read.depth) == ("JPEG", 8)
    with Pillow.open(path) as decoded:
        np.testing.assert_array_equal(read.pixels, np.asarray(decoded, np.float32) / np.float32(255))


def test_jpeg_keeps_its_quality(tmp_path):
    """Fails if a JPEG is written with other tables than it came with: larger for nothing, or blurred twice."""
    first = saved(tmp_path / "a.jpg", np.asarray(quadrants()), quality=37, subsampling=1)
    read = image.read(first)
    image.write(tmp_path / "b.jpg", read.pixels, read)
    with Pillow.open(first) as before, Pillow.open(tmp_path / "b.jpg") as after:
        assert after.quantization == before.quantization
        assert [part[1:3] for part in after.layer] == [part[1:3] for part in before.layer]  # the sampling factors


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_is_read(tmp_path, channels):
    """Fails if a lossless WebP loses a level, or its alpha."""
    expected = random(9, 7, channels)
    expected[..., 3:] |= 1  # WebP drops the colour of what nobody can see
    path = saved(tmp_path / "a.webp", expected, lossless=True)
    np.testing.assert_array_equal(image.read(path).pixels, expected.astype(np.float32) / np.float32(255))


def test_writing_clips_and_rounds(tmp_path):
    """Fails if values outside [0, 1] wrap around, or those between two levels are cut, not rounded."""
    values = np.array([[-0.5, -1e-9, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.1, 300]])
    image.write(tmp_path / "a.png", values)
    with Pillow.open(tmp_path / "a.png") as out:
        assert np.asarray(out).tolist() == [[0, 0, 0, 1, 254, 255, 255, 255]]


# --- what a file says of itself ------------------------------------------------------------------------------------------------

# How a file with that orientation holds an upright picture: where its 0th row and column lie (EXIF 2.3, 4.6.4, tag 274).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[:, ::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_orientation_is_applied_once(tmp_path, orientation, suffix):
    """Fails if a picture comes in turned, or goes out with a tag by which a viewer turns it again."""
    upright, settings = quadrants(), {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    stored = np.ascontiguousarray(STORED[orientation](upright))
    read = image.read(saved(tmp_path / f"a.{suffix}", stored, exif=exif(orientation), **settings))
    levels = 4 / 255 if suffix == "jpg" else 1e-7  # flat colours at quality 95; float32
    np.testing.assert_allclose(read.pixels, upright / np.float32(255), atol=levels)
    image.write(tmp_path / f"b.{suffix}", read.pixels, read)
    with Pillow.open(tmp_path / f"b.{suffix}") as out:
        assert out.getexif()[ORIENTATION] == 1
        np.testing.assert_allclose(np.asarray(out), upright, atol=255 * 2 * levels)  # coded twice


@pytest.mark.parametrize("first", ["png", "jpg"])
@pytest.mark.parametrize("second", ["png", "jpg"])
def test_profile_exif_and_resolution_arrive(tmp_path, first, second):
    """Fails if colours would look other than before, or the camera and the size of a print are forgotten."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    settings = {"icc_profile": profile, "exif": exif(), "dpi": (300, 300)}
    read = image.read(saved(tmp_path / f"a.{first}", quadrants(), **settings))
    image.write(tmp_path / f"b.{second}", read.pixels, read)
    with Pillow.open(tmp_path / f"b.{second}") as out:
        assert out.info["icc_profile"] == profile
        assert out.getexif()[MAKE] == "Maker of cameras"
        assert out.info["dpi"] == pytest.approx((300, 300), abs=0.01)  # PNG counts pixels a metre, in whole numbers


def test_nothing_is_made_up(tmp_path):
    """Fails if a file without EXIF or profile comes out with one."""
    read = image.read(saved(tmp_path / "a.png", quadrants()))
    assert read.keep == {}
    image.write(tmp_path / "b.png", read.pixels, read)
    with Pillow.open(tmp_path / "b.png") as out:
        assert not out.getexif()
        assert "icc_profile" not in out.info


# --- refused ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _not_for_ever():
    def stop(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pillows(array, **settings):
    return lambda path: saved(path, array, **settings)


def raw(data):
    return lambda path: path.write_bytes(data)


def cut(kind):
    def make(path):
        saved(path, random(30, 30, 3), format=kind)
        path.write_bytes(path.read_bytes()[:900])

    return make


@pytest.mark.usefixtures("_not_for_ever")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (raw(b"\0\0\0\x20ftypheic\0\0\0\0mif1heic"), "is a HEIF file"),
        (raw(b"8BPS\0\1" + bytes(20)), "is a Photoshop file"),
        (raw(b"\0\0\0\x1cftypavis\0\0\0\0"), "is an AVIF file"),
        (raw(b"\0\0\0\x18ftypcrx \0\0\0\1"), "is a camera raw file"),
        (raw(b"FUJIFILMCCD-RAW 0201"), "is a camera raw file"),
        (raw(b"IIU\0\x18\0\0\0"), "is a camera raw file"),
        (raw(b"\xff\x0a\x7f\x3f"), "is a JPEG XL file"),
        (raw(b"%!PS-Adobe-3.0 EPSF-3.0"), "is a PostScript file"),
        (cut("PNG"), "is damaged and cannot be read"),
        (cut("JPEG"), "is damaged and cannot be read"),
        (raw(png(9, 9, 8, 2, random(9, 28).tobytes())[:20]), "it ends within its header"),
        (raw(png(9, 9, 3, 5, b"")), "is damaged and cannot be read"),
        (raw(b"\xff\xd8\xff"), "is damaged and cannot be read"),
        (raw(b""), "is not a picture this version knows; expected PNG, JPEG, TIFF"),
        (raw(b"Dear diary, today I saw a PNG."), "is not a picture this version knows"),
        (raw(b"BMW: a car, no BMP, whatever its first two letters say"), "is not a picture this version knows"),
        (raw(b"P1: to do today"), "is not a picture this version knows"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.mkdir(), "is no regular file"),
        (lambda path: None, "cannot be opened (No such file or directory)"),
        (lambda path: path.symlink_to(path), "cannot be opened"),
        (
            lambda path: Pillow.fromarray(random(9, 9)).save(
                path, format="PNG", save_all=True, append_images=[Pillow.fromarray(random(9, 9))]
            ),
            "holds 2 frames",
        ),
        pytest.param(
            raw(png(20000, 20000, 8, 0, b"")), "has 400 megapixels, more than the limit of 128",
        ),
    ],
)  # fmt: skip
def test_refused_in_one_sentence(tmp_path, make, says):
    """Fails if a file is misread, hangs the reader, raises anything but an ImageError, or its error tells a path of the machine."""
    make(tmp_path / "photo")
    sentence = refusal(lambda: image.read(tmp_path / "photo"), ImageError)
    assert says in sentence
    assert str(tmp_path) not in sentence


def test_a_file_that_is_not_what_its_name_says(tmp_path):
    """Fails if an empty file is taken for one of another kind, or for none that was meant as a picture."""
    for content, says in ((b"", "is empty; restore it"), (b"Dear diary", "is not the PNG file that its name says; restore it")):
        (tmp_path / "a.png").write_bytes(content)
        assert says in refusal(lambda: image.read(tmp_path / "a.png"), ImageError)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_large_is_refused_before_its_pixels(tmp_path):
    """Fails if 130 megapixels are decoded, or called damaged: here there are none to decode."""
    (tmp_path / "a.png").write_bytes(png(13000, 10000, 8, 0, b""))
    assert "has 130 megapixels, more than the limit of 128" in refusal(lambda: image.read(tmp_path / "a.png"), ImageError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WebP", "GIF", "BMP", "PPM"])
def test_every_cut_is_noticed(tmp_path, kind):
    """Fails if a file cut anywhere comes out as another picture than the whole one: gray where its bytes are missing."""
    path = saved(tmp_path / "a", random(8, 8, 3), format=kind)
    whole, expected, read = path.read_bytes(), image.read(path).pixels, 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            pixels = image.read(path).pixels
        except ImageError:
            continue
        read += 1
        np.testing.assert_array_equal(pixels, expected)
    assert read <= 20  # only within the last bytes, after those of the pixels


# --- written whole or not at all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [True, False], ids=["over an old file", "new"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch, call, there):
    """Fails if a write that fails at its end has touched the old file, or leaves a new or temporary one behind."""
    path = tmp_path / "a.png"
    if there:
        image.write(path, quadrants() / 255)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left on device"):
            image.write(path, 1 - quadrants() / 255, overwrite=True)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_file_is_overwritten_only_on_request(tmp_path):
    """Fails if a picture that is there is replaced unasked, or not replaced when asked."""
    path = tmp_path / "new" / "a.png"
    image.write(path, np.zeros((2, 2)))
    with pytest.raises(FileExistsError):
        image.write(path, np.ones((2, 2)))
    assert not image.read(path).pixels.any()
    image.write(path, np.ones((2, 2)), overwrite=True)
    assert image.read(path).pixels.all()
    assert list(path.parent.iterdir()) == [path]


def test_the_input_is_not_written_to(tmp_path):
    """Fails if clipping happens in the caller's array."""
    pixels = np.array([[-1.0, 2.0]])
    image.write(tmp_path / "a.png", pixels)
    assert pixels.tolist() == [[-1.0, 2.0]]


@pytest.mark.parametrize(
    ("name", "shape", "depth", "says"),
    [
        ("a.heic", (4, 4), 8, "an output named a.heic: expected a name that ends in .png, .jpg, .jpeg, .tif"),
        ("a.ppm", (4, 4, 4), 8, "PNM has no alpha"),
        ("a", (4, 4), 8, "an output named a: expected"),
        ("a.jpg", (4, 4, 4), 8, "JPEG has no alpha"),
        ("a.jpg", (4, 4, 2), 8, "JPEG has no alpha"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, shape, depth, says):
    """Fails if an ending, alpha that the kind has no room for is anything but one sentence, or leaves a file."""
    like = image.Picture(np.zeros((4, 4), np.float32), "PNG", depth)
    assert says in refusal(lambda: image.write(tmp_path / name, np.zeros(shape), like), ImageError)
    assert not list(tmp_path.iterdir())
