"""Who may post: browsers say which site's page sends a request."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flowguard.entrypoints.gateway.problems import FOREIGN_ORIGIN, ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request


def refuse_foreign(request: Request, origins: Collection[str]) -> None:
    """A page of another site must not post through its visitors: CORS alone only hides the answer.

    Raises ProblemError.
    """
    origin = request.headers.get("origin")
    if origin is None or origin in origins or "*" in origins:
        return
    if urlsplit(origin).netloc != request.headers.get("host"):
        detail = f"Pages of {origin[:200]} may not post events. To let them, add it to FLOWGUARD_CORS_ORIGINS."
        raise ProblemError(FOREIGN_ORIGIN, detail)
