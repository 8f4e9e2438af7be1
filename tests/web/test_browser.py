"""The page as a person uses it, in Debian's chromium, which reaches no other host."""

import base64
import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from rffr_jax.predict.records import as_sentence
from rffr_jax.web.serve import UPLOADS
from tests import jobs
from tests.faces.movies import face_frames, write_movie
from tests.web.servers import served

SECONDS = 60
VIEWS = ["original", "reconstruction", "residual", "heat"]
STAND_IN = "const said = arguments[0]; window.fetch = async () => Response.json(said);"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here"
    ),
]


@contextlib.contextmanager
def chromium(width: int, downloads: pathlib.Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
        "--force-prefers-reduced-motion",  # a page that scrolls smoothly moves under the mouse
        f"--window-size={width},1600",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
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
    with served(
        folder / "run", *jobs.GIVEN, f"detector={detector}", "frames_per_video=6"
    ) as running:
        yield running


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


@pytest.mark.parametrize("width", [1100, 420])
def test_an_image_has_a_verdict_evidence_and_json(server, faces, tmp_path, width):
    with chromium(width, tmp_path) as browser:
        (answer,) = cards_of(browser, server, faces / "test/rows0.png")
        said = downloaded(browser, answer, tmp_path)
        (file,) = said["files"]
        assert file["path"] == "rows0.png"
        verdict = answer.find_element(By.CSS_SELECTOR, f".verdict .{file['status']}")
        assert verdict.text.lower() == f"{file['status']}."
        assert f"Score {file['score']:.3f}" in answer.text
        assert f"above the threshold {said['files'][0]['threshold']['value']:.3f}." in answer.text
        assert as_sentence(said["note"]) == browser.find_element(By.ID, "note").text
        views = answer.find_elements(By.CSS_SELECTOR, ".views figure")
        assert [one.get_dom_attribute("class") for one in views] == VIEWS
        for name in VIEWS:
            answer.find_element(By.CSS_SELECTOR, f"input[value={name}]").click()
            assert [one.is_displayed() for one in views] == [name == one for one in VIEWS]
            image = answer.find_element(By.CSS_SELECTOR, f".{name} > img")
            assert browser.execute_script("return arguments[0].naturalWidth", image) > 0
        assert nothing_is_cut_off(browser)
        assert not complaints(browser)
    assert list((server.workdir / UPLOADS).iterdir()) == []


def test_a_video_has_a_timeline_whose_peaks_show_the_frame(server, tmp_path):
    path = write_movie(tmp_path / "walk.mp4", face_frames(0, 24, 64))
    with chromium(420, tmp_path) as browser:
        (answer,) = cards_of(browser, server, path)
        (face,) = downloaded(browser, answer, tmp_path)["files"][0]["faces"]
        assert len(answer.find_elements(By.CSS_SELECTOR, ".timeline polyline + circle")) == 1
        links = answer.find_elements(By.CSS_SELECTOR, ".timeline svg a")
        assert len(links) == len(face["peaks"]) > 0
        field = answer.find_element(By.CSS_SELECTOR, ".frames input")
        for frame in face["frames"]:
            assert f"frame {frame['frame']}, face 1: score {frame['score']:.3f}" in (
                field.get_dom_attribute("aria-valuetext") or ""
            )
            field.send_keys(Keys.ARROW_RIGHT)
        points = answer.find_element(By.CSS_SELECTOR, ".timeline polyline")
        assert len((points.get_dom_attribute("points") or "").split()) == len(face["frames"]) == 6
        links[0].send_keys(Keys.ENTER)
        frame = answer.find_element(By.CSS_SELECTOR, "figure:target img")
        assert browser.execute_script("return arguments[0].naturalWidth", frame) > 0
        assert f"frame {face['peaks'][0]['frame']}" in answer.text
        assert nothing_is_cut_off(browser)
        assert not complaints(browser)


def test_a_text_is_refused_on_the_page(server, tmp_path):
    (tmp_path / "<img src=x>.jpg").write_text("no picture")
    with chromium(1100, tmp_path) as browser:
        (answer,) = cards_of(browser, server, tmp_path / "<img src=x>.jpg")
        assert "<img src=x>.jpg" in answer.text
        assert "Not scored" in answer.text
        assert not answer.find_elements(By.TAG_NAME, "button")  # it stays refused
        assert "Not an image or a video of a kind" in answer.text
        assert not browser.find_elements(By.TAG_NAME, "img")
        assert all("415" in line for line in complaints(browser))


def test_files_are_scored_one_after_another_and_a_refused_one_stops_none(server, faces, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    paths = [tmp_path / "text.png", faces / "test/rows0.png", tmp_path / "empty.png"]
    with chromium(1100, tmp_path) as browser:
        cards = cards_of(browser, server, *paths, faces / "test/real0.png")
        for card, said in zip(
            cards, ("Not an image", "Score ", "file is empty", "Score "), strict=True
        ):
            assert said in card.text
        state = browser.find_element(By.ID, "state").text
        assert "2 not scored" in state
        saved = downloaded(browser, cards[3], tmp_path)
        assert [file["path"] for file in saved["files"]] == ["real0.png"]


def test_faces_have_numbered_boxes_on_the_whole_picture(server, faces, tmp_path):
    picture = faces / "test/rows0.png"
    record = {"status": "fake", "score": 0.9, "reason": None, "frames": []}
    boxes = [[4, 8, 24, 32], [30, 8, 50, 32]]
    found = [{"face": number, "box": box, **record} for number, box in enumerate(boxes, 1)]
    file = {**record, "path": picture.name, "source": {"kind": "image"}, "faces": found}
    file |= {"threshold": {"value": 0.5, "doubts": []}, "faces_left_out": 3}
    with chromium(420, tmp_path) as browser:
        browser.get(server.address)
        WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "terms").text)
        browser.execute_script(STAND_IN, {"files": [file]})
        browser.find_element(By.ID, "file").send_keys(str(picture))
        (card,) = finished_cards(browser, 1)
        assert "left out, the smallest: 3." in card.text
        assert [one.text for one in card.find_elements(By.CSS_SELECTOR, ".whole text")] == [
            "1",
            "2",
        ]
        image = card.find_element(By.CSS_SELECTOR, ".whole img")
        for box, link in zip(boxes, card.find_elements(By.CSS_SELECTOR, ".whole a"), strict=True):
            drawn = link.find_element(By.CSS_SELECTOR, "rect:not(.halo)").rect
            scale = image.rect["width"] / browser.execute_script(
                "return arguments[0].naturalWidth", image
            )
            assert drawn["x"] - image.rect["x"] == pytest.approx(scale * box[0], abs=3)
            assert drawn["width"] == pytest.approx(scale * (box[2] - box[0]), abs=5)
        assert nothing_is_cut_off(browser)


