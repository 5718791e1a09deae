"""Workers that each read their own shards train and evaluate as one process that reads all, also after a restart."""

import json
import pickle
import shutil
import signal

import numpy as np
import processes
import pytest
import small_models
import train_sharded

SCRIPT = "conformance/train_sharded.py"


def train(folder, workers, *arguments):
    """Return the results, and the shards that each worker has read."""
    scripts = processes.start_workers(workers, SCRIPT, "multi_worker", folder / "out", *arguments)
    outputs = processes.finish(scripts, 300)
    return pickle.loads((folder / "out").read_bytes()), [json.loads(output) for output in outputs]


def check(results):
    for case, result in results.items():
        expected = train_sharded.train_case(case)
        assert small_models.largest_difference(result["weights"], expected["weights"]) < 1e-4, case
        for part in ("history", "evaluation"):
            for name, values in expected[part].items():
                np.testing.assert_allclose(result[part][name], values, rtol=1e-4, atol=1e-5, err_msg=f"{case} {name}")


def test_two_workers(tmp_path):
    """With a method that splits batches by the positions of rows."""
    results, read = train(tmp_path, 2, "SDMGrad:accumulate=2")
    assert read == [[0, 1, 2], [3, 4, 5]]
    check(results)


@pytest.mark.slow
def test_three_workers(tmp_path):
    results, read = train(tmp_path, 3, "AutoLambda", "UPGrad:gradients=features", "PCGrad:steps_per_execution=2")
    assert read == [[0, 1], [2, 3], [4, 5]]
    check(results)


@pytest.mark.slow
def test_three_workers_are_killed_and_resume(tmp_path):
    killed, undisturbed, fewer = (tmp_path / name for name in ("killed", "undisturbed", "fewer"))
    for folder in (killed, undisturbed):
        folder.mkdir()
    case = "MoDo:accumulate=2"
    options = ("--checkpoints", killed / "run", "--kill-after", 5, case)
    workers = processes.start_workers(3, SCRIPT, "multi_worker", killed / "out", *options)
    for worker in workers:
        worker.communicate(timeout=120)
    assert {worker.returncode for worker in workers} == {-signal.SIGKILL}
    shutil.copytree(killed, fewer)
    results, _ = train(killed, 3, "--checkpoints", killed / "run", case)
    expected, _ = train(undisturbed, 3, "--checkpoints", undisturbed / "run", case)
    for value, same in zip(results[case]["weights"], expected[case]["weights"], strict=True):
        np.testing.assert_array_equal(value, same)
    assert results[case]["history"] == expected[case]["history"]
    assert results[case]["evaluation"] == expected[case]["evaluation"]
    by_two, _ = train(fewer, 2, "--checkpoints", fewer / "run", case)
    assert small_models.largest_difference(by_two[case]["weights"], expected[case]["weights"]) < 1e-4
    for name, value in expected[case]["evaluation"].items():
        np.testing.assert_allclose(by_two[case]["evaluation"][name], value, rtol=1e-4, err_msg=name)
