"""Facts of the TensorBoard files: what they hold, and that nothing is written twice."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running_sweep import Running, find, wait_for, write_sweep
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard_server import serving
from tiny_sweep import compute, make_lineage, make_sweep, plan_in

from model.images import encode_png
from sweep.planning.lineages import PlannedLineage
from sweep.records import LineageRecord, MetricsRecord, NodeRecord
from sweep.results_folder import fill
from sweep.status.live_board import LiveBoard
from sweep.store.claims import ClaimInfo
from sweep.store.store import Store, open_store
from sweep.tensorboard import (
    add_scalars,
    hparam,
    png_size,
    with_gaps,
    write_boards,
    write_whole_board,
    writing,
)

GRID = ({"pool.alpha": [0.5, 2.0]},)
STEPS = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two lineages of two generations."""
    store = open_store(tmp_path_factory.mktemp("store"))
    for _, config in make_sweep(GRID, make_lineage({"train.steps": STEPS})).points():
        compute(config, store)
    return store


@pytest.fixture(scope="module")
def lineages(store: Store) -> list[PlannedLineage]:
    return plan_in(make_sweep(GRID, make_lineage({"train.steps": STEPS})), store)


@pytest.fixture(scope="module")
def out(store, lineages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_boards(out, fill(out, lineages, store))
    return out


@pytest.fixture(scope="module")
def events(out: Path, lineages) -> EventAccumulator:
    """The first lineage's events, as TensorBoard reads them."""
    found = EventAccumulator(str(out / "tensorboard" / lineages[0].id))
    found.Reload()
    return found


def records(store: Store, lineage: PlannedLineage) -> list[tuple[NodeRecord, MetricsRecord]]:
    found = []
    for node in lineage.nodes:
        (plan,) = node.metrics
        metrics = store.read_metrics(node.key, plan.spec)
        assert metrics is not None
        found.append((store.nodes.read(node.key), metrics))
    return found


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def files(out: Path) -> dict[str, int]:
    return {p.name: p.stat().st_ino for p in (out / "tensorboard").rglob("events.*")}


def test_metrics_are_there_by_generation(events, store, lineages) -> None:
    """As the store has them, in float32."""
    expected = [
        (node.generation, pytest.approx(metrics.values["kid/pixels"]))
        for node, metrics in records(store, lineages[0])
    ]
    assert scalars(events, "kid/pixels") == expected


def test_pixel_statistics_have_a_group_of_their_own(events) -> None:
    """A tag without a group would be lost among the others."""
    assert [step for step, _ in scalars(events, "pixels/pixel_std")] == [1, 2]


def test_the_pool_is_there_by_generation(events) -> None:
    """Its size, and the share that is real: 40 of 40, 40 of 60."""
    assert scalars(events, "pool/num_images") == [(1, 40.0), (2, 60.0)]
    assert scalars(events, "pool/real_share") == [(1, 1.0), (2, pytest.approx(2 / 3))]


@pytest.mark.parametrize("generation", [1, 2])
def test_each_generation_has_its_training_curve(generation: int, events) -> None:
    """A point a step, where there are no more than a curve's bins."""
    for name in ("noise_loss", "image_loss"):
        curve = scalars(events, f"training_{name}/V{generation}")
        assert [step for step, _ in curve] == list(range(1, STEPS + 1))


def test_the_samples_of_one_noise_are_an_image_a_generation(events, store, lineages) -> None:
    """The PNG of the store, with gaps, beside real images."""
    images = events.Images("samples/same_noise")
    assert [image.step for image in images] == [1, 2]
    for image, node in zip(images, lineages[0].nodes, strict=True):
        png = store.nodes.read_file(node.key, "preview.png")
        assert image.encoded_image_string == with_gaps(png)
        assert (image.width, image.height) == png_size(with_gaps(png)) == (71, 71)
    (real,) = events.Images("samples/real")
    assert (real.step, real.width) == (0, 71)


def test_files_are_read_in_the_order_of_generations(tmp_path) -> None:
    """TensorBoard sorts names, and a fast run writes many files within a second."""
    for generation in range(1, 13):
        with writing(tmp_path / "x", f".V{generation}-k") as add:
            add_scalars(add, generation, {"kid/pixels": 1.0})
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert [name.split(".V")[1] for name in names] == [f"{n}-k" for n in range(1, 13)]


def test_gaps_separate_images_and_change_none() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (32, 128, 3), np.uint8)
    found = np.asarray(Image.open(io.BytesIO(with_gaps(encode_png(pixels)))))
    assert found.shape == (2 * 16 + 1, 8 * 16 + 7, 3)
    assert (found[:16, :16] == pixels[:16, :16]).all()
    assert (found[17:, 17:33] == pixels[16:, 16:32]).all()
    assert (found[16] == 255).all()
    assert (found[:, 16::17] == 255).all()


