"""When trainings begin by themselves, and what a new version may cost: chosen by whoever starts the server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.models.verdict import Tolerances
from lib.networks.nnunet.recipes import RECIPES
from lib.refusals import Refusal

_WORDS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class TrainingPolicy:
    """What can be chosen with ``--conf``.

    Attributes:
        retrain_after: so many new or changed labels of a task begin its training; 0 for never.
        auto_train: whether trainings begin, and are continued after the server was killed, by themselves.
        preset: a key of RECIPES, for trainings that choose none; "" for what suits the device.
        tolerances: by how much a new version may be worse than the champion.
    """

    retrain_after: int = 10
    auto_train: bool = True
    preset: str = ""
    tolerances: Tolerances = field(default_factory=Tolerances)

    @property
    def automatic(self) -> bool:
        """Whether any training begins by itself."""
        return self.auto_train and self.retrain_after > 0

    @classmethod
    def from_conf(cls, conf: Mapping[str, str]) -> TrainingPolicy:
        """Read ``retrain_after``, ``auto_train``, ``train_preset`` and the two tolerances.

        They are ``promote_tolerance`` and ``promote_worst_tolerance``.

        Raises:
            Refusal: one of them is no such value.
        """
        usual = cls()
        word = str(conf.get("auto_train", usual.auto_train)).strip().lower()
        if word not in _WORDS:
            raise Refusal(f"auto_train is true or false, not {conf['auto_train']!r}.")
        after = str(conf.get("retrain_after", usual.retrain_after)).strip()
        if not (after.isascii() and after.isdecimal()):
            raise Refusal(f"retrain_after is a number of labels, 0 for never, not {conf['retrain_after']!r}.")
        preset = str(conf.get("train_preset", usual.preset)).strip()
        if preset and preset not in RECIPES:
            raise Refusal(f"train_preset is one of {', '.join(RECIPES)}, not {conf['train_preset']!r}.")
        return cls(
            retrain_after=int(after),
            auto_train=_WORDS[word],
            preset=preset,
            tolerances=Tolerances(
                mean=_number(conf, "promote_tolerance", usual.tolerances.mean),
                worst=_number(conf, "promote_worst_tolerance", usual.tolerances.worst),
            ),
        )


def _number(conf: Mapping[str, str], name: str, usual: float) -> float:
    try:
        value = float(conf.get(name, usual))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise Refusal(f"{name} is a difference of Dice from 0 to 1, not {conf[name]!r}.")
    return value
