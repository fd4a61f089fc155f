"""The MONAI Label app: it registers what ``lib`` offers, and refuses what no client should ask for."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

# MONAI Label puts this folder first on the path and makes an empty `lib` in it, which would hide the real one.
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.datastore import Datastore  # noqa: E402
from monailabel.utils.async_tasks.task import AsyncTask  # noqa: E402
from monailabel.utils.async_tasks.utils import tasks as begun_jobs  # noqa: E402

from lib import VERSION  # noqa: E402
from lib.anatomy.schemas import SARCOPENIA  # noqa: E402
from lib.background import Repeating  # noqa: E402
from lib.disk import make_folder  # noqa: E402
from lib.images.files import IMAGE_SUFFIXES, image_suffix  # noqa: E402
from lib.infers.batch import BatchInfer  # noqa: E402
from lib.infers.champions import Champions  # noqa: E402
from lib.infers.reporting import ReportWishes, report_of_case  # noqa: E402
from lib.infers.segmentation import CASE_FACTS, IN_FRAMES, SAVED_LABELS, SegmentationTask  # noqa: E402
from lib.models import Registry  # noqa: E402
from lib.options import AppOptions  # noqa: E402
from lib.refusals import BadImage, Refusal  # noqa: E402
from lib.reports.case_report import CaseReport  # noqa: E402
from lib.stores import CaseStore  # noqa: E402
from lib.strategies.next_case import NextCase, strategies  # noqa: E402
from lib.strategies.schedule import ScoringSchedule  # noqa: E402
from lib.strategies.scoring import METHOD, FoldScoring, save_scores  # noqa: E402
from lib.tasks import ANSWERING_TASKS, STORED_TASKS, TASKS, TRAINABLE_TASKS  # noqa: E402
from lib.trainers.schedule import Schedule  # noqa: E402
from lib.trainers.train_task import Training  # noqa: E402

logger = logging.getLogger(__name__)

_OUTBOX_S = 5.0
_SCORING_LOOK_S = 60.0  # a look takes up to a second at 100,000 cases


class SarcopeniaApp(MONAILabelApp):
    """Body composition on CT: every task of the table, on a store that loses no label."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self._options = AppOptions.from_conf(conf)
        self._registry = Registry(self._options.models or Path(app_dir) / "model")
        self._champions = Champions(self._registry, self._registry.compiled)
        super().__init__(
            app_dir,
            studies,
            conf,
            name="Sarcopenia Label",
            description="Muscle and fat on CT: segmented, measured, corrected",
            version=VERSION,
        )
        self._auto_update_scoring = False
        self._retraining = Schedule(
            self.datastore(), self._registry, self._options.training, start=_begin("train"), busy=_is_busy("train")
        )
        self._scoring = ScoringSchedule(
            self.datastore(),
            self._registry.champion_name,
            lambda task: _begin("scoring")({"method": METHOD, "task": task}),
            _is_busy("scoring"),
        )
        # Each inference takes memory and a core; more at once than there are cores only makes all of them slower.
        self._inferences = threading.BoundedSemaphore(os.cpu_count() or 1)

    def init_datastore(self) -> CaseStore:
        """The store of the studies folder."""
        index_url, pairs = self._options.index_url or None, self._options.keep_pairs
        if self.studies.startswith(("http://", "https://")):
            pacs = replace(self._options.pacs, url=self.studies)
            workspace = Path(self._options.workspace or _default_workspace(self.studies))
            make_folder(workspace)
            store = CaseStore(workspace, index_url=index_url, pacs=pacs, keep_pairs=pairs)
        else:
            store = CaseStore(self.studies, index_url=index_url, keep_pairs=pairs)
        store.learnt_from_phantoms = self._learnt_from_phantoms
        return store

    def _learnt_from_phantoms(self, model: str, version: str | None) -> bool:
        """Whether a model did, or one of its parts; without a version those that answer now are meant.

        A version that is not here any more is not held to have.
        """
        task = TASKS.get(model)
        try:
            if version is None:
                parts = (task.parts or (model,)) if task else ()
                asked = [self._registry.champion(part) for part in parts]
            else:  # of a task with parts, it names each of them: "l3_muscle 0003, l3_tissue 0002"
                named = [each.rpartition(" ") for each in version.split(", ")]
                asked = [self._registry.version(part or model, name) for part, _, name in named]
        except Refusal:
            return False
        return any(each is not None and each.manifest.phantoms in ("all", "some") for each in asked)

    def init_infers(self) -> dict[str, SegmentationTask]:
        """One infer task for every row of the task table that can be answered."""
        return {name: SegmentationTask(TASKS[name], self._champions) for name in ANSWERING_TASKS}

    def init_trainers(self) -> dict[str, Training]:
        """One train task for every row that says what kind of network is trained for it."""
        policy = self._options.training
        return {
            name: Training(TASKS[name], self._registry, policy.tolerances, policy.preset) for name in TRAINABLE_TASKS
        }

    def init_batch_infer(self) -> BatchInfer:
        """One case after the other, on any machine."""
        return BatchInfer()

    def init_strategies(self) -> dict[str, NextCase]:
        """The strategies; Slicer takes the first of them."""
        return strategies(self._options.queue)

    def init_scoring_methods(self) -> dict[str, FoldScoring]:
        """The one that gives the scores of all strategies, since all come from the same passes."""
        assess = {name: task.assess for name, task in self._infers.items()}
        return {METHOD: FoldScoring(assess, self._champions.name_of)}

    def datastore(self) -> CaseStore:
        """The store, with its own methods."""
        return self._datastore  # type: ignore[return-value]

    def on_init_complete(self) -> None:
        """Begin what goes on beside the requests; MONAI Label calls it in the server's process only."""
        super().on_init_complete()
        self._tell_jobs_where_things_are()
        store = self.datastore()
        store.archive.begin()
        if self._options.dicom_objects:
            Repeating("outbox", [_told("outbox", store.deliver)], every_s=_OUTBOX_S).begin()
        asked = [_told("archive", store.ask_archive), _told("segmentations", store.look_for_segmentations)]
        Repeating("archive-exchange", asked, every_s=self._options.pacs.every_s).begin()
        self._retraining.begin()
        if self._options.auto_score:
            Repeating("scoring-schedule", [self._scoring.look], every_s=_SCORING_LOOK_S).begin()

    def _tell_jobs_where_things_are(self) -> None:
        """Background jobs are processes of their own, and under MONAI Label's own command they would find nothing."""
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        for name, value in {
            "APP_DIR": self.app_dir,
            "STUDIES": self.studies,
            "APP_CONF": json.dumps(self.conf),
        }.items():
            os.environ.setdefault(f"MONAI_LABEL_{name}", value)

    def _let_requests_go_first(self) -> None:
        """In the process of a background job: annotators are waiting, and nobody waits for a job."""
        if not self._server_mode:
            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else 10)

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer one request; stands in for MONAI Label's own, which takes any file name for an image.

        Args:
            request: ``model`` and ``image`` (a case's id, or an uploaded file), and the options of the task.
            datastore: where to look the case up, instead of the app's own store.

        Returns:
            ``file`` (deleted after the response), ``params``, and ``label``, its id when it was saved.

        Raises:
            Refusal: the model or the image is unknown, or the image does not allow an answer.
        """
        task = self._infers.get(request.get("model"))
        if task is None:
            raise Refusal(f"There is no model {request.get('model')!r}.", status=404)
        tag = str(request.get("label_tag") or "original")
        if request.get("save_label") and tag == "final":
            raise Refusal("What a model answered is not a final label until somebody has looked at it.")
        store: CaseStore = datastore or self.datastore()  # type: ignore[assignment]
        image = str(request.get("image") or "")
        if not image:
            raise Refusal("No image was named, or the session has ended; name one, or begin a new session.", status=404)
        if Path(image).is_absolute():
            path, case, known = _uploaded(Path(image), self._sessions), None, {}
        else:
            case = store.case_id(image)
            path = Path(store.get_image_uri(case))
            labels = {name: store.current_label(case, name) for name in STORED_TASKS}
            if store.is_blind(task.task.name, case, str(request.get("client_id") or "")):
                labels = {}  # whoever reads a case for the second time must not see how well it fits the first label
            known = {
                CASE_FACTS: store.case_facts(case),
                IN_FRAMES: case != image,  # whoever names a series reads the answer frame by frame
                SAVED_LABELS: {name: label for name, label in labels.items() if label},
            }
        inner = {**request, CASE_FACTS: None, IN_FRAMES: None, SAVED_LABELS: None, **known, "image": str(path)}
        try:
            with self._inferences:
                response = task.respond(inner)
        except BadImage as refusal:
            if case:
                store.note_fault(case, str(refusal))  # so that it is not offered to annotators
                raise
            raise BadImage(str(refusal).replace(path.name, "The uploaded file")) from refusal
        file, params = str(response.file), response.params
        # A task made of others goes by their scores: a few of its own would hide those of all other cases.
        if case and response.as_by_default and not task.task.parts:
            try:
                save_scores(store, task.task.name, case, response.answer)
            except Refusal as refusal:  # a later scoring makes up for it; the annotator still gets the answer
                logger.warning("The scores of %s were not kept: %s", case, refusal)
        label_id = file
        if case and request.get("save_label"):
            kept = {name: value for name, value in params.items() if name != "overlay"}  # it can be drawn again
            label_id = store.save_label(case, file, tag, {"model": task.task.name, "params": kept})
        return {"label": label_id, "tag": "original", "file": file, "params": params}

    def report(self, name: str, wishes: ReportWishes) -> CaseReport:
        """The report of a case, by its id or SeriesInstanceUID.

        Raises:
            Refusal: the case or what is wished for is not there, or the image does not allow it.
        """
        with self._inferences:
            return report_of_case(self.datastore(), self._infers[SARCOPENIA.task], name, wishes)

    @property
    def registry(self) -> Registry:
        """The versions of all models."""
        return self._registry

    def training_state(self, task: str) -> dict[str, Any]:
        """How far the training of a task is that runs or ran last (``stats``), and what its next waits for."""
        if task not in self._trainers:
            return {}
        return {"stats": self._trainers[task].stats(), **self._retraining.state()["tasks"][task]}

    def infer_wsi(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Refuse: there are no whole-slide images here."""
        raise Refusal("There are no whole-slide images here; ask /infer/NAME for a CT.", status=404)

    def info(self) -> dict[str, Any]:
        """What MONAI Label says of an app; clients look at the first training only, so one that runs comes first."""
        told: dict[str, Any] = super().info()
        stats = sorted(told["train_stats"].items(), key=lambda item: "total_time" in item[1] or not item[1])
        return {
            **told,
            "train_stats": dict(stats),
            "retraining": self._retraining.state(),
            "scoring_runs": self._scoring.state(),
            "archive": self.datastore().archive_state(),
        }

    def check_training(self, request: Mapping[str, Any]) -> None:
        """Refuse a training that cannot succeed, before a process is started for it.

        Raises:
            Refusal: nothing can be trained under that name, or not yet, or not like that.
        """
        task = self._trainers.get(request.get("model"))
        if task is None:
            raise Refusal(f"There is no training for {request.get('model')!r}.", status=404)
        task.check(request, self.datastore())

    def check_update(self, request: Mapping[str, Any]) -> None:
        """The same, for who asks for whatever is worth it: also refuse what would change nothing.

        Raises:
            Refusal: as :meth:`check_training`; or no label is new, or a training of the task waits already.
        """
        self.check_training(request)
        model = request["model"]
        waiting = [job for job in begun_jobs("train") if job["status"] in {"SUBMITTED", "RUNNING"}]
        if any(job.get("request", {}).get("model") == model for job in waiting):
            raise Refusal(f"A training of {model} waits already.", status=409)
        if not self._retraining.usable_labels(model):
            raise Refusal(f"No label of {model} is new since its last training.", status=409)

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run a training here and now.

        Raises:
            Refusal: nothing can be trained under that name, or not yet, or not like that.
        """
        if request.get("model") not in self._trainers:
            raise Refusal(f"There is no training for {request.get('model')!r}.", status=404)
        self._let_requests_go_first()
        return super().train(request)  # type: ignore[no-any-return]

    def scoring(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Run a scoring method here and now.

        Raises:
            Refusal: there is none of that name.
        """
        if request.get("method") not in self._scoring_methods:
            raise Refusal(f"There is no scoring method {request.get('method')!r}.", status=404)
        self._let_requests_go_first()
        return super().scoring(request, datastore)  # type: ignore[no-any-return]

    def next_sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The next case to label, or ``{}`` when there is none left."""
        strategy = self._strategies.get(request.get("strategy") or METHOD)
        if strategy is None:
            names = ", ".join(self._strategies)
            raise Refusal(f"There is no strategy {request.get('strategy')!r}; there are {names}.", status=404)
        while chosen := strategy(request, self.datastore()):
            try:
                return {**chosen, "path": self.datastore().get_image_uri(chosen["id"])}
            except BadImage:
                continue  # the store noted the fault when it could not convert the series, and offers it no more
        return {}


def _told(what: str, step: Callable[[], object]) -> Callable[[], None]:
    """What does something that may fail for a while, and says so once, not in every round."""
    said = ""

    def run() -> None:
        nonlocal said
        try:
            step()
        except Refusal as refusal:
            if str(refusal) != said:
                logger.warning("%s: %s", what, refusal)
            said = str(refusal)
        else:
            said = ""

    return run


def _default_workspace(url: str) -> Path:
    """A folder for a PACS where the default studies are, passed over when those are listed."""
    return ROOT / "datastore" / ".pacs" / re.sub(r"[^A-Za-z0-9.]+", "-", url.partition("://")[2]).strip("-")


def _begin(job: str) -> Callable[[dict[str, Any]], None]:
    """What begins a background job of MONAI Label's, so that its clients see it; it waits while another one runs."""

    def begin(request: dict[str, Any]) -> None:
        AsyncTask.run(job, request=request, enqueue=True)

    return begin


def _is_busy(job: str) -> Callable[[], bool]:
    """What tells whether a background job waits or runs."""
    return lambda: any(each["status"] in {"SUBMITTED", "RUNNING"} for each in begun_jobs(job))


def _uploaded(path: Path, sessions: Any) -> Path:
    """An absolute path is only taken where MONAI Label itself put an upload or a session."""
    resolved = path.resolve()
    in_session = sessions is not None and resolved.is_relative_to(Path(sessions.store_path).resolve())
    is_upload = resolved.parent == Path(tempfile.gettempdir()).resolve()
    if is_upload and not image_suffix(resolved.name):
        raise BadImage(f"An uploaded file has to be one of {', '.join(IMAGE_SUFFIXES)}.")
    if not (in_session or is_upload):
        raise Refusal("An image is named by its id, or uploaded; a path is not accepted.")
    return resolved