def test_the_axes_are_the_lineages_hyperparameters(events, lineages) -> None:
    """In TensorBoard's HPARAMS tab."""
    assert {
        "_hparams_/experiment",
        "_hparams_/session_start_info",
    } & set(events.summary_metadata)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"pool.alpha" in content
    assert lineages[0].id.encode() in content


def test_the_overview_names_what_varies_and_is_replaced_when_that_changes(
    lineages, store, tmp_path
) -> None:
    for some in (lineages[:1], lineages, lineages):
        write_whole_board(tmp_path, fill(tmp_path, some, store))
    (path,) = (tmp_path / "tensorboard" / "overview").iterdir()
    found = EventAccumulator(str(path.parent))
    found.Reload()
    content = found.SummaryMetadata("_hparams_/experiment").plugin_data.content
    assert b"pool.alpha" in content
    assert b"kid/pixels" in content
    assert ".overview-" in path.name


def claim(**progress: object) -> ClaimInfo:
    return ClaimInfo(lease_seconds=60, progress={"stage": "train", "loss": 0.5, **progress})


def test_a_training_is_on_the_board_while_it_runs(lineages, tmp_path) -> None:
    """And no longer, because its exact curve replaces it."""
    board, key = LiveBoard(tmp_path, lineages), lineages[0].nodes[1].key
    for step in (10, 10, 20):
        board.write({key: claim(step=step, images_per_second=100.0)})
    board.write({"unknown": claim(step=1, lineage="../../x"), key: claim(stage="sample")})
    folder = tmp_path / "tensorboard" / lineages[0].id
    found = EventAccumulator(str(folder))
    found.Reload()
    assert scalars(found, "training_now_loss/V2") == [(10, 0.5), (20, 0.5)]
    assert [p for p in tmp_path.rglob("events.*") if p.parent != folder] == []

    board.close()
    assert list(tmp_path.rglob("events.*")) == []


def test_what_a_killed_run_left_is_deleted(lineages, tmp_path) -> None:
    board = LiveBoard(tmp_path, lineages)
    board.write({lineages[0].nodes[0].key: claim(step=3)})
    assert len(list(tmp_path.rglob("events.*"))) == 1
    LiveBoard(tmp_path, lineages)
    assert list(tmp_path.rglob("events.*")) == []


def test_a_hostile_name_of_a_metric_is_a_tag(store, lineages, tmp_path) -> None:
    """As text: TensorBoard's files hold no bytes that are not UTF-8, nor should it show others."""
    with writing(tmp_path / "x", ".V1-x") as add:
        add_scalars(add, 1, {"kid/caf\udce9": 1.0, "kid/\x1b[31m": 2.0})
    found = EventAccumulator(str(tmp_path / "x"))
    found.Reload()
    assert found.Tags()["scalars"] == ["kid/caf\\udce9", "kid/\\x1b[31m"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, 1),
        (True, True),
        (2**53 + 1, "9007199254740993"),
        ("a\udce9", "a\\udce9"),
        (None, "None"),
    ],
)
def test_settings_are_what_tensorboard_can_hold(value, shown) -> None:
    """A seed above 2^53 would become another one as a double."""
    assert hparam(value) == shown


def test_a_shared_first_model_is_on_the_board_of_every_lineage(out, lineages) -> None:
    """Two event files for each lineage and generation: of the model and of its metrics."""
    for lineage in lineages:
        names = [p.name for p in (out / "tensorboard" / lineage.id).iterdir()]
        models = {f"V{node.generation}-{node.key[:8]}" for node in lineage.nodes}
        metrics = {f"V{n.generation}-{n.key[:8]}-{n.metrics[0].spec}" for n in lineage.nodes}
        assert sorted(name.rpartition(".")[2] for name in names) == sorted(models | metrics)


