"""`extra-broker import`: what was exported comes back, all of it or nothing."""

import io
import sys
from pathlib import Path

import pytest

from broker.commands import export, importing
from broker.commands.importing import Import, run
from broker.commands.options import UsageError
from broker.commands.storing import open_store
from broker.commands.streams import StreamError
from broker.engines import StoreRefused
from broker.engines.store import Store
from tests.unit.broker.commands.stores import TIME, contents, make_store

HEAD = b'{"op":"store","version":1,"epoch":"e9","head":9,"forgotten_until":0}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store.db")


@pytest.fixture(params=["jsonl", "msgpack"])
def exported(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Path:
    output = tmp_path / "exported"
    assert export.run(["--store", str(path), "--output", str(output), "--format", request.param]) == 0
    return output


@pytest.fixture(autouse=True)
def _at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "time", lambda: TIME)


def refusal(capfd: pytest.CaptureFixture[str], data: bytes, target: Path, *options: str) -> str:
    file = target.parent / "data"
    file.write_bytes(data)
    assert run([str(file), "--store", str(target), *options]) == 1
    return capfd.readouterr().err


def test_with_the_same_epoch_a_store_comes_back_as_it_was(
    path: Path, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.db"
    assert run([str(exported), "--store", str(again), "--same-epoch"]) == 0
    assert contents(again) == contents(path)
    assert capfd.readouterr().out == "4 messages and 1 retained ones are imported, 0 had expired\n"


def test_otherwise_messages_get_new_offsets_in_a_new_epoch(
    path: Path, exported: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.db"
    assert run([str(exported), "--store", str(again)]) == 0
    before, after = contents(path), contents(again)
    [(epoch, head, forgotten_until)] = after["store"]
    assert epoch != "e1"
    assert (head, forgotten_until) == (5, 0)
    assert after["topics"] == []
    for table in ("messages", "retained"):
        assert [row[1:] for row in after[table]] == [row[1:] for row in before[table]]
    assert [row[0] for row in after["messages"] + after["retained"]] == [1, 2, 3, 4, 5]


def test_they_go_behind_what_is_there(path: Path, exported: Path) -> None:
    before = contents(path)
    assert run([str(exported), "--store", str(path)]) == 0
    after = contents(path)
    assert after["store"] == [("e1", 12, 6)]
    assert after["topics"] == before["topics"]
    assert after["messages"][:4] == before["messages"]
    assert [row[0] for row in after["messages"]] == [3, 4, 5, 7, 8, 9, 10, 11]
    assert [row[0] for row in after["retained"]] == [1, 12]


def test_a_retained_message_of_the_log_is_one_message(path: Path, tmp_path: Path) -> None:
    data = (
        HEAD
        + b'{"op":"message","topic":"a","offset":4,"kind":"json","data":1,"retained":true}\n'
        + b'{"op":"message","topic":"a","offset":5,"kind":"json","data":2,"retained":true}\n'
        + b'{"op":"retained","topic":"a","offset":4,"kind":"json","data":1,"retained":true}\n'
    )
    file = tmp_path / "data"
    file.write_bytes(data)
    assert run([str(file), "--store", str(path)]) == 0
    after = contents(path)
    assert [row[0] for row in after["messages"]][-2:] == [8, 9]
    assert [row[0] for row in after["retained"]] == [1, 8]


def test_what_has_expired_is_left_out(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "time", lambda: TIME + 1e6)
    again = tmp_path / "again.db"
    assert run([str(exported), "--store", str(again), "--same-epoch"]) == 0
    assert [row[0] for row in contents(again)["messages"]] == [3, 4, 5]
    assert contents(again)["store"] == [("e1", 7, 6)]


def test_many_go_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_MESSAGES", 2)
    data = HEAD + b"".join(
        b'{"op":"message","topic":"a","offset":%d,"kind":"json","data":1}\n' % offset
        for offset in range(1, 6)
    )
    file = tmp_path / "data"
    file.write_bytes(data)
    assert run([str(file), "--store", str(tmp_path / "x.db"), "--same-epoch"]) == 0
    assert [row[0] for row in contents(tmp_path / "x.db")["messages"]] == [1, 2, 3, 4, 5]
    assert contents(tmp_path / "x.db")["store"] == [("e9", 9, 0)]


def test_standard_input_can_be_imported(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with exported.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert run(["-", "--store", str(tmp_path / "x.db")]) == 0
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(StreamError, match="closed"):
        run(["-", "--store", str(tmp_path / "x.db")])


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"nonsense\n", "record 3: "),
        (HEAD, "record 3: this is a second store"),
        (b'{"op":"message","topic":"a/#","offset":2,"kind":"json","data":1}\n', "record 3: topic 'a/#'"),
        (b'{"op":"topic","evicted_until":1}\n', "record 3: it has no topic"),
        (b'{"op":"topic","topic":"a","evicted_until":10}\n', "record 3: it has no topic, or has lost"),
    ],
)
def test_when_something_is_wrong_nothing_is_imported(
    path: Path, capfd: pytest.CaptureFixture[str], record: bytes, said: str
) -> None:
    before = contents(path)
    good = b'{"op":"message","topic":"a","offset":1,"kind":"json","data":1}\n'
    told = refusal(capfd, HEAD + good + record, path)
    assert said in told
    assert "nothing is imported" in told
    assert contents(path) == before


