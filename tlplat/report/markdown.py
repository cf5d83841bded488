"""Markdown that says what a text says: escaped words, tables, code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tlplat.report.plain import printable

SPECIAL = re.compile(r"([\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)|^[-+#=])")


def md(text: str) -> str:
    """One line in which nothing is read as markup."""
    escaped = SPECIAL.sub(r"\\\1", " ".join(printable(text).split()))
    return re.sub(r"^(\d+)([.)])(?=\s)", r"\1\\\2", escaped)


def code_block(text: str) -> str:
    """A fenced block, its fence longer than any inside."""
    content = printable(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{fence}\n{content}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def bullets(items: Iterable[str]) -> str:
    """A list of texts, escaped."""
    return "\n".join(f"- {md(item)}" for item in items)
