"""Facts of lineages whose models are other people's programs (family `command`)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from own_program import (
    ONE,
    PROGRAM,
    TWO,
    leftovers,
    nodes,
    noise,
    program,
    run_of,
    trained_on,
)
from tiny_sweep import compute, make_lineage, make_run
from tiny_training import new_stream

from model.commands.checkpoint_file import trained_model
from model.config import SampleConfig
from model.errors import UsageError
from model.programs.family import program_seed
from model.programs.files import program_of
from model.programs.images import write_pool
from model.programs.permission import allow_commands
from model.randomness import Purpose
from sweep.lineage.sample_streams import read_weights
from sweep.planning.pool import Segment, pool_recipe
from sweep.store.store import open_store

pytestmark = pytest.mark.usefixtures("programs")

# What a program is given, and what becomes of what it writes.


def test_a_program_trains_on_its_pool_and_draws_the_next(tmp_path) -> None:
    """V_2 trains on the 40 real images and on half as many of V_1's, which are those it drew."""
    run = run_of(tmp_path, program(tmp_path))
    generations = list(run.generations())
    assert [each.node.status for each in generations] == ["done", "done"]
    assert [trained_on(read_weights(run.store, node)) for node in run.nodes] == [40, 60]
    assert generations[1].node.origins == {"0": 40, "1": 20}
    images = run.sources.images(run.nodes[1].pool)[40:]
    np.testing.assert_array_equal(images, noise(program_seed((0, 1, 0), Purpose.SAMPLE), 128)[:20])
    assert leftovers(tmp_path) == []


def test_one_program_may_train_and_draw_at_once(tmp_path) -> None:
    """Its images are the model."""
    run = run_of(tmp_path, program(tmp_path, ONE))
    generations = list(run.generations())
    assert [each.node.status for each in generations] == ["done", "done"]
    stored = read_weights(run.store, run.nodes[0]).tensors["ema.images"].numpy()
    np.testing.assert_array_equal(stored, noise(program_seed((0, 1, 0), Purpose.INIT), 128))
    np.testing.assert_array_equal(run.sources.images(run.nodes[1].pool)[40:], stored[:20])


def test_a_whole_stream_is_drawn_by_one_call(tmp_path) -> None:
    """150 images are two blocks of one call that is asked for 256."""
    told = program(
        tmp_path, code=PROGRAM + "\nopen('../../calls', 'a').write(f'{what} {number}\\n')"
    )
    config = make_lineage({**told, "pool.alpha": 3.75, "metrics.names": []})
    compute(config, open_store(tmp_path / "store"))
    calls = (tmp_path / "cache/collapse-sweep/programs/calls").read_text().splitlines()
    # V_1, its preview, S_1, V_2, its preview
    assert calls == ["train 0", "draw 128", "draw 256", "train 0", "draw 128"]


def test_a_damaged_block_is_drawn_again_with_the_same_images(tmp_path) -> None:
    store = open_store(tmp_path / "store")
    run = make_run(make_lineage({**program(tmp_path), "pool.alpha": 3.75}), store)
    list(run.generations())
    before = run.sources.images(run.nodes[1].pool)
    segment = run.nodes[1].pool[1]
    assert isinstance(segment, Segment)
    store.discard_block(segment.source, 1)
    np.testing.assert_array_equal(run.sources.images(run.nodes[1].pool), before)


def test_training_goes_on_from_the_model_before(tmp_path) -> None:
    code = PROGRAM.replace("what, place, out, number, seed", "what, place, out, number, seed, init")
    code += "\nif init:\n    old = (Path(init) / 'deep' / 'count.txt').read_bytes()"
    code += "\n    (out / 'old').write_bytes(old)"
    told = program(tmp_path, code=code)
    told |= {"train.command": TWO["train.command"] + " {init}", "train.start": "continue"}
    told |= {"sample.command": TWO["sample.command"] + " ''"}
    run = run_of(tmp_path, told)
    list(run.generations())
    first, second = (read_weights(run.store, node).tensors for node in run.nodes)
    assert "ema.file/old" not in first
    assert bytes(second["ema.file/old"].numpy()) == b"40"


def test_images_of_classes_are_in_class_folders_and_others_apart(tmp_path) -> None:
    """Generated images have no class, so a program finds them in one folder in all generations."""
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8)
    write_pool(tmp_path / "pool", images, np.array([0, 1, -1, 1]), ["cat", "a/b"])
    found = sorted(str(p.relative_to(tmp_path / "pool")) for p in tmp_path.rglob("*.png"))
    assert found == ["1/000001.png", "1/000003.png", "cat/000000.png", "unlabelled/000002.png"]


def test_a_program_runs_as_it_was_when_it_was_read(tmp_path) -> None:
    """Its files are laid out from what was hashed, and travel in the checkpoint."""
    run = run_of(tmp_path, program(tmp_path))
    (tmp_path / "program.py").unlink()
    assert [each.node.status for each in run.generations()] == ["done", "done"]


def test_a_folder_of_files_keeps_its_name_and_modes(tmp_path) -> None:
    source = tmp_path / "src"
    (source / ".git").mkdir(parents=True)
    (source / ".git" / "config").write_text("x")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "part.py").write_text("")
    found = program_of((str(source),))
    assert sorted(found.files) == ["src/part.py", "src/run.sh"]
    assert found.executable == {"src/run.sh"}


def test_two_files_of_one_name_are_refused(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.py").write_text("")
    with pytest.raises(UsageError, match=r"^model\.program must have one file called x\.py"):
        program_of((str(tmp_path / "a" / "x.py"), str(tmp_path / "b" / "x.py")))


# Keys.


def test_the_first_model_is_shared_by_every_size_of_its_sample(tmp_path) -> None:
    """Its streams are not: a program may draw other images if it is asked for more."""
    told = program(tmp_path)
    few, more, many = (nodes(told, **{"pool.alpha": alpha}) for alpha in (0.5, 3.0, 4.0))
    assert few[0].key == more[0].key == many[0].key
    sources = [pool_recipe(each[1].pool)[1]["source"] for each in (few, more, many)]
    assert sources[0] == sources[1] != sources[2]  # 20 and 120 images are one block, 160 are two
    assert few[0].metrics[0].images == many[0].metrics[0].images


def test_measuring_more_changes_no_key_of_a_program_that_only_trains(tmp_path) -> None:
    told = program(tmp_path)
    few, many = (nodes(told, **{"metrics.num_images": count}) for count in (16, 400))
    assert [node.key for node in few] == [node.key for node in many]


def test_a_program_that_draws_in_training_has_their_number_in_its_key(tmp_path) -> None:
    told = program(tmp_path, ONE)
    few, many = (nodes(told, **{"pool.alpha": alpha})[0] for alpha in (0.5, 4.0))
    assert few.key != many.key
    assert (few.inputs["num_drawn"], many.inputs["num_drawn"]) == (128, 256)


@pytest.mark.parametrize("commands", [TWO, ONE])
def test_a_longer_lineage_begins_with_the_shorter(tmp_path, commands) -> None:
    told = program(tmp_path, commands) | {"pool.alpha": 4.0}
    short, long = (nodes(told, generations=count) for count in (2, 3))
    assert [node.key for node in short] == [node.key for node in long[:2]]


def test_keys_have_the_contents_of_the_program_but_not_its_place(tmp_path) -> None:
    (tmp_path / "other").mkdir()
    here, there = program(tmp_path), program(tmp_path / "other")
    assert nodes(here)[0].key == nodes(there)[0].key
    changed = program(tmp_path, code=PROGRAM + "\n")
    assert nodes(changed)[0].key != nodes(there)[0].key


def test_another_sampler_draws_from_the_same_model(tmp_path) -> None:
    told = program(tmp_path)
    other = told | {"sample.command": TWO["sample.command"] + " --fast"}
    first, second = nodes(told), nodes(other)
    assert first[0].key == second[0].key
    assert first[1].key != second[1].key


# Safety.


def test_nothing_runs_without_permission(tmp_path) -> None:
    run = run_of(tmp_path, program(tmp_path))
    allow_commands(False)
    with pytest.raises(
        UsageError, match=r"^--allow-command must be given to run the program of tr"
    ):
        list(run.generations())


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", "a//x"])
def test_a_checkpoint_cannot_write_outside_its_folder(tmp_path, name) -> None:
    """Its names of files are a stranger's."""
    run = run_of(tmp_path, program(tmp_path))
    run.ensure_node(run.nodes[0])
    checkpoint = read_weights(run.store, run.nodes[0])
    tensors = checkpoint.tensors | {f"ema.file/{name}": torch.zeros(1, dtype=torch.uint8)}
    with pytest.raises(UsageError, match="name of a file in a folder"):
        trained_model(replace(checkpoint, tensors=tensors).to_bytes(), source="it")


# Settings.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.command": None}, "train.command must be set with model.family=command"),
        ({"train.command": "x {images}"}, r"must contain \{out\}, got 'x \{images\}'"),
        (
            {"train.command": "x {images} {out} {name}"},
            r"placeholders \{images\}, .*got '\{name\}'",
        ),
        ({"train.command": "x {images} {out} {num_images}"}, r"got '\{num_images\}'"),
        ({"train.command": "x {images} {out} {seed:d}"}, r"got '\{seed:d\}'"),
        ({"train.command": "x {images} {out} {"}, "write {{ and }} for braces"),
        ({"train.command": "x '{images} {out}"}, "words as in a shell"),
        ({"train.command": "a {images} && b {out}"}, r"no shell starts, got '&&' in .* sh -c"),
        ({"train.command": " "}, "must name a program, got ' '"),
        ({"sample.command": "x {model} {out}"}, r"sample.command must contain \{num_images\}"),
        ({"sample.command": None}, r"train.command must contain \{num_images\}"),
        ({"model.family": "ddim"}, "train.command must be left out with model.family=ddim"),
        ({"data.dtype": "float32"}, "data.dtype must be uint8 with model.family=command"),
        ({"train.start": "continue"}, r"train.command must contain \{init\}"),
        ({"train.command_seconds": 0.0}, "train.command_seconds must be a finite number above 0"),
        ({"model.conditional": True}, "model.family must be one of .* with model.conditional"),
        (
            {"train.select": "best_kid", "data.validation_fraction": 0.2},
            "train.select must be last",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message) -> None:
    told = {"model.family": "command", **TWO, **changes}
    with pytest.raises(UsageError, match=message):
        make_lineage(told)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics.images": "separate"}, "metrics must measure the images that enter the pool"),
        ({"metrics.names": ["copying"]}, "metrics must measure the images that enter the pool"),
    ],
)
def test_a_program_that_draws_in_training_has_no_other_images(tmp_path, changes, message) -> None:
    with pytest.raises(UsageError, match=message):
        nodes(program(tmp_path, ONE), **changes)


def test_words_are_split_before_they_are_filled_in(tmp_path) -> None:
    """So a path with spaces stays one word, and no shell reads it."""
    (tmp_path / "a b $(touch x)").mkdir()
    run = make_run(make_lineage(program(tmp_path)), open_store(tmp_path / "a b $(touch x)"))
    assert run.ensure_node(run.nodes[0]).status == "done"


def test_a_model_of_files_needs_a_sampler(tmp_path) -> None:
    run = run_of(tmp_path, program(tmp_path))
    run.ensure_node(run.nodes[0])
    checkpoint = read_weights(run.store, run.nodes[0])
    with pytest.raises(UsageError, match=r"sample\.command must be set"):
        list(new_stream(checkpoint, SampleConfig()).images(1))


# Other parts of a sweep.


def test_further_metrics_have_images_of_their_own(tmp_path) -> None:
    """More than were drawn before, of the same models."""
    store, config = open_store(tmp_path / "store"), make_lineage(program(tmp_path))
    before = compute(config, store)
    more = replace(config.metrics, num_images=200)
    generations = compute(config, store, evaluations=(more,))
    assert [[x.num_images for x in each.metrics] for each in generations] == [[16, 200]] * 2
    assert [each.node.key for each in generations] == [each.node.key for each in before]


def test_images_of_programs_are_filtered_and_mixed_like_others(tmp_path) -> None:
    """Two members of a program and one Gaussian; each keeps half of its candidates."""
    told = program(tmp_path) | {
        "filter.name": "random",
        "filter.candidates": 2.0,
        "ensemble.members": [
            "",
            "",
            "model.family=gaussian train.command=None sample.command=None model.program=[]",
        ],
    }
    run = make_run(make_lineage(told), open_store(tmp_path / "store"))
    generations = list(run.generations())
    assert [each.node.family for each in generations] == 2 * ["command", "command", "gaussian"]
    assert [each.node.origins for each in generations[3:]] == 3 * [{"0": 40, "1": 20}]
    assert all(each.metrics[0].values for each in generations)
    assert generations[0].mixture[0].values
