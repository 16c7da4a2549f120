"""What people look at: the live page, the documentation, and the OpenAPI document. No outside host is ever asked."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cached_property
from hashlib import sha256
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from flowguard.domain.catalog import Catalog, EventType
from flowguard.entrypoints.gateway.openapi import document
from flowguard.entrypoints.gateway.reference import curl, reference

if TYPE_CHECKING:
    from starlette.requests import Request

_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


class PageEndpoints:
    """Everything is made at the first request for it, and then kept."""

    def __init__(
        self, catalog: Catalog, *, max_events: int, max_body_bytes: int, orders: EventType | None = None
    ) -> None:
        self._catalog = catalog
        self._orders = orders
        self._max_events = max_events
        self._max_body_bytes = max_body_bytes

    async def home(self, request: Request) -> Response:
        """The live page."""
        return _page(self._home.replace("{{base}}", _base(request)))

    async def docs(self, request: Request) -> Response:
        """The documentation."""
        return _page(self._docs.replace("{{base}}", _base(request)))

    async def openapi(self, _request: Request) -> Response:
        """OpenAPI 3.1."""
        return Response(self._openapi, media_type="application/json")

    @cached_property
    def _home(self) -> str:
        lines = filter(None, map(curl, self._catalog))
        page = _text("home.html").replace("{{style}}", _text("style.css")).replace("{{script}}", _text("home.js"))
        return page.replace("{{try}}", escape(next(lines, "{{base}}/docs says how"), quote=False))

    @cached_property
    def _docs(self) -> str:
        body = reference(
            self._catalog, max_events=self._max_events, max_body_bytes=self._max_body_bytes, orders=self._orders
        )
        return _text("docs.html").replace("{{style}}", _text("style.css")).replace("{{body}}", body)

    @cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(document(self._catalog, max_events=self._max_events, orders=self._orders))


def _base(request: Request) -> str:
    """The address that the page was asked at, for its curl lines."""
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host if _HOST.fullmatch(host) else '127.0.0.1:8000'}"


def _text(name: str) -> str:
    return resources.files(__package__).joinpath("static", name).read_text(encoding="utf-8")


def _page(html: str) -> Response:
    """HTML that may run and show what is in it, and nothing else."""
    policy = (
        f"default-src 'none'; style-src {_hashes(html, 'style')}; script-src {_hashes(html, 'script')};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(
        html,
        media_type="text/html",
        headers={
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )


def _hashes(html: str, tag: str) -> str:
    found = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return " ".join(f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in found) or "'none'"
