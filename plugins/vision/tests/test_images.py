"""Decoding: golden pixels for every mode, and refusals by kind."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tlplat_vision.images import Limits, decode

from tlplat.errors import DataError


def refused(data: bytes, code: str = "TL-DATA-IMAGE", limits: Limits | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        decode(data, "cat.png", limits or Limits())
    assert caught.value.code == code
    assert caught.value.where == "cat.png"
    assert caught.value.fix
    return caught.value


def solid(mode: str, colour: object, size: tuple[int, int] = (4, 3)) -> Image.Image:
    return Image.new(mode, size, colour)


GOLDEN = [
    ("grey", lambda: solid("L", 77), "PNG", "L", 77),
    ("rgb", lambda: solid("RGB", (1, 2, 3)), "PNG", "RGB", (1, 2, 3)),
    ("bilevel", lambda: solid("1", 1), "PNG", "L", 255),
    ("cmyk", lambda: solid("CMYK", (0, 255, 255, 0)), "TIFF", "RGB", (255, 0, 0)),
    ("palette", lambda: solid("RGB", (200, 100, 0)).convert("P", palette=1), "PNG", "RGB", (200, 100, 0)),
    ("grey-alpha", lambda: solid("LA", (0, 0)), "PNG", "L", 255),
    ("grey-opaque", lambda: solid("LA", (9, 255)), "PNG", "L", 9),
    ("alpha", lambda: solid("RGBA", (255, 0, 0, 0)), "PNG", "RGB", (255, 255, 255)),
    ("half", lambda: solid("RGBA", (0, 0, 0, 51)), "PNG", "RGB", (204, 204, 204)),
    ("sixteen", lambda: Image.fromarray(np.full((3, 4), 0x8080, dtype=np.uint16)), "PNG", "L", 128),
    ("sixteen-white", lambda: Image.fromarray(np.full((3, 4), 65535, dtype=np.uint16)), "TIFF", "L", 255),
    ("sixteen-dark", lambda: Image.fromarray(np.full((3, 4), 256, dtype=np.uint16)), "PNG", "L", 0),
    ("integers", lambda: Image.fromarray(np.full((3, 4), 514, dtype=np.int32)), "TIFF", "L", 2),
    ("float", lambda: Image.fromarray(np.full((3, 4), 0.7, dtype=np.float32)), "TIFF", "L", 178),
    ("ycbcr", lambda: solid("YCbCr", (128, 128, 128)), "JPEG", "RGB", (128, 128, 128)),
]


@pytest.mark.parametrize(("make", "kind", "mode", "pixel"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN])
def test_golden_pixels(make, kind, mode, pixel, encoded):
    said: list[str] = []
    found = decode(encoded(make(), kind), "x", warn=said.append)
    assert (found.mode, found.size, found.getpixel((1, 1))) == (mode, (4, 3), pixel)
    assert bool(said) == (make().mode == "F")


def test_palette_with_a_transparent_colour_shows_white(encoded):
    image = solid("RGB", (10, 20, 30)).convert("P", palette=1)
    found = decode(encoded(image, transparency=image.getpixel((0, 0))), "x")
    assert found.getpixel((0, 0)) == (255, 255, 255)


STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture lies in a file of each orientation (EXIF 2.3, tag 0x0112)."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, encoded):
    """The picture that a viewer shows, whichever way the sensor lay."""
    upright = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    stored = upright if orientation == 1 else upright.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(stored, "PNG", exif=exif), "x")
    assert np.array_equal(np.asarray(found), np.asarray(upright))


def test_half_a_jpeg_is_truncated(photo, encoded):
    data = encoded(photo(200), "JPEG", quality=95)
    error = refused(data[: len(data) // 2])
    assert "truncated" in error.message


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG"])
def test_every_format_is_refused_when_cut(kind, photo, encoded):
    data = encoded(photo(120), kind)
    assert decode(data, "x").size == (120, 120)
    refused(data[: len(data) * 2 // 3])
    refused(data[:20])


def test_a_flipped_byte_in_a_png_is_corrupt(photo, encoded):
    data = bytearray(encoded(photo(120)))
    data[len(data) // 2] ^= 0xFF
    refused(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg xmlns='x'/>", b"%PDF-1.4", b"\0" * 64]
)
def test_what_is_no_image(data):
    assert "no image" in refused(data).message


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 30_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(side):
    error = refused(bomb(side, side), "TL-DATA-TOO-BIG")
    assert "megapixels" in str(error.expected)


def test_limits(photo, encoded):
    data = encoded(photo(20))
    assert decode(data, "x", Limits(least=20)).size == (20, 20)
    refused(data, "TL-DATA-IMAGE-TOO-SMALL", Limits(least=21))
    assert decode(encoded(solid("L", 5, (1, 1))), "x").size == (1, 1)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_frames_give_the_first_and_a_warning(kind, encoded):
    frames = [solid("RGB", (250, 0, 0), (8, 8)), solid("RGB", (0, 250, 0), (8, 8)), solid("RGB", (0, 0, 250), (8, 8))]
    said: list[str] = []
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    found = decode(data, "a.gif", warn=said.append)
    assert found.getpixel((3, 3)) == (250, 0, 0)
    assert said == ["a.gif holds 3 frames; the first is used"]


@pytest.mark.parametrize("values", [[-0.1, 0.5], [0.0, 255.0], [0.2, np.nan], [0.0, np.inf]])
def test_floats_outside_the_range_are_refused(values, encoded):
    error = refused(encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF"))
    assert "float" in error.message
    assert "range" in error.message


def test_whole_numbers_beyond_16_bits_are_refused(encoded):
    refused(encoded(Image.fromarray(np.array([[0, 70_000]], dtype=np.int32)), "TIFF"))
