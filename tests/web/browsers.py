"""The page in Debian's chromium, which reaches no other host, for the tests."""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 60
STAND_IN = "const said = arguments[0]; window.fetch = async () => Response.json(said);"
NEEDS_CHROMIUM = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here"
)
IN_CHROMIUM = [pytest.mark.slow, NEEDS_CHROMIUM]


@contextlib.contextmanager
def chromium(width: int, downloads: pathlib.Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
        "--force-prefers-reduced-motion",  # a page that scrolls smoothly moves under the mouse
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.set_page_load_timeout(SECONDS)
        browser.set_script_timeout(SECONDS)
        # A window of chromium has at least 500 pixels.
        screen = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        yield browser
    finally:
        browser.quit()


def cards_of(browser, server, *paths):
    """The cards that the page shows of files which are chosen together."""
    browser.get(server.address)
    browser.find_element(By.CSS_SELECTOR, "label[for=file]")
    WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "terms").text)
    browser.find_element(By.ID, "file").send_keys("\n".join(map(str, paths)))
    return finished_cards(browser, len(paths))


def finished_cards(browser, count):
    """The cards, when all are finished."""
    cards = browser.find_elements(By.CLASS_NAME, "card")
    assert len(cards) == count
    said = f"{count} file{'s' if count > 1 else ''}: "
    state = browser.find_element(By.ID, "state")
    WebDriverWait(browser, SECONDS).until(lambda b: state.text.startswith(said))
    assert browser.switch_to.active_element == cards[0]  # a screen reader reads it
    return cards


def card_of_answer(browser, server, path, record):
    """The card that the page shows of a file, if the server answers with this record."""
    browser.get(server.address)
    WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "terms").text)
    browser.execute_script(STAND_IN, {"files": [record]})
    browser.find_element(By.ID, "file").send_keys(str(path))
    (card,) = finished_cards(browser, 1)
    return card


def downloaded(browser, card, downloads):
    """The JSON that a card saves."""
    card.find_element(By.CLASS_NAME, "download").click()
    saved = downloads / "predictions.json"
    WebDriverWait(browser, SECONDS).until(lambda b: saved.exists())
    return json.loads(saved.read_text())


def complaints(browser):
    """What the browser says of errors: an address that is not reached, a policy that is broken."""
    return [line["message"] for line in browser.get_log("browser") if line["level"] != "INFO"]


def nothing_is_cut_off(browser):
    wide = "return document.documentElement.scrollWidth <= window.innerWidth"
    return browser.execute_script(wide)
