"""What is learned from and what is scored on have nothing in common, and follow from the pictures' content alone."""

import shutil

import numpy as np
import pytest
import tifffile
from conftest import refusal
from PIL import Image

from unnoise import collection
from unnoise.config import TrainConfig

CONFIG = TrainConfig(patch=16)


def put(folder, count, seed=0):
    """So many pictures of random values, PNGs of 20 x 20."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{seed}-{index:03}.png")
    return folder


def gathered(photos, validation=()):
    return collection.gather({"photos": [str(photos)], "validation": list(map(str, validation))}, CONFIG)


@pytest.mark.parametrize(("count", "scored"), [(10, 1), (39, 1), (45, 2), (70, 3), (99, 4), (200, 4)])
def test_one_in_twenty_is_held_out(count, scored, tmp_path):
    """Fails if none is, more than four are (the others would be lost), or a picture is on both sides or on neither."""
    learned, held_out = gathered(put(tmp_path, count))
    assert (len(learned.arrays), len(held_out.arrays)) == (count - scored, scored)
    assert len(set(learned.files) | set(held_out.files)) == count


def test_what_is_held_out_follows_from_the_content(tmp_path):
    """Fails if names, order or metadata choose: then the same pictures elsewhere would be scored on others."""
    put(tmp_path / "a", 30)
    (tmp_path / "b").mkdir()
    for index, path in enumerate(sorted((tmp_path / "a").iterdir(), reverse=True)):
        with Image.open(path) as picture:
            picture.save(tmp_path / "b" / f"{index:03}.tif")
    assert gathered(tmp_path / "a")[1].contents == gathered(tmp_path / "b")[1].contents


def test_a_copy_is_never_on_the_other_side(tmp_path):
    """Fails if a copy of a held-out picture is learned from: another name, other metadata, another kind, a page of its file."""
    put(tmp_path, 30)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for n in range(100):
            file.write(np.full((20, 20), n, np.uint8))
    sides = [gathered(tmp_path)]
    for path in list(tmp_path.iterdir()):
        if path.suffix == ".png":
            (tmp_path / "more").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "more" / path.name)
            with Image.open(path) as picture:
                picture.save(tmp_path / f"{path.stem}-tagged.png", dpi=(300, 300), compress_level=1)
                picture.save(tmp_path / f"{path.stem}.bmp")
    sides.append(gathered(tmp_path))
    assert len(sides[1][1].arrays) == 4 * len(sides[0][1].arrays)
    for learned, held_out in sides:
        bytes_of = [{array.tobytes() for array in side.arrays} for side in (learned, held_out)]
        assert not bytes_of[0] & bytes_of[1]
        pages = [side.names.count("pages.tif") for side in (learned, held_out)]
        assert sorted(pages) == [0, 100]


def test_a_validation_folder_within_the_photos(tmp_path):
    """Fails if what is scored on is learned from too, because the one folder lies in the other, or a copy in it."""
    put(tmp_path / "photos", 12)
    put(tmp_path / "photos" / "val", 3, seed=1)
    shutil.copy(tmp_path / "photos" / "0-005.png", tmp_path / "photos" / "val")
    learned, held_out = gathered(tmp_path / "photos", [tmp_path / "photos" / "val"])
    assert (len(learned.arrays), len(held_out.arrays)) == (11, 4)
    words = refusal(lambda: gathered(tmp_path / "photos" / "val", [tmp_path / "photos"]))
    assert "every picture to learn from is a validation picture too" in words


def test_of_few_pictures_none_is_held_out(tmp_path):
    """Fails if a tenth of nine pictures, or a dataset of one, is taken away; ten files of which two are copies are nine."""
    put(tmp_path, 9)
    shutil.copy(tmp_path / "0-000.png", tmp_path / "copy.png")
    learned, held_out = gathered(tmp_path)
    assert learned is held_out
    assert len(learned.arrays) == 10
    learned, held_out = gathered(tmp_path / "copy.png")
    assert learned is held_out
    assert len(learned.arrays) == 1


def test_what_is_kept_tells_no_name(tmp_path):
    """Fails if the list in the run folder gives away what the user's files are called."""
    put(tmp_path / "photos", 12)
    (tmp_path / "photos" / "0-000.png").rename(tmp_path / "photos" / "secret.png")
    pictures = gathered(tmp_path / "photos")
    collection.keep(tmp_path / "run", *pictures)
    assert "secret" not in (tmp_path / "run" / "pictures.txt").read_text()
    assert collection.changes(tmp_path / "run", *pictures) == ""
    assert collection.changes(tmp_path / "run", *reversed(pictures)) == "another order"
