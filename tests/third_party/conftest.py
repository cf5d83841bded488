"""These packages are a stranger's."""

collect_ignore_glob = ["tlplat-*"]
