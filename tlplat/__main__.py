"""``python -m tlplat``."""

from tlplat.cli import main

main()
