"""`unnoise inspect` on several pictures: what they have in common, groups of different noise, pixels stuck in all; and the sheets it draws."""

import json

import numpy as np
import pytest
from conftest import refusal
from PIL import Image
from test_cli import put
from test_doctor import as_in_a_file, photo, spoilt
from test_floors import RESULTS

from unnoise import advice, bundled, chart, doctor, image, series
from unnoise.errors import ImageError
from unnoise.image import metadata
from unnoise.level import Estimate


def told(source, kinds, sigma, camera=""):
    return series.Noisy(source, kinds, sigma / 255, camera)


FOLDER = [
    told("a.png", ["Gaussian noise"], 5.0, "A, ISO 800"), told("b.png", ["Gaussian noise"], 6.1, "A, ISO 800"), told("c.png", [], 0.4),
    told("d.png", ["Gaussian noise"], 18.0, "B, ISO 6400"), told("e.png", ["correlated noise"], 5.5), told("f.png", ["Gaussian noise"], 7.9),
]  # fmt: skip


def test_groups_of_different_noise():
    """Fails if a gap of sigma, or another kind, does not part pictures, a chain of like ones is torn, or clean ones are a group."""
    groups = series.groups(FOLDER)
    assert [one["pictures"] for one in groups] == [["a.png", "b.png", "f.png"], ["d.png"], ["e.png"]]
    assert series.in_words(groups[0]) == "Gaussian noise, sigma 5.0 to 7.9/255, A, ISO 800: a.png, b.png, f.png"
    assert series.in_words(groups[1]) == "Gaussian noise, sigma 18.0/255, B, ISO 6400: d.png"
    assert series.groups(FOLDER[:3]) == []
    many = series.groups([*FOLDER, *(told(f"{number}.png", ["correlated noise"], 5.5) for number in range(9))])
    assert series.in_words(many[0]) == "correlated noise, sigma 5.5/255: e.png, 0.png, 1.png and 7 more"


def test_the_summary():
    assert series.summary(FOLDER) == (
        "Gaussian noise in 4, correlated noise in 1, no noise worth removing in 1; sigma 0.4 to 18.0/255, half of them up to 5.8"
    )


@pytest.mark.parametrize(
    ("tags", "iso", "camera"),
    [
        ({metadata.MAKER: "NIKON CORPORATION", metadata.MODEL: "NIKON D800 "}, 3200, "NIKON D800, ISO 3200"),
        ({metadata.MAKER: "Leica", metadata.MODEL: " "}, 100, "Leica, ISO 100"),
        ({metadata.MAKER: "Leica"}, None, "Leica"),
        ({}, 200, "ISO 200"),
        ({}, None, ""),
    ],
)
def test_the_camera_of_a_picture(tmp_path, tags, iso, camera):
    """Fails if the sensitivity, which lies in a directory of its own, is not read, or a maker is told where there is a model, or not told where there is none."""
    exif = Image.Exif()
    exif.update(tags)
    if iso:
        exif.get_ifd(metadata.EXIF_IFD)[metadata.ISO] = iso
    Image.new("L", (9, 9)).save(tmp_path / "x.jpg", exif=exif)
    assert series.camera_of(image.read(tmp_path / "x.jpg").keep.get("exif")) == camera


