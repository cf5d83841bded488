"""Near-copies are found, other images are not, and no split parts what belongs together."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from tlplat_vision import similarity
from tlplat_vision.similarity import NOTED, connected, similar_pairs, thumbnails
from tlplat_vision.split import check_split, split_thumbnails

from tlplat.errors import DataError

COPIES = {
    "same": lambda image: image,
    "half size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "other proportions": lambda image: image.resize((90, 60)),
    "jpeg": lambda image: _jpeg(image, 30),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "grey": lambda image: image.convert("L"),
}


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("kind", COPIES)
def test_altered_copies_are_near_copies(kind, photo):
    originals = [photo(64) for _ in range(40)]
    pairs = similar_pairs(thumbnails([*originals, *(COPIES[kind](image) for image in originals)])).near_copies()
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == {(i, i + 40) for i in range(40)}


def test_pairs_are_those_of_the_definition(photo, monkeypatch):
    """Every pair from NOTED on, none else, each once: against the plain double loop, in blocks of 7."""
    monkeypatch.setattr(similarity, "BLOCK", 7)
    originals = [photo(48) for _ in range(12)]
    mixed = [Image.blend(originals[i], originals[i + 1], 0.15 + 0.02 * i) for i in range(10)]
    rows = thumbnails([*originals, *mixed])
    pairs = similar_pairs(rows)
    wanted = [(i, j) for i in range(22) for j in range(i + 1, 22) if np.corrcoef(rows[i], rows[j])[0, 1] >= NOTED]
    assert 3 < len(wanted) < 12
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == wanted


def test_blank_images_are_copies_of_each_other():
    pairs = similar_pairs(thumbnails([Image.new("L", (9, 9), v) for v in (0, 90, 255)])).near_copies()
    assert len(pairs.first) == 3


def test_connected_joins_chains():
    groups = connected(5, np.array([0, 1]), np.array([1, 4]))
    assert groups[0] == groups[1] == groups[4]
    assert len(set(groups.tolist())) == 3


def test_a_split_keeps_copies_and_groups_together_and_classes_even(photo):
    originals = [photo(48) for _ in range(40)]
    images = [*originals, *(o.resize((30, 30)) for o in originals)]
    strata = np.tile(np.arange(40) % 2, 2)
    given = np.arange(80)
    given[[0, 2, 4]] = 999
    split = split_thumbnails(thumbnails(images), [given], strata, 0.5, seed=3)
    assert (split.test[:40] == split.test[40:]).all()
    assert len(set(split.test[[0, 2, 4]].tolist())) == 1
    for label in (0, 1):
        assert 0.3 < split.test[strata == label].mean() < 0.7
    assert split.report["near_copies_across_the_split"] == 0
    assert split.report["near_copies_kept_together"] == 40
    again = split_thumbnails(thumbnails(images), [given], strata, 0.5, seed=3)
    other = split_thumbnails(thumbnails(images), [given], strata, 0.5, seed=4)
    assert (again.test == split.test).all()
    assert (other.test != split.test).any()


def test_a_given_split_that_leaks_is_refused(photo):
    images = [photo(48) for _ in range(6)]
    images[4] = images[1].resize((40, 40))
    test = np.array([False, False, False, True, True, True])
    with pytest.raises(DataError) as caught:
        check_split(thumbnails(images), test, [f"i{k}" for k in range(6)])
    assert caught.value.code == "TL-LEAK-DUP"
    assert "i1" in caught.value.findings[0].message
    assert caught.value.findings[0].where == "test image i4"
    assert check_split(thumbnails(images[:4]), test[:4], "abcd").report["near_copies_across_the_split"] == 0
