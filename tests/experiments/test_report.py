"""The report as a browser reads it: whole, alone, and no text of the data is taken for HTML."""

import base64
import dataclasses
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import select_method_and_reals
from rffr_jax.experiments import report
from rffr_jax.experiments.auc_replicates import AucReplicates
from rffr_jax.experiments.printed_table import printed_tables
from rffr_jax.experiments.report import ERRORS_SHOWN, read_all_scores, write_report
from rffr_jax.experiments.run_result import Claim
from rffr_jax.experiments.tables import build_table
from rffr_jax.reports.pictures import picture_from_file
from tests.experiments.example import COLUMNS, EVIL, cell, experiment, row
from tests.reports.macros import call

VOID = {"meta", "img", "br", "link", "input", "hr"}
LOADING = {"src", "srcset", "href", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Its text by section, its pictures, what stands in bold; fails where tags do not match."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.pictures, self.links, self.ids = [], [], [], set()
        self.bold, self.headings, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "iframe", "object", "embed", "link", "base")
        values = dict(attrs)
        assert not any(name.startswith("on") for name in values)
        for name in LOADING & values.keys():
            (self.pictures if tag == "img" else self.links).append(values[name])
        if tag == "img":
            assert values["alt"]
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "strong":
            self.bold.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@dataclasses.dataclass(frozen=True)
