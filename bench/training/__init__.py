"""Sections that measure training itself: a step, a layer, diagnostics, and Lightning's step beside ours."""
