"""The options of the app, as MONAI Label's ``--conf NAME VALUE`` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from lib.refusals import Refusal
from lib.stores.pacs import PACS_OPTIONS, PacsOptions
from lib.stores.queue_rules import QueueRules
from lib.trainers.policy import TrainingPolicy

_TRAINING = ("retrain_after", "auto_train", "train_preset", "promote_tolerance", "promote_worst_tolerance")
_QUEUE = tuple(field.name for field in fields(QueueRules))
_MONAI_LABEL = ("server_mode",)
_PACS = tuple(f"pacs_{name}" for name in PACS_OPTIONS)
NAMES: tuple[str, ...] = (
    "models",
    "index_url",
    "auto_score",
    "keep_pairs",
    "dicom_objects",
    "workspace",
    *_PACS,
    *_TRAINING,
    *_QUEUE,
)


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """All of them, checked.

    Attributes:
        models: folder of the trained models; "" for the app's own.
        index_url: of a PostgreSQL database for the store's index; "" for a file beside the labels.
        auto_score: whether cases are scored by themselves.
        keep_pairs: whether every finished case is also kept as a pair of files, with a log.
        dicom_objects: whether labels are brought to the archive as DICOM.
        workspace: with a PACS, the folder for labels and everything else that the store keeps; "" for one beside the
            app.
        pacs: how a PACS is reached, without its address, which is in ``--studies``.
        training: when trainings begin, and which versions answer.
        queue: how cases are handed out.
    """

    models: str
    index_url: str
    auto_score: bool
    keep_pairs: bool
    dicom_objects: bool
    workspace: str
    pacs: PacsOptions
    training: TrainingPolicy
    queue: QueueRules

    @classmethod
    def from_conf(cls, conf: Mapping[str, str]) -> AppOptions:
        """Read and check.

        Raises:
            Refusal: there is no option of that name, or it cannot have that value.
        """
        unknown = [name for name in conf if name not in (*NAMES, *_MONAI_LABEL)]
        if unknown:
            raise Refusal(f"There is no option {unknown[0]}; there are {', '.join(NAMES)}.")
        return cls(
            models=conf.get("models") or "",
            index_url=conf.get("index_url") or "",
            auto_score=_switch(conf, "auto_score", otherwise=True),
            keep_pairs=_switch(conf, "keep_pairs", otherwise=False),
            dicom_objects=_switch(conf, "dicom_objects", otherwise=True),
            workspace=conf.get("workspace") or "",
            pacs=PacsOptions.from_conf(conf, url=""),
            training=TrainingPolicy.from_conf(conf),
            queue=QueueRules.from_conf(conf),
        )


def _switch(conf: Mapping[str, str], name: str, *, otherwise: bool) -> bool:
    text = str(conf.get(name) or otherwise).strip().lower()
    if text not in {"true", "false"}:
        raise Refusal(f"{name} is true or false, not {conf[name]!r}.")
    return text == "true"
