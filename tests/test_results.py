"""Result folders become one tidy table."""

from dataclasses import replace

import pytest
from results_folder import node_key, rewrite, write_folder

from analysis.reading.columns import (
    axis_columns,
    measured_sizes,
    metric_columns,
    resolve_metrics,
    varying_axes,
)
from analysis.reading.results import load_results, status_rank
from analysis.tables.build import build_tables
from sweep.records import LineageRecord


def test_a_row_for_every_lineage_and_generation(tmp_path):
    """2 alphas x 3 seeds x 3 generations."""
    assert len(load_results([write_folder(tmp_path / "a")])) == 2 * 3 * 3


def test_columns_are_run_axes_node_metrics(tmp_path):
    frame = load_results([write_folder(tmp_path / "a")])
    assert list(frame.columns[:8]) == [
        "run",
        "lineage",
        "generation",
        "member",
        "seed",
        "status",
        "node",
        "closed_form",
    ]
    assert axis_columns(frame) == ["pool.alpha", "train.epochs"]
    assert metric_columns(frame) == ["kid/pixels", "pixel_std"]


def test_real_share_is_that_of_the_recorded_origins(tmp_path):
    """Alpha 1 doubles the pool: (1 + 1)^-(n-1) of it is real."""
    frame = load_results([write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))])
    assert frame["real_share"].tolist() == [1.0, 0.5, 0.25]
    assert frame["num_images"].tolist() == [100, 200, 400]


def test_a_shared_first_generation_is_a_row_of_every_alpha(tmp_path):
    frame = load_results([write_folder(tmp_path / "a", seeds=(0,))])
    first = frame[frame["generation"] == 1]
    assert first["pool.alpha"].tolist() == [0.5, 1.0]
    assert set(first["node"]) == {node_key(0.5, 40, 0, 1)}


def test_pending_generations_have_their_status_and_no_numbers(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), pending=((1.0, 0, 2),))
    frame = load_results([folder])
    assert frame["status"].tolist() == ["done", "running", "running"]
    assert frame["kid/pixels"].isna().tolist() == [False, True, True]


def test_what_follows_a_diverged_generation_is_diverged(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), diverged=((1.0, 0, 2),))
    assert load_results([folder])["status"].tolist() == ["done", "diverged", "diverged"]


def test_a_node_that_is_done_but_not_here_is_missing(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    (folder / "generations" / node_key(1.0, 40, 0, 3) / "record.json").unlink()
    assert load_results([folder])["status"].tolist() == ["done", "done", "missing"]


def test_a_node_without_its_metrics_is_unmeasured(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    (path,) = (folder / "generations" / node_key(1.0, 40, 0, 3) / "metrics").iterdir()
    path.unlink()
    frame = load_results([folder])
    assert frame["status"].tolist() == ["done", "done", "unmeasured"]
    assert frame["final_loss"].notna().all()
    (table,) = build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)
    assert table.rows == [["1", "1", "2", "-"]]
    assert "1 of 1 lineages unmeasured" in table.caption


@pytest.mark.parametrize("status", ["queued", "resting"])
def test_a_status_of_another_version_is_shown(tmp_path, status):
    """Also where two folders have the same nodes, of which one row remains."""
    pending = ((1.0, 0, 2),)
    one, other = (
        write_folder(tmp_path / name, alphas=(1.0,), seeds=(0,), pending=pending) for name in "ab"
    )
    rewrite(next((one / "lineages").iterdir()), status=status)
    assert load_results([one])["status"].tolist() == ["done", status, status]
    expected = min(status, "running", key=status_rank)
    assert load_results([one, other])["status"].tolist() == ["done", expected, expected]
    (table,) = build_tables(load_results([one]), ["kid/pixels"], by=(), confidence=0.95)
    assert f"1 of 1 lineages {status}" in table.caption


def test_a_lineage_without_nodes_has_a_row_for_each_generation(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    path = next((folder / "lineages").glob("*.json"))
    rewrite(path, nodes=[], status="pending", num_done=0)
    assert load_results([folder])["status"].tolist() == ["pending"] * 3


def test_two_folders_of_other_seeds_are_joined(tmp_path):
    first = write_folder(tmp_path / "a", seeds=(0,))
    second = write_folder(tmp_path / "b", seeds=(1,))
    frame = load_results([first, second])
    assert set(frame["run"]) == {"a", "b"}
    assert varying_axes(frame) == ["pool.alpha"]
    assert len(frame) == 2 * 2 * 3


def test_the_same_nodes_in_two_folders_are_counted_once(tmp_path):
    first = write_folder(tmp_path / "a", seeds=(0, 1))
    second = write_folder(tmp_path / "b", seeds=(1, 2))
    frame = load_results([first, second])
    assert len(frame) == 2 * 3 * 3


def test_a_folder_given_twice_is_read_once(tmp_path):
    folder = write_folder(tmp_path / "a")
    assert load_results([folder, folder / ".." / "a"]).equals(load_results([folder]))


def test_a_longer_lineage_shares_the_rows_of_the_shorter_one(tmp_path):
    short = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)
    long = write_folder(tmp_path / "b", alphas=(1.0,), seeds=(0,), generations=4)
    frame = load_results([short, long])
    assert frame["generation"].tolist() == [1, 2, 3, 4]
    assert varying_axes(frame) == []


def test_a_node_done_in_one_folder_and_pending_in_another_is_done(tmp_path):
    begun = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), pending=((1.0, 0, 2),))
    done = write_folder(tmp_path / "b", alphas=(1.0,), seeds=(0,))
    assert load_results([begun, done])["status"].tolist() == ["done", "done", "done"]


