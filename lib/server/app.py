"""The ASGI app: MONAI Label's own, with endpoints that do not stop each other.

MONAI Label's endpoints are declared ``async`` around work that blocks, so that one inference holds up everybody.
Here each of them runs in a worker thread. The routers are changed before the stock app includes them; it stays the
app that runs, because the lifespan of a mounted app would never run.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.routing import APIRoute
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    model,
    proxy,
    scoring,
    session,
    train,
    wsi_infer,
)
from monailabel.endpoints import ohif as stock_ohif
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.task import AsyncTask

from lib.refusals import Refusal
from lib.server import annotate, dashboard, dicomweb, ohif, pacs_proxy, queue, reports
from lib.server.origin import SameOriginOnly
from lib.server.welcome import welcome

# None of these modules awaits anything; `proxy` and `login` do, and stay as they are.
_BLOCKING: tuple[ModuleType, ...] = (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    model,
    scoring,
    session,
    train,
    wsi_infer,
)

# What decides on the file that is read or written belongs in the address, where ids are checked, not in the params.
_NOT_IN_PARAMS = ("image", "label", "model", "save_label", "label_tag", "session")


# Forms that MONAI Label's endpoints parse without a look at what they hold; `params` of some is a parsed body.
_JSON_FORMS = {"params", "info"}
# Where the endpoints of the store take the id of a case; OHIF gives the SeriesInstanceUID.
_CASE_NAMES = {"image", "label", "id"}


def json_object(text: Any, *, name: str) -> dict[str, Any]:
    """What a form field holds; nothing stands for an empty object.

    Raises:
        Refusal: it is no JSON object.
    """
    try:
        value = json.loads(text or "{}") if isinstance(text, str | None) else text
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refusal(f"{name} must be a JSON object.")
    return value


def _in_thread(endpoint: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """An endpoint that FastAPI runs in a worker thread, from one that is a coroutine in name only."""

    def run(**arguments: Any) -> Any:
        for name in _JSON_FORMS & arguments.keys():
            json_object(arguments[name], name=name)
        if endpoint.__module__ == datastore.__name__:
            for name in _CASE_NAMES & arguments.keys():
                arguments[name] = _case_id(arguments[name])
        return asyncio.run(endpoint(**arguments))

    # Not functools.wraps: FastAPI looks through it and would find the coroutine again.
    run.__name__ = endpoint.__name__
    run.__doc__ = endpoint.__doc__
    run.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
    return run


def _case_id(name: Any) -> Any:
    """A case's id for one of its names; whatever else an endpoint was given under that name stays what it is."""
    return app_instance().datastore().case_id(name) if isinstance(name, str) else name


def _unblock(router: APIRouter) -> None:
    for position, route in enumerate(router.routes):
        if isinstance(route, APIRoute) and asyncio.iscoroutinefunction(route.endpoint):
            router.routes[position] = _with_endpoint(route, _in_thread(route.endpoint))


def _with_endpoint(route: APIRoute, endpoint: Callable[..., Any]) -> APIRoute:
    return APIRoute(
        route.path,
        endpoint,
        methods=route.methods,
        name=route.name,
        summary=route.summary,
        tags=route.tags,
        responses=route.responses,
        deprecated=route.deprecated,
        include_in_schema=route.include_in_schema,
    )


def _run_inference(
    *,
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: infer.ResultType | None = None,
    user: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
) -> Any:
    """Run an inference; the same request as MONAI Label's, with its params checked first."""
    if not (file or image or session_id):
        raise Refusal("Name an image (?image=ID), upload one, or name a session.")
    if output == infer.ResultType.dicom_seg:
        raise Refusal("Answers are not given as DICOM SEG; ask for output=image, or leave output out.")
    options = json_object(params, name="params")
    unwanted = [key for key in _NOT_IN_PARAMS if options.get(key)]
    if unwanted:
        raise Refusal(f"{', '.join(unwanted)} cannot be given in params.")
    params = json.dumps(_with_who_asks(options, user))
    return infer.run_inference(background_tasks, model, image, session_id, params, file, label, output)


