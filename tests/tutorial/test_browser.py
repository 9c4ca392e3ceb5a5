"""A newcomer's walk: start ./dev/tutorial, open the first lesson, read its page, press Trigger, see it succeed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.docs.shell import commands_of

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "tutorial"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIRST = "51_01_01_deferrable_execution_intro"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def browser_path() -> str:
    """Return the machine's Chromium; skip, loudly, where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = f"NO BROWSER: the UI of the tutorial is not looked at; install one of {', '.join(BROWSERS)}"
        print(f"\n{message}", flush=True)
        pytest.skip(message)  # a machine without a browser runs the rest
    return found


@pytest.fixture
def first_lesson(browser_path: str) -> Iterator[str]:
    """Run `./dev/tutorial` as a newcomer does; yield the address of the first lesson that it prints; press Ctrl-C."""
    (command,) = commands_of("tests/tutorial/test_browser.py")
    process = subprocess.Popen(command.split(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        yield next(found[1] for line in lines if (found := re.match(r"First lesson: (\S+)", line)))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_walk(first_lesson: str, browser_path: str) -> None:
    """The page of the first lesson is one click away, and so is its run, which ends as the page says."""
    from playwright.sync_api import expect, sync_playwright

    assert first_lesson.endswith(f"/dags/{FIRST}")
    base = first_lesson.removesuffix(f"/dags/{FIRST}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(30_000)
            page.goto(first_lesson)

            page.get_by_role("button", name="Dag Docs").click()
            docs = page.get_by_role("dialog")
            expect(docs.get_by_role("heading", name="51.1.1 What is deferrable execution")).to_be_visible()
            expect(docs.get_by_role("heading", name="You will see")).to_be_visible()
            expect(docs.get_by_role("listitem")).to_have_count(4)
            _keep(page, "1-page-of-the-lesson")
            page.keyboard.press("Escape")

            page.get_by_role("button", name="Trigger").click()
            page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
            run_id = _newest_run(page, base)
            page.goto(f"{first_lesson}/runs/{run_id}")
            expect(page.get_by_text("Success").first).to_be_visible(timeout=120_000)
            _keep(page, "2-its-run")

            page.goto(f"{first_lesson}/runs/{run_id}/tasks/report")
            for point in range(1, 5):
                expect(page.get_by_text(re.compile(rf"\({point}\) ")).first).to_be_visible()
            _keep(page, "3-the-log-of-its-report")
        finally:
            browser.close()


def _newest_run(page: Any, base: str) -> str:
    """Return the run that the button has started."""
    for _ in range(50):
        runs = page.request.get(f"{base}/api/v2/dags/{FIRST}/dagRuns").json()["dag_runs"]
        if runs:
            return quote(str(runs[0]["dag_run_id"]))
        page.wait_for_timeout(200)
    raise AssertionError("the button has started no run")


def _keep(page: Any, name: str) -> None:
    """Keep a picture of the page in build/tutorial/."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")
