"""What does the tab "Tensor Programs" ask for, and what does it get? Routes: the page, the logs, a document, a program, curves.

Each answer is JSON with an ETag. A request that names it in If-None-Match gets an empty 304. So a page may look every
few seconds at little cost. An error is an answer with words, and TensorBoard goes on.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from tensorboard import plugin_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from tpdyn.board.reading import Logs, Unreadable
from tpdyn.reporting.tags import PLUGIN

BUNDLE = Path(__file__).with_name("bundle.js")
NO_SNIFF = ("X-Content-Type-Options", "nosniff")


@final
class BoardPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab: TensorBoard makes one and asks it for its routes."""

    plugin_name = PLUGIN

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._logs = Logs(context.data_provider)

    def get_plugin_apps(self) -> dict[str, Any]:
        """Return the routes, below /data/plugin/tpdyn."""
        return {
            "/index.js": _bundle,
            "/logs": self._answer(lambda context, experiment, run: {"logs": self._logs.listed(context, experiment)}),
            "/document": self._answer(self._logs.document),
            "/program": self._answer(self._logs.atlas),
            "/curves": self._answer(self._logs.curves, "what", "name"),
        }

    def is_active(self) -> bool:
        """Return True: the tab is always there, and without logs it says how to make one."""
        return True

    def frontend_metadata(self) -> Any:
        """Return the location of the page's code, and the tab's name."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Tensor Programs", disable_reload=True)

    def _answer(self, ask: Callable[..., dict[str, Any]], *further: str) -> Any:
        @wrappers.Request.application
        def answered(request: wrappers.Request) -> wrappers.Response:
            try:
                context = plugin_util.context(request.environ)
                experiment = plugin_util.experiment_id(request.environ)
                more = (request.args.get(name, "") for name in further)
                return _json(request, ask(context, experiment, request.args.get("log", ""), *more))
            except KeyError as missing:
                return _json(request, {"error": f"found no log {str(missing.args[0])[:200]!r} any more"}, 404)
            except Unreadable as error:
                return _json(request, {"error": str(error)}, 422)
            except Exception as error:
                return _json(request, {"error": f"{type(error).__name__}: {str(error)[:500]}"}, 500)

        return answered


@wrappers.Request.application
def _bundle(request: wrappers.Request) -> wrappers.Response:
    return _sent(request, BUNDLE.read_bytes(), "application/javascript", 200)


def _json(request: wrappers.Request, content: dict[str, Any], status: int = 200) -> wrappers.Response:
    return _sent(request, json.dumps(content, separators=(",", ":")).encode(), "application/json", status)


def _sent(request: wrappers.Request, content: bytes, kind: str, status: int) -> wrappers.Response:
    tag = f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"'
    headers = [NO_SNIFF, ("ETag", tag), ("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding")]
    if status == 200 and tag in request.headers.get("If-None-Match", ""):
        return wrappers.Response(status=304, headers=headers, content_type=kind)
    if len(content) > 1024 and "gzip" in request.headers.get("Accept-Encoding", ""):
        content = gzip.compress(content, compresslevel=4, mtime=0)
        headers.append(("Content-Encoding", "gzip"))
    return wrappers.Response(content, status=status, headers=headers, content_type=kind)
