"""The HTML report: its contents, and what makes the page safe and accessible."""

import itertools
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.__main__ import main
from tf_mtl.report._page import bars, charts, style

EVIL = "<script>alert('x')<b>&\""
DASH = "\N{EN DASH}"
VOID = {"meta"}
HISTORY = {
    "loss": [3.0, 2.0, float("nan")],
    "a_loss": [2.0, 1.0, 0.5],
    "val_a_loss": [2.5, 1.5, 1.0],
    f"{EVIL}_loss": [1.0, 1.0, 1.0],
    "weight/a": [0.25, 0.5, 0.75],
    f"weight/{EVIL}": [0.75, 0.5, 0.25],
    f"cosine/a/{EVIL}": [0.5, 0.0, -0.125],
}


class Page(HTMLParser):
    """A page's elements in their order, and the text in them; fails where start and end tags do not match."""

    def __init__(self, source):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        element = SimpleNamespace(tag=tag, attributes=dict(attrs), text="")
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, *tags):
        return [element for element in self.elements if element.tag in tags]

    def table(self, caption):
        """The rows of the table whose caption begins with a text."""
        start = next(
            i for i, each in enumerate(self.elements) if each.tag == "caption" and each.text.startswith(caption)
        )
        rows = []
        for each in self.elements[start:]:
            if each.tag == "table":
                break
            if each.tag == "tr":
                rows.append([])
            if each.tag in ("th", "td"):
                rows[-1].append(each.text)
        return rows


def gains():
    results = {}
    for seed, joint in enumerate((0.9, 0.8)):
        results[("a", EVIL), seed] = {"a": {"auc": joint}, EVIL: {"mae": 1.5}}
        results[("a",), seed] = {"a": {"auc": 0.8}}
        results[(EVIL,), seed] = {EVIL: {"mae": 1.0}}
    return mtl.analysis.Gains(("a", EVIL), (0, 1), (("a", EVIL),), results)


