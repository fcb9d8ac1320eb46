"""Facts of the TensorBoard files: what they hold, and that nothing is written twice."""

from dataclasses import replace
from pathlib import Path

import pytest
from running_sweep import Running, find, wait_for, write_sweep
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import compute, make_lineage, make_sweep, plan_in

from sweep.planning.lineages import PlannedLineage
from sweep.records import LineageRecord, MetricsRecord, NodeRecord
from sweep.store.store import Store, open_store
from sweep.tensorboard import Board, add_scalars, hparam, png_size, write_boards

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
    write_boards(out, lineages, store)
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
        curve = scalars(events, f"curve_{name}/V{generation}")
        assert [step for step, _ in curve] == list(range(1, STEPS + 1))


def test_the_samples_of_one_noise_are_an_image_a_generation(events, store, lineages) -> None:
    """The very PNG of the store."""
    images = events.Images("samples/same_noise")
    assert [image.step for image in images] == [1, 2]
    for image, node in zip(images, lineages[0].nodes, strict=True):
        png = store.nodes.read_file(node.key, "preview.png")
        assert image.encoded_image_string == png
        assert (image.width, image.height) == png_size(png) == (64, 64)


def test_the_axes_are_the_lineages_hyperparameters(events, lineages) -> None:
    """In TensorBoard's HPARAMS tab."""
    assert {
        "_hparams_/experiment",
        "_hparams_/session_start_info",
    } & set(events.summary_metadata)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"pool.alpha" in content
    assert lineages[0].id.encode() in content


def test_a_hostile_name_of_a_metric_is_a_tag(store, lineages, tmp_path) -> None:
    """As text: TensorBoard's files hold no bytes that are not UTF-8, nor should it show others."""
    with Board(folder=tmp_path / "x", lineage=lineages[0], store=store).writing(".V1-x") as add:
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
    """One event file for each lineage and generation."""
    for lineage in lineages:
        names = [p.name for p in (out / "tensorboard" / lineage.id).iterdir()]
        suffixes = sorted(f"V{node.generation}-{node.key[:8]}" for node in lineage.nodes)
        assert sorted(name.rpartition(".")[2] for name in names) == suffixes


def test_a_second_call_writes_nothing(out, lineages, store) -> None:
    """The files are the same ones, and no other is left beside them."""
    before = files(out)
    write_boards(out, lineages, store)
    assert files(out) == before
    folders = sorted(path.name for path in (out / "tensorboard").iterdir())
    assert folders == sorted(lineage.id for lineage in lineages)


def test_a_longer_lineage_adds_its_new_generation(lineages, tmp_path: Path) -> None:
    """What is not computed yet is not written."""
    store = open_store(tmp_path / "store")
    compute(make_lineage({"train.steps": STEPS, "generations": 1}), store)
    write_boards(tmp_path, lineages[:1], store)
    before = files(tmp_path)
    compute(lineages[0].config, store)
    write_boards(tmp_path, lineages[:1], store)
    assert len(before) == 1
    assert before.items() < files(tmp_path).items()
    assert len(files(tmp_path)) == 2


def test_numbers_of_another_number_of_images_have_a_tag_of_their_own(tmp_path: Path) -> None:
    """Metrics on 6 images beside the lineage's own on another number, as name@6."""
    store = open_store(tmp_path / "store")
    config = make_lineage({"train.steps": STEPS}, generations=1)
    again = replace(config.metrics, num_images=6)
    compute(config, store, evaluations=(again,))
    (lineage,) = plan_in(replace(make_sweep(({},), config), evaluations=(again,)), store)
    write_boards(tmp_path, [lineage], store)
    events = EventAccumulator(str(tmp_path / "tensorboard" / lineage.id))
    events.Reload()
    names = {name.split("@")[0] for name in events.Tags()["scalars"] if "@" in name}
    assert any(name.startswith("kid/") for name in names)
    assert all(len(scalars(events, name)) == 1 for name in names)


def test_a_diverged_generation_is_on_the_board(tmp_path: Path) -> None:
    """Without curve, image or metrics."""
    store = open_store(tmp_path / "store")
    config = make_lineage({"train.lr": 1e30, "train.steps": 40})
    compute(config, store)
    (lineage,) = plan_in(make_sweep(({},), config), store)
    write_boards(tmp_path, [lineage], store)
    events = EventAccumulator(str(tmp_path / "tensorboard" / lineage.id))
    events.Reload()
    assert scalars(events, "pool/num_images") == [(1, 40.0)]
    assert events.Tags()["images"] == []


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
