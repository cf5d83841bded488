"""Bytes to an image in grey or RGB: decoded to the last row, or an error that names it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tlplat.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is decoded, told by content; no format that starts a program or reads other files."""
SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".pgm", ".ppm", ".pbm", ".pnm"}
)
BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error)
"""What Pillow's decoders raise for bytes that are no whole image."""
GREY_16 = 257
"""65535 / 255."""


@dataclass(frozen=True)
class Limits:
    """How large an image may be, and how small.

    Attributes:
        megapixels: as its header says, before anything is decoded. least: pixels of the shorter side.
    """

    megapixels: int = 80
    least: int = 1


DEFAULT_LIMITS = Limits()


def decode(
    data: bytes, where: str, limits: Limits = DEFAULT_LIMITS, warn: Callable[[str], None] = lambda sentence: None
) -> Image.Image:
    """The first frame, upright, in mode L or RGB.

    Colour models are converted by Pillow (CMYK without a profile); transparent pixels show white; 16-bit greys keep
    their upper eight bits; floats must lie in 0..1.

    Args:
        where: the file or row, for errors and warnings.

    Raises:
        DataError TL-DATA-IMAGE: no image, truncated, corrupt, or values out of range.
        TL-DATA-TOO-BIG: more pixels than ``limits``. TL-DATA-IMAGE-TOO-SMALL: a side below ``limits.least``.
    """
    with silenced():
        return decode_silenced(data, where, limits, warn)


@contextmanager
def silenced() -> Iterator[None]:
    """Without the decoders' own warnings; to be entered by one thread at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode_silenced(data: bytes, where: str, limits: Limits, warn: Callable[[str], None]) -> Image.Image:
    """As :func:`decode`, inside :func:`silenced`, by as many threads as there are."""
    try:
        return _decoded(data, where, limits, warn)
    except UnidentifiedImageError as error:
        raise _refused("is no image that can be read", where, data[:8].hex(" ")) from error
    except Image.DecompressionBombError as error:
        raise _too_big(where, str(error), limits) from error
    except (*BROKEN, zlib.error) as error:
        kind = "is truncated" if "truncated" in str(error).lower() else "is truncated or corrupt"
        raise _refused(kind, where, f"{type(error).__name__}: {error}") from error


def _decoded(data: bytes, where: str, limits: Limits, warn: Callable[[str], None]) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > limits.megapixels * 1_000_000:
            raise _too_big(where, f"{width} x {height} pixels", limits)
        if min(width, height) < limits.least:
            raise DataError(
                "TL-DATA-IMAGE-TOO-SMALL",
                "an image is smaller than --min-size",
                where=where,
                found=f"{width} x {height} pixels",
                expected=f"at least {limits.least} a side",
                fix="leave the image out, or lower --min-size",
            )
        image.load()
        frames = int(getattr(image, "n_frames", 1))
        if frames > 1 and image.format != "MPO":
            warn(f"{where} holds {frames} frames; the first is used")
            image.seek(0)
            image.load()
        upright = ImageOps.exif_transpose(image)
        return _as_bytes(upright, where, warn)


def _as_bytes(image: Image.Image, where: str, warn: Callable[[str], None]) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image.copy()
    if image.mode == "F":
        return _from_floats(image, where, warn)
    if image.mode == "I" or image.mode.startswith("I;"):
        return _from_integers(image, where)
    if image.mode == "1":
        return image.convert("L")
    if image.has_transparency_data:
        grey = image.mode in ("LA", "La")
        shown = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, shown).convert("L" if grey else "RGB")
    return image.convert("RGB")


def _from_floats(image: Image.Image, where: str, warn: Callable[[str], None]) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise _refused(
            "has float pixels outside the range 0..1", where, f"{low:g} to {high:g}", "floats from 0 (black) to 1"
        )
    warn(f"{where} has float pixels; the range 0..1 is taken as black to white")
    return Image.fromarray(np.round(values * 255).astype(np.uint8))


def _from_integers(image: Image.Image, where: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if int(values.min()) < 0 or int(values.max()) > 65535:
        raise _refused(
            "has whole numbers outside the range of 16 bits", where, f"{values.min()} to {values.max()}", "0 to 65535"
        )
    return Image.fromarray((values // GREY_16).astype(np.uint8))


def _refused(what: str, where: str, found: str, expected: str | None = None) -> DataError:
    return DataError(
        "TL-DATA-IMAGE",
        f"an image {what}",
        where=where,
        found=found,
        expected=expected or "a whole image: " + ", ".join(FORMATS),
        fix="copy or export the image again, or leave it out",
    )


def _too_big(where: str, found: str, limits: Limits) -> DataError:
    return DataError(
        "TL-DATA-TOO-BIG",
        "an image has more pixels than are decoded (a decompression bomb?)",
        where=where,
        found=found,
        expected=f"at most {limits.megapixels} megapixels",
        fix="shrink the image, or raise --max-megapixels if it is what you expect",
    )
