"""The command line: check an export, describe a model, compare two runs, write a report of a run.

python -m tf_mtl check saved_models/sentiment/1
python -m tf_mtl describe model.keras
python -m tf_mtl compare runs/first runs/second
python -m tf_mtl report runs/first
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(arguments: list[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments: The command and its arguments; those of the process by default.
    """
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser("python -m tf_mtl", description=lines[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("check", help="load an export in a new process, and compare its answers")
    command.add_argument("export", type=Path, help="the folder of one version")
    command.set_defaults(run=check)
    command = commands.add_parser("describe", help="show a model's tasks and which layers they share")
    command.add_argument("model", type=Path, help="a .keras file")
    command.set_defaults(run=describe)
    command = commands.add_parser("compare", help="show the gains of one run over another")
    command.add_argument("run_folder", type=Path, metavar="run", help="a folder with metrics.json, or such a file")
    command.add_argument("base", type=Path, help="the one to compare with")
    command.set_defaults(run=compare)
    command = commands.add_parser("report", help="write report.html into the folder of a run, from its metrics.json")
    command.add_argument("run_folder", type=Path, metavar="run", help="the folder")
    command.set_defaults(run=report)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def check(args: argparse.Namespace) -> None:
    """Check an export."""
    import tf_mtl as mtl

    mtl.export.check(args.export)


def describe(args: argparse.Namespace) -> None:
    """Describe a model."""
    import keras

    import tf_mtl as mtl

    model = keras.saving.load_model(args.model, compile=False)
    if not isinstance(model, mtl.MultiTaskModel):
        raise ValueError(f"{args.model} must hold a tf_mtl.MultiTaskModel, received a {type(model).__name__}.")
    kinds = {task.name: [type(task).__name__, ", ".join(task.labels)] for task in model.tasks}
    rows = [[name, str(output.shape), *kinds.get(name, ["", ""])] for name, output in model.output.items()]
    print(mtl.report.table(["task", "output", "kind", "labels"], rows))
    print()
    model.describe_sharing()


def compare(args: argparse.Namespace) -> None:
    """Compare the results of two runs."""
    from tf_mtl.report import compare, table

    one, other = (_results(path) for path in (args.run_folder, args.base))
    common = [name for name in one if other.get(name)]  # a gain relative to 0 is not defined
    if not common:
        raise ValueError(f"The runs have no result to compare: {sorted(one)} and {sorted(other)}.")
    gains = compare({"": {name: one[name] for name in common}}, {"": {name: other[name] for name in common}})
    rows = [[row.metric, row.multi_task, row.single_task, f"{row.gain:+.2%}"] for row in gains.rows]
    print(table(["result", str(args.run_folder), str(args.base), "gain"], rows, digits=4))
    print(f"\nMean gain (positive is better): {gains.gain_per_task:+.2%}")
    left_out = sorted((one.keys() | other.keys()) - set(common))
    if left_out:
        print(f"Not compared, since a run does not have them or has 0: {', '.join(left_out)}.")


def report(args: argparse.Namespace) -> None:
    """Write the report of a run."""
    from tf_mtl.report import html_of_run

    print(f"Wrote {html_of_run(args.run_folder)}.")


def _results(path: Path) -> dict[str, float]:
    """The test results of a run, `{"<task>_<metric>": value}`."""
    file = path / "metrics.json" if path.is_dir() else path
    results = json.loads(file.read_text()).get("test")
    if not isinstance(results, dict):
        raise ValueError(f"{file} must have results by name under 'test'.")
    return {name: value for name, value in results.items() if isinstance(value, (int, float))}


if __name__ == "__main__":
    main()
