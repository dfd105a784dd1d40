from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpdyn.board.folder import Log
from tpdyn.board.page import BUNDLE, page

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., dict[str, Any]]
HOSTILE = "</script><img src=x onerror=alert(1)>"


def test_the_bundle_was_made_from_these_sources() -> None:
    """Without Node.js: the hash of the sources stands in the bundle. If it differs, run `tox -e frontend` and commit."""
    home = ROOT / "frontend"
    files = sorted((path for path in (home / "src").rglob("*") if path.is_file()), key=str)
    content = b"".join(path.read_bytes() for path in (*files, home / "build.mjs", home / "package-lock.json"))
    line = BUNDLE.read_text().splitlines()[1]
    assert line == f"// sources: {hashlib.sha256(content).hexdigest()}"


def test_the_page_holds_its_data_and_asks_for_nothing(make: Make) -> None:
    made = page([Log("mlp", make(), {"nodes": {}}), Log("cut", None, error="broken")])
    (packed,) = re.findall(r'id="tpdyn-data">([^<]*)<', made)
    content = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert content["documents"] == {"mlp": make()}
    assert content["programs"] == {"mlp": {"nodes": {}}}
    assert [log.get("error") for log in content["logs"]] == [None, "broken"]
    assert "default-src 'none'" in made
    assert not re.findall(r"""(?:src|href)\s*=\s*["']https?:""", made)


def test_nothing_of_a_script_stands_in_the_page_as_markup(make: Make) -> None:
    made = page([Log(HOSTILE, make(HOSTILE, name=HOSTILE))])
    assert "<img src=x" not in made
    assert made.count("</script>") == 2
    assert len(made) < 3_000_000
