"""The page as a screen reader meets it, by chromium's accessibility tree."""

import collections
import itertools

import pytest
from selenium.webdriver.common.by import By

from tests.faces.movies import face_frames, write_movie
from tests.web.browsers import IN_CHROMIUM, cards_of, chromium, nothing_is_cut_off

pytestmark = IN_CHROMIUM

LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA
NAMED = {"button", "group", "heading", "image", "link", "radio", "region", "slider", "Video"}
CHOICES = ("all", "original", "reconstruction", "residual", "heat")
VIEWS = ("original", "reconstruction", "residual x 4", "mean |residual| by block")
CONTRASTS = """
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => numbers(colour).slice(0, 3)
    .map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return numbers(colour)[3] === 0 ? behind(one.parentElement) : colour;
  };
  return [...document.querySelectorAll("main *")]
    .filter((one) => !one.closest(".whole") && one.getClientRects().length)
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((one) => {
      const style = getComputedStyle(one);
      const pair = [one instanceof SVGElement ? style.fill : style.color, behind(one)];
      const [dark, light] = pair.map(luminance).sort((a, b) => a - b);
      return [(light + 0.05) / (dark + 0.05), `${one.tagName} ${one.textContent}: ${pair}`];
    });
"""


def nodes_of(browser):
    """What a screen reader meets, in its order: role, name, and further properties."""
    found = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    by_id = {node["nodeId"]: node for node in found}
    waiting, nodes = [found[0]], []
    while waiting:
        node = waiting.pop()
        waiting.extend(by_id[one] for one in reversed(node.get("childIds", [])) if one in by_id)
        if not node["ignored"]:
            more = {one["name"]: one["value"].get("value") for one in node.get("properties", [])}
            nodes.append((node["role"]["value"], node.get("name", {}).get("value", ""), more))
    return nodes


def test_a_result_is_read_in_order_with_names(server, faces, tmp_path):
    with chromium(1100, tmp_path) as browser:
        (card,) = cards_of(browser, server, faces / "test/rows0.png")
        nodes = nodes_of(browser)
        first = nodes.index(next(node for node in nodes if node[0] == "status"))
        met = [(role, name) for role, name, _ in nodes[first:] if role in {*NAMED, "status"}]
        assert met == [
            ("status", ""),
            ("button", "Print a report"),
            ("button", "Download all results (JSON)"),
            ("region", "rows0.png"),
            ("heading", "rows0.png"),
            ("slider", "Threshold rows0.png"),
            ("status", ""),
            ("button", "Back to the file's own"),
            ("heading", "Face 1"),
            ("group", "Evidence of face 1"),
            *(("radio", name) for name in CHOICES),
            *(("image", f"{name}, face 1") for name in VIEWS),
            ("link", "Download JSON"),
        ]
        said = [name for role, name, _ in nodes if role == "StaticText"]
        status = card.find_element(By.CSS_SELECTOR, ".verdict strong").text.rstrip(".").lower()
        assert said.index(f"1 file: 1 {status}.") < said.index("Face 1")
        field = browser.find_element(By.CSS_SELECTOR, ".threshold input")
        assert field.get_dom_attribute("aria-valuetext") == f"0.500, verdict: {status}"


def test_all_that_can_be_used_or_seen_has_a_name(server, faces, tmp_path):
    video = write_movie(tmp_path / "walk.mp4", face_frames(0, 24, 64))
    (tmp_path / "text.png").write_text("no picture")
    with chromium(400, tmp_path) as browser:
        cards_of(browser, server, faces / "test/rows0.png", video, tmp_path / "text.png")
        nodes = nodes_of(browser)
        assert NAMED - {role for role, _, _ in nodes} <= {"Video"}  # given crops have no boxes
        assert [role for role, name, _ in nodes if role in NAMED and not name] == []
        sliders = collections.Counter(name for role, name, _ in nodes if role == "slider")
        assert set(sliders.values()) == {1}
        levels = [more["level"] for role, _, more in nodes if role == "heading"]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert [more["live"] for _, _, more in nodes if "live" in more] == ["polite"]
        ids = browser.execute_script(
            "return [...document.querySelectorAll('[id]')].map((one) => one.id)"
        )
        assert len(ids) == len(set(ids))
        assert nothing_is_cut_off(browser)
        inside = "return arguments[0].scrollWidth <= arguments[0].clientWidth"
        for part in browser.find_elements(By.CSS_SELECTOR, "main, .card, .timeline, .controls"):
            assert browser.execute_script(inside, part)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(server, faces, tmp_path, scheme):
    video = write_movie(tmp_path / "walk.mp4", face_frames(0, 24, 64))
    with chromium(1100, tmp_path) as browser:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        cards_of(browser, server, faces / "test/rows0.png", video)
        contrasts = browser.execute_script(CONTRASTS)
        assert len(contrasts) > 40
        assert [text for contrast, text in contrasts if contrast < LEAST_CONTRAST] == []


def test_nothing_glides_for_a_person_who_asked_for_less_motion(server, tmp_path):
    behaviour = "return getComputedStyle(document.documentElement).scrollBehavior"
    with chromium(1100, tmp_path) as browser:
        browser.get(server.address)
        for wish, scrolled in (("reduce", "auto"), ("no-preference", "smooth")):
            features = [{"name": "prefers-reduced-motion", "value": wish}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            assert browser.execute_script(behaviour) == scrolled
