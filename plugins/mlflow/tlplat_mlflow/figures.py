"""The charts of a report as files of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
MARK = re.compile(r"<svg\b[^>]*>|</svg>")
NAMED = re.compile(r'aria-label="([^":,;]*)')
SPACE = ' xmlns="http://www.w3.org/2000/svg"'


def charts(page: Path) -> Iterator[tuple[str, str]]:
    """(name of a file, SVG) of each chart in report.html that has a label, with the page's style sheet in each."""
    text = page.read_text(encoding="utf-8")
    style = "".join(STYLE.findall(text))
    number = 0
    for opened, rest in _outermost(text):
        if named := NAMED.search(opened):
            number += 1
            words = re.sub(r"[^a-z0-9]+", "-", named[1].lower()).strip("-")[:60]
            yield f"{number:02d}-{words}", f"<svg{SPACE}{opened.removeprefix('<svg')}{style}{rest}"


def _outermost(text: str) -> Iterator[tuple[str, str]]:
    """The opening tag and the rest of every SVG that lies in no other."""
    opened: list[re.Match[str]] = []
    for mark in MARK.finditer(text):
        if mark[0] != "</svg>":
            opened.append(mark)
        elif len(opened) > 1:
            opened.pop()
        elif opened:
            outer = opened.pop()
            yield outer[0], text[outer.end() : mark.end()]
