"""/fg: for tests that set faults and count requests."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import Faults


def control_routes(faults: Faults) -> list[Route]:
    """POST /fg/faults sets one, GET shows them, DELETE lifts them all (or /fg/faults/ID); /fg/statements counts."""

    async def add(request: Request) -> Response:
        try:
            fault = faults.add(await request.json())
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(fault.shown())

    async def show(_: Request) -> Response:
        return JSONResponse(faults.shown())

    async def lift(request: Request) -> Response:
        return JSONResponse(faults.lift(request.path_params.get("id")))

    async def statements(request: Request) -> Response:
        if request.method == "DELETE":
            faults.reset()
        return JSONResponse(faults.counted())

    return [
        Route("/fg/faults", add, methods=["POST"]),
        Route("/fg/faults", show, methods=["GET"]),
        Route("/fg/faults", lift, methods=["DELETE"]),
        Route("/fg/faults/{id:int}", lift, methods=["DELETE"]),
        Route("/fg/statements", statements, methods=["GET", "DELETE"]),
    ]
