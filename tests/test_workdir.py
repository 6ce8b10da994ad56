"""A run's folder: nothing half-written, nothing of the user's touched, one process at a time."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.support import fresh_environment
from tfgraphprune import workdir
from tfgraphprune.errors import UserError
from tfgraphprune.workdir import WorkDir, write_atomically

KEY = {"settings": "1", "data": "2", "model": "3"}
OUTPUTS = ("plan.json", "report.html")


WRITTEN = (
    "checkpoint",
    "checkpoint.tmp0a1b",
    "ckpt-3.index",
    "ckpt-3.data-00000-of-00001",
    "search-12.index",
    "search-13_temp/part-00000-of-00001.data-00000-of-00001",
    "history.json",
    "history.json.tmp77",
)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_steps_payloads_and_the_finish_survive_reopening(tmp_path):
    with WorkDir.open(tmp_path / "a" / "run", KEY, OUTPUTS) as run:
        assert run.done("train") is None
        assert run.mark("train", {"accuracy": 0.5}) == {"accuracy": 0.5}
        assert run.mark("cut")
        run.write("plan.json", "{}")
        run.log_row("search", {"evaluation": 1}, "evaluation")
        folder = run.folder
    with WorkDir.open(folder, KEY, OUTPUTS) as run:
        assert run.done("train") == {"accuracy": 0.5}
        assert run.done("cut") is True
        assert run.done("ship") is None
        assert not run.finished
        run.finish()
    with WorkDir.open(folder, KEY) as run:
        assert run.finished
    assert rows_of(folder) == [{"stage": "search", "evaluation": 1}]
    assert (folder / "plan.json").read_text() == "{}"


@pytest.mark.parametrize("name", KEY)
def test_another_run_is_refused_and_said_what_differs(tmp_path, name):
    WorkDir.open(tmp_path, KEY).__exit__()
    with pytest.raises(UserError, match=f"holds a run with other {name}: use .*--overwrite"):
        WorkDir.open(tmp_path, {**KEY, name: "other"})
    WorkDir.open(tmp_path, KEY).__exit__()  # a refusal leaves the folder unlocked and as it was


def test_overwrite_deletes_the_runs_files_and_no_others(tmp_path):
    mine = {"notes.txt", "model.h5", "checkpoints/notes.txt", "checkpoints/sac/best.json"}
    with WorkDir.open(tmp_path, KEY, OUTPUTS) as run:
        run.write("plan.json", "old")
        run.write("extra.json", "old")
        run.log_row("train", {"epoch": 1}, "epoch")
        sac = run.directory("checkpoints", "sac")
        for name in WRITTEN:
            (sac / name).parent.mkdir(exist_ok=True)
            (sac / name).touch()
        (run.directory("tensorboard", "sac") / "events.out.tfevents.1.host").touch()
        run.mark("train")
    for name in mine:
        (tmp_path / name).write_text("the user's")
    with WorkDir.open(tmp_path, {**KEY, "data": "other"}, OUTPUTS, overwrite=True) as run:
        assert run.done("train") is None
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == mine | {"state.json", ".lock"}
    assert not (tmp_path / "tensorboard").exists()


def test_overwrite_follows_no_link(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "checkpoint").touch()
    (elsewhere / "plan.json").touch()
    folder = tmp_path / "run"
    WorkDir.open(folder, KEY, OUTPUTS).__exit__()
    (folder / "checkpoints").symlink_to(elsewhere)
    (folder / "plan.json").symlink_to(elsewhere / "plan.json")
    WorkDir.open(folder, KEY, overwrite=True).__exit__()
    assert sorted(p.name for p in elsewhere.iterdir()) == ["checkpoint", "plan.json"]


@pytest.mark.parametrize(
    "name", ["plan.json", "metrics.jsonl", "checkpoints/checkpoint", "checkpoints/a/ckpt-1.index"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_no_run_wrote_is_not_written_over(tmp_path, name, overwrite):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("the user's")
    with pytest.raises(UserError, match=f"{name} exists and was not written by a run"):
        WorkDir.open(tmp_path, KEY, OUTPUTS, overwrite=overwrite)
    assert path.read_text() == "the user's"


def test_a_broken_state_is_refused(tmp_path):
    (tmp_path / "state.json").write_text('{"key": 1}')
    with pytest.raises(UserError, match="is not the state of a run"):
        WorkDir.open(tmp_path, KEY)


def test_only_the_runs_own_directories_are_handed_out(tmp_path):
    with WorkDir.open(tmp_path, KEY) as run, pytest.raises(ValueError, match="is not one of"):
        run.directory("elsewhere")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written"):
        WorkDir.open(tmp_path / "file", KEY)
    with pytest.raises(UserError, match="can't be written"):
        WorkDir.open(tmp_path / "file" / "run", KEY)


def test_a_full_disk_is_refused_before_work_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(UserError, match="has 1 MB of disk left, but a run needs"):
        WorkDir.open(tmp_path, KEY)


def hold(folder, held):
    with WorkDir.open(folder, KEY):
        held.set()
        time.sleep(60)


def test_two_processes_cannot_share_a_folder_and_a_kill_frees_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(tmp_path, held))
    process.start()
    try:
        assert held.wait(60)
        with pytest.raises(UserError, match="another process is running in"):
            WorkDir.open(tmp_path, KEY)
    finally:
        process.kill()
        process.join()
    WorkDir.open(tmp_path, KEY).__exit__()


def test_a_row_replaces_itself_and_what_followed_in_its_stage(tmp_path):
    with WorkDir.open(tmp_path, KEY) as run:
        for number in (1, 2, 3):
            run.log_row("train", {"epoch": number}, "epoch")
            run.log_row("search", {"evaluation": number, "reward": 0}, "evaluation")
        run.log_row("search", {"evaluation": 2, "reward": 1}, "evaluation")
    rows = rows_of(tmp_path)
    assert [r["epoch"] for r in rows if r["stage"] == "train"] == [1, 2, 3]
    searched = [(r["evaluation"], r["reward"]) for r in rows if r["stage"] == "search"]
    assert searched == [(1, 0), (2, 1)]


def test_what_a_kill_left_half_written_goes_at_the_next_start(tmp_path):
    with WorkDir.open(tmp_path, KEY, OUTPUTS) as run:
        run.log_row("train", {"epoch": 1}, "epoch")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "tr')
    for name in ("state.json.tmp123", "plan.json.tmp9", "plan.json.tmpl"):
        (tmp_path / name).touch()
    with WorkDir.open(tmp_path, KEY, OUTPUTS) as run:
        run.log_row("train", {"epoch": 2}, "epoch")
    assert [row["epoch"] for row in rows_of(tmp_path)] == [1, 2]
    assert [p.name for p in tmp_path.glob("*.tmp*")] == ["plan.json.tmpl"]


def test_a_failing_write_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    write_atomically(path, "old")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workdir.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["plan.json"]


PROGRAM = """
import sys
import time
from tfgraphprune.workdir import WorkDir

