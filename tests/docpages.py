"""The pages of the documentation and their fenced blocks."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WALKS = sorted((ROOT / "docs" / "walks").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *WALKS,
]
FENCE = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words after it, its text."""

    language: str
    words: tuple[str, ...]
    text: str

    def word(self, key: str) -> str | None:
        return next((w.partition("=")[2] for w in self.words if w.startswith(f"{key}=")), None)

    def shown(self) -> list[tuple[str, str]]:
        """Each ``$ COMMAND``, and the lines below it up to the next; a command that ends in a backslash goes on."""
        parts = re.split(r"^\$ ", self.text.replace("\\\n", ""), flags=re.MULTILINE)[1:]
        return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]

    def commands(self) -> list[list[str]]:
        """Arguments of each ``$ tlplat ...`` line, without what a shell does with the output."""
        lines = [command for command, _ in self.shown() if command.startswith("tlplat")]
        return [shlex.split(re.split(r" [>|] ", line)[0])[1:] for line in lines]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], tuple(m[2].split()), m[3]) for m in FENCE.finditer(text)]