def test_a_sample_is_scored(server, tmp_path):
    with chromium(1100, tmp_path) as browser:
        browser.get(server.address)
        samples = browser.find_element(By.ID, "samples")
        WebDriverWait(browser, SECONDS).until(lambda b: "Try a drawn face" in samples.text)
        samples.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(browser, SECONDS).until(lambda b: b.find_elements(By.CLASS_NAME, "card"))
        (card,) = finished_cards(browser, 1)
        assert "drawn-face.png" in card.text
        assert "Score " in card.text
        assert not complaints(browser)


def test_a_printed_report_has_all_evidence_and_no_controls(server, faces, tmp_path):
    with chromium(1100, tmp_path) as browser:
        (card,) = cards_of(browser, server, faces / "test/rows0.png")
        card.find_element(By.CSS_SELECTOR, "input[value=heat]").click()
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        views = card.find_elements(By.CSS_SELECTOR, ".views figure")
        assert [view.is_displayed() for view in views] == [True] * len(VIEWS)
        for name in ("#drop", "#print", "fieldset", ".download"):
            assert not browser.find_element(By.CSS_SELECTOR, name).is_displayed()
        assert "SHA-256" in card.text


def test_kinds_and_limits_are_named_before_the_upload(server, tmp_path):
    with chromium(1100, tmp_path) as browser:
        browser.get(server.address)
        terms = browser.find_element(By.ID, "terms")
        WebDriverWait(browser, SECONDS).until(lambda b: terms.text)
        for said in ("JPEG", "MP4", "200 megabytes", "120 seconds", "at most 8", "6 evenly"):
            assert said in terms.text
        described = browser.find_element(By.ID, "file").get_dom_attribute("aria-describedby")
        assert "terms" in described


