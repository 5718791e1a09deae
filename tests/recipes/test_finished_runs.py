from finished_runs import FinishedRuns


def test_finished_runs_are_found_by_their_options(tmp_path):
    path = tmp_path / "new" / "results.json"
    runs = FinishedRuns(path, write=True)
    options = {"method": "equal", "seed": 0}
    assert runs.find(options) is None
    entry = runs.add(options, {"left": 0.5})
    assert entry == {"method": "equal", "seed": 0, "left": 0.5}
    for reader in (runs, FinishedRuns(path, write=True)):
        assert reader.find(options) == entry
        assert reader.find({"method": "equal", "seed": 1}) is None
        assert reader.find({**options, "epochs": 3}) is None


def test_only_one_process_writes(tmp_path):
    path = tmp_path / "results.json"
    runs = FinishedRuns(path, write=False)
    runs.add({"seed": 0}, {"left": 0.5})
    assert runs.find({"seed": 0})
    assert not path.exists()
