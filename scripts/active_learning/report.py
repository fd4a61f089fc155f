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
_RESAMPLES = 2000
_BEGIN, _END = "<!-- what the study wrote: begin -->", "<!-- what the study wrote: end -->"


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

    def labels_to_stay_above(self, value: float) -> float | None:
        """The number of labels from which on the mean is never again below a value, on a line between rounds.

        A curve of worst cases is rough: where it first touches a value says more about its noise.

        Returns:
            The number, or ``None`` where the mean ends below the value.
        """
        mean, labels = self.mean, self.labels
        below = np.flatnonzero(mean < value)
        if not below.size:
            return float(labels[0])
        i = int(below[-1])
        if i == len(labels) - 1:
            return None
        share = (value - mean[i]) / (mean[i + 1] - mean[i])
        return float(labels[i] + share * (labels[i + 1] - labels[i]))

    def of(self, repetitions: npt.NDArray[np.int_]) -> Curve:
        """The same of some repetitions, each as often as it is named."""
        return Curve(self.labels, self.values[repetitions])


def curves(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], measure: str) -> dict[str, Curve]:
    """Of every strategy, over the rounds that all of its repetitions have finished."""
    made = {}
    for strategy, repetitions in results.items():
        rounds = min(len(each) for each in repetitions)
        values = np.array([[each[i][measure] for i in range(rounds)] for each in repetitions])
        made[strategy] = Curve(np.array([repetitions[0][i]["labels"] for i in range(rounds)]), values)
    return made


def verdict(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> list[str]:
    """What the study says about the bars, in sentences; nothing where a strategy that it needs is missing."""
    if not {"random", "disagreement"} <= set(results):
        return []
    worst, mean = curves(results, "worst_dice"), curves(results, "mean_dice")
    ours, chance = worst["disagreement"], worst["random"]
    target, last = float(chance.mean[-1]), int(chance.labels[-1])
    needed = ours.labels_to_stay_above(target)
    met = needed is not None and needed <= _BAR_LABELS
    said = [
        f"Worst-case Dice of `random` at {last} labels: {target:.3f}. `disagreement` is there to stay with "
        f"{_labels(needed)} (bar: {_BAR_LABELS}): {'reached' if met else 'not reached'}; {_range(ours, chance)}. "
        f"`random` itself is there to stay with {_labels(chance.labels_to_stay_above(target))}.",
        f"Worst-case Dice over all rounds against `random`: {_difference(ours, chance)}; at {last} labels: "
        f"{_difference(ours, chance, only_last=True)}.",
    ]
    for name, curve in mean.items():
        if name != "disagreement":
            said.append(
                f"Mean Dice over all rounds against `{name}`: {_difference(mean['disagreement'], curve)}; at {last} "
                f"labels: {_difference(mean['disagreement'], curve, only_last=True)}."
            )
    return said


def _labels(number: float | None) -> str:
    return "more than there are" if number is None else f"{number:.1f}"


def _range(ours: Curve, chance: Curve) -> str:
    """How far the number of labels varies if other repetitions had been drawn (percentile bootstrap, paired)."""
    rng = np.random.default_rng(0)
    needed = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(len(ours.values), size=len(ours.values))
        found = ours.of(drawn).labels_to_stay_above(float(chance.of(drawn).mean[-1]))
        needed.append(np.inf if found is None else found)
    low, high = np.quantile(needed, [0.025, 0.975], method="nearest")
    return f"95 % interval {_labels(low)} to {_labels(None if np.isinf(high) else float(high))}"


def _difference(one: Curve, other: Curve, *, only_last: bool = False) -> str:
    """Of repetitions that begin with the same slices, with the 95 % interval of Student's t."""
    difference = (one.values - other.values)[:, -1 if only_last else slice(None)].reshape(len(one.values), -1).mean(1)
    interval = stats.ttest_1samp(difference, 0.0).confidence_interval(0.95)
    where = "below it" if interval.high < 0 else "above it" if interval.low > 0 else "no difference beyond the interval"
    return f"{difference.mean():+.4f} (95 % interval {interval.low:+.4f} to {interval.high:+.4f}), {where}"


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


def put_into(page: Path, text: str) -> None:
    """Put what came out between the marks of a page; what people wrote around them stays.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} has no line {_BEGIN} or {_END}.")
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")
