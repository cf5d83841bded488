"""These packages are a stranger's: they are built, installed and tested by tests/test_third_party.py."""

collect_ignore_glob = ["tlplat-*"]
