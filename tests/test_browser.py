"""The pages of the sample days in Debian's Chromium: they open without errors or requests, and can
be clicked. `DAYBOOK_SCREENSHOTS=docs` writes the pictures of the README again; with `DAYBOOK_LOOK`
every page's picture is left in that folder.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from flows.pages.render import render
from tests.conftest import dbt_settings, new_home, remove_home
from tests.raw_days import SAMPLE

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1200, 900), "phone": (390, 844)}
LINEAGE = "#!/model/model.daybook.group_activity?g_v=1&g_i=%2Bgroup_activity"
IS_DRAWN = "return document.querySelectorAll('canvas')[2]?.width > 300"
INSTALL = "The browser tests need Debian's Chromium: apt-get install chromium chromium-driver"


@pytest.fixture(scope="module")
def site(dbt_folder, prefect_url, forks) -> Iterator[Path]:
    """The pages that three sample days leave, in a home of their own."""
    home = new_home()
    environment = {**os.environ, "DAYBOOK_HOME": str(home), "PREFECT_API_URL": prefect_url}
    run = forks.start(
        *("flows.backfill", "--days", "day1", "day2", "day3"),
        *("--data", SAMPLE),
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


@pytest.fixture(params=SIZES)
def size(request) -> str:
    return request.param


@pytest.fixture
def browser(size, chromium) -> Iterator[Any]:
    """A browser of each size, in which the test causes no error and no request."""
    browser = chromium(size)
    yield browser
    assert problems(browser) == []


def problems(browser: Any) -> list[str]:
    """Messages in the console, and requests for anything but a file of the site."""
    found = [entry["message"] for entry in browser.get_log("browser")]
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                found.append(f"requested {url}")
    return found


def show(browser: Any, page: Path, fragment: str = "") -> None:
    browser.get(page.as_uri() + fragment)


def section(browser: Any, name: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, f"section[aria-labelledby={name}]")


def heading(browser: Any) -> str:
    return browser.find_element(By.TAG_NAME, "h1").text


def page_width(browser: Any) -> int:
    return browser.execute_script("return document.documentElement.scrollWidth")


def background(browser: Any) -> str:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def press_enter(browser: Any, link: Any) -> None:
    browser.execute_script("arguments[0].focus()", link)
    browser.switch_to.active_element.send_keys(Keys.ENTER)


def test_every_page_opens_without_errors_or_requests(site, size, browser):
    pages = sorted(site.rglob("*.html"))
    assert {"index.html", "run.html", "now.html", "lineage.html"} <= {page.name for page in pages}
    assert {"stg_agents.html", "agents.html", "unused_access.html"} <= {page.name for page in pages}
    assert len([*site.glob("runs/*.html")]) == len([*site.glob("days/*.html")]) == 3
    for page in pages:
        show(browser, page)
        assert browser.find_element(By.TAG_NAME, "body").text.strip(), page
        assert problems(browser) == [], page
        if "checks" not in page.parts and page.name != "lineage.html":
            assert page_width(browser) <= SIZES[size][0], page
            assert page.stat().st_size < 300_000, page


def test_the_run_page_can_be_read_and_clicked(site, browser):
    show(browser, site / "run.html")
    assert heading(browser) == "day3 is done"
    browser.find_element(By.LINK_TEXT, "Quarantine").click()
    assert browser.current_url.endswith("#quarantine")
    assert "txn-3038 · transactions.csv row 42" in section(browser, "quarantine").text


def test_the_groups_can_be_opened(site, browser):
    show(browser, site / "now.html")
    tree = section(browser, "groups")
    for name in ("Chain 1", "Chain 2", "Chain 3"):  # a chain of groups opens link by link
        (summary,) = [s for s in tree.find_elements(By.TAG_NAME, "summary") if name in s.text]
        summary.click()
    assert "Chain 4" in tree.text


def test_on_a_suites_page_nothing_is_covered_and_every_button_works(site, browser):
    show(browser, site / "checks" / "groups.html")
    above = browser.find_element(By.CSS_SELECTOR, ".breadcrumb").rect
    assert above["y"] + above["height"] <= browser.find_element(By.TAG_NAME, "h4").rect["y"]
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "No group is its own ancestor" in text and "Success Percent" in text
    assert "Failed Only" not in text and "Show more info" not in text


def test_the_calendar_leads_by_keyboard_to_a_day_its_run_and_back(site, browser):
    show(browser, site / "index.html")
    days = section(browser, "calendar").find_elements(By.CSS_SELECTOR, ".days a")
    labels = [day.get_attribute("aria-label") for day in days]
    assert labels == ["day3: done", "day2: done", "day1: done"]
    press_enter(browser, days[1])
    assert heading(browser) == "day2: done"
    section(browser, "runs").find_element(By.TAG_NAME, "a").click()
    assert heading(browser) == "day2 is done"
    assert "New since day1" in browser.find_element(By.CSS_SELECTOR, ".verdict").text
    browser.find_element(By.LINK_TEXT, "All days, runs and tables").click()
    assert browser.current_url.endswith("index.html")


def test_a_tables_page_leads_along_its_lineage_by_keyboard(site, browser):
    show(browser, site / "run.html")
    section(browser, "rows").find_element(By.LINK_TEXT, "stg_transactions").click()
    assert heading(browser) == "bronze.stg_transactions"
    assert "txn-3038 · transactions.csv row 42" in section(browser, "quarantine").text
    lineage = section(browser, "lineage")
    press_enter(browser, lineage.find_element(By.LINK_TEXT, "application_spend_monthly"))
    assert heading(browser) == "marts.application_spend_monthly"
    assert "stg_transactions" in section(browser, "lineage").text


def test_a_year_of_days_fits_a_phone(tmp_path, chromium):
    first = date(2025, 1, 1)
    states = ["missing", "failed", "running", "re-run", *["done"] * 60]
    days = [
        {"day": day, "month": day.replace(day=1), "state": states[n % 64], "is_late": n % 50 == 9}
        for n, day in enumerate(first + timedelta(n) for n in range(400))
    ]
    page = tmp_path / "index.html"
    page.write_text(index_of([], days), encoding="utf-8")
    assert page.stat().st_size < 300_000
    browser = chromium("phone")
    show(browser, page)
    assert page_width(browser) <= 390
    cells = browser.find_elements(By.CSS_SELECTOR, ".days li")
    assert len(cells) == 400 and min(cell.size["width"] for cell in cells) >= 40
    assert not [cell.text for cell in cells if cell.size["height"] > 60], "a line each"
    if folder := os.environ.get("DAYBOOK_LOOK"):
        browser.save_screenshot(f"{folder}/year.png")


def index_of(runs: list[dict[str, Any]], days: list[dict[str, Any]]) -> str:
    values = {"up": "", "tables": {}, "is_there": lambda _: True}
    return render("index.html.j2", "dated", runs=runs, days=days, **values)


def test_on_a_phone_the_reasons_of_failed_runs_can_be_read(tmp_path, chromium):
    error = "stg_agents: it is required, and /srv/exports/daily/2026-01-05 has no agents/."
    run = {"day": date(2026, 1, 5), "day_name": "2026-01-05", "status": "failure"}
    run |= {"started_at": None, "duration_seconds": 12.5, "error_message": error}
    run["flow_run_id"] = "run"
    page = tmp_path / "index.html"
    page.write_text(index_of([run] * 3, []), encoding="utf-8")
    browser = chromium("phone")
    show(browser, page)
    assert page_width(browser) <= 390
    for cell in browser.find_elements(By.CSS_SELECTOR, "td.keys"):
        assert cell.size["width"] > 250
        assert cell.size["height"] < 90, "a few lines"
    if folder := os.environ.get("DAYBOOK_LOOK"):
        browser.save_screenshot(f"{folder}/index.png")


def test_every_chart_has_a_name_and_every_link_a_page(site, chromium):
    browser = chromium()
    show(browser, site / "run.html")
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg[role=img]")) > 6
    pages = [*site.glob("runs/*.html"), *site.glob("days/*.html"), *site.glob("tables/*.html")]
    nameless = "svg[role=img]:not([aria-label]), svg:not([role=img]):not([aria-hidden=true])"
    for page in ("index.html", "run.html", "now.html", "checks/index.html", *pages):
        show(browser, site / page)
        if page != "checks/index.html":
            assert not browser.find_elements(By.CSS_SELECTOR, f"{nameless}, th:not([scope])"), page
        for link in browser.find_elements(By.TAG_NAME, "a"):
            target = link.get_attribute("href")
            if "/runs/flow-run/" in target:  # the run's page in Prefect
                assert page == "run.html" or Path(page).stem == Path(target).name
                assert link.get_attribute("rel") == "noreferrer"
                continue
            assert Path(target.removeprefix("file://").partition("#")[0]).exists(), target


def test_paper_is_white_whatever_the_screen(site, chromium):
    browser = chromium(dark=True)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    show(browser, site / "run.html")
    assert background(browser) == "rgb(255, 255, 255)"
    assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()


def test_lineage_opens_on_group_activity(site, size, browser):
    show(browser, site / "run.html")
    browser.find_element(By.PARTIAL_LINK_TEXT, "Lineage").click()
    WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.TAG_NAME, "canvas"))
    assert "model.daybook.group_activity" in browser.current_url
    assert "Lineage Graph" in browser.find_element(By.TAG_NAME, "body").text
    redraw = browser.find_element(By.ID, "submit-graph-selection")
    if size == "phone":  # where it is below the screen
        browser.execute_script("arguments[0].click()", redraw)
    else:
        redraw.click()
    assert browser.find_elements(By.TAG_NAME, "canvas")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pictures_of_the_run_page(dark, site, chromium, tmp_path):
    folder = Path(os.environ.get("DAYBOOK_SCREENSHOTS") or tmp_path)
    for size in SIZES:
        browser = chromium(size, dark=dark)
        show(browser, site / "run.html")
        assert (background(browser) == "rgb(13, 17, 23)") == dark
        picture = folder / f"run-page-{size}{'-dark' * dark}.png"
        assert browser.save_screenshot(str(picture)) and picture.stat().st_size > 10_000
        if look := os.environ.get("DAYBOOK_LOOK"):
            for page in ("index", "now", "days/day2", "tables/stg_transactions", "run"):
                show(browser, site / f"{page}.html")
                tall = browser.execute_script("return document.documentElement.scrollHeight")
                clip = {"x": 0, "y": 0, "width": SIZES[size][0], "height": tall, "scale": 1}
                shot = {"captureBeyondViewport": True, "clip": clip}
                taken = browser.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
                name = f"{page.replace('/', '-')}-{size}{'-dark' * dark}.png"
                Path(look, name).write_bytes(base64.b64decode(taken))
    if not dark:
        browser = chromium()
        show(browser, site / "lineage.html", LINEAGE)
        WebDriverWait(browser, 60).until(lambda b: b.execute_script(IS_DRAWN))
        assert browser.save_screenshot(str(folder / "lineage.png"))