def everything():
    two = ("a", EVIL)
    return {
        "results": {"a_auc": 0.875, f"{EVIL}_mae": 1234567.0},
        "comparison": mtl.report.compare({"a": {"auc": 0.9}}, {"a": {"auc": 0.8}}),
        "gains": gains(),
        "overlap": mtl.analysis.Overlap(two, np.array([[1200, 300], [300, 600]]), 2000),
        "history": HISTORY,
        "affinity": mtl.analysis.Affinity(
            two,
            np.array([[0.5, -0.25], [np.nan, 1.0]]),
            {"dense": np.array([[1.0, -0.5], [-0.5, 1.0]])},
            {"dense": 0.75},
            np.array([[1.0, 0.2], [0.2, 1.0]]),
            dict.fromkeys(two, 1.0),
        ),
        "grouping": mtl.analysis.group([[0, 1], [1, 0]], two, groups=2),
        "gates": {"gate": SimpleNamespace(tasks=two, experts=["e0", "e1"], weights=np.array([[0.25, 0.75], [1, 0]]))},
        "confusion": {EVIL: (["yes", "no"], tf.math.confusion_matrix([0, 0, 0, 1], [0, 0, 1, 1]))},
        "cost": {"seconds": 12.5, "device": "a CPU"},
        "card": EVIL,
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return mtl.report.html(tmp_path_factory.mktemp("report") / "new" / "report.html", EVIL, **everything()).read_text()


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_the_sections_in_their_order(page):
    titles = [each.text for each in page.all("h2")]
    assert titles == [
        *("Results", "Multi-task and single-task training", "Gains", "Data and labels", "Training"),
        *("Weights and gradients", "Affinity and conflicts", "Groups", "Gates", "Confusion matrices", "Cost"),
        "Model card",
    ]
    assert [each.text for each in page.all("a")] == titles
    assert [each.attributes["href"] for each in page.all("a")] == [f"#{e.attributes['id']}" for e in page.all("h2")]


def test_gains_and_their_intervals(page):
    header, a, other = page.table("Gains over single-task training, positive if better; 2 seeds")
    assert header[:6] == ["task", "metric", "multi-task", "single-task", "gain", "95% interval"]
    assert a == ["a", "auc", "0.85", "0.8", "+6.25%", "[-73.16%, +85.66%]", "", "no difference"]
    assert other == [EVIL, "mae", "1.5", "1", "-50.00%", "[-50.00%, -50.00%]", "", "negative transfer"]
    comparison, *means = (each.attributes["cx"] for each in page.all("circle") if each.attributes["r"] == "4")
    assert comparison == "154.0"  # the largest gain of its table
    assert means == ["85.4", "36.8"]  # 80 is 0, and 154 is 85.66%


def test_labels(page):
    assert page.table("Labels of each task in 2,000 rows")[1:] == [
        ["a", "1,200", "60.0%", ""],
        [EVIL, "600", "30.0%", ""],
    ]
    assert page.table("Rows that two tasks")[1] == ["a", "100.0%", "20.0%"]  # 300 of 1,500


def test_curves_and_their_values(page):
    labels = [each.attributes["aria-label"] for each in page.all("svg") if "aria-label" in each.attributes]
    expected = "training from 2 to 0.5, lowest 0.5, highest 2; validation from 2.5 to 1, lowest 1, highest 2.5."
    assert f"loss by epoch: {expected}" in labels
    assert page.table("a: values")[1:] == [["1", "2", "2.5"], ["2", "1", "1.5"], ["3", "0.5", "1"]]
    assert page.table("All tasks: values")[3] == ["3", DASH]
    assert page.table("Weights: values")[1] == ["1", "0.25", "0.75"]
    assert page.table("Cosines between the tasks")[1] == [f"a · {EVIL}", "0.5", "0", "-0.125"]


def test_matrices(page):
    assert page.table("How much a step")[1:] == [
        ["step for a", "0.5", "-0.25"],
        [f"step for {EVIL}", DASH, "1"],
    ]
    assert page.table("Pairs of tasks whose gradients")[1][:2] == ["dense", "75.0%"]
    assert page.table("Mean weights of gate")[1:] == [["a", "0.25", "0.75"], [EVIL, "1", "0"]]
    assert page.table(f"Predictions of {EVIL}: rows are true classes, columns predicted ones; 75.0%")[1:] == [
        ["yes", "2 (66.7%)", "1 (33.3%)"],
        ["no", "0 (0.0%)", "1 (100.0%)"],
    ]
    shades = {
        each.text: each.attributes.get("style")
        for each in page.all("td")
        if "below" in each.attributes.get("class", "")
    }
    assert shades["-0.25"] == "--part:25%"
    assert shades["-0.125"] == "--part:12%"


def test_results_groups_and_cost(page):
    assert page.table("Metrics of the model")[1:] == [["a_auc", "0.875"], [f"{EVIL}_mae", "1,234,567"]]
    assert page.table("Groups of tasks")[1] == ["best", f"(a, {EVIL})", "2"]
    assert page.table("Cost")[1:] == [["seconds", "12.5"], ["device", "a CPU"]]


def test_names_are_text(page, source):
    assert not page.all("script", "link", "iframe", "img", "object")
    assert page.all("title")[0].text == page.all("h1")[0].text == EVIL
    assert not [name for each in page.elements for name in each.attributes if name.startswith("on")]
    assert "http" not in source
    assert "@import" not in source
    assert "url(" not in source


def test_the_structure_that_screen_readers_need(page):
    assert page.all("html")[0].attributes["lang"] == "en"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [
        e.attributes for e in page.all("meta")
    ]
    levels = [int(each.tag[1]) for each in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table")) == len({e.text for e in page.all("caption")})
    assert all(each.attributes["scope"] in ("row", "col") and each.text for each in page.all("th"))
    for picture in page.all("svg"):
        if picture.attributes.get("role") == "img":
            assert picture.attributes["aria-label"]
        else:
            assert picture.attributes["aria-hidden"] == "true"  # in a cell beside its numbers
    ids = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    assert len(set(ids)) == len(ids)


def luminance(colour):
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_contrasts(colours, source):
    assert f"--ink:{colours['ink']}" in source
    texts = [("ink", "page"), ("ink", "above"), ("ink", "below"), ("muted", "page"), ("first", "page")]
    for text, ground in texts:  # a colour mixed from two grounds lies between them
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for line, ground in [("first", "page"), ("second", "page"), ("first", "rule")]:
        assert contrast(colours[line], colours[ground]) >= 3, (line, ground)


def test_the_same_input_gives_the_same_file(source, tmp_path):
    again = mtl.report.html(tmp_path / "report.html", EVIL, **everything()).read_text()
    assert again == source
    assert len(source) < 100_000


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="at least one section"):
        mtl.report.html(tmp_path / "report.html")
    with pytest.raises(ValueError, match="`history`"):
        mtl.report.html(tmp_path / "report.html", history={})
    with pytest.raises(ValueError, match=re.escape("`confusion['topic']` must have a row and a column for each of 3")):
        mtl.report.html(tmp_path / "report.html", confusion={"topic": ([0, 1, 2], np.eye(2, dtype=int))})


def test_one_seed_has_no_interval(tmp_path):
    one = gains()
    one = mtl.analysis.Gains(one.tasks, (0,), one.subsets, one.results)
    page = Page(mtl.report.html(tmp_path / "report.html", gains=one).read_text())
    row = page.table("Gains over single-task training, positive if better; 1 seed")[1]
    assert row == ["a", "auc", "0.9", "0.8", "+12.50%", "", "", "one seed"]
    assert not page.all("nav")


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1e-9, 2e-9], [-3e6, 5e6], [float("nan")], [1.0, float("inf")]])
def test_charts_of_unusual_values(values):
    page = Page(charts.lines("loss", {"training": values}))
    numbers = [v for e in page.elements for n, v in e.attributes.items() if n in ("x", "y", "cx", "cy", "y1", "points")]
    assert not any("nan" in value or "inf" in value for value in numbers)
    heights = [float(each.attributes["cy"]) for each in page.all("circle")]
    assert len(heights) == np.isfinite(values).sum()
    assert all(0 < height < 150 for height in heights)
    ticks = [each for each in page.all("text") if each.attributes["text-anchor"] == "end"]
    assert 2 <= len(ticks) <= 6
    assert len({tick.text for tick in ticks}) == len(ticks)


