"""Measure what docs/benchmarks.md states: `scripts/benchmark.py NAME [options]`, NAME as the files in benchmarks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_FOLDER = Path(__file__).with_name("benchmarks")
BENCHMARKS = tuple(sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("[!_]*.py")))


def main(argv: list[str]) -> int:
    """Run the named benchmark; it prints a table in Markdown."""
    if not argv or argv[0] not in BENCHMARKS:
        print(f"usage: benchmark.py {{{','.join(BENCHMARKS)}}} [options]", file=sys.stderr)
        return 2
    benchmark = importlib.import_module(f"scripts.benchmarks.{argv[0].replace('-', '_')}")
    return int(benchmark.main(argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
