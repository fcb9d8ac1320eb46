"""Facts of results and stores that an earlier version wrote, in a folder and in a bucket.

tests/pinned/write.py says what they hold. Keys, formats and stored numbers must stay as they are;
freshly trained numbers, which depend on the processor, are compared nowhere here.
"""

import csv
import io
import json
import shutil

import pytest
from pinned.commands import (
    BUCKET_RUNS,
    BUCKET_SHELVES,
    EXPECTED,
    METRICS,
    RUNS,
    SHELVES,
    below,
    lineages,
    list_objects,
    pack,
    published,
    published_in_bucket,
    read_archive,
    run,
    tables,
    unpack,
    upload,
    without_floors,
)
from s3_server import running_server

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def files():
    return read_archive()


@pytest.fixture(scope="module")
def keys():
    return json.loads((EXPECTED / "keys.json").read_text())


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """The folders of main and null, whose lineages must be named anew, and a run of each.

    Returns the folder, its files' times before the runs, the runs, and a plan made before them.
    """
    folder = tmp_path_factory.mktemp("pinned")
    unpack(below(files, "folder/"), folder)
    for out in ("main", "null"):
        shutil.rmtree(folder / out / "lineages")
    before = times(folder)
    plan = run("sweep", "plan", *RUNS["main"][1:], cwd=folder)
    runs = {out: run("sweep", *RUNS[out], cwd=folder) for out in ("main", "null")}
    return folder, before, runs, plan


@pytest.fixture(scope="module")
def bucket(files, tmp_path_factory):
    """A run of main on the bucket, into a results folder that holds sweep.json alone.

    Yields the folder, the bucket's server, its objects before and after, and the run.
    """
    folder = tmp_path_factory.mktemp("pinned-bucket")
    unpack(below(files, "bucket/"), folder)
    for path in (folder / "main").iterdir():
        if path.name != "sweep.json":
            shutil.rmtree(path)
    with running_server() as server:
        upload(server, below(files, "objects/"))
        before = list_objects(server)
        done = run("sweep", *BUCKET_RUNS["main"], cwd=folder, more=server.environment)
        yield folder, server, before, list_objects(server), done


@pytest.fixture(scope="module")
def completed(files, tmp_path_factory):
    """The killed sweep, run to its end."""
    folder = tmp_path_factory.mktemp("completed")
    unpack(below(files, "folder/"), folder)
    before = times(folder / "unfinished")
    return folder / "unfinished", before, run("sweep", *RUNS["unfinished"], cwd=folder)


@pytest.fixture(scope="module")
def completed_in_bucket(bucket):
    """The same on the bucket, after main was looked at."""
    folder, server, _, before, _ = bucket
    done = run("sweep", *BUCKET_RUNS["unfinished"], cwd=folder, more=server.environment)
    return folder / "unfinished", before, list_objects(server), done


def times(folder):
    """When each file was last written."""
    return {path: (folder / path).stat().st_mtime_ns for path in pack(folder)}


def of_shelves(files, shelves=BUCKET_SHELVES):
    """Those of a store's files that are published."""
    return {path: data for path, data in files.items() if path.split("/")[0] in shelves}


