"""Bad arguments of trunks and encoders: errors name the argument, the rule, what was received and the remedy."""

import keras
import pytest

import tf_mtl as mtl

T, L = mtl.trunks, keras.layers
STAGES = [L.Dense(4, name="first"), L.Dense(4, name="second")]
X = (3,)


def build(trunk, shape=X, features="pooled"):
    tasks = [mtl.tasks.Regression(task, features=features) for task in ("a", "b")]
    return mtl.build_model(keras.Input(shape), trunk, tasks)


@pytest.mark.parametrize(
    "trunk",
    [
        lambda encoder: T.Hierarchical(encoder, {"a": 0, "b": 0}),
        T.CrossStitch,
        T.Sluice,
        T.MTAN,
        T.LearningToBranch,
        T.TaskConditioned,
        T.Adapters,
    ],
)
@pytest.mark.parametrize("encoder", [L.Dense(4), [], None], ids=["layer", "empty", "none"])
def test_an_encoder_without_stages(trunk, encoder):
    with pytest.raises(ValueError, match=r"`encoder` of \w+ must have stages, received .* list of layers"):
        trunk(encoder)


@pytest.mark.parametrize("level", [2, -1, "first", 0.5])
def test_a_level_that_does_not_exist(level):
    with pytest.raises(
        ValueError, match=f"`levels` must be stages of the encoder, 0 to 1; received {level!r} for task 'b'"
    ):
        T.Hierarchical(STAGES, {"a": 0, "b": level})


def test_levels_of_other_tasks():
    with pytest.raises(ValueError, match="`levels`.*unknown key 'bb'.*Did you mean 'b'"):
        build(T.Hierarchical(STAGES, {"a": 0, "bb": 1}))
    with pytest.raises(ValueError, match=r"`levels`.*Missing: \['b'\]"):
        build(T.Hierarchical(STAGES, {"a": 0}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: T.DSelectK(L.Identity(), L.Dense(4), 3, top_k=4),
            "`top_k` must be at most .* experts, 3; received 4",
        ),
        (lambda: T.DSelectK(L.Identity(), L.Dense(4), 1), "`experts` must be an integer, at least 2, received 1"),
        (lambda: T.DSelectK(L.Identity(), L.Dense(4), gamma=0), "`gamma` must be above 0, received 0"),
        (lambda: T.DSelectK(L.Identity(), L.Dense(4), entropy=-1), "`entropy` must be at least 0, received -1"),
        (lambda: T.MMoE(L.Identity(), L.Dense(4), 0), "`experts` must be an integer, at least 1, received 0"),
        (lambda: T.MMoE(L.Identity(), L.Dense(4), "8"), "`experts` must be an integer, at least 1, received '8'"),
        (lambda: T.CGC(L.Identity(), L.Dense(4), task_experts=0), "`task_experts` must be .* received 0"),
        (lambda: T.PLE(L.Identity(), L.Dense(4), levels=1.5), "`levels` must be .* received 1.5"),
        (
            lambda: T.SoftSharing(L.Dense(4), "median"),
            "`penalty_kind` must be 'mean', 'pairs' or 'trace_norm'.*'median'",
        ),
        (lambda: T.SoftSharing(L.Dense(4), strength=-1), "`strength` must be at least 0, received -1"),
        (lambda: T.CrossStitch(STAGES, own_weight=2), "`own_weight` must be between 0 and 1, received 2"),
        (lambda: T.Sluice(STAGES, subspaces=0), "`subspaces` must be an integer, at least 1, received 0"),
        (
            lambda: build(T.Sluice([L.Dense(5)], subspaces=2)),
            "`subspaces` must divide the width of every stage, received 2 and a stage of width 5",
        ),
        (lambda: T.LearningToBranch(STAGES, branches=0), "`branches` must be an integer, at least 1.*received 0"),
        (lambda: T.LearningToBranch(STAGES, temperature=0.01), "`temperature`, `lowest` .* received 0.01, 0.1"),
        (lambda: T.Adapters(STAGES, bottleneck=0), "`bottleneck` must be an integer, at least 1, received 0"),
        (lambda: T.LoRA(L.Dense(4), rank=0), "`rank` must be an integer, at least 1, received 0"),
        (
            lambda: build(T.LoRA(L.Dense(4, name="d"), kernels=["query"])),
            r"`kernels`.*\['query'\]; the encoder has .*kernel",
        ),
        (
            lambda: build(T.MTAN([L.Conv2D(4, 3), L.Dense(2)]), (None, None, 3)),
            "`encoder` of MTAN must .* of known size",
        ),
        (lambda: build(T.MTAN([L.Conv2D(4, 3), L.Conv2D(4, 3)]), (8, 8, 3)), "`encoder` of MTAN .* are multiples"),
        (lambda: mtl.encoders.ConvEncoder([]), "`filters` must contain .* received \\[\\]"),
        (lambda: mtl.encoders.TabularEncoder(), "`numeric` and `categorical` must name at least one column"),
        (lambda: mtl.encoders.TabularEncoder(["a"], {"a": 2}), "must name each column once, received \\['a'\\]"),
        (
            lambda: mtl.encoders.TabularEncoder([], {"a": 0}),
            r"`categorical\['a'\]` must be an integer, at least 1, received 0",
        ),
        (lambda: mtl.encoders.TabularEncoder(["a", "b"])({"a": keras.Input((1,))}), r"must have the columns \['b'\]"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make", [T.SoftSharing, T.LoRA, lambda e: T.MMoE(e, L.Dense(4)), lambda e: T.PLE(e, L.Dense(4))]
)
@pytest.mark.parametrize("encoder", [lambda x: x, None, "bert"], ids=["function", "none", "text"])
def test_encoders_that_are_not_layers(make, encoder):
    with pytest.raises(TypeError, match="`encoder` must be a Keras layer or model, or a list of them, received"):
        make(encoder)


@pytest.mark.parametrize("trunk", [T.MMoE, T.CGC, T.PLE, T.DSelectK])
def test_layers_that_do_not_fit(trunk):
    with pytest.raises(ValueError, match="`tower`: the layer 'conv.*' does not fit features of shape \\(None, 4\\)"):
        build(trunk(L.Identity(), L.Dense(4), tower=L.Conv2D(2, 3, name="conv")))
    with pytest.raises(ValueError, match="`expert`: the layer 'lstm.*' does not fit features of shape \\(None, 3\\)"):
        build(trunk(L.Identity(), L.LSTM(4, name="lstm")))
    with pytest.raises(ValueError, match="`expert` must keep the positions"):
        build(trunk(L.Identity(), L.LSTM(4)), (6, 3))
    with pytest.raises(ValueError, match="`encoder`: the layer 'conv' does not fit features of shape \\(None, 3\\)"):
        build(trunk(L.Conv2D(2, 3, name="conv"), L.Dense(4)))
    with pytest.raises(ValueError, match="Task 'a' reads features\\['sequence'\\]"):
        build(trunk(L.Identity(), L.Dense(4)), features="sequence")


def test_a_feature_space_that_does_not_fit():
    space = keras.utils.FeatureSpace({"job": "string_categorical"}, output_mode="dict")  # one-hot by default
    space.adapt({"job": ["cook", "smith"]})
    with pytest.raises(ValueError, match="Feature 'job' must be one float or one index per row.*output_mode='int'"):
        mtl.encoders.TabularEncoder.from_features(space)