with WorkDir.open(sys.argv[1], {"model": "1"}, ("plan.json",)) as run:
    rows = (run.done("search") or {"rows": []})["rows"]
    for step in range(len(rows), 200):
        row = {"step": step, "padding": "x" * 500}
        run.log_row("search", row, "step")
        rows.append(row)
        run.mark("search", {"rows": rows})
        run.write("plan.json", f"{step:04d}" * 25_000)
        time.sleep(0.002)  # so that there is time to be killed in
    run.finish()
"""


def test_killed_at_random_points_the_run_ends_like_one_left_alone(tmp_path):
    randomly = random.Random(0)
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(alone).wait() == 0
    kills = 0
    for rows in range(10, 190, 30):
        process = start(killed)
        while process.poll() is None and len(lines(killed)) < rows:
            time.sleep(0.001)
        time.sleep(randomly.uniform(0, 0.02))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        text = (killed / "plan.json").read_text()
        assert text == text[:4] * 25_000  # of one write, and whole
    assert kills >= 4
    assert start(killed).wait() == 0
    for name in ("state.json", "metrics.jsonl", "plan.json"):
        assert (killed / name).read_text() == (alone / name).read_text()
    assert sorted(os.listdir(killed)) == sorted(os.listdir(alone))


def start(folder):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, folder], env=fresh_environment())


def lines(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []
