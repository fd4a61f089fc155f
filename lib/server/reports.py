"""The report of a case over HTTP: to look at, to print, and into the archive."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from monailabel.config import RBAC_ANNOTATOR, RBAC_USER, settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from lib.infers.reporting import ReportWishes
from lib.reports.case_report import CaseReport
from lib.reports.case_report_pages import report_html, report_pdf

router = APIRouter(prefix="/reports", tags=["Reports"], responses={404: {"description": "Not found"}})

_Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
_Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
_Cutoffs = Annotated[list[str] | None, Query()]
_NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'"}


@router.get("/{name}", summary=f"{RBAC_USER}The report of a case, one page")
def report(
    *,
    name: str,
    user: _Reader,
    format: Literal["html", "pdf"] = "html",  # noqa: A002 - what it is called in the address
    task: str = "",
    who: str = "",
    cutoffs: _Cutoffs = None,
) -> Response:
    """The page about a case, of its saved label, or of the program's answer where there is none.

    Args:
        name: the case's id, or its SeriesInstanceUID.
        user: who asks.
        format: ``html`` or ``pdf``.
        task: ``l3_muscle`` or ``l3_tissue`` for one saved label, ``sarcopenia`` for the program's answer.
        who: who asks, where nobody logs in.
        cutoffs: those to judge by; all that were published for L3 by default.

    Raises:
        Refusal: 404 for what is not there, 422 for an image that allows no answer.
    """
    found = _report(name, user, task=task, who=who, cutoffs=cutoffs)
    if format == "html":
        return Response(report_html(found), media_type="text/html; charset=utf-8", headers=_NO_SCRIPTS)
    file = re.sub(r"[^A-Za-z0-9._-]+", "_", found.case)
    headers = {"Content-Disposition": f'inline; filename="{file}.pdf"'}
    return Response(report_pdf(found), media_type="application/pdf", headers=headers)


@router.post("/{name}/archive", summary=f"{RBAC_ANNOTATOR}Bring the report of a case to the DICOM archive")
def to_archive(
    name: str, user: _Annotator, task: str = "", who: str = "", cutoffs: _Cutoffs = None
) -> dict[str, str | bool]:
    """Store the page as an encapsulated PDF in the study of the case; the same page is stored once.

    Raises:
        Refusal: as :func:`report`; 503, when the archive does not take it now.
    """
    found = _report(name, user, task=task, who=who, cutoffs=cutoffs)
    sop = (
        app_instance()
        .datastore()
        .store_pdf(
            found.case,
            report_pdf(found),
            title=f"Body composition at L3: {found.case}",
            reviewed=found.origin.reviewed,
            phantom=found.phantom,
        )
    )
    return {"case": found.case, "sop_instance_uid": sop, "of_saved_label": found.origin.reviewed}


def _report(name: str, user: User, *, task: str, who: str, cutoffs: list[str] | None) -> CaseReport:
    asks = user.username if settings.MONAI_LABEL_AUTH_ENABLE else who.strip()
    wishes = ReportWishes(task=task, who=asks, cutoffs=cutoffs or ())
    return app_instance().report(name, wishes)  # type: ignore[no-any-return]
