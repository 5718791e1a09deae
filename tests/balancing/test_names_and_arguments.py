import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl


@pytest.mark.parametrize("name", ["equal", "Equal", "EQUAL", "e_qual"])
def test_names_ignore_case_and_underscores(name):
    assert type(mtl.balancing.get(name)) is mtl.balancing.Equal


def test_an_object_is_returned_unchanged():
    method = mtl.balancing.Fixed([1.0])
    assert mtl.balancing.get(method) is method


@pytest.mark.parametrize("name", ["weighting", "Scalarizer", "nothing", 3, None])
def test_unknown_names_raise(name):
    with pytest.raises(ValueError, match="`balancing` must be.*'Equal', 'Every'"):
        mtl.balancing.get(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("nash_mlt", "NashMTL"), ("UpGrade", "UPGrad"), ("cagrd", "CAGrad"), ("uncertanty", "Uncertainty")],
)
def test_misspelt_names_get_a_suggestion(name, nearest):
    with pytest.raises(ValueError, match=f"received '{name}'. Did you mean '{nearest}'"):
        mtl.balancing.get(name)


@pytest.mark.parametrize("name", ["fixed", "ema", "every"])
def test_names_of_methods_that_need_arguments_raise(name):
    with pytest.raises(ValueError, match=rf"balancing='{name}'` needs arguments: pass tf_mtl.balancing"):
        mtl.balancing.get(name)


