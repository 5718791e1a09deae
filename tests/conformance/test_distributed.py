"""Four devices, two workers and three workers train, evaluate and predict as one device does.

Replicas get different numbers of rows, and one replica gets no row of the last batch.
"""

import pickle

import numpy as np
import processes
import pytest
import small_models
from balancing_methods import BUILT_IN

SCRIPT = "conformance/train_methods.py"
CASES = [
    "Equal",
    "FAMO:accumulate=2",
    "Equal:steps_per_execution=2",
    "UPGrad:clip=0.1,accumulate=3",
    "UPGrad:gradients=features",
    "PCGrad:steps_per_execution=7",
    "RLW",
]
MICRO_BATCHES = {  # each with the case without micro-batches that it must equal
    "UPGrad:accumulate=3": "UPGrad",
    "FAMO:accumulate=2": "FAMO",
    "SDMGrad:accumulate=4": "SDMGrad",
}
ALL_CASES = [
    *(method.__name__ for method in BUILT_IN),
    "PCGrad:gradients=features",
    "Equal:clip=0.1",
    "Equal:accumulate=2",
    "RLW:accumulate=2",
    "DBMTL:accumulate=2",
    "MoDo:accumulate=2",
    "SDMGrad:accumulate=4",
]
ONE, FOUR, TWO_WORKERS, THREE_WORKERS = (
    ("one_device", 0, 0),
    ("mirrored", 4, 0),
    ("multi_worker", 0, 2),
    ("multi_worker", 0, 3),
)


def run_cases(folder, strategy, devices, workers, cases):
    out = folder / f"{strategy}{devices}{workers}"
    arguments = (SCRIPT, strategy, devices, out, *cases)
    processes.finish(processes.start_workers(workers, *arguments) if workers else [processes.start(*arguments)], 1800)
    results = pickle.loads(out.read_bytes())
    assert results.pop("replicas") == (workers or devices or 1)
    return results


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    cases = {*CASES[:5], *MICRO_BATCHES, *MICRO_BATCHES.values()}
    return run_cases(tmp_path_factory.mktemp("one_device"), *ONE, sorted(cases))


@pytest.fixture(scope="module")
def one_device_in_every_case(one_device, tmp_path_factory):
    return one_device | run_cases(tmp_path_factory.mktemp("one_device"), *ONE, CASES[5:])


def check(results, expected):
    differences = {}
    for case, other in results.items():
        one = expected[case]
        differences[case] = small_models.largest_difference(one["weights"], other["weights"])
        for name, values in one["history"].items():
            np.testing.assert_allclose(other["history"][name], values, rtol=1e-4, atol=1e-5, err_msg=f"{case} {name}")
        for name, value in one["evaluation"].items():
            np.testing.assert_allclose(other["evaluation"][name], value, rtol=1e-4, atol=1e-6, err_msg=f"{case} {name}")
        for task, values in one["predictions"].items():
            np.testing.assert_allclose(other["predictions"][task], values, rtol=1e-3, atol=1e-5)
    assert max(differences.values()) < 1e-4, differences


@pytest.mark.slow
def test_four_devices(one_device, tmp_path):
    cases = CASES[:3]
    check(run_cases(tmp_path, *FOUR, cases), {case: one_device[case] for case in cases})


def test_two_workers(one_device, tmp_path):
    cases = CASES[2:5]
    check(run_cases(tmp_path, *TWO_WORKERS, cases), {case: one_device[case] for case in cases})


@pytest.mark.slow
def test_two_workers_in_every_case(one_device_in_every_case, tmp_path):
    check(run_cases(tmp_path, *TWO_WORKERS, CASES), {case: one_device_in_every_case[case] for case in CASES})


@pytest.mark.slow
def test_three_workers(one_device, tmp_path):
    cases = CASES[2:4]
    check(run_cases(tmp_path, *THREE_WORKERS, cases), {case: one_device[case] for case in cases})


@pytest.mark.slow
@pytest.mark.parametrize(
    "setup", [FOUR, TWO_WORKERS, THREE_WORKERS], ids=["four devices", "two workers", "three workers"]
)
def test_every_method(setup, tmp_path_factory, tmp_path):
    check(run_cases(tmp_path, *setup, ALL_CASES), run_cases(tmp_path, *ONE, ALL_CASES))


@pytest.mark.parametrize("case", MICRO_BATCHES)
def test_micro_batches_equal_the_whole_batch(one_device, case):
    plain = MICRO_BATCHES[case]
    check({plain: one_device[case]}, {plain: one_device[plain]})
