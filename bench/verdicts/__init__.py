"""The verdicts of presets that were run, computed a second time without Normlab's own statistics."""