def test_intervals_stay_on_the_axis():
    page = Page(bars.interval(0.5, -2.0, float("inf"), 0.5))
    zero, line = page.all("line")
    assert (zero.attributes["x1"], line.attributes["x1"], line.attributes["x2"]) == ("80.0", "6.0", "154.0")
    assert page.all("circle")[0].attributes["cx"] == "154.0"
    assert not Page(bars.interval(float("nan"), float("nan"), float("nan"), 1.0)).all("circle")


def test_the_card_of_an_export(tmp_path):
    tasks = [mtl.tasks.Classification("topic", ["news", "sport"]), mtl.tasks.Regression("stars")]
    model = mtl.build_model(keras.Input((4,), name="x"), mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([3])), tasks)
    export = mtl.export.saved_model(model, tmp_path / "m", metrics={"topic_auc": 0.5}, data="Few rows.", check=False)
    page = Page(mtl.report.html(tmp_path / "report.html", card=export).read_text())
    assert page.table("Tasks")[1] == ["topic", "Classification", "news, sport"]
    assert ["topic", "topic", "x: float32 [batch, 4]"] in [row[:3] for row in page.table("Signatures")]
    assert page.table("Results in the card")[1] == ["topic_auc", "0.5"]
    assert "Few rows." in page.all("main")[0].text


def test_the_report_of_a_run(tmp_path, capsys):
    run = tmp_path / "parse"
    run.mkdir()
    metrics = {
        "model": "joint",
        "test": {"a_auc": 0.9, "b_rmse": 1.0, "c": None},
        "single_task": {"a_auc": 0.8, "b_rmse": 2.0},
        "before": {"a_auc": 0.5},
        "empty": {},
        "train_seconds": 60.5,
        "fractions": {"a": 0.25, "b": 0.75},
        "trunks": {"mmoe": {"a": {"auc": [0.5, 0.25]}, "units": 8}, "cgc": {"units": 9}},
        "options": {"epochs": 3, "data": None, "smoke": True, "trunk": ["mmoe", "cgc"]},
    }
    (run / "metrics.json").write_text(json.dumps(metrics))
    main(["report", str(run)])
    assert capsys.readouterr().out == f"Wrote {run / 'report.html'}.\n"
    page = Page((run / "report.html").read_text())
    assert page.all("title")[0].text == "parse: joint"
    assert page.table("Metrics of the model") == [
        ["metric", "test", "single-task", "before"],
        ["a_auc", "0.9", "0.8", "0.5"],
        ["b_rmse", "1", "2", ""],
        ["c", "", "", ""],
    ]
    assert [row[3] for row in page.table("Gains")[1:]] == ["+12.50%", "+50.00%"]
    assert page.table("Further numbers")[1:] == [["train_seconds", "60.5"]]
    assert page.table("fractions")[1:] == [["a", "0.25"], ["b", "0.75"]]
    assert page.table("trunks") == [["name", "a auc", "units"], ["mmoe", "0.5, 0.25", "8"], ["cgc", "", "9"]]
    assert page.table("Options")[1:] == [["epochs", "3"], ["data", ""], ["smoke", "True"], ["trunk", "mmoe, cgc"]]
    assert "Training" not in [each.text for each in page.all("h2")]

    (run / "history.json").write_text(json.dumps(HISTORY))
    mtl.report.html_of_run(run)
    titles = [each.text for each in Page((run / "report.html").read_text()).all("h2")]
    assert titles == ["Results", "Gains", "Training", "Weights and gradients", "Further numbers", "Options"]


def test_a_folder_without_results(tmp_path):
    with pytest.raises(SystemExit, match="FileNotFoundError"):
        main(["report", str(tmp_path)])
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(SystemExit, match=re.escape("must have results by name under 'test'")):
        main(["report", str(tmp_path)])
