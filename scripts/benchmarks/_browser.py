"""A real Chromium that opens OHIF, for benchmarks and for tests of the whole way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_OPTIONS = (
    "--no-sandbox",  # it runs as root in continuous integration
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",  # WebGL by software
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
LIMIT_MS = 120_000


def chromium() -> str | None:
    """The browser's program, or ``None`` where none is installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def browsing(*, width: int = 1400, height: int = 900) -> Iterator[Page]:
    """Open a page in a new Chromium with a profile of its own; the browser ends with it.

    Raises:
        RuntimeError: no Chromium is installed.
    """
    program = chromium()
    if program is None:
        raise RuntimeError("There is no Chromium here: install the package chromium.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            Path(profile) / "profile",
            executable_path=program,
            headless=True,
            args=list(_OPTIONS),
            viewport={"width": width, "height": height},
        )
        try:
            context.set_default_timeout(LIMIT_MS)
            yield context.pages[0] if context.pages else context.new_page()
        finally:
            context.close()


# OHIF puts `cornerstone` on the window once it has loaded; events of an image say that it is on the screen.
_WATCH = """
(() => {
  window.watched = {opened: performance.timeOrigin, frames: new Set()};
  const tell = () => {
    if (!window.cornerstone) { setTimeout(tell, 5); return; }
    const {eventTarget, Enums} = window.cornerstone;
    const rendered = () => {
      const engines = window.cornerstone.getRenderingEngines() || [];
      const shown = engines.flatMap(engine => engine.getViewports()).some(viewport => {
        const canvas = viewport.getCanvas && viewport.getCanvas();
        if (!canvas || !canvas.width) return false;
        const {data} = canvas.getContext('2d').getImageData(canvas.width / 2 - 50, canvas.height / 2 - 50, 100, 100);
        return data.some((value, index) => index % 4 < 3 && value > 40);
      });
      if (shown) { window.watched.first = Date.now() / 1000; return; }
      setTimeout(rendered, 30);
    };
    rendered();
    eventTarget.addEventListener(Enums.Events.IMAGE_LOADED, ({detail}) => {
      window.watched.frames.add(detail.image.imageId);
      window.watched.last = Date.now() / 1000;
    });
  };
  tell();
})();
"""


def watch_images(page: Page) -> None:
    """Note from the next page on when an image is first on the screen, and which frames have been loaded."""
    page.add_init_script(_WATCH)


def wait_for_first_image(page: Page) -> float:
    """Wait until an image is on the screen; gives the time of that (seconds since 1970)."""
    page.wait_for_function("window.watched && window.watched.first")
    return float(page.evaluate("window.watched.first"))


def wait_for_frames(page: Page, count: int) -> float:
    """Wait until so many frames have been loaded; gives the time of the last one."""
    page.wait_for_function(f"window.watched.frames.size >= {count}")
    return float(page.evaluate("window.watched.last"))
