"""What a program must do, and what happens if it does not (family `command`)."""

import pytest
from own_program import ONE, PROGRAM, RUN, leftovers, program, run_of

from model.programs.images import ProgramFailed
from model.programs.process import marked
from sweep.lineage.sample_streams import read_weights

pytestmark = pytest.mark.usefixtures("programs")

# What a program must do.

FAULTS = {
    "exit code": ("sys.exit('no memory')", r"exit code 0, got 1; .*log\.txt: no memory$"),
    "signal": ("import os; os.kill(os.getpid(), 9)", r"exit code 0, got -9"),
    "nothing": ("sys.exit()", r"must write 128 images into \{out\}, got 0 PNGs"),
    "too few": ("number = 100", r"must write uint8 images \(128, 8, 8, 1\), got uint8 \(100, 8, 8"),
    "size": (
        "np.save(out / 'x', np.zeros((128, 9, 9), np.uint8)); sys.exit()",
        r"\(128, 9, 9, 1\)",
    ),
    "floats": ("np.save(out / 'x', np.zeros((128, 8, 8))); sys.exit()", "got float64"),
    "damaged": ("(out / 'x.npz').write_bytes(b'PK'); sys.exit()", "readable array"),
    "pickles": (
        "np.save(out / 'x', np.array([sys.path], object)); sys.exit()",
        "readable array of images, .*allow_pickle",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_that_fails_fails_its_lineage(tmp_path, fault) -> None:
    """The error names the setting, the rule and the log, and no model is published."""
    code, message = FAULTS[fault]
    begin, line, rest = PROGRAM.partition("out = Path(out)\n")
    run = run_of(tmp_path, program(tmp_path, ONE, f"{begin}{line}{code}\n{rest}"))
    with pytest.raises(ProgramFailed, match=message) as error:
        list(run.generations())
    assert str(error.value).startswith("train.command must")
    assert not run.store.nodes.has(run.nodes[0].key)


PNGS = {
    "mode": ("Image.new('RGB', (8, 8))", "PNGs of mode L and 8x8 pixels, .*got RGB and 8x8"),
    "size": ("Image.new('L', (8, 9))", "got L and 8x9"),
    "depth": ("Image.new('I;16', (8, 8))", "got I;16 and 8x8"),
}


@pytest.mark.parametrize("fault", PNGS)
def test_pngs_must_be_like_those_of_the_pool(tmp_path, fault) -> None:
    image, message = PNGS[fault]
    save = f"{image}.save(f'{{sys.argv[1]}}/{{n}}.png')"
    code = f"import sys\nfrom PIL import Image\nfor n in range(128):\n    {save}\n"
    command = {"train.command": f"{RUN} {{out}} {{images}} {{num_images}}"}
    run = run_of(tmp_path, program(tmp_path, command, code))
    with pytest.raises(ProgramFailed, match=message):
        list(run.generations())


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path) -> None:
    """Also a child with a session of its own, which a signal to the group would not reach."""
    code = "import subprocess, time\nsubprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    told = program(tmp_path, code=f"{code}print('begun', flush=True)\ntime.sleep(60)")
    run = run_of(tmp_path, {**told, "train.command_seconds": 1.0})
    with pytest.raises(ProgramFailed, match=r"train\.command_seconds=1, got no end; .*: begun$"):
        list(run.generations())
    (folder,) = leftovers(tmp_path)
    assert marked(folder) == []


def test_a_program_that_cannot_be_found_is_named(tmp_path) -> None:
    told = program(tmp_path) | {"train.command": "no-such-program {images} {out}"}
    run = run_of(tmp_path, told)
    with pytest.raises(ProgramFailed, match="program that can be run, got 'no-such-program'"):
        list(run.generations())


@pytest.mark.parametrize(("resumes", "found"), [(True, 1), (False, 0)])
def test_what_an_earlier_attempt_has_written_is_kept_if_the_program_resumes(
    tmp_path, resumes, found
) -> None:
    """The first attempt leaves a file and fails."""
    code = PROGRAM.replace(
        'if what == "train":',
        'if what == "train":\n'
        "    before = len(list(out.iterdir()))\n"
        "    (out / 'part').touch()\n"
        "    again = Path('../../again')\n"
        "    if not again.exists():\n"
        "        again.touch()\n"
        "        sys.exit(3)\n"
        "    (out / 'before').write_text(str(before))",
    )
    told = program(tmp_path, code=code) | {"train.command_resumes": resumes}
    run = run_of(tmp_path, told)
    with pytest.raises(ProgramFailed, match="exit code 0, got 3"):
        list(run.generations())
    list(run.generations())
    before = read_weights(run.store, run.nodes[0]).tensors["ema.file/before"]
    assert int(bytes(before.numpy())) == found


def test_a_program_whose_images_are_all_the_same_has_diverged(tmp_path) -> None:
    code = PROGRAM.replace("rng.integers(0, 256, (int(number)", "rng.integers(0, 1, (int(number)")
    run = run_of(tmp_path, program(tmp_path, code=code))
    (generation,) = run.generations()
    assert (generation.node.status, generation.node.reason) == (
        "diverged",
        "all samples are the same image",
    )