class Faces:
    """Grey pictures of some examples; the third one's shade is three."""

    examples: tuple

    def load(self, index: int, size: int) -> np.ndarray:
        return np.full((size, size, 3), index, np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a report of three rows, two of them drawn, and what it is made of."""
    folder = tmp_path_factory.mktemp("report")
    table, measured, summary = experiment(folder, [f"row {i} {EVIL}" for i in range(3)])
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "gallery.png")
    (folder / "config.json").write_text(json.dumps({"job": "experiment", "mark": EVIL}))
    faces = Faces(tuple(Predictions.read_csv(measured[-1].training / "predictions.csv").examples))
    published = {"mean_unseen": cell([0.99], ci95=None)}
    summary["rows"].insert(0, row(summary["rows"][0]["method"], published, "published"))
    galleries = {f"Fig. 3 {EVIL}": folder / "gallery.png"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report, "ROWS_DRAWN", 2)
        write_report(folder, table, measured, summary, galleries, tests=faces)
    return folder, measured, summary, faces


@pytest.fixture(scope="module")
def read(written) -> Page:
    return Page((written[0] / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_alone_and_whole(written, read):
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert EVIL not in text
    assert "@import" not in text
    assert "url(" not in text
    assert len(text) < 8_000_000
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    for source in read.pictures:
        kind, coded = source.split(",", 1)
        assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
        with Image.open(io.BytesIO(base64.b64decode(coded, validate=True))) as image:
            image.load()
    # bars, curves, three charts a row that is drawn, the gallery, the faces
    assert len(read.pictures) == 2 + 2 * 3 + 1 + 2 * ERRORS_SHOWN


def test_every_section_row_and_claim_is_there(written, read):
    _, measured, summary, _ = written
    assert read.headings[0] == summary["title"]
    assert read.headings[1:] == [
        "Results",
        "Validation curves",
        "ROC curves and scores",
        "Residuals",
        "Hardest errors",
        "How it was made",
    ]
    for number, one in enumerate(summary["rows"][1:]):
        more = number < 2, number == 0  # the heading of its charts; a published row
        assert read.texts.count(one["method"]) == 1 + 2 + sum(more)  # in the tables; of two seeds
        for of_column in one["cells"].values():
            assert f"{100 * of_column['auc']:.1f}" in read.text
    for said in (
        *(summary["note"], summary["command"], summary["claims"][0]["text"], "unresolved"),
        *("+3.1", "[-1.0, +7.0]", "published", "99.00", "1.2.3", f"a warning {EVIL}"),
        *("of the first 2 of 3 rows", str(measured[5].training)),
        "nothing chosen",
    ):
        assert said in read.text
    assert json.dumps({"job": "experiment", "mark": EVIL}) in read.text


def test_the_best_is_bold(written, read):
    rows = written[2]["rows"][1:]
    best = [max(one["cells"][key]["auc"] for one in rows) for key in rows[0]["cells"]]
    *numbers, verdict = read.bold
    assert [text[:4] for text in numbers] == [f"{100 * value:.1f}" for value in best]
    assert verdict == written[2]["claims"][0]["verdict"]


def test_the_hardest_errors_are_of_the_best_row(written, read):
    _, measured, _, faces = written
    best = next(one for one in measured if one.method.startswith("row 2"))
    predictions = Predictions.read_csv(best.training / "predictions.csv")
    pairs = sorted(zip(predictions.scores, predictions.examples, strict=True), key=lambda p: p[0])
    fakes = [(s, e) for s, e in pairs if e.label][:ERRORS_SHOWN]
    reals = [(s, e) for s, e in reversed(pairs) if not e.label][:ERRORS_SHOWN]
    captions = [f"{s:.4f}, {e.method}, {e.dataset}: {e.id}" for s, e in (*reals, *fakes)]
    assert [text for text in read.texts if text in captions] == captions
    for source, (_, example) in zip(read.pictures[-16:], (*reals, *fakes), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as image:
            (shade, *_), *_ = np.asarray(image)[0]
        assert faces.examples[shade].id == example.id


def test_bold_is_the_best_where_several_were_measured(tmp_path):
    _, _, summary = experiment(tmp_path, [])
    rows = [
        row("a", {"rows": cell([0.9]), "columns": cell([0.7])}),
        row("b", {"rows": cell([0.8]), "columns": cell([0.71])}),
        row("p", {"rows": cell([0.99], ci95=None)}, "published"),
        row("c", {"columns": cell([0.6], rule="oracle")}, trained_on="F2F"),
        row("x", {"rows": cell([0.95])}, "external"),
    ]
    rows[1]["cells"]["columns"] |= {"published": 0.7323, "difference": -0.0223}
    (printed,) = printed_tables(summary | {"rows": rows, "claims": [], "published": []})
    bold = [cell.text for cells in printed.rows for cell in cells if cell.best]
    assert bold == ["90.0", "71.0"]
    assert any("columns: oracle" in cell.text for cell in printed.rows[3])
    said = "b, trained on rows, rule last, measured - published, points: columns -2.2."
    assert said in printed.notes


def test_an_image_scored_with_several_weights_stays_apart(tmp_path):
    _, (one,), _ = experiment(tmp_path, ["one"], seeds=1)
    assert {e.dataset for e in read_all_scores(one).examples} == {"faces"}
    _, (other,), _ = experiment(tmp_path / "more", ["one"], seeds=1)
    places = {"rows": one.training, "columns": other.training}
    two = read_all_scores(dataclasses.replace(one, evaluations=places))
    assert {e.dataset for e in two.examples} == {"weights for rows", "weights for columns"}
    assert len(two.examples) == 2 * len(read_all_scores(one).examples)
    results = one.training / "results.json"
    about = json.loads(results.read_text())
    about["about"]["checkpoint"] = "matched"
    results.write_text(json.dumps(about))
    for method in COLUMNS:
        part = select_method_and_reals(read_all_scores(other), method)
        part.write_csv(one.training / f"predictions-faces-{method}.csv")
    names = {e.dataset for e in read_all_scores(one).examples}
    assert names == {f"weights for {method}" for method in COLUMNS}


def test_a_report_without_extras(tmp_path):
    table, measured, summary = experiment(tmp_path, ["one"], seeds=1)
    table, summary = dataclasses.replace(table, note=""), summary | {"claims": [], "published": []}
    log = measured[0].training / "metrics.jsonl"
    log.write_text('{"step": 1, "split": "train", "loss": 1.0}\n')
    write_report(tmp_path, table, measured, summary | {"note": ""}, {})
    first = (tmp_path / "report.html").read_bytes()
    write_report(tmp_path, table, measured, summary | {"note": ""}, {})
    assert (tmp_path / "report.html").read_bytes() == first
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    expected = ["Results", "ROC curves and scores", "Hardest errors", "How it was made"]
    assert found.headings[1:] == expected
    assert found.text.count("(no picture)") == 2 * ERRORS_SHOWN


def test_a_report_of_pictures_alone(tmp_path):
    table, _, summary = experiment(tmp_path, [])
    Image.new("RGB", (20, 10)).save(tmp_path / "fig3.png")
    nothing = {"claims": [], "published": []}
    write_report(tmp_path, table, [], summary | nothing, {"Fig. 3": tmp_path / "fig3.png"})
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert found.headings[1:] == ["Residuals", "How it was made"]
    assert len(found.pictures) == 1


def test_an_evaluation_that_is_none(tmp_path):
    table, measured, summary = experiment(tmp_path, ["one"], seeds=1)
    (measured[0].training / "results.json").write_text("{}")
    with pytest.raises(UserError, match=r"results\.json is not the table of an evaluation"):
        write_report(tmp_path, table, measured, summary, {})
    assert not (tmp_path / "report.html").exists()


def test_large_pictures_are_made_to_fit(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for most in (10**6, 60_000, 5_000):
        picture = picture_from_file(tmp_path / "noise.png", most, "noise")
        found = Page(call("parts.html", "figure", picture))
        data = base64.b64decode(found.pictures[0].split(",")[1])
        assert len(data) <= most
        assert ("noise.png" in found.text) == (most < 10**6)
        with Image.open(io.BytesIO(data)) as image:
            assert abs(image.width / image.height - 4 / 3) < 0.1


def test_a_report_of_what_the_tables_write(tmp_path):
    table, measured, _ = experiment(tmp_path, ["Ours", "Full original"], seeds=2)
    claim = Claim("residuals help", "Ours", "Full original")
    unknown = Claim("more faces help", "Ours", "nothing")
    table = dataclasses.replace(table, claims=(claim, unknown))

    def read_scores(run, column):
        scores = Predictions.read_csv(run.evaluations[column] / "predictions.csv")
        return select_method_and_reals(scores, column)

    replicates = AucReplicates(measured, read_scores, replicates=200)
    summary = build_table(table, measured, {}, replicates)
    write_report(tmp_path, table, measured, summary, {})
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    for judged in summary["claims"]:
        assert judged["text"] in found.texts
        assert judged["verdict"] in found.texts
    for published in summary["published"]:
        assert published["method"] in found.texts
        assert any(f"{100 * published['cells']['FSW']['auc']:.2f}" in text for text in found.texts)
    assert "compare orderings, not values" in found.text
