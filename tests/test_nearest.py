"""Facts of the metric nearest: which training images it finds, and the images that it keeps."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bucket_store import store_of
from figure_requests import check_texts, figures, words
from PIL import Image
from test_store import FILES, KEY, METRICS, RECORD, SPEC
from tiny_sweep import finish, make_lineage, make_run, make_sweep, plan, plan_in

from analysis.reading.integrity import inspect_folder
from model.features.closest import find_closest
from model.images import to_bytes
from sweep.records import MetricsRecord, NodeRecord, RecordError
from sweep.results_folder import fill, write_sweep
from sweep.store.folder import CorruptError, sha256
from sweep.store.inventory import item_of
from sweep.store.store import open_store

LINEAGE = make_lineage({"metrics.names": ["kid", "nearest", "gain"], "metrics.num_images": 40})


def test_the_closest_samples_and_their_neighbours_are_those_of_all_distances() -> None:
    """As from the matrix of all distances; sample 5 is a copy of training image 7."""
    rng = np.random.default_rng(0)
    generated, train = rng.standard_normal((50, 3)), rng.standard_normal((30, 3))
    generated[5] = train[7]
    found = find_closest(generated, train)
    distances = np.linalg.norm(generated[:, None] - train[None], axis=2)
    expected = np.argsort(distances.min(axis=1))[:8]
    assert found.samples[:8].tolist() == expected.tolist()
    assert found.samples[8:].tolist() == [0, 7, 14, 21, 28, 35, 42, 49]
    assert (found.samples[0], found.train[0, 0], found.distances[0, 0]) == (5, 7, 0.0)
    ordered = np.sort(distances[found.samples], axis=1)[:, :3]
    np.testing.assert_allclose(found.distances, ordered)
    np.testing.assert_array_equal(
        np.take_along_axis(distances[found.samples], found.train, axis=1), found.distances
    )


def test_few_samples_and_few_training_images_are_all_shown() -> None:
    found = find_closest(np.array([[0.0], [5.0]]), np.array([[1.0], [3.0]]))
    assert found.samples.tolist() == [0, 1, 0, 1]
    assert found.train.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_sheet_of_nearest_images_is_read_with_its_metrics(kind, tmp_path, monkeypatch) -> None:
    """Its digest is in the record, and a changed sheet makes the metrics damaged."""
    published = store_of(kind, tmp_path, monkeypatch)
    published.nodes.publish(KEY, FILES, RECORD)
    record = published.write_metrics(KEY, SPEC, METRICS, sheet=b"png")
    assert record == replace(METRICS, nearest_sha256=sha256(b"png"))
    assert published.read_metrics(KEY, SPEC) == record
    assert published.read_sheet(KEY, SPEC, record) == b"png"
    (sheet,) = [x.path for x in published.files.list("") if x.path.endswith(".png")]
    assert item_of(sheet) == ("node", KEY)
    published.files.write(sheet, b"gnp")
    with pytest.raises(CorruptError, match=rf"{SPEC}.png must have the SHA-256 of its record"):
        published.read_metrics(KEY, SPEC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return finish(tmp_path_factory.mktemp("nearest") / "out", make_sweep(base=LINEAGE))


def records_of(folder: Path) -> list[tuple[Path, MetricsRecord]]:
    paths = sorted(folder.glob("generations/*/metrics/*.json"))
    return [(path, MetricsRecord.load(path)) for path in paths]


def test_the_sheet_has_the_pixels_of_samples_and_of_their_neighbours(folder) -> None:
    """Samples in the first row, and below each its three nearest training images."""
    store = open_store(folder)
    run = make_run(LINEAGE, store)
    for node in run.nodes:
        (plan,) = node.metrics
        record = store.read_metrics(node.key, plan.spec)
        assert record is not None
        assert record.nearest is not None
        sheet = Image.open(io.BytesIO(store.read_sheet(node.key, plan.spec, record)))
        tiles = np.asarray(sheet).reshape(4, 8, 16, 8).transpose(0, 2, 1, 3)
        samples = run.sources.images(plan.images)[record.nearest.samples]
        np.testing.assert_array_equal(tiles[0], to_bytes(samples)[:, 0])
        train = run.data.images[run.data.train[np.array(record.nearest.train)]]
        np.testing.assert_array_equal(tiles[1:], train[:, :, 0].transpose(1, 0, 2, 3))
        differences = train.astype(float) - samples[:, None].astype(float)
        distances = np.sqrt((differences**2).sum(axis=(2, 3, 4))) / 255
        np.testing.assert_allclose(record.nearest.distances, distances, rtol=1e-5)
        assert record.values["closest_distance/pixels"] == record.nearest.distances[0][0]


def test_check_finds_a_changed_or_missing_sheet(folder, tmp_path) -> None:
    """And measures it anew: the record counts as damaged."""
    out = finish(tmp_path / "out", make_sweep(base=LINEAGE))
    assert inspect_folder(out).problems == []
    (path, record), *_ = records_of(out)
    sheet = path.with_suffix(".png")
    assert item_of(sheet.relative_to(out).as_posix()) == ("node", record.node)
    before = sheet.read_bytes()
    for damage in (lambda: sheet.write_bytes(before + b"x"), sheet.unlink):
        damage()
        (problem,) = inspect_folder(out).problems
        assert sheet.name in problem
        with pytest.raises(CorruptError, match=f"{sheet.name} must have the SHA-256"):
            open_store(out).read_metrics(record.node, path.stem)
    list(make_run(LINEAGE, open_store(out)).generations())
    assert sheet.read_bytes() == before
    assert inspect_folder(out).problems == []


def test_a_results_folder_has_the_sheets_of_a_store_elsewhere(folder, tmp_path) -> None:
    """Beside its records, so that figures need no store."""
    store, out, sweep = open_store(folder), tmp_path / "out", make_sweep(base=LINEAGE)
    lineages = plan_in(sweep, store)
    write_sweep(out, sweep, "sweep run", store=store.location, lineages=lineages)
    fill(out, lineages, store)
    assert inspect_folder(out).problems == []
    names = [path.with_suffix(".png").relative_to(folder) for path, _ in records_of(folder)]
    assert len(names) == 2
    for name in names:
        assert (out / name).read_bytes() == (folder / name).read_bytes()


def test_figures_show_samples_above_neighbours_with_their_distances(folder) -> None:
    closest, spaced = figures([folder], "neighbours")
    for figure, part in ((closest, slice(0, 8)), (spaced, slice(8, 16))):
        check_texts(figure)
        for generation, axes in enumerate(figure.axes, start=1):
            path, record = next(
                (p, r) for p, r in records_of(folder) if node_generation(p) == generation
            )
            (image,) = axes.get_images()
            canvas = np.asarray(image.get_array())
            sheet = np.asarray(Image.open(path.with_suffix(".png")).convert("RGB"))
            tiles = sheet.reshape(4, 8, 16, 8, 3).swapaxes(1, 2)[:, part]
            scale = (canvas.shape[1] + 1) // 8 // 8
            gap = (canvas.shape[1] - 8 * 8 * scale) // 7
            step = 8 * scale + gap
            for row, column in ((0, 0), (3, 7), (1, 4)):
                area = canvas[row * step :, column * step :][: 8 * scale, : 8 * scale]
                expected = tiles[row, column].repeat(scale, axis=0).repeat(scale, axis=1)
                np.testing.assert_array_equal(area, expected)
            assert record.nearest is not None
            nearest = [f"{each[0]:.3g}" for each in record.nearest.distances[part]]
            assert set(nearest) <= set(words(figure).split())
    (wide,) = figures([folder], "neighbours", width=6.75)
    check_texts(wide)


def node_generation(path: Path) -> int:
    return NodeRecord.load(path.parent.parent / "record.json").generation


def test_lines_of_gain_are_the_recorded_numbers(folder) -> None:
    """One line for each generation, over the numbers of the directions."""
    (figure,) = figures([folder], "gain")
    check_texts(figure)
    (axes,) = figure.axes
    drawn = [np.asarray(line.get_ydata()) for line in axes.get_lines()]
    for _, record in records_of(folder):
        gain = record.directions["gain"]
        assert any(len(y) == len(gain) and np.allclose(y, gain) for y in drawn)


def test_records_whose_neighbours_do_not_fit_are_refused(folder, tmp_path) -> None:
    """Before a figure looks for a distance that is not there."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    (path, record), *_ = records_of(copy)
    assert record.nearest is not None
    wrong: list[dict] = [
        {"samples": [], "train": [], "distances": []},
        {"distances": record.nearest.distances[1:]},
        {"train": [[]] * 16, "distances": [[]] * 16},
        {"num_closest": 17},
        {"distances": [[1e200] * 3] * 16},
    ]
    for changes in wrong:
        replace(record, nearest=replace(record.nearest, **changes)).save(path)
        with pytest.raises(RecordError, match=f"{path.name} must hold"):
            figures([copy], "neighbours")


def test_a_setting_of_metrics_does_not_change_the_keys_of_models() -> None:
    with_both, without = (plan(make_sweep(base=base)) for base in (LINEAGE, make_lineage()))
    keys = [[node.key for node in lineages[0].nodes] for lineages in (with_both, without)]
    assert keys[0] == keys[1]


def test_runs_without_them_name_the_command_that_takes_them(tmp_path) -> None:
    base = replace(make_lineage(), generations=1)
    out = finish(tmp_path / "out", make_sweep(base=base))
    for kind, name in (("gain", "gain"), ("neighbours", "nearest")):
        with pytest.raises(ValueError, match=f"--metrics.names {name}` takes it"):
            figures([out], kind)
