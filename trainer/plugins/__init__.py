"""Models, data and metrics of a trusted installation's own packages, by their entry points.

Packages are named in the setting NORMLAB_PLUGINS and installed with pip; a spec can only name what they offer.
"""

from trainer.plugins.discovery import (
    GROUPS,
    REMEDY,
    Offered,
    Plugin,
    PluginError,
    PluginKind,
    find_by_key,
    find_plugin,
    list_offered,
    offered_packages,
)
from trainer.plugins.loading import explain_misfit, load_plugin

__all__ = [
    "GROUPS",
    "REMEDY",
    "Offered",
    "Plugin",
    "PluginError",
    "PluginKind",
    "explain_misfit",
    "find_by_key",
    "find_plugin",
    "list_offered",
    "load_plugin",
    "offered_packages",
]