B = mtl.balancing


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: B.CAGrad(c=-0.1), r"`c` must be a number in \[0, inf\), received -0.1"),
        (lambda: B.CAGrad(rescale=3), r"`rescale` must be one of \[0, 1, 2\], received 3"),
        (lambda: B.NashMTL(max_norm=0), r"`max_norm` must be a number in \(0, inf\), received 0"),
        (lambda: B.FairGrad(alpha=0.1), r"`alpha` must be a number in \[0.3, 10\], received 0.1"),
        (lambda: B.FairGrad(alpha=float("nan")), r"`alpha` must be a number in \[0.3, 10\], received nan"),
        (lambda: B.FairGrad(alpha="2"), r"`alpha` must be a number in \[0.3, 10\], received '2'"),
        (lambda: B.AlignedMTL(scale="mean"), r"`scale` must be one of \['min', 'median', 'rmse'\], received 'mean'"),
        (lambda: B.MGDA(normalization="L2"), r"`normalization` must be one of .*'loss\+'\], received 'L2'"),
        (lambda: B.GradVac(beta=1.5), r"`beta` must be a number in \[0, 1\], received 1.5"),
        (lambda: B.GradNorm(alpha=-1), r"`alpha` must be a number in \[0, inf\), received -1"),
        (lambda: B.DWA(temperature=0), r"`temperature` must be a number in \(0, inf\), received 0"),
        (lambda: B.DBMTL(beta=-0.1), r"`beta` must be a number in \[0, 1\), received -0.1"),
        (lambda: B.MoCo(beta=0), r"`beta` must be a number in \(0, 1\], received 0"),
        (lambda: B.STCH(mu=0), r"`mu` must be a number in \(0, inf\), received 0"),
        (lambda: B.EMA(B.MGDA(), beta=2), r"`beta` must be a number in \[0, 1\], received 2"),
        (lambda: B.DBMTL(beta=1), r"`beta` must be a number in \[0, 1\), received 1"),
        (lambda: B.SDMGrad(momentum=1), r"`momentum` must be a number in \[0, 1\), received 1"),
        (lambda: B.SDMGrad(steps=2.5), "`steps` must be an integer, at least 1, received 2.5"),
        (lambda: B.TrimmedMean(0.9), "`trim` must be an integer, at least 0, received 0.9"),
        (lambda: B.Krum(byzantine=1.7), "`byzantine` must be an integer, at least 0, received 1.7"),
        (lambda: B.RLW(seed=1.5), "`seed` must be an integer, at least 0, received 1.5"),
        (lambda: B.Uncertainty(initial=float("nan")), r"`initial` must be a number in \(-inf, inf\), received nan"),
        (lambda: B.Every(B.MGDA(), 0), "`n` must be an integer, at least 1, received 0"),
        (lambda: B.AlignedMTL(scale="meadian"), "received 'meadian'. Did you mean 'median'"),
        (lambda: B.UPGrad(preference={"a": "x"}), "`preference` must contain finite numbers of at least 0"),
        (lambda: B.UPGrad(preference={"a": -1.0}), "`preference` must contain finite numbers of at least 0"),
        (lambda: B.NashMTL(preference=[1.0, 0.0])(np.eye(2)), "`preference` of NashMTL must be above 0 for each task"),
        (lambda: B.FairGrad(preference=[1.0, 0.0])(np.eye(2)), "`preference` of FairGrad must be above 0"),
        (lambda: B.UPGrad(preference=[0.0, 0.0]), "`preference` must contain .* one above 0, received"),
        (lambda: B.Every(B.EMA(B.MGDA()), 2)(np.eye(2)), "`method` must not have state.*received EMA"),
        (lambda: B.Krum(byzantine=1)(np.eye(3)), "needs at least 4 tasks, received 3"),
        (lambda: B.TrimmedMean()(np.eye(2)), "needs at least 3 tasks, received 2"),
        (lambda: B.UPGrad(preference=[1.0, 2.0])(np.eye(3)), "`preference` must have one number per task, received 2"),
        (lambda: B.UPGrad(preference={"a": 2.0})(np.eye(2)), "`preference` can be a dict only in a compiled model"),
        (lambda: B.MGDA("loss")(np.eye(2)), "needs `losses`"),
        (lambda: B.GradNorm()(np.eye(2)), "needs `losses`"),
    ],
)
def test_invalid_arguments_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: B.EMA("mgda"), "`method` must be a method of tf_mtl.balancing"),
        (lambda: B.UPGrad(preference=2.0), "`preference` must be .* received 2.0"),
        (lambda: B.AutoLambda("data"), "`validation` must be a tf.data.Dataset of batches, received 'data'"),
    ],
)
def test_arguments_of_the_wrong_type_raise(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_lists_and_integers_are_accepted():
    assert float(B.GLS()([0.5, 1, 2])) == pytest.approx(1)
    np.testing.assert_allclose(B.NashMTL(max_norm=None)([[4, 0], [0, 1]]), [0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(B.DBMTL(beta=0)(np.array([[2, 0], [0, 4]])), [4, 4])


def test_preference_by_name_defaults_to_1_and_unknown_tasks_raise():
    method = B.UPGrad(preference={"topic": 2.0})
    method.bind(("price", "topic"), (2, 2), small_models.model())
    np.testing.assert_allclose(method.importance, [1 / 3, 2 / 3])
    method = B.UPGrad(preference={"topik": 2.0})
    with pytest.raises(ValueError, match="`preference` .*unknown key 'topik'.*Did you mean 'topic'"):
        method.bind(("price", "topic"), (2, 2), small_models.model())


def test_a_method_belongs_to_one_model():
    one, other = small_models.model(), small_models.model()
    method = B.GradNorm()
    for _ in range(2):
        one.compile("sgd", loss=small_models.LOSS, balancing=method)
    with pytest.raises(
        ValueError, match="This GradNorm object already balances the tasks .*Create a new object for each model"
    ):
        other.compile("sgd", loss=small_models.LOSS, balancing=method)
    method(np.eye(2), losses=np.ones(2))  # a method of a model can still be called
    used_outside = B.MGDA()
    used_outside(np.eye(2))
    with pytest.raises(ValueError, match="was already called outside a model"):
        one.compile("sgd", loss=small_models.LOSS, balancing=used_outside)


def test_jacobian_state_does_not_fit_other_shared_variables():
    x = keras.Input((6,))
    h = keras.layers.Dense(4)(keras.layers.Dense(5, name="first")(x))
    model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(h) for task in "ab"})
    method = B.MoCo()
    model.compile("sgd", loss="mse", balancing=method)
    model.get_layer("first").trainable = False
    with pytest.raises(ValueError, match="other shared variables"):
        model.compile("sgd", loss="mse", balancing=method)


def test_fixed_takes_weights_by_name_in_any_order():
    method = mtl.balancing.Fixed({"b": 3.0, "a": 2.0})
    method.bind(("a", "b"), (2,), small_models.model())
    assert float(method(np.array([10.0, 100.0]))) == 320.0
    copy = mtl.balancing.Fixed.from_config(method.get_config())
    copy.bind(("a", "b"), (2,), small_models.model())
    assert float(copy(np.array([10.0, 100.0]))) == 320.0


def test_fixed_trains_like_loss_weights():
    x, y = small_models.full_data()
    weights = []
    for options in (
        {"loss_weights": {"topic": 0.2, "price": 3.0}},
        {"balancing": mtl.balancing.Fixed({"topic": 0.2, "price": 3.0})},
    ):
        model = small_models.model()
        model.compile("sgd", loss=small_models.LOSS, **options)
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    assert small_models.largest_difference(*weights) < 1e-6
