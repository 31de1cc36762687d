"""The runner behind tools/bench: builds, checks, measures and reports."""
