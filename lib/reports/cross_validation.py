"""The cross-validation of a version as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cross_validation_table(metrics: Mapping[str, Any]) -> str:
    """A version's metrics in Markdown, one row for each fold.

    For networks that segment: Dice by class, as in Table 2 of Yu 2026. For the detector of levels: the shares of CTs
    in which L3, and of vertebrae which, were found within 10 mm (Ha 2021), and how far off L3 was on average.
    """
    classes = metrics["classes"]
    segments = "dice" in metrics["pooled"]
    counted, last = (metrics.get("counted", "slices"), "mean") if segments else ("CTs", "L3 off by")
    lines = [
        f"| fold | {counted} | {' | '.join(classes)} | {last} |",
        f"| --- | --- | {'--- | ' * len(classes)}--- |",
    ]
    for name, row in [*((row["fold"], row) for row in metrics["folds"]), ("all", metrics["pooled"])]:
        if segments:
            cells = [_text(row["dice"][each]["mean"], ".3f") for each in classes]
            cells.append(_text(row["mean_dice"]["mean"], ".3f"))
        else:
            cells = [_text(row["scores"][each], ".1%") for each in classes]
            cells.append(_text(row["l3_mm"], ".1f", " mm"))
        lines.append(f"| {name} | {row['cases']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
