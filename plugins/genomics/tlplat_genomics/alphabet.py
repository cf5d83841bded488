"""Is it DNA? Letters of every record against the IUPAC nucleotide code."""

from __future__ import annotations

import re

from tlplat.errors import DataError, Finding

IUPAC = b"ACGTUNRYSWKMBDHV"
"""Nucleotide code of IUPAC-IUB (Cornish-Bowden 1985), without gaps: they belong to alignments."""
PLAIN_SHARE = 0.5
"""Below this share of A, C, G, T, U, N a record of IUPAC letters is taken for a protein."""

_LETTERS = IUPAC + IUPAC.lower()
_WRONG = re.compile(b"[^" + _LETTERS + b"]")
_PLAIN = b"ACGTUNacgtun"
_AMINO_ACIDS = b"ABCDEFGHIKLMNPQRSTVWXYZJOU*"
_AMINO_ACIDS += _AMINO_ACIDS.lower()


def check_dna(letters: bytes, where: str, code: str = "TL-DATA-FASTA") -> None:
    """Raise for a record that is empty, holds a letter that is no IUPAC nucleotide, or looks like a protein.

    Raises:
        DataError ``code``: names the record and the position (counted from 1) of each bad letter.
        DataError TL-DATA-ALPHABET: the record reads like a protein.
    """
    if not letters:
        raise DataError(code, "a record has no sequence", where=where, fix="remove the record or complete it")
    plain = len(letters) - len(letters.translate(None, _PLAIN))
    is_word = not letters.translate(None, _AMINO_ACIDS)
    if len(letters) >= 4 and is_word and plain < PLAIN_SHARE * len(letters):
        raise DataError(
            "TL-DATA-ALPHABET",
            "the sequence looks like a protein, and DNA is needed",
            where=where,
            found=letters[:20].decode("ascii") + ("..." if len(letters) > 20 else ""),
            expected="A, C, G, T, N and the other IUPAC nucleotide letters",
            fix="give the nucleotide sequences (for example the .fna file instead of the .faa file)",
        )
    if letters.translate(None, _LETTERS):
        wrong = list(_WRONG.finditer(letters))
        raise DataError(
            code,
            f"{len(wrong)} letter{'s' if len(wrong) > 1 else ''} outside the IUPAC nucleotide code",
            where=where,
            findings=[
                Finding("not an IUPAC nucleotide", f"{where}, position {m.start() + 1}", repr(chr(m.group()[0])))
                for m in wrong
            ],
            expected=IUPAC.decode() + " in upper or lower case",
            fix="replace unknown bases by N and remove gaps, digits and signs",
        )
