"""The pages of the sample days in Debian's Chromium: no errors, no requests, and it can be clicked.

`DAYBOOK_SCREENSHOTS=docs` has the pictures of the README written again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from flows.pages.write import _render
from loaders.sources import PROJECT
from tests.conftest import dbt_settings, new_home, remove_home
from tests.forks import Forks

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1200, 900), "phone": (390, 844)}
LINEAGE = "#!/model/model.daybook.group_activity?g_v=1&g_i=%2Bgroup_activity"
IS_DRAWN = "return document.querySelectorAll('canvas')[2]?.width > 300"
INSTALL = "The browser tests need Debian's Chromium: apt-get install chromium chromium-driver"


@pytest.fixture(scope="module")
def site(dbt_folder: Path, prefect_url: str, forks: Forks) -> Iterator[Path]:
    """The pages as three sample days leave them, in a home of their own."""
    home = new_home()
    environment = {**os.environ, "DAYBOOK_HOME": str(home), "PREFECT_API_URL": prefect_url}
    run = forks.start(
        *("flows.backfill", "--days", "day1", "day2", "day3"),
        *("--data", PROJECT / "tests" / "sample"),
        env=environment | dbt_settings(dbt_folder),
    )
    assert run.wait(300) == 0, run.stderr
    yield home / "site"
    remove_home(home)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[..., Any]]:
    """`chromium("phone", dark=True)` opens a browser of that size."""
    opened: list[Any] = []

    def start(size: str = "desktop", *, dark: bool = False) -> Any:
        options = webdriver.ChromeOptions()
        binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
        assert binary and driver, INSTALL
        options.binary_location = binary
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        browser = webdriver.Chrome(options=options, service=Service(driver))
        opened.append(browser)
        width, height = SIZES[size]
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        return browser

    yield start
    for browser in opened:
        browser.quit()


def complaints(browser: Any) -> list[str]:
    """What the console said, and every request that is not for a file of the site."""
    said = [entry["message"] for entry in browser.get_log("browser")]
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                said.append(f"asked for {url}")
    return said


def see(browser: Any, page: Path, fragment: str = "") -> None:
    browser.get(page.as_uri() + fragment)


def section(browser: Any, name: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, f"section[aria-labelledby={name}]")


@pytest.mark.parametrize("size", SIZES)
def test_every_page_opens_without_errors_or_requests(
    size: str, site: Path, chromium: Callable[..., Any]
) -> None:
    browser = chromium(size)
    pages = sorted(site.rglob("*.html"))
    assert {"index.html", "run.html", "lineage.html"} <= {page.name for page in pages}
    for page in pages:
        see(browser, page)
        assert browser.find_element(By.TAG_NAME, "body").text.strip(), page
        assert complaints(browser) == [], page
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        if page.name in ("index.html", "run.html"):
            assert wide <= SIZES[size][0], f"{page.name} is {wide} wide"


@pytest.mark.parametrize("size", SIZES)
def test_the_run_page_can_be_read_and_clicked(
    size: str, site: Path, chromium: Callable[..., Any]
) -> None:
    browser = chromium(size)
    see(browser, site / "run.html")
    assert browser.find_element(By.TAG_NAME, "h1").text == "day3 is done"
    # the tree: a chain of groups opens link by link
    tree = section(browser, "groups")
    for name in ("Chain 1", "Chain 2", "Chain 3"):
        (summary,) = [s for s in tree.find_elements(By.TAG_NAME, "summary") if name in s.text]
        summary.click()
    assert "Chain 4" in tree.text
    # the calendar, and the table behind it
    days = section(browser, "calendar")
    assert len(days.find_elements(By.CSS_SELECTOR, "figure rect")) == 3
    days.find_element(By.TAG_NAME, "summary").click()
    assert "day3 done" in days.text
    browser.find_element(By.LINK_TEXT, "Quarantine").click()
    assert browser.current_url.endswith("#quarantine")
    assert "txn-3038 · transactions.csv row 42" in section(browser, "quarantine").text
    assert complaints(browser) == []


def test_on_a_phone_the_reasons_of_failed_runs_can_be_read(
    tmp_path: Path, chromium: Callable[..., Any]
) -> None:
    error = "stg_agents: it is required, and /srv/exports/daily/2026-01-05 has no agents/."
    run = {"day": date(2026, 1, 5), "asked_day": None, "status": "failure"}
    run |= {"started_at": None, "duration_seconds": 12.5, "error_message": error}
    beside = {"has_lineage": False, "has_checks": False}
    page = tmp_path / "index.html"
    page.write_text(_render("index.html.j2", False, runs=[run] * 3, **beside), encoding="utf-8")
    browser = chromium("phone")
    see(browser, page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    for cell in browser.find_elements(By.CSS_SELECTOR, "td.keys"):
        assert cell.size["width"] > 250
        assert cell.size["height"] < 90, "a few lines"
    if folder := os.environ.get("DAYBOOK_LOOK"):
        browser.save_screenshot(f"{folder}/index.png")


def test_every_chart_has_a_name_and_every_link_a_page(
    site: Path, chromium: Callable[..., Any]
) -> None:
    browser = chromium()
    see(browser, site / "run.html")
    drawn = browser.find_elements(By.CSS_SELECTOR, "svg[role=img]")
    assert len(drawn) > 8
    assert all(svg.get_attribute("aria-label") for svg in drawn)
    assert not browser.find_elements(By.CSS_SELECTOR, "svg:not([role=img]):not([aria-hidden=true])")
    assert not browser.find_elements(By.CSS_SELECTOR, "th:not([scope])")
    for page in ("index.html", "run.html", "checks/index.html"):
        see(browser, site / page)
        for link in browser.find_elements(By.TAG_NAME, "a"):
            place = link.get_attribute("href").removeprefix("file://").partition("#")[0]
            assert Path(place).exists(), place


def test_paper_is_white_whatever_the_screen(site: Path, chromium: Callable[..., Any]) -> None:
    browser = chromium(dark=True)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    see(browser, site / "run.html")
    painted = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert painted == "rgb(255, 255, 255)"
    assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()


@pytest.mark.parametrize("size", SIZES)
def test_lineage_opens_on_group_activity(
    size: str, site: Path, chromium: Callable[..., Any]
) -> None:
    browser = chromium(size)
    see(browser, site / "run.html")
    browser.find_element(By.PARTIAL_LINK_TEXT, "Lineage").click()
    waiting = WebDriverWait(browser, 60)
    waiting.until(lambda b: b.find_elements(By.TAG_NAME, "canvas"))
    assert "model.daybook.group_activity" in browser.current_url
    assert "Lineage Graph" in browser.find_element(By.TAG_NAME, "body").text
    redraw = browser.find_element(By.ID, "submit-graph-selection")
    if size == "phone":  # below the edge of a screen so small
        browser.execute_script("arguments[0].click()", redraw)
    else:
        redraw.click()
    assert browser.find_elements(By.TAG_NAME, "canvas")
    assert complaints(browser) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pictures_of_the_run_page(
    dark: bool, site: Path, chromium: Callable[..., Any], tmp_path: Path
) -> None:
    folder = Path(os.environ.get("DAYBOOK_SCREENSHOTS") or tmp_path)
    for size in SIZES:
        browser = chromium(size, dark=dark)
        see(browser, site / "run.html")
        painted = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (painted == "rgb(13, 17, 23)") == dark
        picture = folder / f"run-page-{size}{'-dark' * dark}.png"
        assert browser.save_screenshot(str(picture)) and picture.stat().st_size > 10_000
    if not dark:
        browser = chromium()
        see(browser, site / "lineage.html", LINEAGE)
        WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.TAG_NAME, "canvas"))
        WebDriverWait(browser, 60).until(lambda b: b.execute_script(IS_DRAWN))
        assert browser.save_screenshot(str(folder / "lineage.png"))
