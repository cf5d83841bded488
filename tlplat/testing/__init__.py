"""The conformance kit for strategies, domains and tasks: it ships in the wheel, and tlplat's own run it too."""
