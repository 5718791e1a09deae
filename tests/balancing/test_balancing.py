import numpy as np
import pytest

import tf_mtl as mtl


@pytest.mark.parametrize("name", ["equal", "Equal", "EQUAL", "e_qual"])
def test_names_ignore_case_and_underscores(name):
    assert type(mtl.balancing.get(name)) is mtl.balancing.Equal


def test_an_object_is_taken_as_it_is():
    method = mtl.balancing.Fixed([1.0])
    assert mtl.balancing.get(method) is method


@pytest.mark.parametrize("name", ["weighting", "Scalarizer", "nothing", 3, None])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="`balancing` must be.*'Equal', 'Fixed'"):
        mtl.balancing.get(name)


def test_fixed_takes_weights_by_name_in_any_order():
    method = mtl.balancing.Fixed({"b": 3.0, "a": 2.0})
    method.bind(("a", "b"))
    assert float(method(np.array([10.0, 100.0]))) == 320.0
    again = mtl.balancing.Fixed.from_config(method.get_config())
    again.bind(("a", "b"))
    assert float(again(np.array([10.0, 100.0]))) == 320.0


def test_fixed_trains_like_loss_weights():
    import examples

    x, y = examples.full_data()
    ends = []
    for options in (
        {"loss_weights": {"topic": 0.2, "price": 3.0}},
        {"balancing": mtl.balancing.Fixed({"topic": 0.2, "price": 3.0})},
    ):
        model = examples.model()
        model.compile("sgd", loss=examples.LOSS, **options)
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    assert examples.largest_difference(*ends) < 1e-6
