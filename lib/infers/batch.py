"""Inference over many cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

from lib.refusals import Refusal


class BatchInfer(BatchInferTask):
    """One case after the other; MONAI Label's own spreads them over GPUs and divides by their number, also by zero."""

    def __call__(
        self, request: Mapping[str, Any], datastore: Datastore, infer: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Answer every chosen case and save the answers under ``label_tag``.

        Returns:
            Case to ``params``, or to ``{"refused": sentence}``; a case that fails does not stop the others.
        """
        images = sorted(self.get_images(request, datastore))
        results: dict[str, Any] = {}
        for image_id in images[: int(request.get("max_batch_size") or 0) or None]:
            try:
                answer = infer({**request, "image": image_id, "save_label": True})
            except Refusal as refusal:
                results[image_id] = {"refused": str(refusal)}
            else:
                Path(answer["file"]).unlink(missing_ok=True)  # the store has its own copy
                results[image_id] = answer["params"]
        return results
