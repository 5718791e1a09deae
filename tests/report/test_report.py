import pytest
from matplotlib.figure import Figure

import tf_mtl as mtl

# NYUv2: the results of single-task models and of equal weights, by task, as published with LibMTL.
SINGLE = {
    "segmentation": {"miou": 38.30, "pixel_accuracy": 63.76},
    "depth": {"abs_err": 0.6754, "rel_err": 0.2780},
    "normals": {"mean_angle": 25.01, "median_angle": 19.21, "within_11": 30.14, "within_22": 57.20, "within_30": 69.15},
}
MULTI = {
    "segmentation": {"miou": 39.29, "pixel_accuracy": 65.33},
    "depth": {"abs_err": 0.5493, "rel_err": 0.2263},
    "normals": {"mean_angle": 28.15, "median_angle": 23.96, "within_11": 22.09, "within_22": 47.50, "within_30": 61.08},
}


def test_both_conventions_of_delta_m_give_the_published_values():
    comparison = mtl.report.compare(MULTI, SINGLE)
    assert 100 * comparison.drop_per_metric == pytest.approx(5.589, abs=1e-3)
    assert 100 * comparison.gain_per_task == pytest.approx(0.878, abs=1e-3)


def test_the_direction_of_metrics_can_be_given():
    comparison = mtl.report.compare(
        {"a": {"x": 2.0, "loss": 2.0}}, {"a": {"x": 1.0, "loss": 1.0}}, lower_is_better=["x"]
    )
    assert [row[-1] for row in comparison.rows] == [-1.0, 1.0]


def test_a_gain_over_a_negative_result():
    assert mtl.report.compare({"a": {"pearson": -0.2}}, {"a": {"pearson": -0.4}}).gain_per_task == pytest.approx(0.5)


def test_the_table_has_both_conventions():
    text = str(mtl.report.compare(MULTI, SINGLE))
    assert "| depth        | abs_err        |" in text
    assert "+18.67%" in text
    assert "mean over tasks, as a gain (positive is better): +0.878%" in text
    assert "mean over metrics, as a drop (positive is worse): +5.589%" in text


def test_results_that_do_not_match():
    with pytest.raises(ValueError, match="`single_task`.*Missing: \\['b'\\]"):
        mtl.report.compare({"a": {"auc": 1.0}, "b": {"auc": 1.0}}, {"a": {"auc": 1.0}})
    with pytest.raises(ValueError, match="single_task\\['a'\\].*'acu'.*Did you mean 'auc'"):
        mtl.report.compare({"a": {"auc": 1.0}}, {"a": {"acu": 1.0}})
    with pytest.raises(ValueError, match="must not be 0"):
        mtl.report.compare({"a": {"auc": 1.0}}, {"a": {"auc": 0.0}})


def test_curves(tmp_path):
    history = {"loss": [3.0, 2.0], "val_loss": [3.5, 3.0], "a_auc": [0.5, 0.6], "val_a_auc": [0.5, 0.55]}
    path = mtl.report.curves(history, tmp_path / "sub" / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5_000
    with pytest.raises(ValueError, match="`history`"):
        mtl.report.curves({}, path)


def test_a_row_of_curves_for_each_task(tmp_path, monkeypatch):
    names = ["loss", "a_loss", "a_b_loss", "a_auc", "a_b_auc", "learning_rate", "a_f1", "a_mae", "a_rmse", "a_r2"]
    balancing = ["weight/a", "weight/a_b", "cosine/a/a_b"]
    history = {name: [1.0, 2.0] for name in [*names, *(f"val_{name}" for name in names[:5]), *balancing]}
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
    mtl.report.curves(history, tmp_path / "curves.png")
    panels = [panel for panel in drawn[0].axes if panel.axison]
    titles = [panel.get_title() for panel in panels]
    assert titles == [
        *("loss", "learning_rate"),
        *("a: loss", "a: auc", "a: f1", "a: mae", "a: rmse", "a: r2"),
        *("a_b: loss", "a_b: auc"),
        *("weights, as shares of their sum", "cosines between gradients", ""),  # and the bar of colours
    ]
    lines = {title: len(panel.get_lines()) for title, panel in zip(titles, panels, strict=True)}
    assert (lines["a: auc"], lines["a: f1"]) == (2, 1)
    heights = {title: round(panel.get_position().y0, 2) for title, panel in zip(titles, panels, strict=True)}
    assert heights["a: loss"] == heights["a: mae"] > heights["a: rmse"] > heights["a_b: loss"]
