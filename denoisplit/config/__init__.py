"""Settings of a run, presets and systems; commands and their options."""
