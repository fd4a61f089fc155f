"""The study's curves, its verdict, and the page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

MEASURES = {"mean_dice": "mean Dice", "worst_dice": "worst-case Dice", "area_error": "error of the muscle area"}
_BAR_LABELS = 36


@dataclass(frozen=True)
class Curve:
    """One measure of one strategy over the rounds.

    Attributes:
        labels: ``(rounds,)``.
        values: ``(repetitions, rounds)``.
    """

    labels: npt.NDArray[np.int_]
    values: npt.NDArray[np.float64]

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """``(rounds,)`` over the repetitions."""
        return self.values.mean(axis=0)  # type: ignore[no-any-return]

    @property
    def half_width(self) -> npt.NDArray[np.float64]:
        """``(rounds,)``, half of the 95 % confidence interval of the mean (Student's t)."""
        count = len(self.values)
        if count < 2:
            return np.full(len(self.labels), np.nan)
        spread = self.values.std(axis=0, ddof=1) / np.sqrt(count)
        return spread * stats.t.ppf(0.975, count - 1)  # type: ignore[no-any-return]

    def labels_to_reach(self, value: float) -> float | None:
        """The number of labels at which the mean first reaches a value, between rounds on a line; ``None``: never."""
        mean = self.mean
        for i, (count, reached) in enumerate(zip(self.labels, mean, strict=True)):
            if reached >= value:
                if i == 0:
                    return float(count)
                share = (value - mean[i - 1]) / (reached - mean[i - 1])
                return float(self.labels[i - 1] + share * (count - self.labels[i - 1]))
        return None


def curves(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], measure: str) -> dict[str, Curve]:
    """Of every strategy, over the rounds that all of its repetitions have finished."""
    made = {}
    for strategy, repetitions in results.items():
        rounds = min(len(each) for each in repetitions)
        values = np.array([[each[i][measure] for i in range(rounds)] for each in repetitions])
        made[strategy] = Curve(np.array([repetitions[0][i]["labels"] for i in range(rounds)]), values)
    return made


def verdict(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> list[str]:
    """What the study says about the bars, in sentences."""
    worst, mean = curves(results, "worst_dice"), curves(results, "mean_dice")
    target = float(worst["random"].mean[-1])
    last = int(worst["random"].labels[-1])
    needed = worst["disagreement"].labels_to_reach(target)
    found = "never reaches it" if needed is None else f"reaches it with {needed:.0f}"
    met = needed is not None and needed <= _BAR_LABELS
    said = [
        f"Worst-case Dice of `random` at {last} labels: {target:.3f}. `disagreement` {found} (bar: {_BAR_LABELS}): "
        f"{'reached' if met else 'not reached'}."
    ]
    for name, curve in mean.items():
        if name == "disagreement":
            continue
        # The same repetitions begin with the same slices, so that the differences are what varies.
        difference = mean["disagreement"].values.mean(axis=1) - curve.values.mean(axis=1)
        test = stats.ttest_1samp(difference, 0.0)
        interval = test.confidence_interval(0.95)
        below = "below" if interval.high < 0 else "not below"
        said.append(
            f"Mean Dice over all rounds against `{name}`: {difference.mean():+.4f} "
            f"(95 % interval {interval.low:+.4f} to {interval.high:+.4f}): {below} it."
        )
    return said


def draw(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], path: Path) -> None:
    """The curves with their confidence intervals, as a picture."""
    import matplotlib as mpl  # noqa: PLC0415 - seconds

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, len(MEASURES), figsize=(5 * len(MEASURES), 4), constrained_layout=True)
    for axis, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        for name, curve in curves(results, measure).items():
            (line,) = axis.plot(curve.labels, curve.mean, label=name, linewidth=2 if name == "disagreement" else 1.2)
            low, high = curve.mean - curve.half_width, curve.mean + curve.half_width
            axis.fill_between(curve.labels, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        axis.set(xlabel="labelled slices", title=title)
        axis.grid(alpha=0.3)
    axes[0].legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def tables(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> str:
    """Every measure at every round, mean and half of the 95 % interval, in Markdown."""
    parts = []
    for measure, title in MEASURES.items():
        made = curves(results, measure)
        labels = next(iter(made.values())).labels
        lines = [
            f"**{title[0].upper()}{title[1:]}**\n",
            f"| labels | {' | '.join(str(count) for count in labels)} |",
            f"| --- | {'--- | ' * len(labels)}",
        ]
        for name, curve in made.items():
            cells = [f"{m:.3f} ± {h:.3f}" for m, h in zip(curve.mean, curve.half_width, strict=True)]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
