"""A request that cannot be served, said in one plain sentence that reaches the client."""

from __future__ import annotations

from starlette.exceptions import HTTPException


class Refusal(HTTPException):
    """Something is wrong with what was asked or sent, and nothing was changed.

    It derives from Starlette's ``HTTPException`` because MONAI Label turns every other exception into a
    500 without a word, also when its stock server runs the app.

    Args:
        sentence: what is wrong and, where there is one, the way out; shown to the annotator as it is.
        status: the HTTP status, 4xx, or 503 where the same request may be answered later.
    """

    def __init__(self, sentence: str, *, status: int = 422) -> None:
        super().__init__(status_code=status, detail=sentence)

    def __str__(self) -> str:
        return str(self.detail)


class BadImage(Refusal):
    """The image cannot be used by any task, whatever is asked of it, until its file changes."""
