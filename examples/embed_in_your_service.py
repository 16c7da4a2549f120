"""A small service of your own with FlowGuard inside: its events land in a table, exactly once, in the same process.

uvicorn --app-dir examples embed_in_your_service:app
curl -X POST 'http://127.0.0.1:8000/readings/cellar?celsius=12.5'
curl http://127.0.0.1:8000/readings/cellar
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowguard import Catalog, Embedded, EventType, Settings


class Reading(BaseModel):
    """What a thermometer said. Each field becomes a typed column."""

    sensor: str
    celsius: float


catalog = Catalog([EventType("readings", Reading, key="sensor")])
pipeline = Embedded(catalog, Settings(data_dir=Path("readings-data")))


async def take(request: Request) -> JSONResponse:
    """Publish an event. Answered 202, it survives a power cut; sent again with the same event_id, it lands once."""
    event = {"sensor": request.path_params["sensor"], **request.query_params}
    [result] = (await pipeline.publish([event], "readings")).results
    if result.errors:
        return JSONResponse({one.pointer: one.message for one in result.errors}, 422)
    return JSONResponse({"event_id": result.event_id, "verdict": result.verdict}, 202)


def show(request: Request) -> JSONResponse:
    """Read the rows that landed last. The same columns are there for any SQL, in readings-data/warehouse.db."""
    rows = pipeline.recent("readings", limit=100, where={"sensor": request.path_params["sensor"]})
    return JSONResponse([{"celsius": row["celsius"], "at": str(row["occurred_at"])} for row in rows])


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Ingest in the background for as long as the service runs, and drain at the end."""
    async with pipeline:
        yield


app = Starlette(
    routes=[Route("/readings/{sensor}", take, methods=["POST"]), Route("/readings/{sensor}", show, methods=["GET"])],
    lifespan=lifespan,
)
