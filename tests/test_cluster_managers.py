"""Slurm and Kubernetes as docs/distribution.md describes them, without either."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import tensorflow as tf
import yaml

import tf_mtl as mtl
from tf_mtl.callbacks import _interruption
from tf_mtl.distribute._workers import worker_index

PAGE = (Path(__file__).parents[1] / "docs" / "distribution.md").read_text()
ONE_WORKER = """
import tensorflow as tf, tf_mtl as mtl
resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(gpus_per_node=1)
strategy = mtl.distribute.strategy("multi_worker", cluster_resolver=resolver)
print(mtl.distribute.describe(strategy), mtl.distribute.is_chief(strategy))
"""


def slurm_variables(task, nodes, tasks_per_node, tasks):
    return {
        "SLURM_PROCID": str(task),
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node,
        "CUDA_VISIBLE_DEVICES": "0,1",
    }


@pytest.fixture
def slurm_resolver(monkeypatch):
    def resolver(*arguments):
        for name, value in slurm_variables(*arguments).items():
            monkeypatch.setenv(name, value)
        return tf.distribute.cluster_resolver.SlurmClusterResolver()

    return resolver


def test_workers_of_slurm(slurm_resolver):
    for task in range(3):
        resolver = slurm_resolver(task, "gpu[08-10]", "1(x3)", 3)
        assert resolver.cluster_spec().as_dict() == {"worker": ["gpu08:8888", "gpu09:8888", "gpu10:8888"]}
        strategy = mock.Mock(
            spec=tf.distribute.MultiWorkerMirroredStrategy, cluster_resolver=resolver, num_replicas_in_sync=6
        )
        strategy.extended.worker_devices = ("/gpu:0", "/gpu:1")
        assert worker_index(strategy) == (task, 3)
        assert mtl.distribute.is_chief(strategy) == (task == 0)


def test_limits_of_the_resolver_of_slurm(slurm_resolver):
    """These fail when TensorFlow no longer has the limits that the page lists."""
    assert slurm_resolver(0, "n[9-10]", "1(x2)", 2).cluster_spec().as_dict()["worker"] == ["n10:8888", "n9:8888"]
    with pytest.raises(ValueError, match="must not be zero"):
        slurm_resolver(0, "n1", "3", 3).cluster_spec()


def test_a_strategy_from_a_resolver():
    environment = {**os.environ, **slurm_variables(0, "localhost", "1", 1)}
    done = subprocess.run([sys.executable, "-c", ONE_WORKER], capture_output=True, text=True, env=environment)
    expected = "many machines: CollectiveAllReduceStrategy, 1 replica, as SlurmClusterResolver names workers: 1 True\n"
    assert done.stdout == expected, done.stderr[-3000:]


def test_resolvers_that_do_not_fit(slurm_resolver):
    resolver = slurm_resolver(0, "n1", "1", 1)
    with pytest.raises(ValueError, match="`cluster_resolver` is for strategy.'multi_worker'.*name='auto'"):
        mtl.distribute.strategy(cluster_resolver=resolver)
    empty = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec({}))
    with pytest.raises(ValueError, match="must name at least one worker, received a SimpleClusterResolver without"):
        mtl.distribute.strategy("multi_worker", cluster_resolver=empty)


def bash(pattern):
    """The only bash example of the page that matches a pattern."""
    (code,) = (code for code in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if re.search(pattern, code))
    return code


def run_bash(code, folder, **programs):
    """Run a script with these programs on the path; return its exit code and output."""
    for name, program in programs.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{program}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[9-10]"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("status", "requeued"), [(0, ""), (1, ""), (143, "requeue 7\n")])
def test_a_preempted_job_of_slurm_is_requeued(status, requeued, tmp_path):
    programs = {"srun": f"exit {status}", "scontrol": 'echo "$@"'}
    assert run_bash(bash("#SBATCH"), tmp_path, **programs) == (status, requeued)


def test_tf_config_from_slurm(tmp_path):
    programs = {
        "scontrol": "printf 'n9\\nn10\\n'",
        "srun": 'for task in 0 1; do SLURM_PROCID=$task "$@"; done',
        "python": 'echo "$@" $TF_CONFIG',
    }
    status, output = run_bash(bash("WORKERS="), tmp_path, **programs)
    assert status == 0
    for task, line in enumerate(output.splitlines()):
        script, _, config = line.partition(" ")
        assert script == "train.py"
        assert json.loads(config) == {
            "cluster": {"worker": ["n9:12345", "n10:12345"]},
            "task": {"type": "worker", "index": task},
        }


def test_the_manifest_of_kubernetes():
    """What the operator's schema and validation demand."""
    (code,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    job = yaml.safe_load(code)
    assert job.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    fields = {"enableDynamicWorker", "runPolicy", "successPolicy", "tfReplicaSpecs"}
    assert {"tfReplicaSpecs"} <= job["spec"].keys() <= fields
    for kind, replica in job["spec"]["tfReplicaSpecs"].items():
        assert kind in ("Chief", "Worker")  # of Chief, Master, Worker, PS and Evaluator
        assert replica.keys() == {"replicas", "restartPolicy", "template"}
        assert isinstance(replica["replicas"], int)
        assert replica["restartPolicy"] in ("Always", "OnFailure", "Never", "ExitCode")
        pod = replica["template"]["spec"]
        assert "restartPolicy" not in pod  # the operator overwrites it
        assert isinstance(pod["terminationGracePeriodSeconds"], int)
        (container,) = pod["containers"]
        assert container["name"] == "tensorflow"
        assert container["image"]
        assert container["command"][0] == "python"  # which receives SIGTERM
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_first_process_of_a_container_ends(tmp_path):
    """Its kernel ignores signals that it does not handle."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a process namespace")
    script = f"""
import os, runpy, signal
interruption = runpy.run_path({_interruption.__file__!r})["Interruption"]()
interruption.watch()
os.kill(os.getpid(), signal.SIGTERM)
assert os.getpid() == 1 and interruption.noticed
interruption.act()
print("runs on")
"""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (143, ""), done.stderr
