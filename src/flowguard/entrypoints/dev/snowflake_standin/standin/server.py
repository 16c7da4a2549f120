"""The server: what the connectors ask for over HTTP, and for tests the faults."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import fakesnow.server as fakesnow_server
import uvicorn
from fakesnow.transforms import SERVER_VERSION, stage
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .binds import values_of
from .control import control_routes
from .errors import StatementError, as_snowflake
from .faults import ConnectionCutError, Faults
from .locks import TableLocks
from .results import Result, keep_null_timestamps
from .session import Session
from .settings import Settings
from .store import Store

_THREADS = 256
"""A statement that waits for a lock or stands still has one, and who holds the lock needs one to let go."""
_TOKEN_S, _MASTER_TOKEN_S = 3600, 14_400
_MULTI_STATEMENT = 0xA000
_SIGNED = "host;x-goog-if-generation-match;x-goog-meta-encryptiondata;x-goog-meta-matdesc;x-goog-meta-sfc-digest"
_NO_SESSION = {
    "success": False,
    "data": None,
    "code": "390104",
    "message": "User must login again to access the service.",
}


class Server:
    """Its sessions, and an answer to each kind of request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings)
        self._locks = TableLocks(settings.abandoned_s)
        self._faults = Faults(enabled=settings.faults)
        self._sessions: dict[str, Session] = {}
        self._masters: dict[str, Session] = {}
        self._sessions_lock = threading.Lock()

    def app(self) -> ASGIApp:
        """For uvicorn."""
        routes = [
            Route("/session/v1/login-request", self.login, methods=["POST"]),
            Route("/session/token-request", self.renew, methods=["POST"]),
            Route("/session", self.session, methods=["POST"]),
            Route("/session/heartbeat", self.session, methods=["POST"]),
            Route("/queries/v1/query-request", self.query, methods=["POST"]),
            Route("/queries/v1/abort-request", self.abort, methods=["POST"]),
            Route("/queries/{id}/result", self.result, methods=["GET"]),
            Route("/monitoring/queries/{id}", self.monitoring, methods=["GET"]),
            Route("/fs_bucket/{path:path}", self.bucket, methods=["PUT", "HEAD", "GET"]),
            *(control_routes(self._faults) if self._faults.enabled else []),
            Route("/fg/{path:path}", lambda _: Response(status_code=404), methods=["GET", "POST", "DELETE"]),
            # Telemetry, and what else a client may say: the answer is yes.
            Route("/{path:path}", lambda _: JSONResponse({"success": True, "data": {}}), methods=["GET", "POST"]),
        ]
        return _Cutting(Starlette(routes=routes))

    # -- sessions -------------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        data = (await _body(request))["data"]
        self._faults.asked(0, "login", data.get("LOGIN_NAME", ""))
        if (refused := self._fault("login", data.get("LOGIN_NAME", ""), request)) is not None:
            return refused
        parameters = data.get("SESSION_PARAMETERS") or {}
        # The connector sends the text "false".
        autocommit = str(parameters.get("AUTOCOMMIT", True)).lower() != "false"
        database, schema = (_identifier(request.query_params.get(f"{word}Name")) for word in ("database", "schema"))
        session = Session(
            self._store.connect(),
            self._locks,
            self._faults.hold,
            settings=self._settings,
            database=database,
            schema=schema,
            autocommit=autocommit,
            lock_timeout_s=float(parameters.get("LOCK_TIMEOUT", self._settings.lock_timeout_s)),
        )
        with self._sessions_lock:
            self._sessions[session.token] = self._masters[session.master_token] = session
        return _success(
            {
                "token": session.token,
                "masterToken": session.master_token,
                "validityInSeconds": _TOKEN_S,
                "masterValidityInSeconds": _MASTER_TOKEN_S,
                "sessionId": session.id,
                "serverVersion": SERVER_VERSION,
                "parameters": [
                    {"name": "AUTOCOMMIT", "value": autocommit},
                    {"name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": 3600},
                    # 0: arrays of binds come in the request, and are not staged.
                    {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
                ],
                "sessionInfo": {"databaseName": database, "schemaName": schema},
            }
        )

    async def renew(self, request: Request) -> Response:
        """Another token for the same session, whose transaction goes on."""
        session = self._masters.get(_token(request))
        if session is None:
            return _failure("390114", None, "Authentication token has expired. The user must authenticate again.")
        self._faults.asked(session.id, "renew", "")
        if (refused := self._fault("renew", "", request)) is not None:
            return refused
        tokens = {"sessionToken": session.token, "masterToken": session.master_token, "sessionId": session.id}
        return _success({**tokens, "validityInSecondsST": _TOKEN_S, "validityInSecondsMT": _MASTER_TOKEN_S})

    async def session(self, request: Request) -> Response:
        """A heartbeat, or the end."""
        session = self._sessions.get(_token(request))
        if session is None:
            return JSONResponse(_NO_SESSION)
        if request.query_params.get("delete"):
            with self._sessions_lock:
                self._sessions.pop(session.token, None)
                self._masters.pop(session.master_token, None)
            await run_in_threadpool(session.close)
        else:
            self._faults.asked(session.id, "heartbeat", "")
            if (refused := self._fault("heartbeat", "", request)) is not None:
                return refused
            await run_in_threadpool(self._faults.hold, "", lambda: False, "heartbeat")
            session.touch()
        return _success(None)

    # -- statements -----------------------------------------------------------------------------------------------

    async def query(self, request: Request) -> Response:
        session = self._sessions.get(_token(request))
        if session is None:
            return JSONResponse(_NO_SESSION)
        body = await _body(request)
        text, number = body["sqlText"], request.query_params.get("requestId", "")
        self._faults.asked(session.id, "query", text)
        if (refused := self._fault("query", text, request)) is not None:
            return refused
        count = (body.get("parameters") or {}).get("MULTI_STATEMENT_COUNT")
        many = count is not None and int(count) != 1
        try:
            with as_snowflake():
                params, rows = values_of(body.get("bindings"))
            results = await run_in_threadpool(partial(session.execute, text, params, rows, request=number, many=many))
        except StatementError as error:
            return _failure(f"{error.errno:06d}", error.sqlstate, error.message)
        if self._faults.firing("cut_after", "query", text, number) is not None:
            raise ConnectionCutError
        if many:
            return _success(
                {
                    "queryId": f"{results[0].id}-all",
                    "statementTypeId": _MULTI_STATEMENT,
                    "resultIds": ",".join(result.id for result in results),
                    "resultTypes": ",".join(str(result.type_id) for result in results),
                    "rowtype": [],
                    "rowset": [],
                    "total": 0,
                    "returned": 0,
                    "queryResultFormat": "json",
                }
            )
        return _success(_upload(request, results[0], bound=bool(params)) if results[0].upload else results[0].data)

    async def result(self, request: Request) -> Response:
        """Of one statement of many."""
        session = self._sessions.get(_token(request))
        if session is None:
            return JSONResponse(_NO_SESSION)
        self._faults.asked(session.id, "result", request.path_params["id"])
        result = session.results.get(request.path_params["id"])
        if result is None:
            return _failure("000709", "02000", f"Statement {request.path_params['id']} not found")
        return _success(result.data)

    async def abort(self, request: Request) -> Response:
        session = self._sessions.get(_token(request))
        if session is not None:
            self._faults.asked(session.id, "abort", "")
            session.cancel((await _body(request)).get("requestId", ""))
        return _success(None)

    async def monitoring(self, request: Request) -> Response:
        session = self._sessions.get(_token(request))
        known = session is not None and request.path_params["id"] in session.results
        return _success({"queries": [{"status": "SUCCESS"}] if known else []})

    async def bucket(self, request: Request) -> Response:
        """Files that are PUT: the client asks first whether one is there."""
        if request.method == "PUT":
            stored: Response = await fakesnow_server.bucket_upload(request)
            return stored
        there = await anyio.Path(stage.LOCAL_BUCKET_PATH, request.path_params["path"]).exists()
        return Response(status_code=200 if there else 404)

    def _fault(self, at: str, text: str, request: Request) -> Response | None:
        number = request.query_params.get("requestId") or request.query_params.get("request_id") or ""
        if self._faults.firing("cut_before", at, text, number) is not None:
            raise ConnectionCutError
        if (fault := self._faults.firing("error", at, text, number)) is not None:
            return _failure(fault.errno, fault.sqlstate, fault.message)
        return None


def _upload(request: Request, result: Result, *, bound: bool) -> dict[str, Any]:
    """Where a PUT has to send its file: to this server, in the one way in which the connector uses plain HTTP."""
    data: dict[str, Any] = result.upload.args["put_stage_data"]
    if not bound:
        info = fakesnow_server.gcs_stage_info(request, result.upload, data)
        # 5.x wants a region, and these headers among the signed ones.
        info["region"] = "us-central1"
        info["presignedUrl"] += f"?X-Goog-SignedHeaders={_SIGNED.replace(';', '%3B')}"
        data["stageInfo"] = info
    return data


async def _body(request: Request) -> dict[str, Any]:
    body = await request.body()
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    content: dict[str, Any] = json.loads(body or b"{}")
    return content


def _token(request: Request) -> str:
    return request.headers.get("Authorization", "").removeprefix('Snowflake Token="').removesuffix('"')


def _identifier(name: str | None) -> str | None:
    if not name:
        return None
    return name[1:-1] if name.startswith('"') else name.upper()


def _success(data: object) -> JSONResponse:
    return JSONResponse({"success": True, "data": data, "code": None, "message": None})


def _failure(code: str, sqlstate: str | None, message: str) -> JSONResponse:
    # The errors of sessions have no state, and no data.
    data = None if sqlstate is None else {"errorCode": code, "sqlState": sqlstate}
    return JSONResponse({"success": False, "data": data, "code": code, "message": message})


class _Cutting:
    """The app, and the means to close a connection without an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ConnectionCutError:
            # uvicorn's cycle of request and response, which has the connection.
            receive.__self__.transport.abort()  # type: ignore[attr-defined]
            await asyncio.Event().wait()  # until uvicorn sees that the client is gone


def serve(settings: Settings) -> None:
    """Until SIGTERM. What is committed is in DuckDB's files, as after a kill: nothing is waited for at the end."""
    keep_null_timestamps()
    server = Server(settings)
    app = server.app()

    async def run() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        config = uvicorn.Config(
            app,
            settings.host,
            settings.port,
            http="h11",
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        await uvicorn.Server(config).serve()

    try:
        asyncio.run(run())
    finally:
        os._exit(0)
