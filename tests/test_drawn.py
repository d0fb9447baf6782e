"""Screenshots, drawings and what else holds flat colours are left alone; noise on photographs that were clipped is found all the same."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from test_doctor import as_in_a_file, photo, spoilt

import unnoise
from unnoise.doctor import advice, examine

WORDS = "The quick brown fox jumps over the lazy dog; 0123456789 (unnoise) {denoise}. " * 4
MODES = {  # background, text
    "light": ("white", "black"), "dark": ("black", "white"), "gray": ("#c0c0c0", "black"), "editor": ("#1e1e1e", "#d4d4d4"),
}  # fmt: skip


def page(back="white", ink="black", width=800, height=600, size=14, text=True, square=True):
    """A page of antialiased text, with a square of the text's colour."""
    drawn = Image.new("RGB", (width, height), back)
    draw = ImageDraw.Draw(drawn)
    for top in range(20, height - 40 if text else 0, size * 3 // 2):
        draw.text((20, top), WORDS, fill=ink, font=ImageFont.load_default(size))
    if square:
        draw.rectangle((width // 2, height // 2, width // 2 + 99, height // 2 + 99), fill=ink)
    return drawn


def window():
    """A light window with a panel, lines and a button."""
    drawn = page(ink="#222222", width=900, square=False)
    draw = ImageDraw.Draw(drawn)
    draw.rectangle((0, 0, 180, 600), fill="#f0f0f0")
    for row in range(8):
        draw.line((0, 80 + 30 * row, 180, 80 + 30 * row), fill="#888888")
        draw.text((10, 60 + 30 * row), f"file_{row}.py", fill="black", font=ImageFont.load_default(13))
    draw.rectangle((750, 500, 850, 550), fill="#0078d4")
    return drawn


def shapes():
    """Rectangles and ellipses of flat colours, black ones among them."""
    rng, drawn = np.random.default_rng(0), Image.new("RGB", (600, 450), "white")
    draw = ImageDraw.Draw(drawn)
    for number in range(30):
        left, top, width, height = (int(value) for value in rng.integers((0, 0, 10, 10), (500, 400, 150, 150)))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3)) if number % 3 else "black"
        figure = draw.ellipse if number % 2 else draw.rectangle
        figure((left, top, left + width, top + height), fill=colour, outline="black")
    return drawn


def plot():
    drawn = Image.new("RGB", (640, 480), "white")
    draw, across = ImageDraw.Draw(drawn), np.linspace(0, 540, 300)
    draw.rectangle((60, 40, 600, 420), outline="black")
    for colour, period in (("red", 30), ("blue", 50), ("black", 80)):
        draw.line([(60 + x, 230 + 150 * np.sin(x / period)) for x in across], fill=colour, width=2)
    return drawn


def packed(drawn):
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=90)
    return Image.open(file)


DRAWN = {f"{name}, text of {size}": page(*colours, size=size) for name, colours in MODES.items() for size in (9, 14, 30)}
DRAWN |= {"light, 320 x 240": page(width=320, height=240, size=11), "light, 1600 x 1200": page(width=1600, height=1200)}
DRAWN |= {"a black square alone": page(text=False), "text alone": page(square=False)}
DRAWN |= {"window": window(), "shapes": shapes(), "plot": plot()}
DRAWN |= {
    f"{name}, JPEG": packed(DRAWN[name])
    for name in ("light, text of 14", "dark, text of 14", "gray, text of 14", "plot", "window")
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_was_drawn_is_left_alone(name, mode):
    """Fails if black on white is taken for missing blocks, pepper or noise of great strength."""
    found = examine(np.asarray(DRAWN[name].convert(mode)))
    assert found.kinds == ()
    assert advice(found)[0] == ()


def test_a_page_says_why_it_is_left_alone():
    """Fails if a sigma is told that nothing speaks for."""
    found = examine(np.asarray(DRAWN["light, text of 14"]))
    assert (found.drawn, found.level.value, len(found.channels)) == (True, 0, 3)
    assert found.level.error >= found.level.value
    assert (
        advice(found)[1] == "as no noise worth removing was found (flat colours, text or lines, in which noise cannot be told)"
    )
    assert found.as_json()["drawn"]


def test_gradients_are_left_alone():
    down, across = np.mgrid[:480, :640]
    steps = np.stack([across / 640, down / 480, (down + across) / 1120], 2)
    for gradient in (steps, steps[..., 0]):
        assert examine(as_in_a_file(gradient)).kinds == ()


@pytest.mark.parametrize("name", ["chelsea.png", "rocket.jpg"])
@pytest.mark.parametrize("exposure", [1.5, 2.2])
def test_saturated_photographs_are_left_alone(name, exposure):
    assert examine(as_in_a_file(exposure * photo(name))).kinds == ()


@pytest.mark.parametrize(
    ("noise", "kind"),
    [
        ("gaussian:5/255", "Gaussian noise"),
        ("gaussian:25/255", "Gaussian noise"),
        ("salt-and-pepper:0.01", "salt and pepper"),
        ("salt-and-pepper:0.3", "salt and pepper"),
        ("masking:0.01", "missing pixels"),
        ("masking:0.9", "missing pixels"),
        ("blocks:count=60,size=32", "missing blocks"),
    ],
)
def test_noise_on_a_photograph_that_was_clipped(noise, kind):
    """Fails if white parts of a quarter of a photograph make it a drawing, or its black pixels or blocks do."""
    clean = as_in_a_file(2.2 * photo("chelsea.png"))
    assert (clean == 1).all(2).mean() > 0.1
    found = examine(as_in_a_file(spoilt(noise, clean)))
    assert not found.drawn
    assert kind in found.kinds


def test_noise_on_a_page_is_found():
    """Fails if a page is taken for a clean drawing whatever is on it: noise leaves no flat colours."""
    noisy = as_in_a_file(spoilt("gaussian:15/255", np.asarray(page("#d0d0d0", "#303030"), np.float32) / 255))
    assert "Gaussian noise" in examine(noisy).kinds


def test_a_page_comes_back_as_it_is():
    """Fails if `auto` changes a value of a screenshot."""
    shot = np.asarray(page(width=400, height=300))
    np.testing.assert_array_equal(unnoise.denoise(shot), shot)
