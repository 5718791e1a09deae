"""Workers that differ in model, options, data or versions: a clear error on all of them, at once, and no hang."""

import json

import processes

import tf_mtl as mtl

DIFFERENCES = {
    "width": "trunk/HardSharing/encoder/units/0: 8 on worker 0; 16 on worker 1",
    "name": "task_names/1: 'b' on worker 0; 'c' on worker 1",
    "depth of a head": "tasks/0/hidden_units: None on worker 0; 4 on worker 1",
    "name in a graph": "outputs/c: nothing on worker 0; (None, 1) float32 on worker 1",
    "activation": "model/layers/1/activation: 'relu' on worker 0; 'tanh' on worker 1",
    "balancing": "balancing: 'equal' on worker 0; 'mgda' on worker 1",
    "seed": "balancing/seed: 2 on worker 0; 1 on worker 1",
    "optimizer": "optimizer: 'sgd' on worker 0; 'adam' on worker 1",
    "loss": "loss/a/delta: 1.0 on worker 0; 2.0 on worker 1",
    "non-finite steps": "execution/non_finite: 'keep' on worker 0; 'skip' on worker 1",
    "frozen layer": "model/layers/1/trainable: True on worker 0; False on worker 1",
    "shape": "data/batch/1/a: (4,) float32 on worker 0; (3,) float32 on worker 1",
    "batches": "data/batches: 2 on worker 0; 1 on worker 1",
    "epochs": "epochs/1: 1 on worker 0; 2 on worker 1",
    "validation": "validation_data/batches: nothing on worker 0; 2 on worker 1",
    "version": f"versions/tf_mtl: '{mtl.__version__}' on worker 0; '9.9.9' on worker 1",
    "method": "method: 'fit' on worker 0; 'evaluate' on worker 1",
    "evaluation": "data/batches: 2 on worker 0; 1 on worker 1",
    "prediction": "data/batches: 2 on worker 0; 1 on worker 1",
}


def test_all_workers_say_what_differs():
    outputs = processes.finish(processes.start_workers(2, "conformance/disagree.py"), 300)
    results, last_errors = [], []
    for output in outputs:
        *cases, trained, last_error = (json.loads(line) for line in output.splitlines())
        assert [name for name, _, _ in cases] == list(DIFFERENCES)
        for name, message, seconds in cases:
            assert f"\n- {DIFFERENCES[name]}\n" in message, (name, message)
            assert seconds < 20, name
        results.append(trained)
        last_errors.append(last_error)
    assert results[0] == results[1]
    assert "The workers of the cluster run different operations" in last_errors[0]
    assert "Collective" in last_errors[1]  # of TensorFlow, in the constructor of the variable
