"""Where do programs come from? From a live script: tape, lowering, widths (see `tpdyn.recording.record`).

This folder shares its name with the public context manager `tpdyn.recording()`, and importing a folder binds its name
in the parent. So the folder itself is callable: `with tpdyn.recording() as recorder` works in any order of imports.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallableFolder(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from tpdyn.recording.record import recording

        return recording(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableFolder
