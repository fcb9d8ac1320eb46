"""Facts of a store, in a folder and in a bucket alike: whole or not at all, and the first wins."""

import multiprocessing
import pickle
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bucket_store import elsewhere, store_of

from sweep.files import RecordError
from sweep.records import DatasetCard, MetricsRecord, NodeRecord
from sweep.specifications import spec_name
from sweep.store.claims import Claim
from sweep.store.folder import CorruptError
from sweep.store.store import Store, open_store

SPAWN = multiprocessing.get_context("spawn")
KEY = "a1" * 32
FILES = {"model.safetensors": b"weights", "pool.json": b"{}"}
RECORD = NodeRecord(
    key=KEY,
    status="done",
    seed=0,
    generation=1,
    member=0,
    family="gaussian",
    num_images=8,
    origins={"0": 8},
    num_steps=3,
    images_seen=24,
    views_per_image=3.0,
    ema_init_left=0.5,
    final_loss=0.25,
    seconds=1.0,
    images_per_second=24.0,
    device="cpu",
    num_threads=1,
    precision="fp32",
    weights_sha256="0",
    files={},
)
CARD = DatasetCard(
    key="d1",
    fingerprint="f",
    name="digits",
    shape=[1, 8, 8],
    dtype="uint8",
    class_names=[],
    num_train=8,
    num_reference=2,
    num_validation=0,
)
SPEC = spec_name({})
METRICS = MetricsRecord(
    spec={}, values={"kid": 0.5}, num_images=8, num_reference=8, stream="s1", images_sha256="0"
)


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path: Path, monkeypatch) -> Store:
    return store_of(request.param, tmp_path, monkeypatch)


@pytest.fixture
def published(store: Store) -> Store:
    store.nodes.publish(KEY, FILES, RECORD)
    return store


def claimed(store: Store, key: str = KEY) -> Claim:
    claim = store.claims.take(key)
    assert claim is not None
    return claim


def node_file(store: Store, name: str) -> str:
    """Path of a file of the node."""
    return store.files.file_path("nodes", KEY, name, elsewhere_read(store).files[name])


def elsewhere_read(store: Store) -> NodeRecord:
    return Store(store.files).nodes.read(KEY)


def record_path(store: Store) -> str:
    return store.files.record_path("nodes", KEY)


def paths(store: Store, prefix: str = "") -> list[str]:
    return sorted(entry.path for entry in store.files.list(prefix))


def content(store: Store, path: str) -> bytes:
    data = store.files.read(path)
    assert data is not None
    return data


def flip_bit(store: Store, path: str, offset: int = -1) -> None:
    data = bytearray(content(store, path))
    data[offset] ^= 1
    store.files.write(path, bytes(data))


def work_on(root: Path, first: int, num_keys: int) -> int:
    """Claim, compute and publish every key that is not done; how many this process published."""
    store = open_store(root)
    missing = [f"k{(first + i) % num_keys}" for i in range(num_keys)]
    num_published = 0
    while missing:
        for key in list(missing):
            claim = None if store.nodes.has(key) else store.claims.take(key)
            if claim is not None:
                with claim:
                    if not store.nodes.has(key):
                        with (root / "computed").open("a") as log:
                            log.write(f"{key}\n")
                        num_published += store.nodes.publish(key, FILES, replace(RECORD, key=key))
            if store.nodes.has(key):
                missing.remove(key)
        time.sleep(0.001)
    return num_published


def publish_slowly(root: Path) -> None:
    files = {f"{i}.bin": b"x" * 1000 for i in range(20000)}
    open_store(root).nodes.publish(KEY, files, RECORD)


@pytest.mark.slow
def test_eight_processes_publish_each_of_twenty_keys_once_and_whole(tmp_path):
    with SPAWN.Pool(8) as pool:
        counts = pool.starmap(work_on, [(tmp_path, 3 * i, 20) for i in range(8)], chunksize=1)
    keys = {f"k{i}" for i in range(20)}
    store = open_store(tmp_path)
    assert sum(counts) == 20
    assert {path.name for path in (tmp_path / "generations").iterdir()} == keys
    assert [store.nodes.damaged_files(key) for key in keys] == [[]] * 20
    assert sorted((tmp_path / "computed").read_text().split()) == sorted(keys)  # claims save work
    assert list((tmp_path / "work").iterdir()) == []


def test_a_process_killed_while_publishing_leaves_nothing_published(tmp_path):
    """What it leaves in work/ goes with the scratch."""
    process = SPAWN.Process(target=publish_slowly, args=(tmp_path,))
    process.start()
    while not list(tmp_path.glob("work/*/*/publish-*/*.bin")):
        time.sleep(0.001)
    process.kill()
    process.join()
    store = open_store(tmp_path)
    assert list(tmp_path.glob("work/*/*/publish-*/*.bin")) != []
    assert not (tmp_path / "generations" / KEY).exists()
    assert store.nodes.publish(KEY, FILES, RECORD)
    store.drop_scratch(KEY)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_store_travels_without_what_it_remembers(published):
    copy = pickle.loads(pickle.dumps(published))  # noqa: S301 - our own bytes
    assert copy.nodes.has(KEY)
    assert copy.nodes._known == {}


def test_a_store_of_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    """Ray changes a trial's working directory."""
    monkeypatch.chdir(tmp_path)
    store = open_store("out")
    monkeypatch.chdir("/")
    assert store.location == str(tmp_path / "out")


def test_making_a_store_writes_nothing(store, tmp_path):
    assert not store.nodes.has(KEY)
    assert store.claims.read() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_node_is_read_as_it_was_published_on_another_machine(published, tmp_path):
    other = elsewhere(published, tmp_path)
    assert other.nodes.has(KEY)
    assert replace(other.nodes.read(KEY), files={}) == RECORD
    assert {name: other.nodes.read_file(KEY, name) for name in FILES} == FILES
    assert other.nodes.damaged_files(KEY) == []
    assert other.nodes.has_file(KEY, "pool.json")
    assert not other.nodes.has_file(KEY, "preview.png")
    assert not other.nodes.has_file("b2", "pool.json")


def test_those_of_many_keys_that_are_done_are_told(published):
    assert published.nodes.done({KEY, "b2"}) == {KEY}
    assert published.nodes.done(set()) == set()


def test_the_record_holds_the_sha256_of_every_file(published):
    """SHA-256 of the bytes "{}" by coreutils' sha256sum."""
    expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert published.nodes.read(KEY).files["pool.json"] == expected


def test_the_second_to_publish_loses_and_leaves_nothing(published, tmp_path):
    before = paths(published)
    other = elsewhere(published, tmp_path)
    assert not other.nodes.publish(KEY, {"model.safetensors": b"other"}, RECORD)
    assert other.nodes.read_file(KEY, "model.safetensors") == b"weights"
    assert paths(published) == before


def test_a_publisher_overtaken_while_writing_deletes_its_own_files_only(store, tmp_path):
    """What the winner's record names stays, also if the loser wrote the same bytes."""
    other = elsewhere(store, tmp_path)

    class Overtaken(type(store.files)):
        """Files, while whose publishing another machine publishes."""

        def publish(self, record, data, *, files):
            other.nodes.publish(KEY, FILES, RECORD)
            return super().publish(record, data, files=files)

    files = Overtaken(**{name: getattr(store.files, name) for name in type(store.files).__slots__})
    late = {**FILES, "pool.json": b"other", "more": b""}
    assert not Store(files).nodes.publish(KEY, late, RECORD)
    assert other.nodes.read_file(KEY, "pool.json") == FILES["pool.json"]
    assert other.nodes.damaged_files(KEY) == []
    assert len(paths(store)) == 1 + len(FILES)


def test_a_record_of_another_key_is_not_published(store):
    with pytest.raises(ValueError, match=rf"record.key must be 'b2', got '{KEY}'"):
        store.nodes.publish("b2", FILES, RECORD)


def test_a_file_in_the_place_of_the_record_is_refused(store):
    with pytest.raises(ValueError, match=r"files must not contain record.json"):
        store.nodes.publish(KEY, {"record.json": b"{}"}, RECORD)


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a\n"])
def test_a_key_that_could_leave_the_store_is_refused(store, name):
    with pytest.raises(ValueError, match="a key or file name must be letters"):
        store.nodes.has(name)


def test_a_missing_node_is_one_sentence(store):
    with pytest.raises(FileNotFoundError, match=f"must exist, got no published '{KEY}'; run"):
        store.nodes.read(KEY)


def test_a_file_the_record_does_not_have_is_one_sentence(published):
    with pytest.raises(FileNotFoundError, match=r"must be one of .*, pool.json, got 'x'"):
        published.nodes.read_file(KEY, "x")


def test_a_flipped_bit_in_a_file_is_corrupt(published, tmp_path):
    flip_bit(published, node_file(published, "model.safetensors"), 3)
    other = elsewhere(published, tmp_path)
    with pytest.raises(CorruptError, match=r"model.safetensors must have the SHA-256 .*; delete"):
        other.nodes.read_file(KEY, "model.safetensors")
    assert other.nodes.damaged_files(KEY) == ["model.safetensors"]


def test_a_deleted_file_is_corrupt(published, tmp_path):
    published.files.delete([node_file(published, "pool.json")])
    other = elsewhere(published, tmp_path)
    with pytest.raises(CorruptError, match=r"pool.json must have the SHA-256 .*, got no file"):
        other.nodes.read_file(KEY, "pool.json")
    assert other.nodes.damaged_files(KEY) == ["pool.json"]


def test_a_truncated_record_is_corrupt_and_can_be_withdrawn(published, tmp_path):
    published.files.write(record_path(published), content(published, record_path(published))[:100])
    other = elsewhere(published, tmp_path)
    with pytest.raises(CorruptError, match=r"must be a whole JSON file"):
        other.nodes.read(KEY)
    assert other.nodes.damaged_files(KEY) == ["record.json"]
    assert other.nodes.withdraw(KEY)
    assert not other.nodes.has(KEY)


def test_a_record_of_another_node_is_corrupt(published):
    data = content(published, record_path(published))
    published.files.write(published.files.record_path("nodes", "b2"), data)
    with pytest.raises(CorruptError, match=rf"must be the record of b2, got '{KEY}'"):
        published.nodes.read("b2")


def test_a_record_of_another_schema_is_not_taken_for_damage(published, tmp_path):
    """A newer program's results must not be thrown away."""
    data = content(published, record_path(published))
    published.files.write(record_path(published), data.replace(b'"schema": 1', b'"schema": 99'))
    with pytest.raises(RecordError, match="must have schema version 1, got 99"):
        elsewhere(published, tmp_path).nodes.withdraw(KEY)


def test_a_withdrawn_node_is_missing_and_its_record_kept_for_inspection(published, tmp_path):
    published.write_metrics(KEY, SPEC, METRICS)
    flip_bit(published, node_file(published, "pool.json"))
    other = elsewhere(published, tmp_path)
    assert other.nodes.withdraw(KEY)
    assert not other.nodes.has(KEY)
    assert other.read_metrics(KEY, SPEC) is None
    kept = [path for path in paths(other) if "corrupt" in path and path.endswith(".json")]
    assert f'"key": "{KEY}"'.encode() in b"".join(content(other, path) for path in kept)
    assert other.nodes.publish(KEY, FILES, RECORD)
    assert elsewhere(published, tmp_path).nodes.damaged_files(KEY) == []


def test_a_whole_node_is_not_withdrawn(published):
    assert not published.nodes.withdraw(KEY)
    assert published.nodes.has(KEY)


def test_who_knew_a_node_learns_that_it_was_withdrawn(published, tmp_path):
    """Two trials find its weights damaged; one is faster."""
    fast, slow = elsewhere(published, tmp_path), elsewhere(published, tmp_path)
    assert fast.nodes.read(KEY) == slow.nodes.read(KEY)
    flip_bit(published, node_file(published, "model.safetensors"))
    assert fast.nodes.withdraw(KEY)
    assert not slow.nodes.withdraw(KEY)
    assert not slow.nodes.has(KEY)


def test_an_empty_record_is_none_and_is_replaced(store):
    """Earlier versions left one in a bucket where they withdrew a node; so may a server's crash."""
    store.files.write(record_path(store), b"")
    assert not store.nodes.has(KEY)
    assert store.nodes.done({KEY}) == set()
    with pytest.raises(FileNotFoundError):
        store.nodes.read(KEY)
    assert not store.nodes.withdraw(KEY)
    assert [item.kind for item in store.items()] == ["remains"]
    assert store.nodes.publish(KEY, FILES, RECORD)
    assert store.nodes.damaged_files(KEY) == []


@pytest.mark.parametrize("remains", [[], ["model.safetensors"], ["metrics/m.json"]])
def test_a_folder_without_record_is_not_done_and_is_replaced(tmp_path, remains):
    """A crashed file server can leave one; somebody may have deleted a damaged record."""
    store, folder = open_store(tmp_path), tmp_path / "generations" / KEY
    folder.mkdir(parents=True)
    for name in remains:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    assert not store.nodes.has(KEY)
    assert store.nodes.publish(KEY, FILES, RECORD)
    assert store.nodes.damaged_files(KEY) == []


def test_a_file_in_the_place_of_a_node_is_replaced(tmp_path):
    (tmp_path / "generations").mkdir(parents=True)
    (tmp_path / "generations" / KEY).write_bytes(b"")
    assert open_store(tmp_path).nodes.publish(KEY, FILES, RECORD)


def test_a_data_set_is_located_on_this_machine(store, tmp_path):
    assert store.datasets.publish("d1", {"images.npy": b"pixels"}, CARD)
    assert not store.datasets.publish("d1", {"images.npy": b"j"}, CARD)
    other = elsewhere(store, tmp_path)
    assert other.datasets.has("d1")
    assert other.datasets.locate("d1", "images.npy").read_bytes() == b"pixels"
    assert other.datasets.read_file("d1", "images.npy") == b"pixels"
    assert replace(other.datasets.read("d1"), files={}) == CARD


def test_a_damaged_data_set_is_seen_and_withdrawn(store, tmp_path):
    store.datasets.publish("d1", {"images.npy": b"pixels"}, CARD)
    digest = store.datasets.read("d1").files["images.npy"]
    flip_bit(store, store.files.file_path("datasets", "d1", "images.npy", digest))
    other = elsewhere(store, tmp_path)
    with pytest.raises(CorruptError, match="got 6 damaged bytes"):
        other.datasets.locate("d1", "images.npy")
    assert other.datasets.damaged_files("d1") == ["images.npy"]
    assert other.datasets.withdraw("d1")
    assert not other.datasets.has("d1")


def test_metrics_belong_to_done_nodes(store):
    with pytest.raises(FileNotFoundError, match=f"must belong to a done node, got '{KEY}'"):
        store.write_metrics(KEY, SPEC, METRICS)
    store.nodes.publish(KEY, FILES, RECORD)
    assert store.read_metrics(KEY, SPEC) is None
    store.write_metrics(KEY, SPEC, METRICS)
    assert store.read_metrics(KEY, SPEC) == METRICS
    assert store.nodes.damaged_files(KEY) == []


def test_truncated_metrics_are_corrupt(published):
    published.files.write(published.files.metrics_path(KEY, SPEC), b"{")
    with pytest.raises(CorruptError, match=rf"{SPEC}.json must be a whole JSON file"):
        published.read_metrics(KEY, SPEC)
