"""The page as a person uses it."""

import base64
import json

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from rffr_jax.predict.inputs import UNKNOWN_KIND
from rffr_jax.predict.records import as_sentence
from rffr_jax.web.serve import UPLOADS
from tests.faces.movies import face_frames, write_movie
from tests.web.browsers import (
    IN_CHROMIUM,
    SECONDS,
    card_of_answer,
    cards_of,
    chromium,
    complaints,
    downloaded,
    finished_cards,
    nothing_is_cut_off,
)

VIEWS = ["original", "reconstruction", "residual", "heat"]
pytestmark = IN_CHROMIUM


@pytest.mark.parametrize("width", [1100, 400])
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
    with chromium(400, tmp_path) as browser:
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
    with chromium(400, tmp_path) as browser:
        card = card_of_answer(browser, server, picture, file)
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


def test_the_faces_of_a_videos_frames_have_numbered_boxes(server, tmp_path):
    """The slider shows the frames that were judged, and no others."""
    brightness = [20 + 10 * frame for frame in range(20)]
    pictures = [np.full((96, 160, 3), level, np.uint8) for level in brightness]
    path = write_movie(tmp_path / "grey.mp4", pictures, fps=30)
    times = {frame: {"frame": frame, "time": round(frame / 30, 3)} for frame in (1, 7, 10, 19)}
    boxes = {frame: [4.0 * frame, 8.0, 4.0 * frame + 40, 60.0] for frame in times}
    judged = [times[frame] | {"score": 0.9, "box": boxes[frame]} for frame in times]
    unknown = [times[7] | {"box": [100.0, 10.0, 130.0, 50.0], "reason": "too dark"}]
    fake = {"status": "fake", "score": 0.9, "reason": None}
    common = {"box": boxes[7], "peaks": [], "peak": times[7]}
    first = {"face": 1, **fake, **common, "frames": judged, "not_judged": []}
    second = {"face": 2, "status": "unknown", "score": None, "reason": "too dark"}
    second |= {"box": unknown[0]["box"], "frames": [], "not_judged": unknown}
    file = {**fake, "path": path.name, "source": {"kind": "video"}, "faces": [first, second]}
    file |= {"threshold": {"value": 0.5, "doubts": []}, "faces_left_out": 0}
    level = """
      const done = arguments[arguments.length - 1], video = document.querySelector(".whole video");
      const paper = document.createElement("canvas").getContext("2d");
      const wait = setInterval(() => {
        if (!document.querySelector(".whole rect")) return;
        clearInterval(wait);
        paper.drawImage(video, 0, 0);
        done(paper.getImageData(80, 48, 1, 1).data[0]);
      }, 20);
    """
    with chromium(400, tmp_path) as browser:
        card = card_of_answer(browser, server, path, file)
        field = card.find_element(By.CSS_SELECTOR, ".frames input")
        for frame in times:
            assert browser.execute_async_script(level) == pytest.approx(brightness[frame], abs=3)
            numbers = [one.text for one in card.find_elements(By.CSS_SELECTOR, ".whole text")]
            assert numbers == (["1", "2"] if frame == 7 else ["1"])
            video = card.find_element(By.TAG_NAME, "video").rect
            drawn = card.find_element(By.CSS_SELECTOR, ".whole a rect:not(.halo)").rect
            scale = video["width"] / 160
            assert drawn["x"] - video["x"] == pytest.approx(scale * boxes[frame][0], abs=3)
            assert drawn["width"] == pytest.approx(scale * 40, abs=5)
            field.send_keys(Keys.ARROW_RIGHT)
        assert nothing_is_cut_off(browser)
        assert not complaints(browser)


def test_a_video_that_the_browser_does_not_play_has_scores_without_frames(server, tmp_path):
    (tmp_path / "old.avi").write_bytes(b"RIFF")
    frames = [{"frame": n, "time": n / 10, "score": 0.9, "box": [1, 1, 9, 9]} for n in (0, 1)]
    fake = {"status": "fake", "score": 0.9, "reason": None}
    face = {"face": 1, **fake, "box": [1, 1, 9, 9], "frames": frames, "not_judged": []}
    face |= {"peaks": [], "peak": {"frame": 0, "time": 0.0}}
    file = {**fake, "path": "old.avi", "source": {"kind": "video"}, "faces": [face]}
    file |= {"threshold": {"value": 0.5, "doubts": []}, "faces_left_out": 0}
    with chromium(1100, tmp_path) as browser:
        card = card_of_answer(browser, server, tmp_path / "old.avi", file)
        WebDriverWait(browser, SECONDS).until(lambda b: "does not show videos" in card.text)
        assert not card.find_elements(By.TAG_NAME, "video")
        assert "face 1: score 0.900" in card.text