def test_a_second_call_writes_nothing(out, lineages, store) -> None:
    """The files are the same ones, and no other is left beside them."""
    before = files(out)
    write_boards(out, fill(out, lineages, store))
    assert files(out) == before
    folders = sorted(path.name for path in (out / "tensorboard").iterdir())
    assert folders == sorted(lineage.id for lineage in lineages)


def test_a_longer_lineage_adds_its_new_generation(lineages, tmp_path: Path) -> None:
    """What is not computed yet is not written."""
    store = open_store(tmp_path / "store")
    compute(make_lineage({"train.steps": STEPS, "generations": 1}), store)
    write_boards(tmp_path, fill(tmp_path, lineages[:1], store))
    before = files(tmp_path)
    compute(lineages[0].config, store)
    write_boards(tmp_path, fill(tmp_path, lineages[:1], store))
    assert len(before) == 2
    assert before.items() < files(tmp_path).items()
    assert len(files(tmp_path)) == 4


def test_numbers_of_another_number_of_images_have_a_tag_of_their_own(tmp_path: Path) -> None:
    """Metrics on 6 images beside the lineage's own on another number, as name@6."""
    store = open_store(tmp_path / "store")
    config = make_lineage({"train.steps": STEPS}, generations=1)
    again = replace(config.metrics, num_images=6)
    compute(config, store, evaluations=(again,))
    (lineage,) = plan_in(replace(make_sweep(({},), config), evaluations=(again,)), store)
    write_boards(tmp_path, fill(tmp_path, [lineage], store))
    events = EventAccumulator(str(tmp_path / "tensorboard" / lineage.id))
    events.Reload()
    names = {name.split("@")[0] for name in events.Tags()["scalars"] if "@" in name}
    assert any(name.startswith("kid/") for name in names)
    assert all(len(scalars(events, name)) == 1 for name in names)


def test_a_diverged_generation_is_on_the_board(tmp_path: Path) -> None:
    """Without curve, samples or metrics."""
    store = open_store(tmp_path / "store")
    config = make_lineage({"train.lr": 1e30, "train.steps": 40})
    compute(config, store)
    (lineage,) = plan_in(make_sweep(({},), config), store)
    write_boards(tmp_path, fill(tmp_path, [lineage], store))
    events = EventAccumulator(str(tmp_path / "tensorboard" / lineage.id))
    events.Reload()
    assert scalars(events, "pool/num_images") == [(1, 40.0)]
    assert events.Tags()["images"] == ["samples/real"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_generation_is_shown_when_it_is_done(tmp_path: Path) -> None:
    """In TensorBoard and in the results folder, while the next one trains."""
    write_sweep(tmp_path, alphas=(1.0,), base__train__steps=3000)
    out = tmp_path / "out"
    words = ("tiny.toml", "--store", str(tmp_path / "store"))
    with Running(out=out, words=words) as run:
        wait_for(lambda: find(out, "tensorboard/*/events.*.V1-*"), "V_1 in TensorBoard")
        assert run.process.poll() is None
        (record,) = find(out, "lineages/*.json")
        assert LineageRecord.load(record).num_done == 1
        assert len(find(out, "generations/*/metrics/*.json")) == 1


@pytest.mark.slow
def test_tensorboard_shows_metrics_images_settings_and_charts(out, lineages, store) -> None:
    write_whole_board(out, fill(out, lineages, store))
    names = {lineage.id for lineage in lineages}
    with serving(out / "tensorboard") as ask:
        tags = wait_for(
            lambda: found if names <= (found := ask("scalars/tags")).keys() else None, "the runs"
        )
        images = ask("images/tags")
        experiment = ask("hparams/experiment", {"experimentName": ""})
        layout = ask("custom_scalars/layout")
    assert all("kid/pixels" in tags[name] for name in names)
    assert all({"samples/real", "samples/same_noise"} <= images[name].keys() for name in names)
    assert "pool.alpha" in [info["name"] for info in experiment["hparamInfos"]]
    assert "kid/pixels" in [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert [each["title"] for each in layout["category"]] == [
        "metrics by generation",
        "pool by generation",
        "training by step",
    ]
    assert layout["category"][0]["chart"][0]["title"] == "kid/pixels"
