"""The pages under docs/ agree with the code."""

import inspect
import re
import runpy
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

import tf_mtl as mtl

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_methods_is_up_to_date():
    script = runpy.run_path(str(DOCS / "balancing_table.py"))
    assert script["page"]() == (DOCS / "balancing.md").read_text(), "run `python docs/balancing_table.py`"
    assert script["table"]().count("\n| `") == 35


def test_every_trunk_has_a_row():
    rows = [line.split("`")[1] for line in (DOCS / "trunks.md").read_text().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(name for name in vars(mtl.trunks) if name[0].isupper() and name != "Trunk")


def packages():
    return [name for name in mtl.__all__ if inspect.ismodule(getattr(mtl, name))]


def test_every_package_without_an_underscore_is_public():
    folders = {path.parent.name for path in Path(mtl.__file__).parent.glob("[!_]*/__init__.py")}
    assert folders == set(packages())


def test_every_public_name_is_on_a_page_of_the_api_reference():
    pages = runpy.run_path(str(DOCS / "site" / "hooks.py"))["api_pages"]()
    navigation = (DOCS.parent / "mkdocs.yml").read_text()
    public = {"tf_mtl": set(mtl.__all__) - set(packages())}
    public |= {name: set(getattr(mtl, name).__all__) for name in packages()}
    assert set(pages) == {f"api/{name}.md" for name in public}
    for name, names in public.items():
        module = "tf_mtl" if name == "tf_mtl" else f"tf_mtl.{name}"
        assert set(re.findall(r"^::: (\S+)$", pages[f"api/{name}.md"], re.MULTILINE)) == {
            f"{module}.{public_name}" for public_name in names
        }
        assert f"- {module}: api/{name}.md\n" in navigation


def run(page, **names):
    """Run the page's examples one after the other, with these names; return the names that exist at the end."""
    for code in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        exec(compile(code, page, "exec"), names)
    return names


@pytest.mark.slow
def test_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("text.md")
    assert names["answer"]["words"].tolist()[0][:5] == ["Ada", "lives", "in", "Paris", "."]
    assert {"share_entities", "entities_span_f1", "stars_rmse"} <= names["history"].keys()
    assert {path.name for path in names["folder"].iterdir()} >= {"served", "model.keras", "words.json"}


@pytest.mark.slow
def test_serving(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("serving.md")
    assert sorted(path.name for path in (tmp_path / "saved_models").iterdir()) == [
        *("reviews", "reviews.onnx", "reviews.tflite", "reviews.tflite.json", "reviews_int8", "topic"),
    ]


def test_balancing():
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    tasks = [mtl.tasks.Classification("topic", labels=2), mtl.tasks.Regression("price")]
    model = mtl.build_model(keras.Input((4,)), trunk, tasks)
    run("balancing.md", mtl=mtl, model=model)
    assert isinstance(model.balancing, mtl.balancing.UPGrad)


def test_trunks():
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=8
    )
    inputs = {name: keras.Input((8,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    tasks = [mtl.tasks.Classification("topic", labels=2), mtl.tasks.Regression("price")]
    names = run("trunks.md", mtl=mtl, backbone=backbone, inputs=inputs, tasks=tasks)
    assert names["model"].task_names == ("topic", "price")


def test_distribution(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("distribution.md")
    assert list((tmp_path / "runs" / "checkpoints").iterdir())


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_guide_is_short():
    lines = {path.name: len(path.read_text().splitlines()) for path in (DOCS / "guides").glob("*.md")}
    assert max(lines.values()) < 100, lines


def test_getting_started():
    names = run("index.md")
    assert set(names["answers"]) == {"topic", "price"}
    assert {"topic_loss", "topic_accuracy", "price_loss", "price_mae", "loss"} <= names["history"].keys()


def test_from_keras():
    names = run("guides/from_keras.md")  # compares weights with those of keras.Model
    assert names["sharing"].saved > 0
    assert names["cosines"].shape == (2, 2)


def test_missing_labels():
    names = run("guides/missing_labels.md")
    assert np.isfinite(names["history"]["loss"]).all()
    assert np.isfinite(list(names["results"].values())).all()


def test_choosing_a_balancing_method():
    names = run("guides/choosing_balancing.md")
    loss = {key: names[key]["topic"]["loss"] for key in ("alone", "together", "scaled")}
    assert loss["together"] / loss["alone"] > 1.3  # as the page says
    assert loss["scaled"] / loss["alone"] < 1.0
    assert min(names["logs"]["cosine/topic/price"]) > 0


def test_choosing_a_trunk():
    assert min(run("guides/choosing_trunk.md")["saved"].values()) > 0.4


def test_mixtures():
    names = run("guides/mixtures.md")
    assert {"share_news", "share_shops"} <= names["history"].keys()
    assert {"topic_accuracy", "price_mae"} <= names["results"].keys()


@pytest.mark.slow
def test_pairs():
    names = run("guides/pairs.md")
    assert {"answered_accuracy", "mood_accuracy"} <= names["history"].keys()
    np.testing.assert_allclose(names["served"]["answered_score"], names["answer"]["score"], rtol=1e-5)
    assert names["served"]["answered_label"].numpy().astype("U").tolist() == names["answer"]["label"].tolist()


@pytest.mark.slow
def test_which_tasks(capsys):
    names = run("guides/which_tasks.md")
    assert names["verdicts"].keys() == {(task, metric) for task in "abcd" for metric in ("mae", "rmse", "pearson")}
    assert sorted(sum(names["groups"].groups, ())) == list("abcd")
    assert names["overlap"].shares[0, 2] == 0.5
    assert names["affinity"].measurements == 5
    assert "15 models, 0 of them finished; 15 to train here." in capsys.readouterr().out


def test_weights_and_schedules(capsys):
    names = run("guides/weights_and_schedules.md")
    assert len(names["search"].trials) == 3
    assert names["best"] in names["search"].trials
    assert sum(names["guess"].values()) == pytest.approx(2)
    assert names["factors"][0] == 0
    assert names["factors"][-1] == 1
    assert "| Pareto |" in capsys.readouterr().out


def test_report(in_tmp_path):
    page = run("guides/report.md")["report"].read_text()
    assert page.count("<section>") == 8
    assert "Labels of each task in 256 rows" in page


@pytest.mark.slow
def test_explaining(capsys):
    names = run("guides/explaining.md")
    assert names["similarity"].matrix[0, 1] < 0.9
    np.testing.assert_allclose(names["gates"].weights.sum(1), 1, rtol=1e-5)
    assert names["probes"].results["mixture_mood"]["mood"]["accuracy"] > 0.9
    result = names["result"]
    assert result.tokens[0, result.values["token_ids"][0].argmax()] == "brilliant"
    assert abs(result.gaps[0]) < 0.2
    assert "brilliant  +" in capsys.readouterr().out


@pytest.mark.slow
def test_two_towers():
    names = run("guides/two_towers.md")
    assert {"match_recall@1", "kind_accuracy"} <= names["history"].keys()
    assert names["best"] in names["sentences"]
    expected = names["model"].answer(names["pairs"], names["texts"])["match"]["document"]
    np.testing.assert_allclose(names["index"], expected, atol=1e-6)


def test_custom_task(in_tmp_path):
    names = run("guides/own_task.md")
    x = names["x"]
    assert names["history"]["visits_loss"][1] < names["history"]["visits_loss"][0]
    assert (names["counts"] == np.round(names["counts"])).all()
    np.testing.assert_array_equal(names["again"](x)["visits"], names["model"](x)["visits"])
    assert names["model"].get_layer("orders_joined").output.shape == (None, 17)
    task = names["Stress"].from_config(names["Stress"]("stress", scale=2.0).get_config())
    ids = np.array([[3, 4, 5, 0], [6, 0, 0, 0]])
    trunk = mtl.trunks.HardSharing(mtl.encoders.RecurrentEncoder(9, dim=4, units=4))
    model = mtl.build_model(keras.Input((4,), dtype="int32"), trunk, [task])
    model.compile(keras.optimizers.Adam(0.1))
    stress = np.where(ids > 0, ids, np.nan)
    weight = (ids > 0).astype("float32")
    losses = model.fit(ids, {"stress": stress}, sample_weight={"stress": weight}, epochs=30, verbose=0).history["loss"]
    answer = model.answer(ids)["stress"]
    assert answer["is_word"].tolist() == (ids > 0).tolist()
    expected = np.mean((answer["values"] - ids)[ids > 0] ** 2) / 4
    assert model.evaluate(ids, {"stress": stress}, sample_weight={"stress": weight}, verbose=0)[0] == pytest.approx(
        expected, rel=1e-4
    )
    assert losses[-1] < losses[0] / 3


def test_the_page_of_tasks_is_up_to_date():
    script = runpy.run_path(str(DOCS / "tasks_page.py"))
    assert script["page"]() == (DOCS / "tasks.md").read_text(), "run `python docs/tasks_page.py`"
    public = {getattr(mtl.tasks, name) for name in mtl.tasks.__all__}
    shown = {type(script["task_of"](example)) for example in script["EXAMPLES"]}
    assert shown == {each for each in public if issubclass(each, mtl.tasks.Task) and not inspect.isabstract(each)}


def test_custom_trunk(in_tmp_path):
    names = run("guides/own_trunk.md")
    assert names["sharing"].single_task.keys() == {"a", "b"}
    np.testing.assert_array_equal(names["again"](names["x"])["a"], names["model"](names["x"])["a"])
    small = mtl.build_model(
        names["keras"].Input((4,)), names["SmallGates"](mtl.encoders.MLPEncoder([8]), 8), [mtl.tasks.Regression("a")]
    )
    assert float(small.losses[0]) > 0


def test_custom_balancing_method():
    names = run("guides/own_balancing.md")
    jacobian = np.array([[1.0, 1.0], [2.0, -1.0]])
    assert names["Unanimous"]()(jacobian).numpy().tolist() == [3.0, 0.0]
    assert names["model"].balancing.means.shape == (2,)


def test_language_models(in_tmp_path):
    names = run("guides/language_models.md")
    assert {"reply_perplexity", "texts_accuracy", "intent_accuracy"} <= names["history"].keys()
    assert names["answers"].keys() == {"reply", "texts", "intent"}
    assert Path("adapters.npz").stat().st_size < 30_000
    request = names["texts"](["is the lamp on"])
    for task, output in names["model"].predict(request, verbose=0).items():
        np.testing.assert_array_equal(names["restored"].predict(request, verbose=0)[task], output)


def test_conversions():
    names = run("guides/conversions.md")
    assert {"buy_auc", "buy_cvr_auc", "buy_normalized_entropy", "click_auc"} <= set(names["results"])
    answers = names["answers"]
    np.testing.assert_allclose(answers["ctcvr"], answers["ctr"] * answers["cvr"], rtol=1e-5)


def test_images():
    names = run("guides/images.md")
    assert {"objects_map", "objects_map50", "kind_accuracy"} <= set(names["results"])
    boxes = names["answers"]["objects"]
    np.testing.assert_allclose(boxes["original_boxes"], boxes["boxes"] * 160 / 96, rtol=1e-4, atol=1e-3)
    assert (names["path"] / "saved_model.pb").exists()
    assert names["drawn"].stat().st_size > 1000


@pytest.mark.slow
def test_generation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("guides/generation.md")
    assert {"german_perplexity", "val_german_bleu", "german_texts_accuracy"} <= names["history"].keys()
    assert [text.decode() for text in names["served"]["german_text"].numpy()] == names["answer"]["text"].tolist()