@pytest.mark.parametrize("bad", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x03\0", b"Exif\0\0?"])
def test_the_camera_by_damaged_exif(tmp_path, bad):
    """Fails if EXIF that leads nowhere stops the picture from being told."""
    Image.new("L", (9, 9)).save(tmp_path / "x.jpg", exif=bad)
    assert series.camera_of(image.read(tmp_path / "x.jpg").keep.get("exif")) == ""


# --- the dB to expect ---------------------------------------------------------------------------------------------------------


def test_the_expected_decibels_are_those_that_were_measured():
    """Fails if a figure was changed by hand."""
    curves = json.loads((RESULTS / "gains.json").read_text())["curves"]
    assert {model: tuple(map(tuple, curve)) for model, curve in curves.items()} == advice.EXPECTED


def test_the_advice_says_the_expected_decibels():
    """Fails if it is not that of sigma 15 between its neighbours, or is told where it was not measured: for two models, for other kinds."""
    found = doctor.examine(spoilt("gaussian:15/255", photo()))
    decibels = doctor.expected(found, ["photo"])
    assert decibels.value == pytest.approx(9.1, abs=0.3)
    assert doctor.advice(found)[1].endswith(f"), which gains about {decibels.value:.1f} dB (give or take {decibels.error:.1f})")
    assert doctor.expected(found, ["real"]) is None
    assert doctor.expected(found, []) is None
    both = doctor.examine(spoilt("gaussian:15/255+salt-and-pepper:0.1", photo()))
    assert doctor.expected(both, doctor.advice(both)[0]) is None
    assert "dB" not in doctor.advice(both)[1]


# --- the command --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three scenes with noise of 5/255 and the same two hot pixels, and one of 20/255."""
    monkeypatch.setattr(bundled, "names", list)
    for index, sigma in enumerate((5, 5, 5, 20)):
        scene = spoilt(
            f"gaussian:{sigma}/255", photo("chelsea.png")[20 * index : 20 * index + 200, 40 * index : 40 * index + 200], index
        )
        scene[40, 50], scene[160, 30] = 1, 1
        put(tmp_path / "in" / f"{index}.png", (as_in_a_file(scene) * 255).astype(np.uint8))
    return tmp_path / "in"


def test_inspect_tells_what_pictures_have_in_common(cli, folder):
    ended = cli("inspect", folder)
    assert "Gaussian noise in 4; sigma " in ended.err
    assert "They fall into 2 groups of different noise" in ended.err
    assert f"/255: {folder / '3.png'}" in ended.err
    assert "In most of 4 photos of 200x200, 2 pixels stick out at the same place (0.005 %)" in ended.err
    document = json.loads(cli("inspect", folder, "--json").out)
    assert document["stuck"][0]["first"] == [[40, 50], [160, 30]]
    assert [len(group["pictures"]) for group in document["groups"]] == [3, 1]
    one = document["pictures"][0]
    assert one["gain_db"]["value"] == pytest.approx(4.3, abs=0.5)
    assert {"gain", "read", "typical", "level"} <= {
        name for name, figure in one.items() if isinstance(figure, dict) and "error" in figure
    }
    assert 0 <= one["likelihood"] <= 1
    assert one["grid"]["words"] == []


def test_one_picture_has_nothing_in_common(cli, folder):
    ended = cli("inspect", folder / "0.png")
    assert len(ended.err.splitlines()) == 1


def test_inspect_draws(cli, folder, tmp_path):
    """Fails if a sheet is not where it should be, two of one name meet, or a file that was there is gone."""
    put(folder / "more" / "0.png", np.asarray(Image.open(folder / "0.png")))
    assert cli("inspect", folder, "--picture", tmp_path / "out").code == 0
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["0.png-2.png", "0.png.png", "1.png.png", "2.png.png", "3.png.png"]
    before = (tmp_path / "out" / "0.png.png").read_bytes()
    for again in (folder, "--picture", tmp_path / "out"), (folder / "0.png", "--picture", tmp_path / "out" / "0.png.png"):
        ended = cli("inspect", *again)
        assert ended.code == 2
        assert f"{tmp_path / 'out' / '0.png.png'} exists already; give another name" in ended.sentence
    assert (tmp_path / "out" / "0.png.png").read_bytes() == before
    ended = cli("inspect", folder, "--picture", tmp_path / "one.png")
    assert ended.code == 2
    assert "one file cannot show 5 pictures; give a folder" in ended.sentence


@pytest.mark.parametrize(
    ("drawn", "why"),
    [
        ("sheet.jpg", "expected the name of a file that ends in .png, or a folder"),
        ("sheet.TIF", "expected the name of a file that ends in .png, or a folder"),
        ("notes", "expected the name of a file that ends in .png, or a folder"),
        ("in", "sheets would be inspected the next time"),
        ("in/more/sheets", "sheets would be inspected the next time"),
        ("link/sheets", "sheets would be inspected the next time"),
        ("in/one.png", "sheets would be inspected the next time"),
    ],
)
def test_where_no_sheet_can_go(cli, folder, tmp_path, drawn, why):
    """Fails if sheets are written as JPEG by name, over a file, or among the photos, where they would be photos the next time."""
    (tmp_path / "notes").write_text("")
    (tmp_path / "link").symlink_to(folder)
    ended = cli("inspect", folder, "--picture", tmp_path / drawn)
    assert ended.code == 2
    assert f"--picture {tmp_path / drawn}: " in ended.sentence
    assert why in ended.sentence
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["0.png", "1.png", "2.png", "3.png", "in", "link", "notes"]


def test_one_sheet_for_one_picture(cli, folder, tmp_path):
    """Fails if files that are no pictures are counted, or a folder with a picture's name is taken for a file."""
    for name in ("1.png", "2.png", "3.png"):
        (folder / name).unlink()
    (folder / "notes.txt").write_text("of the day")
    assert cli("inspect", folder, "--picture", tmp_path / "one.png").code == 0
    assert Image.open(tmp_path / "one.png").width == chart.WIDE
    (tmp_path / "sheets.jpg").mkdir()
    assert cli("inspect", folder, "--picture", tmp_path / "sheets.jpg").code == 0
    assert [file.name for file in (tmp_path / "sheets.jpg").iterdir()] == ["0.png.png"]


def test_an_answer_does_not_depend_on_its_sheet(cli, folder, tmp_path, monkeypatch):
    """Fails if what was measured is not said because the disk refuses the sheet, if the others are not drawn, or a picture is read twice."""
    reads, pages = [], image.pages
    monkeypatch.setattr(image, "pages", lambda source, limit: reads.append(source.name) or pages(source, limit))
    whole = chart.sheet
    monkeypatch.setattr(
        chart, "sheet", lambda name, *rest: cannot(OSError(28, "full")) if name == "1.png" else whole(name, *rest)
    )
    ended = cli("inspect", folder, "--picture", tmp_path / "out", "--json")
    assert ended.code == 1
    told = json.loads(ended.out)
    assert [one["picture"] and one["picture"][-9:] for one in told["pictures"]] == ["0.png.png", None, "2.png.png", "3.png.png"]
    assert [one["source"][-5:] for one in told["failed"]] == ["1.png"]
    assert "1.png was inspected, but" in ended.err
    assert "4 inspected: 4 for photo, 1 not drawn in" in ended.err
    assert reads == ["0.png", "1.png", "2.png", "3.png"]
    monkeypatch.setattr(chart, "sheet", lambda *rest: cannot(MemoryError()))
    ended = cli("inspect", folder, "--picture", tmp_path / "other")
    assert len(ended.out.splitlines()) == 4
    assert "4 inspected: 4 for photo, 4 not drawn in" in ended.err


def cannot(error):
    raise error


# --- the sheet ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (30, 30, 4), (9, 700, 3), (400, 20)])
def test_any_picture_is_drawn(shape):
    """Fails if a picture that is small or long, or in which nothing was found, breaks the sheet."""
    sheet = sheet_of(np.random.default_rng(0).random(shape, np.float32))
    assert sheet.shape[1:] == (chart.WIDE, 3)
    assert 0 <= sheet.min() < 0.2 and sheet.max() == 1  # noqa: PT018


def sheet_of(picture):
    sight = doctor.look(picture)
    return chart.sheet("x.png", sight, doctor.diagnose(sight), "Leave it.")


def where(sheet, colour):
    """The (row, column) of all pixels of a colour."""
    return np.argwhere(np.abs(sheet * 255 - colour).max(2) < 0.6)


def test_the_sheet_shows_where_it_looked_and_what_it_found():
    """Fails if patches lie off the flat half of the picture, or an impulse off its place: the picture is drawn at 1.37 times its size."""
    rng, picture = np.random.default_rng(0), np.full((270, 400, 3), 0.4, np.float32)
    picture[:, :200] += 0.2 * np.sin(np.arange(200) * np.pi / 4)[None, :, None]  # as bright in each block, but not flat
    picture += rng.standard_normal(picture.shape, np.float32) * 4 / 255
    picture[200, 300] = 1
    sheet = sheet_of(picture)
    top = chart.MARGIN + 34 + 20 + 14 + chart.TITLE
    scale = min(chart.PANEL / 400, (chart.HIGH - chart.TITLE) / 270)
    patches = where(sheet, chart.PATCH) - [top, chart.MARGIN]
    assert len(patches) > 1000
    assert (patches[:, 1] / scale > 192).mean() > 0.9
    hits = where(sheet[top + chart.HIGH + chart.GAP :], (255, 170, 60))
    scale = min(chart.PANEL / 400, (chart.HIGH - chart.TITLE - 24) / 270)
    alone = hits[hits[:, 1] > chart.MARGIN + 210 * scale]
    assert alone.min(0) == pytest.approx([int(200 * scale), chart.MARGIN + int(300 * scale)], abs=1)


def panel(sheet, row, column):
    """The plot in one of the four panels of a sheet of one line."""
    top = chart.MARGIN + 34 + 20 + 14 + row * (chart.HIGH + chart.GAP) + chart.TITLE
    left = chart.MARGIN + column * (chart.PANEL + chart.GAP)
    return sheet[top : top + chart.HIGH - chart.TITLE, left : left + chart.PANEL]


def uneven_gray(noise):
    """Gray from 0.3 to 0.7, from top to bottom, with that noise of one channel."""
    return np.linspace(0.3, 0.7, len(noise))[:, None] + noise


def test_the_fit_is_drawn_at_its_sigma():
    """Fails if the line of the fit, or the axis it is read by, is of other figures: noise of 7/255 lies at 7."""
    level = panel(sheet_of(uneven_gray(np.random.default_rng(0).standard_normal((400, 400)) * 7 / 255)), 0, 1)
    four, two = where(level[:, -9:-8], chart.GRID)[-2:, 0]  # the axis goes beyond 7 and not to 14, so it has a line every 2
    for column in (200, 350):
        fit = where(level[:, column : column + 1], chart.FIT)[:, 0].mean()
        assert 2 + 2 * (two - fit) / (two - four) == pytest.approx(7, rel=0.05)


def test_the_correlation_is_drawn_in_its_cells():
    """Fails if cells are of other values, or across and down are exchanged: in a row neighbours share half of their noise, in a column none."""
    drawn = np.random.default_rng(0).standard_normal((400, 401)) * 10 / 255
    alike = panel(sheet_of(uneven_gray((drawn[:, :-1] + drawn[:, 1:]) / np.sqrt(2))), 1, 1)
    side = (chart.HIGH - chart.TITLE - chart.AXES[1]) // (2 * chart.LAGS + 1)
    for down, across, value in ((0, 0, 1), (0, 1, 0.5), (0, -1, 0.5), (1, 0, 0), (-1, 0, 0), (0, 2, 0)):
        cell = 255 * alike[(down + chart.LAGS) * side + 3, chart.AXES[0] + (across + chart.LAGS) * side + 3]
        sign, full = (1, (25, 70, 170)) if cell[2] > cell[0] else (-1, (190, 45, 40))  # blue: alike
        share = ((255 - cell) / (255 - np.array(full))).mean()
        assert sign * share ** (1 / 0.7) == pytest.approx(value, abs=0.08)  # no closer, by blocks of 8 pixels


@pytest.mark.parametrize("picture", [np.zeros((64, 64)), np.full((64, 64, 3), 0.5), np.indices((64, 64)).sum(0) // 16 % 2.0])
def test_a_picture_that_tells_nothing(picture):
    """Fails if the panels of noise and correlation are plots of nothing: black, flat, or all of it clipped."""
    sheet = sheet_of(picture)
    said = panel(sheet, 0, 1)
    np.testing.assert_array_equal(said, panel(sheet, 1, 1))
    assert 0 < (said < 1).sum() < 0.02 * said.size
    assert not (said[40:] < 1).any()


def test_every_impulse_is_on_the_map():
    """Fails if impulses are drawn up to a number, from the top, so that the lower part of a large picture stays empty."""
    picture = np.full((2400, 2400), 128, np.uint8)
    picture[1::2, 1::2] = 255
    sheet = sheet_of(picture)
    down = where(sheet[-chart.HIGH - chart.MARGIN + chart.TITLE :], (255, 170, 60))[:, 0]
    side = chart.HIGH - chart.TITLE - 24
    assert len(down) == side**2
    assert down.max() == side - 1


def test_a_sheet_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    sight = doctor.look(np.zeros((20, 20)))
    seen = "x", sight, doctor.diagnose(sight), "Leave it."
    words = refusal(lambda: chart.write(tmp_path / "file" / "x.png", *seen), ImageError)
    assert "cannot be written" in words


def test_the_estimate_of_nothing():
    """Fails if a picture that tells nothing of gain and read noise says so by figures that JSON cannot hold."""
    found = doctor.examine(np.zeros((50, 50)))
    assert found.gain == Estimate(0.0, 1.0)
    json.dumps(found.as_json(), allow_nan=False)
