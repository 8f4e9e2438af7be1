"""The page as a person uses it, in Debian's chromium, which reaches no other host."""

import base64
import contextlib
import json
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.faces.movies import face_frames, write_movie
from tests.web.servers import served

ANY = ("faces=given", "darkest=0", "least_sharpness=0")
SECONDS = 60
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here"
    ),
]


@contextlib.contextmanager
def chromium(width: int) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
        f"--window-size={width},1600",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.set_page_load_timeout(SECONDS)
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def server(tmp_path_factory, detector):
    folder = tmp_path_factory.mktemp("web")
    with served(folder / "run", *ANY, f"detector={detector}", "frames_per_video=6") as running:
        yield running


def shown_of(browser, server, path):
    """What the page shows of a file."""
    browser.get(server.address)
    wait = WebDriverWait(browser, SECONDS)
    field = wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "#file input[type=file]"))
    field.send_keys(str(path))
    return wait.until(lambda b: b.find_element(By.ID, "answer"))


def uploaded(browser, server, path):
    """What the page shows of a file, and the JSON that it offers."""
    answer = shown_of(browser, server, path)
    address = answer.find_element(By.ID, "download").get_attribute("href")
    return answer, json.loads(base64.b64decode(address.partition("base64,")[2]))


def outside(browser):
    return [line["message"] for line in browser.get_log("browser") if "NOT_RESOLVED" in str(line)]


def test_an_image_has_a_verdict_evidence_and_json(server, faces):
    with chromium(1100) as browser:
        answer, said = uploaded(browser, server, faces / "test/rows0.png")
        (file,) = said["files"]
        assert file["path"] == "rows0.png"
        assert f"Score {file['score']:.3f}" in answer.text
        assert "above the threshold 0.500." in answer.text
        evidence = answer.find_element(By.CSS_SELECTOR, "img.evidence")
        assert browser.execute_script("return arguments[0].naturalWidth", evidence) > 500
        assert not outside(browser)
    (folder,) = server.workdir.glob("uploads-*")
    kept = {entry.name for entry in (folder / "page").iterdir()}
    assert kept <= {"vibe_edit_history"}


def test_a_video_has_a_timeline_whose_peaks_show_the_frame(server, tmp_path):
    path = write_movie(tmp_path / "walk.mp4", face_frames(0, 24, 64))
    with chromium(420) as browser:
        answer, said = uploaded(browser, server, path)
        peaks = [peak for face in said["files"][0]["faces"] for peak in face["peaks"]]
        links = answer.find_elements(By.CSS_SELECTOR, ".timeline svg a")
        assert len(links) == len(peaks) > 0
        name = (links[0].get_dom_attribute("href") or "").partition("#")[2]
        frame = answer.find_element(By.CSS_SELECTOR, f"figure[id='{name}'] img")
        assert browser.execute_script("return arguments[0].naturalWidth", frame) > 0
        assert f"frame {peaks[0]['frame']}" in answer.text
        assert not outside(browser)


def test_a_text_is_refused_on_the_page(server, tmp_path):
    (tmp_path / "photo.jpg").write_text("no picture")
    with chromium(1100) as browser:
        answer = shown_of(browser, server, tmp_path / "photo.jpg")
        assert "not an image or a video" in answer.text