def assert_holds(found, expected):
    """A JSON value has all that is expected of it; a field added later is no difference."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        for name in expected:
            assert_holds(found.get(name), expected[name])
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_holds(one, other)
    else:
        assert (type(found), found) == (type(expected), expected)


def assert_same_results(out, expected):
    """Every file is there: its bytes, or of a record what it said."""
    written = pack(out)
    for path, data in expected.items():
        if not path.endswith(".json"):
            assert written[path] == data, path
        elif path != "sweep.json":  # holds the versions of the last run
            assert_holds(json.loads(written[path]), json.loads(data))


def assert_same_sweep(out, data):
    """sweep.json asks for the same, by the same commands."""
    found, expected = json.loads((out / "sweep.json").read_bytes()), json.loads(data)
    for name in ("schema", "name", "description", "base", "grids", "evaluations", "commands"):
        assert_holds(found[name], expected[name])


@pytest.mark.parametrize(("out", "code"), [("main", 0), ("null", 1)])
def test_nothing_is_computed(folder, out, code):
    """A run of null ends with 1: one of its lineages has diverged."""
    done = folder[2][out]
    assert done.returncode == code, done.stderr
    assert "nothing to compute" in done.stderr


@pytest.mark.parametrize("store", ["store", "null"])
def test_a_store_in_a_folder_stays_as_it_is(folder, files, store):
    """Published files are neither changed, nor written again, nor joined by others."""
    folder, before, _, _ = folder
    expected = of_shelves(below(files, f"folder/{store}/"), SHELVES)
    assert len(expected) > 20
    assert of_shelves(pack(folder / store), SHELVES) == expected
    now = times(folder)
    changed = [p for p in expected if now[f"{store}/{p}"] != before[f"{store}/{p}"]]
    assert changed == []


@pytest.mark.parametrize("out", ["main", "null"])
def test_results_in_a_folder_stay_as_they_are(folder, files, out):
    expected = below(files, f"folder/{out}/")
    assert_same_results(folder[0] / out, expected)
    assert_same_sweep(folder[0] / out, expected["sweep.json"])


@pytest.mark.parametrize("out", ["main", "null"])
def test_keys_are_equal(folder, keys, out):
    """Of nodes, data sets and metric specifications, and the names of lineages."""
    assert lineages(folder[0] / out) == keys[f"folder/{out}"]


@pytest.mark.parametrize("out", ["main", "null"])
def test_tables_are_equal_to_the_last_digit(folder, out):
    for name, text in tables(out, cwd=folder[0]).items():
        assert_same_table(text, (EXPECTED / f"folder-{name}").read_text())


def assert_same_table(found, expected):
    """Each row has the text that is expected in each column; a column added later is no difference.

    An apostrophe marks words that pandas would read as missing, such as the folder's name null.
    """
    rows, others = (list(csv.DictReader(io.StringIO(text))) for text in (found, expected))
    names = list(others[0])
    assert [{name: row[name].removeprefix("'") for name in names} for row in rows] == others


def test_the_tables_hold_what_is_pinned():
    """Families, pool rules, members, two specifications and a diverged model."""
    with (EXPECTED / "folder-main-tidy.csv").open() as file:
        rows = list(csv.DictReader(file))
    rules = {"grow", "fresh", "mix", "accumulate", "replace", "subsample"}
    assert {row["pool.rule"] for row in rows} == rules
    assert {row["member"] for row in rows} == {"0", "1", "2", "3", "4", "mixture"}
    assert all(row["status"] == "done" and row["kid/pixels"] for row in rows)
    assert all(row["recall/random-conv-32"] for row in rows)
    assert "diverged" in (EXPECTED / "folder-null-tidy.csv").read_text()


def test_a_plan_has_nothing_to_do(folder):
    """What the plan names is what was computed."""
    plan = folder[3]
    assert plan.returncode == 0, plan.stderr
    assert "0 to train" in plan.stdout
    assert "to do" not in plan.stdout


def test_a_status_knows_every_lineage(folder, keys):
    status = run("sweep", "status", "main", "--store", "store", cwd=folder[0])
    assert status.returncode == 0, status.stderr
    assert [name for name in keys["folder/main"] if name not in status.stdout] == []


@pytest.mark.slow
def test_an_evaluation_has_nothing_to_measure(folder):
    words = ("evaluate", "main", "--store", "store", *METRICS)
    done = run("sweep", *words, cwd=folder[0])
    assert done.returncode == 0, done.stderr
    assert "nothing to measure" in done.stderr


@pytest.mark.slow
def test_a_new_run_has_the_same_keys(files, keys, tmp_path):
    """A run of null in an empty folder publishes the same paths; its numbers may differ."""
    unpack({}, tmp_path)
    done = run("sweep", *RUNS["null"], cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "nothing to compute" not in done.stderr
    expected = keys["folder/null/published"]
    assert without_floors(published(tmp_path / "null"), expected) == expected
    assert lineages(tmp_path / "null") == keys["folder/null"]


@pytest.mark.slow
def test_a_killed_run_is_completed(completed, keys):
    """Beside the claims of dead processes, and under the keys that its own end would have had."""
    out, _, done = completed
    assert done.returncode == 0, done.stderr
    assert lineages(out) == keys["folder/unfinished"]
    expected = keys["folder/unfinished/published"]
    assert without_floors(published(out), expected) == expected


@pytest.mark.slow
def test_a_killed_run_is_completed_from_what_there_is(completed, files):
    """V_1 and its samples are read, not made again; the checkpoint of V_2 is used up."""
    out, before, _ = completed
    old = below(files, "folder/unfinished/")
    now, written = times(out), pack(out)
    paths = [path for path in published(out) if path in old]
    assert len(paths) > 10
    assert [p for p in paths if (written[p], now[p]) != (old[p], before[p])] == []
    assert [path for path in old if "training.safetensors" in path] != []
    assert [path for path in written if "training.safetensors" in path] == []


@pytest.mark.slow
def test_nothing_is_computed_on_a_bucket(bucket):
    _, _, before, after, done = bucket
    assert done.returncode == 0, done.stderr
    assert "nothing to compute" in done.stderr
    assert of_shelves(after) == of_shelves(before)
    noted, now = ({p for p in each if p.startswith("sweeps/")} for each in (before, after))
    assert noted <= now
    assert len(now - noted) <= 1  # the settings as this version knows them


@pytest.mark.slow
def test_results_are_filled_from_a_bucket(bucket, files, keys):
    """Records and small files come out of it as they went in."""
    expected = below(files, "bucket/main/")
    assert_same_results(bucket[0] / "main", expected)
    assert_same_sweep(bucket[0] / "main", expected["sweep.json"])
    assert lineages(bucket[0] / "main") == keys["bucket/main"]


@pytest.mark.slow
def test_tables_from_a_bucket_are_equal_to_the_last_digit(bucket):
    for name, text in tables("main", cwd=bucket[0]).items():
        assert_same_table(text, (EXPECTED / f"bucket-{name}").read_text())


def test_keys_do_not_depend_on_the_kind_of_store(keys):
    assert keys["bucket/main"] == keys["folder/main"]
    assert keys["bucket/unfinished"] == keys["folder/unfinished"]


def test_the_bucket_holds_old_claims(files):
    """A free one is an empty object; those of killed processes name them."""
    claims = [data for path, data in below(files, "objects/").items() if path.startswith("claims/")]
    assert claims.count(b"") > 10
    assert len([data for data in claims if data]) == 2


@pytest.mark.slow
def test_a_killed_run_is_completed_on_a_bucket(completed_in_bucket, keys):
    """What is published keeps its paths, but for the hashes of new contents in their names."""
    out, before, after, done = completed_in_bucket
    assert done.returncode == 0, done.stderr
    assert lineages(out) == keys["bucket/unfinished"]
    added = published_in_bucket(after.keys() - before.keys())
    expected = keys["bucket/unfinished/published"]
    assert without_floors(added, expected) == expected
    old = of_shelves(before)
    assert {path: tag for path, tag in of_shelves(after).items() if path in old} == old
    assert [path for path in before if path.startswith("scratch/")] != []
    assert [path for path in after if path.startswith("scratch/")] == []
