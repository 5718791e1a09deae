"""The pages under docs/ say what the code does."""

import re
import runpy
from pathlib import Path

import tf_mtl as mtl

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_methods_is_up_to_date():
    script = runpy.run_path(str(DOCS / "balancing_table.py"))
    assert script["page"]() == (DOCS / "balancing.md").read_text(), "run `python docs/balancing_table.py`"
    assert script["table"]().count("\n| `") == 35


def test_every_trunk_has_a_row():
    rows = [line.split("`")[1] for line in (DOCS / "trunks.md").read_text().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(name for name in vars(mtl.trunks) if name[0].isupper() and name != "Trunk")


def run(page):
    """The names that the page's examples make, one behind the other."""
    names = {}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        exec(compile(code, page, "exec"), names)
    return names


def test_the_examples_of_text_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("text.md")
    assert names["answer"]["words"].tolist()[0][:5] == ["Ada", "lives", "in", "Paris", "."]
    assert {"share_entities", "entities_span_f1", "stars_rmse"} <= names["history"].keys()
    assert {path.name for path in names["folder"].iterdir()} >= {"served", "model.keras", "words.json"}


def test_the_examples_of_serving_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("serving.md")
    assert sorted(path.name for path in (tmp_path / "saved_models").iterdir()) == [
        *("reviews", "reviews.onnx", "reviews.tflite", "reviews.tflite.json", "reviews_int8", "topic"),
    ]
