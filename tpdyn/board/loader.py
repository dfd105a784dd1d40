"""What does TensorBoard import at its start? This file: nothing heavy, since an error here would keep all of TensorBoard down."""

from __future__ import annotations

from typing import Any, final

from tensorboard.plugins import base_plugin

PLUGIN = "tpdyn"
SAMPLES = 1000
"""Documents that TensorBoard keeps of one tag."""


@final
class Loader(base_plugin.TBLoader):  # type: ignore[misc]
    """Makes the plugin, or none where it cannot run."""

    def fix_flags(self, flags: Any) -> None:
        """Have as many documents kept as a live run writes, unless the user said how many."""
        samples = getattr(flags, "samples_per_plugin", None)
        if isinstance(samples, dict):
            samples.setdefault(PLUGIN, SAMPLES)

    def load(self, context: Any) -> Any:
        """Return the plugin; None (and TensorBoard goes on without the tab) if it cannot be made."""
        try:
            from tpdyn.board.plugin import BoardPlugin

            return BoardPlugin(context)
        except Exception:
            return None
