"""TensorBoard's tabs as pictures: what somebody sees who opens them, with nothing clicked.

python scripts/bench/screenshots.py outputs/default/<sweep> pictures --chromium /usr/bin/chromium
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

TABS = ("timeseries", "scalars", "images", "text", "custom_scalars", "hparams", "projector")
VIEWS = {"table": 0, "parallel_coordinates": 1, "scatter_plot": 2}
SECONDS_TO_DRAW, PATIENCE_SECONDS = 6.0, 180.0


def shoot(page: Page, address: str, folder: Path) -> None:
    """Take a picture of each tab, and of each view of HPARAMS."""
    for tab in TABS:
        page.goto(f"{address}#{tab}")
        page.reload()
        page.wait_for_timeout(1000 * SECONDS_TO_DRAW)
        if tab != "hparams":
            page.screenshot(path=folder / f"{tab}.png")
            continue
        for view, place in VIEWS.items():
            page.locator("paper-tab[view-id]").nth(place).click()
            page.wait_for_timeout(1000 * SECONDS_TO_DRAW)
            page.screenshot(path=folder / f"hparams_{view}.png")


def main() -> int:
    """Start a TensorBoard, look at it, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logdir", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chromium", default=None)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(given.logdir), "--port", "0"]
    server = subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=given.chromium)
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            page.set_default_timeout(1000 * PATIENCE_SECONDS)
            shoot(page, address, given.folder)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
