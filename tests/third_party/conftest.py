"""These packages are a stranger's: tests/test_third_party.py builds, installs, tests, runs and removes them."""

collect_ignore_glob = ["tlplat-*"]
