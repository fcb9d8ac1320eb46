"""Facts of a cluster that loses a node in the middle of a training: the sweep ends all the same.

Three nodes of Ray on this machine, each with processes of its own; the head runs no trials.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from running_sweep import Running, finished_nodes, parent, results, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@dataclass(frozen=True, kw_only=True)
class Survived:
    """What was seen of a sweep one of whose nodes was killed while it trained a V_2."""

    out: Path
    code: int
    output: str
    finished_before: dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Survived:
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("cluster")
    file = write_sweep(folder, base__train__precision="fp32")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        raylets = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
        words = (str(file), "--address", cluster.address)
        with Running(out=folder / "out", words=words) as run:
            key = wait_for(lambda: run.training(2, saved_step=100), "V_2's training")
            finished_before = finished_nodes(run.out)
            worker = run.claims()[key]["pid"]
            cluster.remove_node(raylets[parent(worker)], allow_graceful=False)
            wait_for(lambda: not Path(f"/proc/{worker}").exists(), "the trial's end")
            code = run.wait()
            output = run.output()
    finally:
        cluster.shutdown()
    return Survived(out=folder / "out", code=code, output=output, finished_before=finished_before)


def test_the_end_is_that_of_an_undisturbed_run_on_one_machine(survived, finished):
    """Weights, averages, pools, streams, curves and numbers are the same, bit for bit."""
    assert survived.code == 0, survived.output
    assert results(survived.out) == results(finished.out)


def test_no_finished_model_is_trained_again(survived):
    after = finished_nodes(survived.out)
    assert len(survived.finished_before) >= 1
    assert {key: after[key] for key in survived.finished_before} == survived.finished_before


def test_nothing_is_left_of_the_lost_node(survived):
    """Claims and training states are gone."""
    assert list((survived.out / "work").iterdir()) == []
