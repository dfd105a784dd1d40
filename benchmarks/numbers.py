"""`python benchmarks/numbers.py ...` is `benchmarks/kernels.py`: kernels beside neural-tangents.

Every script of this folder has the folder first on its path. There this file hides the standard library's `numbers`.
Imported under that name, it stands aside.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    import runpy

    sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    runpy.run_path(str(Path(__file__).with_name("kernels.py")), run_name="__main__")
else:
    import importlib.util
    import sysconfig

    spec = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib")) / "numbers.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[__name__])
