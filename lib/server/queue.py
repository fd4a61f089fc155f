"""The queue over HTTP: where it stands, why a case was given to somebody, and giving one back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from monailabel.config import RBAC_ANNOTATOR, RBAC_USER, settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules

router = APIRouter(prefix="/queue", tags=["Queue"], responses={404: {"description": "Not found"}})

_Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
_Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]


@router.get("/{task}", summary=f"{RBAC_USER}Where the queue of a task stands")
def queue(task: str, user: _Reader) -> dict[str, Any]:  # noqa: ARG001 (checks who asks)
    """Cases waiting, labelled and in somebody's hands, blind readings due, and why a next request would get nothing.

    Raises:
        Refusal: 404 for an unknown task.
    """
    rules = QueueRules.from_conf(app_instance().conf)
    return _store().queue_state(task, rules).to_json()


@router.get("/{task}/{image_id}", summary=f"{RBAC_USER}Why a case was given to somebody")
def hand_outs_of_case(task: str, image_id: str, user: _Reader) -> dict[str, Any]:  # noqa: ARG001 (checks who asks)
    """Every time that a case was handed out for a task: to whom, when and why, and what became of it.

    Raises:
        Refusal: 404 for an unknown task or case.
    """
    image_id = _store().case_id(image_id)
    found = _store().hand_outs(image_id, task)
    return {"task": task, "image": image_id, "hand_outs": [handed.to_json() for handed in found]}


@router.delete("/{task}/{image_id}", summary=f"{RBAC_ANNOTATOR}Give a case back to the queue")
def give_back(task: str, image_id: str, user: _Annotator, holder: str | None = None) -> dict[str, Any]:
    """Give a case back before its time is over, so that others may get it.

    Args:
        task: what it was handed out for.
        image_id: the case.
        user: who asks.
        holder: from whose hands; by default from whoever has it. Where people log in, only an administrator may name
            somebody else, and the default is oneself.

    Raises:
        Refusal: 404 when it is not in these hands, 403 when they are another person's.
    """
    if settings.MONAI_LABEL_AUTH_ENABLE and settings.MONAI_LABEL_AUTH_ROLE_ADMIN not in user.roles:
        if holder not in (None, user.username):
            raise Refusal(f"Only an administrator may give back what {holder} has.", status=403)
        holder = user.username
    given = _store().give_back(task, _store().case_id(image_id), holder)
    return {"given_back": [handed.to_json() for handed in given]}


def _store() -> CaseStore:
    return app_instance().datastore()  # type: ignore[no-any-return]
