"""The page in headless Chromium: search, click through a history, sizes, reasons, a phone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patience
from tests.serve.conftest import write_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own process, with two sizes, a picture and a token."""
    folder = tmp_path_factory.mktemp("page")
    write_model(folder / "shop" / "8", 8)
    write_model(folder / "shop" / "16", 16)
    (folder / "pictures").mkdir()
    # A GIF of one pixel.
    (folder / "pictures" / "i1.gif").write_bytes(
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
        b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    )
    words = [sys.executable, str(ROOT / "run_recbole.py"), "serve", "--port=0", "--num_threads=1"]
    words += [f"--model_dir={folder / 'shop'}", f"--pictures={folder / 'pictures'}"]
    environment = {**os.environ, "FMRLREC_TOKEN": "sesame"}
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        yield next(json.loads(line)["url"] for line in lines if '"serving"' in line)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-dev-shm-usage"],
            timeout=1000 * patience(60),
        )
        yield opened
        opened.close()


@pytest.fixture(params=[(1200, 900), (360, 740)], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """The page behind its token; fails where it reached for another place or the script failed."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(1000 * patience(30))
    opened = context.new_page()
    elsewhere: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda asked: elsewhere.append(asked.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(address)
    opened.fill("#token", "sesame")
    opened.click("#door button")
    opened.wait_for_selector("#list li")
    yield opened
    assert all(url.startswith((address, "blob:", "data:")) for url in elsewhere)
    assert wrong == []
    context.close()


def listed(page: Any) -> list[str]:
    """The ids of the list, once the last answer is there."""
    playwright.expect(page.locator("#state")).to_have_text("", timeout=1000 * patience(30))
    ids: list[str] = page.eval_on_selector_all(
        "#list .item", "all => all.map(one => one.dataset.item)"
    )
    return ids


def test_the_list_follows_every_click_and_every_size(page: Any) -> None:
    first = listed(page)
    assert len(first) == 10
    page.fill("#search", "title 1")
    page.click("#found .item[data-item=i1]")
    second = listed(page)
    assert second != first and "i1" not in second
    assert page.locator("#list .why").first.inner_text() == "because of Title 1"
    page.wait_for_selector("#history img")
    page.click("#list .item >> nth=0")
    third = listed(page)
    assert third != second and second[0] not in third
    history = page.eval_on_selector_all("#history .item", "all => all.map(one => one.dataset.item)")
    assert history == [second[0], "i1"]
    page.click("#sizes button:has-text('8')")
    assert listed(page) != third
    page.click("#sizes button:has-text('16')")
    assert listed(page) == third
    page.click("#history .item >> nth=0")
    assert listed(page) == second
    page.click("#clear")
    assert listed(page) == first
    page.select_option("#k", "5")
    assert listed(page) == first[:5]
    # Nothing is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if os.environ.get("PAGE_PICTURES"):
        page.click("#list .item >> nth=0")
        listed(page)
        width = page.viewport_size["width"]
        page.screenshot(path=f"{os.environ['PAGE_PICTURES']}/page-{width}.png", full_page=True)
