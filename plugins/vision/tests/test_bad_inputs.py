"""Bad images as a user gives them: through the command line, with exit code, error code and the words that help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commandline import tlplat
from PIL import Image


@pytest.fixture
def shots(folder) -> Path:
    """Eight sound images in each of two classes."""
    return folder(8)


def state(folder: Path) -> dict[Path, int]:
    """Every path below the folder but the cache's, with its time."""
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if "cache" not in p.relative_to(folder).parts}


def run(shots: Path, kept_source: Path, *more: str):
    return tlplat(
        *("run", "--domain", "vision", "--data", "shots", "--source", str(kept_source), "--offline"),
        *("--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=1", "--jobs", "1", "--threads", "1"),
        *("--out", "run", "--json", *more),
        cache=shots.parent / "cache",
        cwd=shots.parent,
    )


def truncated(red: Path) -> None:
    Image.effect_noise((200, 200), 90).convert("RGB").save(red / "a.jpg", quality=95)
    whole = (red / "a.jpg").read_bytes()
    (red / "a.jpg").write_bytes(whole[: len(whole) // 2])


def mess(red: Path) -> None:
    """Hidden files pass, nested folders count to their class, an empty class does not pass."""
    (red / ".DS_Store").write_bytes(b"x")
    (red / "Thumbs.db").write_bytes(b"x")
    (red / "deeper").mkdir()
    (red / "000.png").rename(red / "deeper" / "000.png")
    (red.parent / "green").mkdir()
    (red.parent / "green" / ".DS_Store").write_bytes(b"x")


def floats(red: Path) -> None:
    Image.fromarray(np.linspace(0, 255, 144, dtype=np.float32).reshape(12, 12)).save(red / "a.tiff")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        pytest.param(truncated, "TL-DATA-IMAGE", ["truncated", "a.jpg"], id="vis-truncated-jpeg"),
        pytest.param(mess, "TL-DATA-EMPTY", ["empty class folder", "green"], id="vis-class-folder-mess"),
        pytest.param(floats, "TL-DATA-IMAGE", ["float", "range", "a.tiff"], id="vis-float-tiff-out-of-range"),
    ],
)
def test_refused_before_any_source(spoil, code, words, shots, kept_source):
    spoil(shots / "red")
    before = state(shots.parent)
    outcome = run(shots, kept_source)
    assert (outcome.code, outcome.document["error"]["code"]) == (3, code), outcome.err
    assert [word for word in words if word not in outcome.err] == []
    assert state(shots.parent) == before


def test_what_is_unusual_but_sound_is_read(shots, kept_source, photo):
    """vis-float-tiff, vis-cmyk-palette-alpha, vis-exif-rotation, vis-1x1, vis-gif-multiframe, in one run.

    Golden pixels of each are in test_images.py.
    """
    red = shots / "red"
    Image.fromarray(np.random.default_rng(1).random((12, 12), dtype=np.float32)).save(red / "float.tiff")
    photo().convert("CMYK").save(red / "cmyk.tiff")
    photo().convert("P", palette=1).save(red / "palette.png")
    photo().convert("LA").save(red / "grey-alpha.png")
    photo().convert("RGBA").save(red / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo().save(red / "rotated.jpg", exif=exif)
    Image.new("RGB", (1, 1), (9, 8, 7)).save(red / "one.png")
    photo().save(red / "film.gif", save_all=True, append_images=[photo(), photo()])
    outcome = run(shots, kept_source)
    assert outcome.code == 0, outcome.err
    assert "float.tiff has float pixels; the range 0..1" in outcome.err
    assert "film.gif holds 3 frames" in outcome.err
    card = outcome.document["data_card"]
    assert card["rows"] == card["pool_rows"] + card["test_rows"] == 24


def test_least_size(shots, kept_source):
    """vis-1x1 where the user asks for more."""
    Image.new("RGB", (1, 1)).save(shots / "red" / "one.png")
    outcome = run(shots, kept_source, "--min-size", "2")
    assert (outcome.code, outcome.document["error"]["code"]) == (3, "TL-DATA-IMAGE-TOO-SMALL")
