"""Kill, damage, change and restart at random, and check what must hold; run by `make test-faults`.

Environment variables: FAULTS_SECONDS (600), FAULTS_SEED (the time), FAULTS_EPISODE to repeat a single one, and
FAULTS_KIND (training, caching or exporting).
"""

import os
import random
import shutil
import time
import traceback

import pytest
from caching import Caching
from expectations import Undisturbed
from exports import Exporting
from jobs import end_all
from journal import Journal
from training import Training

SECONDS = float(os.environ.get("FAULTS_SECONDS", "600"))
SEED = os.environ.get("FAULTS_SEED", str(int(time.time())))
EPISODE = os.environ.get("FAULTS_EPISODE")
KIND = os.environ.get("FAULTS_KIND")


def _episode(rng, folder, journal, undisturbed):
    kind = KIND or rng.choices(["training", "caching", "exporting"], [6, 2, 1])[0]
    if kind == "training":
        return Training(rng, folder, journal, undisturbed)
    return {"caching": Caching, "exporting": Exporting}[kind](rng, folder, journal)


@pytest.mark.faults
def test_faults(tmp_path):
    journal, violations = Journal(), []
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Undisturbed(tmp_path / "undisturbed")
    end = time.monotonic() + SECONDS
    episode = int(EPISODE or 0)
    while time.monotonic() < end:
        rng = random.Random(f"{SEED}/{episode}")
        folder = tmp_path / f"episode-{episode}"
        folder.mkdir()
        journal.begin(f"FAULTS_SEED={SEED} FAULTS_EPISODE={episode}")
        try:
            _episode(rng, folder, journal, undisturbed).run()
        except Exception as error:
            violations.append("\n".join([*journal.lines, str(error), f"Files: {folder}"]))
            traceback.print_exc()
            print(violations[-1], flush=True)
        else:
            shutil.rmtree(folder)
        finally:
            end_all()
        episode += 1
        if EPISODE:
            break
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(journal.counts.items()))
    print(f"{episode} episodes: {counts}; {len(violations)} violations")
    assert not violations, "\n\n".join(violations)