def test_the_slider_changes_only_what_is_shown(server, faces, tmp_path):
    move = """
      arguments[0].value = arguments[1];
      arguments[0].dispatchEvent(new Event("input"));
    """
    with chromium(1100, tmp_path) as browser:
        (card,) = cards_of(browser, server, faces / "test/rows0.png")
        field = card.find_element(By.CSS_SELECTOR, "input[type=range]")
        own = card.find_element(By.CLASS_NAME, "verdict").text
        for value, status in ((0, "Fake."), (1, "Real.")):
            browser.execute_script(move, field, value)
            verdicts = [one.text for one in card.find_elements(By.CLASS_NAME, "verdict")]
            assert len(verdicts) == 2
            assert all(one.startswith(status) for one in verdicts)
            assert all(f"threshold {value:.3f}." in one for one in verdicts)
        said = downloaded(browser, card, tmp_path)
        assert own.lower().startswith(said["files"][0]["status"])
        assert "changes only what is shown" in card.text
        card.find_element(By.CSS_SELECTOR, ".threshold button").click()
        assert card.find_element(By.CLASS_NAME, "verdict").text == own


def test_a_file_can_be_sent_again_after_a_passing_refusal(server, faces, tmp_path):
    busy = "window.own = window.fetch; window.fetch = async () => { throw new TypeError(); };"
    with chromium(1100, tmp_path) as browser:
        browser.get(server.address)
        WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "terms").text)
        browser.execute_script(busy)
        browser.find_element(By.ID, "file").send_keys(str(faces / "test/rows0.png"))
        (card,) = finished_cards(browser, 1)
        assert "server does not answer" in card.text
        browser.execute_script("window.fetch = window.own;")
        card.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(browser, SECONDS).until(lambda b: "Score " in card.text)


def test_a_file_that_is_dropped_is_scored(server, faces, tmp_path):
    drop = """
      const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
      const carried = new DataTransfer();
      carried.items.add(new File([bytes], "<b>dropped</b>.png"));
      document.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, cancelable: true }));
    """
    data = base64.b64encode((faces / "test/real0.png").read_bytes()).decode()
    with chromium(1100, tmp_path) as browser:
        browser.get(server.address)
        browser.execute_script(drop, data)
        (answer,) = finished_cards(browser, 1)
        assert "Score " in answer.text
        assert "b>.png" in answer.text
        assert not answer.find_elements(By.TAG_NAME, "b")


@pytest.mark.parametrize("probability", [None, 0.75, "absent"])
def test_a_calibrated_probability_is_shown_where_there_is_one(server, tmp_path, probability):
    record = {"status": "fake", "score": 3.5, "reason": None, "frames": [], "evidence": None}
    record |= {"probability": probability} if probability != "absent" else {}
    file = {
        **record,
        "path": "a.png",
        "source": {"kind": "image"},
        "faces": [{"face": 1, **record}],
    }
    file["threshold"] = {"value": 1.25, "doubts": ["it may not fit"]}
    answer = {"files": [file]}
    with chromium(1100, tmp_path) as browser:
        browser.get(server.address)
        WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "terms").text)
        browser.execute_script(STAND_IN, answer)
        (tmp_path / "a.png").write_bytes(b"a")
        browser.find_element(By.ID, "file").send_keys(str(tmp_path / "a.png"))
        (shown,) = finished_cards(browser, 1)
        assert "Fake. Score 3.500, above the threshold 1.250" in shown.text
        assert "It may not fit." in shown.text
        assert ("(calibrated probability 0.75)." in shown.text) == (probability == 0.75)