def _next_case(
    *,
    strategy: str,
    params: dict[str, Any] | None = None,
    user: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
) -> dict[str, Any]:
    """Hand out the next case; the same request and answer as MONAI Label's.

    MONAI Label's own also notes the strategy in the image's info, which two requests at once would do over each other;
    here the store keeps who was given what, and why.
    """
    app = app_instance()
    chosen: dict[str, Any] = app.next_sample({**_with_who_asks(params or {}, user), "strategy": strategy})
    return {**chosen, **app.datastore().get_image_info(chosen["id"])} if chosen else {}


def _save_label(
    *,
    background_tasks: BackgroundTasks,
    image: str,
    params: Annotated[str, Form()] = "{}",
    tag: str = "",
    label: Annotated[UploadFile, File()],
    user: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))],
) -> Any:
    """Save a label; the same request as MONAI Label's, which leaves out who logged in."""
    known = _with_who_asks(json_object(params, name="params"), user)
    return datastore.save_label(background_tasks, _case_id(image), json.dumps(known), tag, label, user.username)


def _with_who_asks(params: dict[str, Any], user: User) -> dict[str, Any]:
    """Where people log in, that name is who asks; else it is what the client says."""
    return {**params, "client_id": user.username} if settings.MONAI_LABEL_AUTH_ENABLE else params


def _start_training(
    *,
    model: str,
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
    enqueue: bool = False,
    user: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))],  # noqa: ARG001 (checks who asks)
) -> Any:
    """Start a training; the same request as MONAI Label's, refused at once where it cannot succeed."""
    app_instance().check_training({"model": model, **(params or {})})
    return train.run_model(model, params, run_sync, enqueue)


def _start_all_trainings(
    *,
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
    user: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))],  # noqa: ARG001 (checks who asks)
) -> dict[str, Any]:
    """Start every training that can succeed and has new labels, one after the other (OHIF's "Update Model").

    Returns:
        For every task ``result``, the job or ``None``, and ``detail``, why there is none.

    Raises:
        Refusal: none of them can; the reasons of all.
    """
    refused: dict[str, Any] = {}
    started: dict[str, Any] = {}
    for name in app_instance().info()["trainers"]:
        own = (params or {}).get(name) or {}
        try:
            app_instance().check_update({"model": name, **own})
        except Refusal as refusal:
            refused[name] = {"result": None, "detail": str(refusal)}
        else:
            request = {"model": name, **own}
            result, detail = AsyncTask.run("train", request=request, force_sync=run_sync, enqueue=True)
            started[name] = {"result": result, "detail": detail}
    if not started:
        raise Refusal(" ".join(answer["detail"] for answer in refused.values()))
    return {**started, **refused}


def _replace(router: APIRouter, path: str, endpoint: Callable[..., Any], method: str = "POST") -> None:
    for position, route in enumerate(router.routes):
        if isinstance(route, APIRoute) and route.path == path and method in (route.methods or ()):
            router.routes[position] = _with_endpoint(route, endpoint)
            return
    raise RuntimeError(f"MONAI Label's {path} was not found; is this version 0.8.5?")


for _module in _BLOCKING:
    _unblock(_module.router)
_replace(activelearning.router, "/activelearning/{strategy}", _next_case)
_replace(datastore.router, "/datastore/label", _save_label, "PUT")
_replace(infer.router, "/infer/{model}", _run_inference)
_replace(train.router, "/train/", _start_all_trainings)
_replace(train.router, "/train/{model}", _start_training)
proxy.router.routes.clear()
stock_ohif.router.routes.clear()

from monailabel.app import app  # noqa: E402 (it includes the routers changed above)

app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) != "/"]
app.add_api_route("/", welcome, include_in_schema=False)
app.include_router(queue.router)
app.include_router(annotate.router)
app.include_router(reports.router)
app.include_router(dashboard.router)
app.include_router(pacs_proxy.router)
app.include_router(dicomweb.router)
app.include_router(ohif.router)
app.add_middleware(
    SameOriginOnly,
    allowed=[str(origin) for origin in settings.MONAI_LABEL_CORS_ORIGINS],
    hosts=os.environ.get("SARCOPENIA_LABEL_HOSTS", "").split(),
)

__all__ = ["app"]
