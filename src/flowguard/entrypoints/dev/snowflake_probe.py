"""Does the stand-in for Snowflake let clients in? A login as the connector sends it: no client library is needed."""

from __future__ import annotations

import http.client
import json


def answers(host: str, port: int, user: str, timeout_s: float) -> bool:
    """Whether a server there lets this user in."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        login = _asked(
            connection, "/session/v1/login-request", {"data": {"LOGIN_NAME": user, "SESSION_PARAMETERS": {}}}
        )
        if not login.get("success"):
            return False
        token = login["data"]["token"]
        _asked(connection, "/session?delete=true", {}, {"Authorization": f'Snowflake Token="{token}"'})
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return False
    finally:
        connection.close()
    return True


def _asked(
    connection: http.client.HTTPConnection, path: str, body: dict[str, object], headers: dict[str, str] | None = None
) -> dict[str, dict[str, str]]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
    answer = json.loads(connection.getresponse().read())
    assert isinstance(answer, dict)  # noqa: S101
    return answer