def test_the_results_of_all_files_are_one_document(server, faces, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    paths = [faces / "test/rows0.png", tmp_path / "text.png", faces / "test/real0.png"]
    with chromium(1100, tmp_path) as browser:
        card, *_ = cards_of(browser, server, *paths)
        browser.find_element(By.XPATH, "//button[contains(., 'Download all')]").click()
        saved = tmp_path / "predictions.json"
        WebDriverWait(browser, SECONDS).until(lambda b: saved.exists())
        together = json.loads(saved.read_text())
        saved.unlink()
        own = downloaded(browser, card, tmp_path)
    assert [file["path"] for file in together["files"]] == ["rows0.png", "real0.png"]
    assert together["files"][0] == own["files"][0]
    assert together["not_scored"] == [{"path": "text.png", "reason": UNKNOWN_KIND}]
    assert sum(together["counts"].values()) == 2
    assert together["counts"][own["files"][0]["status"]] >= 1
    del together["not_scored"]
    assert list(together) == list(own)
    assert together == own | {"files": together["files"], "counts": together["counts"]}


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
        for name in ("#drop", "#all", "fieldset", ".download"):
            assert not browser.find_element(By.CSS_SELECTOR, name).is_displayed()
        assert "SHA-256" in card.text


def test_kinds_and_limits_are_named_before_the_upload(server, tmp_path):
    with chromium(1100, tmp_path) as browser:
        browser.get(server.address)
        terms = browser.find_element(By.ID, "terms")
        WebDriverWait(browser, SECONDS).until(lambda b: terms.text)
        assert not browser.find_element(By.ID, "all").is_displayed()  # nothing to print yet
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


BUSY = """
  window.asked = 0;
  window.texts = new Set();
  const [answers, own, times] = [document.getElementById("answers"), window.fetch, arguments[0]];
  new MutationObserver(() => window.texts.add(answers.textContent))
    .observe(answers, { childList: true, subtree: true });
  const refused = { status: 429, headers: { "Retry-After": "1" } };
  window.fetch = async (...request) =>
    ++window.asked > times ? own(...request) : Response.json({ error: "too many" }, refused);
"""


def test_a_busy_server_is_asked_again_a_few_times(server, faces, tmp_path):
    with chromium(1100, tmp_path) as browser:
        for times, asked, said in ((2, 3, "Score "), (100, 6, "Not scored. Too many.")):
            browser.get(server.address)
            WebDriverWait(browser, SECONDS).until(lambda b: b.find_element(By.ID, "terms").text)
            browser.execute_script(BUSY, times)
            browser.find_element(By.ID, "file").send_keys(str(faces / "test/rows0.png"))
            WebDriverWait(browser, SECONDS).until(lambda b: b.find_elements(By.CLASS_NAME, "card"))
            (card,) = finished_cards(browser, 1)
            assert said in card.text
            assert browser.execute_script("return window.asked") == asked
            texts = browser.execute_script("return [...window.texts].join()")
            assert "The server is busy; trying again in 1 s." in texts
        assert card.find_element(By.TAG_NAME, "button").text == "Try again"
        assert not complaints(browser)


def test_a_page_that_is_opened_while_the_server_stops_says_so(server, tmp_path):
    stops = "window.fetch = async () => Response.json({ error: 'stops' }, { status: 503 });"
    with chromium(1100, tmp_path) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": stops})
        browser.get(server.address)
        note = browser.find_element(By.ID, "note")
        WebDriverWait(browser, SECONDS).until(lambda b: note.is_displayed())
        assert note.text == "The server takes no files now; load this page again later."
        assert not complaints(browser)


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
    (tmp_path / "a.png").write_bytes(b"a")
    with chromium(1100, tmp_path) as browser:
        shown = card_of_answer(browser, server, tmp_path / "a.png", file)
        assert "Fake. Score 3.500, above the threshold 1.250" in shown.text
        assert "It may not fit." in shown.text
        assert ("(calibrated probability 0.75)." in shown.text) == (probability == 0.75)