@pytest.mark.parametrize("offset", [0, 1, 10])
def test_offsets_that_are_kept_have_to_rise_up_to_the_head(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], offset: int
) -> None:
    data = HEAD + b"".join(
        b'{"op":"message","topic":"a","offset":%d,"kind":"json","data":1}\n' % each for each in (1, offset)
    )
    told = refusal(capfd, data, tmp_path / "x.db", "--same-epoch")
    assert f"its offset {offset} does not follow 1, or is above the head" in told


def test_the_same_epoch_is_kept_in_an_empty_store_alone(
    path: Path, exported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([str(exported), "--store", str(path), "--same-epoch"]) == 1
    assert "not empty" in capfd.readouterr().err


def test_what_is_no_export_makes_no_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no export" in refusal(capfd, b'{"op":"message"}\n', tmp_path / "x.db")
    assert not (tmp_path / "x.db").exists()


def test_a_store_that_is_open_or_cannot_be_written_is_told(
    path: Path, exported: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(str(path)):
        assert run([str(exported), "--store", str(path)]) == 1
    assert "in use" in capfd.readouterr().err
    with exported.open("rb") as file:
        importing_ = Import(file, TIME, same_epoch=False)
        with open_store(str(path)) as store:
            store.connection.execute("PRAGMA query_only = 1")
            with pytest.raises(Exception, match="readonly"):
                importing_.put_into(store)
    with exported.open("rb") as file, pytest.raises(StoreRefused), open_store(str(path)) as store:
        Import(file, TIME, same_epoch=True).put_into(store)
    store = Store(str(path))
    store.open("e5")
    store.connection.execute("DROP TABLE retained")
    store.close()
    assert run([str(exported), "--store", str(path)]) == 1
    assert "cannot be written" in capfd.readouterr().err


def test_help_and_wrong_calls(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capfd.readouterr().out.startswith("Usage: extra-broker import")
    for words in ([], ["a", "b"]):
        with pytest.raises(UsageError, match=r"import takes FILE\|-"):
            run([*words, "--store", str(path)])
    with pytest.raises(StreamError, match="No such file"):
        run(["nowhere.jsonl", "--store", str(path)])


def test_an_import_is_made_of_an_export() -> None:
    assert Import(io.BytesIO(HEAD), TIME, same_epoch=True).epoch == "e9"
    assert Import(io.BytesIO(HEAD), TIME, same_epoch=False).epoch != "e9"
