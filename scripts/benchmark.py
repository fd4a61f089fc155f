"""Measure what docs/benchmarks.md states: `scripts/benchmark.py {phantoms,server,store} [options]`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmarks import phantoms, server, store

BENCHMARKS = {"phantoms": phantoms.main, "server": server.main, "store": store.main}


def main(argv: list[str]) -> int:
    """Run the named benchmark; it prints a table in Markdown."""
    if not argv or argv[0] not in BENCHMARKS:
        print(f"usage: benchmark.py {{{','.join(BENCHMARKS)}}} [options]", file=sys.stderr)
        return 2
    return BENCHMARKS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
