import json

import pytest

from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.core.run import execute
from etudes.sweep.local import perform
from etudes.sweep.store import Store


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_folder_is_used_as_it_is(coins, tmp_path):
    store = Store(tmp_path)
    plan = coins.plan("smoke")
    store.bring(plan)
    execute(coins, plan[0], store.folder)
    store.send(plan[0])
    assert store.folder == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["coins"]


def test_finished_runs_come_and_go_by_url(coins, cache, monkeypatch):
    plan, there = coins.plan("smoke"), cache / "far"
    store = Store(f"file://{there}")
    perform(coins, plan[:3], store.folder, finish=lambda outcome: store.send(outcome.spec))
    assert sorted(p.parent.name for p in there.rglob("result.json")) == sorted(s.key.split("/")[-1] for s in plan[:3])
    assert not list(there.rglob("lock"))

    monkeypatch.setenv("ETUDES_CACHE", str(cache / "another machine's"))
    other = Store(f"file://{there}")
    assert not load(plan, other.folder)
    other.bring(plan)
    assert [r.spec.key for r in load(plan, other.folder)] == [s.key for s in plan[:3]]
    assert load(plan, other.folder)[0].metrics == load(plan, store.folder)[0].metrics


def test_a_run_is_seen_at_the_url_only_when_all_its_files_are_there(coins, cache):
    plan, there = coins.plan("smoke"), cache / "far"
    store = Store(f"file://{there}")
    execute(coins, plan[0], store.folder)
    put, seen = store._files.put_file, []
    store._files.put_file = lambda here, path: (seen.append(path.rpartition("/")[2]), put(here, path))
    store.send(plan[0])
    assert seen[-1] == "result.json"
    assert {"spec.json", "env.json", "log.jsonl"} <= set(seen)


def test_what_is_not_whole_at_the_url_is_no_result(coins, cache):
    plan, there = coins.plan("smoke"), cache / "far"
    (there / plan[0].key).mkdir(parents=True)
    (there / plan[0].key / "spec.json").write_text(json.dumps({}))
    store = Store(f"file://{there}")
    store.bring(plan)
    assert not list(store.folder.rglob("spec.json"))


@pytest.mark.parametrize("url", ["nothing://bucket/runs", "gopher://host"])
def test_an_unknown_kind_of_url_is_named(url, cache):
    with pytest.raises(Problem, match=f"{url} cannot be a root of runs"):
        Store(url)


def test_a_store_that_does_not_answer_is_named(coins, cache):
    (cache / "far").write_text("a file, where a folder should be")
    store = Store(f"file://{cache}/far")
    execute(coins, coins.plan("smoke")[0], store.folder)
    with pytest.raises(Problem, match=r"does not answer .* finished runs are kept in"):
        store.send(coins.plan("smoke")[0])