def test_a_setting_that_differs_between_folders_becomes_an_axis(tmp_path):
    first = write_folder(tmp_path / "a", settings={"sample": {"steps": 20}})
    second = write_folder(tmp_path / "b", settings={"sample": {"steps": 5}})
    assert varying_axes(load_results([first, second])) == ["pool.alpha", "sample.steps"]


def test_a_record_older_than_a_setting_means_what_was_done_before_it(tmp_path):
    """So a run made before the setting existed and one after it are seeds of one row."""
    old = write_folder(tmp_path / "a", seeds=(0,), settings={"sample": {"steps": 20}})
    new = write_folder(tmp_path / "b", seeds=(1,), settings={"sample": {"steps": 20, "eta": 0.0}})
    for path in (new / "lineages").iterdir():
        replace(LineageRecord.load(path), key_defaults={"sample.eta": 0.0}).save(path)
    assert varying_axes(load_results([old, new])) == ["pool.alpha"]


def test_a_path_to_the_same_images_is_no_axis(tmp_path):
    """The cards of both folders hold the same fingerprint."""
    data = {"name": "digits", "image_size": 8}
    first = write_folder(tmp_path / "a", settings={"data": data | {"path": "x"}})
    second = write_folder(tmp_path / "b", settings={"data": data | {"path": "y"}})
    assert varying_axes(load_results([first, second])) == ["pool.alpha"]


def test_paths_to_different_images_are_an_axis(tmp_path):
    data = {"name": "folder", "image_size": 8}
    first = write_folder(tmp_path / "a", settings={"data": data | {"path": "x"}})
    second = write_folder(tmp_path / "b", settings={"data": data | {"path": "y"}})
    rewrite(second / "datasets" / "data0" / "card.json", fingerprint="e" * 64)
    assert varying_axes(load_results([first, second])) == ["pool.alpha", "data.path"]


def test_images_that_changed_at_their_path_are_an_axis(tmp_path):
    """Otherwise seed 0 of the old ones and seed 1 of the new ones would be averaged."""
    first = write_folder(tmp_path / "a", seeds=(0,))
    second = write_folder(tmp_path / "b", seeds=(1,))
    rewrite(second / "datasets" / "data0" / "card.json", fingerprint="e" * 64)
    frame = load_results([first, second])
    assert varying_axes(frame) == ["pool.alpha", "data.fingerprint"]
    assert set(frame["data.fingerprint"]) == {"e" * 12, "f" * 12}


