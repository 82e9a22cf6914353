"""Settings of a run, presets and systems."""