def test_splits_of_one_data_set_have_fingerprints_of_their_own(tmp_path):
    """The fingerprint includes the split, which is no other data set."""
    first = write_folder(tmp_path / "a", splits=(0,))
    second = write_folder(tmp_path / "b", splits=(1,))
    rewrite(second / "datasets" / "data0" / "card.json", fingerprint="e" * 64)
    assert varying_axes(load_results([first, second])) == ["pool.alpha"]


def test_two_extractors_have_two_columns(tmp_path):
    first = write_folder(tmp_path / "a", extractor="pixels")
    second = write_folder(tmp_path / "b", extractor="other", value=lambda a, s, n: 7.0)
    frame = load_results([first, second])
    assert metric_columns(frame) == ["kid/other", "kid/pixels", "pixel_std"]
    assert len(frame) == 2 * 3 * 3
    assert set(frame["kid/other"]) == {7.0}


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    first = write_folder(tmp_path / "x" / "run", seeds=(0,))
    second = write_folder(tmp_path / "y" / "run", seeds=(1,))
    assert set(load_results([first, second])["run"]) == {first.as_posix(), second.as_posix()}


def test_a_folder_without_sweep_json_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match=r"sweep.json must exist; is its folder the --out of a"):
        load_results([tmp_path])


def test_a_folder_without_lineages_is_one_clear_line(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=())
    with pytest.raises(ValueError, match=r"lineages must hold at least one lineage, got none"):
        load_results([folder])


def test_a_damaged_record_is_an_error_that_names_it(tmp_path):
    folder = write_folder(tmp_path / "a")
    path = folder / "generations" / node_key(1.0, 40, 0, 2) / "record.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=f"{path} must be a whole JSON file"):
        load_results([folder])


def test_no_metric_named_is_kid(tmp_path):
    assert resolve_metrics(load_results([write_folder(tmp_path / "a")]), []) == ["kid/pixels"]


def test_kid_means_the_kid_of_every_extractor(tmp_path):
    first = write_folder(tmp_path / "a", extractor="pixels")
    second = write_folder(tmp_path / "b", extractor="other")
    frame = load_results([first, second])
    assert resolve_metrics(frame, ["kid"]) == ["kid/other", "kid/pixels"]


def test_a_name_without_the_number_of_images_means_every_number(tmp_path):
    frame = load_results([write_folder(tmp_path / "a")])
    place = list(frame).index("kid/pixels") + 1
    for column in ("recall/pixels@500", "kid/pixels@500"):
        frame.insert(place, column, frame["kid/pixels"])
    assert resolve_metrics(frame, ["recall/pixels"]) == ["recall/pixels@500"]
    assert resolve_metrics(frame, ["recall"]) == ["recall/pixels@500"]
    assert resolve_metrics(frame, ["kid/pixels"]) == ["kid/pixels"]
    assert resolve_metrics(frame, ["kid"]) == ["kid/pixels", "kid/pixels@500"]


def test_a_metric_that_was_not_measured_is_an_error_that_says_how_to_measure_it(tmp_path):
    frame = load_results([write_folder(tmp_path / "a")])
    with pytest.raises(ValueError, match=r"got 'zzqx'; `sweep evaluate DIR --metrics.names NAME`"):
        resolve_metrics(frame, ["zzqx"])
    with pytest.raises(ValueError, match=r"got 'kit'; `sweep .* more; did you mean 'kid'\?$"):
        resolve_metrics(frame, ["kit"])


def test_an_unknown_metric_is_an_error_with_a_suggestion(tmp_path):
    frame = load_results([write_folder(tmp_path / "a")])
    with pytest.raises(ValueError, match=r"got 'pixel_sdt'; .*; did you mean 'pixel_std'\?"):
        resolve_metrics(frame, ["pixel_sdt"])


def test_mixed_numbers_of_images_are_an_error(tmp_path):
    first = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), num_generated=20)
    second = write_folder(tmp_path / "b", alphas=(2.0,), seeds=(0,), num_generated=30)
    with pytest.raises(ValueError, match=r"kid/pixels must have the same numbers .* got 20/20 and"):
        measured_sizes(load_results([first, second]), "kid/pixels")
