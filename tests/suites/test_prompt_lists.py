"""Where prompt lists are found, that only the pinned files are downloaded, and what is said where none can be."""

import hashlib
import http.server
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_lists import FILES, write_lists

from plaudit.core.errors import BadConfig, UnknownName
from plaudit.suites import prompt_lists
from plaudit.suites.prompt_lists import LISTS, OutOfReach, list_at_hand, load_list, own_list
from plaudit.suites.table import SUITES

GENEVAL = FILES["geneval/evaluation_metadata.jsonl"].encode()


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """A cache of its own, and no folder of the machine's."""
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PLAUDIT_SUITES_DIR", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def server():
    """A web server on this machine: what it answers, and the paths that were asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        answer, asked = GENEVAL, []

        def do_GET(self):
            self.asked.append(self.path)
            self.send_response(200 if self.answer else 404)
            self.end_headers()
            self.wfile.write(self.answer)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running, Handler
        running.shutdown()


def served(monkeypatch, server, checksum):
    """GenEval's list, pinned to what the server is to give."""
    address = f"http://127.0.0.1:{server.server_port}/list"
    file = replace(LISTS["geneval"].files[0], address=address, checksum=checksum)
    one = replace(LISTS["geneval"], files=(file,))
    monkeypatch.setattr(prompt_lists, "LISTS", {**LISTS, "geneval": one})


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_list_is_downloaded_once_and_then_read_from_the_cache(monkeypatch, server):
    running, handler = server
    served(monkeypatch, running, sha256(GENEVAL))
    assert list_at_hand("geneval") is None
    prompts, sources = load_list("geneval")
    assert [prompt.text for prompt in prompts] == ["a kite in the wind", "a photo of two kites"]
    assert sources == {"files": {"evaluation_metadata.jsonl": hashlib.sha256(GENEVAL).hexdigest()}, "pinned": True}
    assert load_list("geneval") == (prompts, sources)
    assert list_at_hand("geneval") == prompts
    assert handler.asked == ["/list"]


def test_another_file_than_was_pinned_is_not_used_and_not_kept(monkeypatch, server, tmp_path):
    running, _ = server
    served(monkeypatch, running, sha256(GENEVAL + b" "))
    with pytest.raises(BadConfig, match="gave another file than was pinned"):
        load_list("geneval")
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_file_may_be_pinned_by_the_name_that_git_has_for_it(monkeypatch, server, tmp_path):
    (tmp_path / "list").write_bytes(GENEVAL)
    named = subprocess.run(["git", "hash-object", tmp_path / "list"], capture_output=True, text=True, check=True)
    running, _ = server
    served(monkeypatch, running, f"git:{named.stdout.strip()}")
    assert len(load_list("geneval")[0]) == 2
    served(monkeypatch, running, f"git:{'0' * 40}")
    (tmp_path / "cache/suites/geneval/evaluation_metadata.jsonl").unlink()
    with pytest.raises(BadConfig, match="gave another file"):
        load_list("geneval")


def test_a_damaged_file_in_the_cache_is_downloaded_anew(monkeypatch, server, tmp_path):
    running, handler = server
    served(monkeypatch, running, sha256(GENEVAL))
    load_list("geneval")
    (tmp_path / "cache/suites/geneval/evaluation_metadata.jsonl").write_bytes(GENEVAL[:20])
    assert list_at_hand("geneval") is None
    assert len(load_list("geneval")[0]) == 2
    assert len(handler.asked) == 2


def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch, server):
    running, _ = server
    served(monkeypatch, running, sha256(GENEVAL))
    monkeypatch.setattr(prompt_lists, "MOST", 10)
    with pytest.raises(BadConfig, match="more than 10 bytes"):
        load_list("geneval")


def test_a_file_that_is_gone_says_where_it_was_to_be_had(monkeypatch, server):
    running, handler = server
    handler.answer = b""
    served(monkeypatch, running, sha256(GENEVAL))
    with pytest.raises(OutOfReach, match=r"the server answered 404.*http://127.*--lists or PLAUDIT_SUITES_DIR"):
        load_list("geneval")


def test_without_a_network_one_sentence_says_what_to_do(monkeypatch, server):
    running, _ = server
    served(monkeypatch, running, sha256(GENEVAL))
    running.shutdown()
    running.socket.close()
    with pytest.raises(OutOfReach, match=r"no network.*into a folder 'geneval'") as raised:
        load_list("geneval")
    assert "\n" not in str(raised.value)


def test_where_the_hubs_client_is_told_to_stay_offline_nothing_is_asked_for(monkeypatch, server):
    running, handler = server
    served(monkeypatch, running, sha256(GENEVAL))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OutOfReach, match="HF_HUB_OFFLINE is set"):
        load_list("geneval")
    assert handler.asked == []


def test_a_folder_that_is_named_is_read_and_nothing_else(tmp_path):
    prompts, sources = load_list("geneval", folder=write_lists(tmp_path / "mine"))
    assert len(prompts) == 2
    # It holds made-up prompts, and says so.
    assert sources["pinned"] is False
    with pytest.raises(BadConfig, match=r"has no geneval/evaluation_metadata\.jsonl; it is at https://raw"):
        load_list("geneval", folder=tmp_path)


def test_the_variables_folder_is_read_and_what_it_lacks_is_looked_for_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_SUITES_DIR", str(write_lists(tmp_path / "mine")))
    assert len(load_list("partiprompts")[0]) == 2
    (tmp_path / "mine/partiprompts/PartiPrompts.tsv").unlink()
    assert list_at_hand("partiprompts") is None


def test_files_may_lie_without_folders_of_their_own(tmp_path):
    write_lists(tmp_path / "mine")
    (tmp_path / "mine/geneval/evaluation_metadata.jsonl").rename(tmp_path / "evaluation_metadata.jsonl")
    assert len(load_list("geneval", folder=tmp_path)[0]) == 2


def test_a_list_with_a_file_for_each_category_keeps_them_apart(tmp_path):
    prompts, _ = load_list("t2i_compbench", folder=write_lists(tmp_path))
    assert [(prompt.category, prompt.text) for prompt in prompts][:3] == [
        ("color", "a color kite"),
        ("color", "two color kites"),
        ("shape", "a shape kite"),
    ]
    assert [prompt.index for prompt in prompts] == list(range(12))


def test_a_list_that_nobody_pinned_is_read_and_never_downloaded(tmp_path):
    prompts, sources = load_list("hpsv2", folder=write_lists(tmp_path))
    assert len(prompts) == 8
    assert sources["pinned"] is None
    with pytest.raises(OutOfReach, match=r"nobody has pinned.*anime\.json and, from beside it, concept-art\.json"):
        load_list("hpsv2")


def test_a_users_own_file_goes_by_its_checksum(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("a kite\n")
    prompts, sources = own_list(file)
    assert [prompt.text for prompt in prompts] == ["a kite"]
    assert sources["files"] == {"mine.txt": hashlib.sha256(b"a kite\n").hexdigest()}


def test_an_unknown_list_is_named():
    with pytest.raises(UnknownName, match=r"no list of prompts named 'genevall'.*geneval"):
        load_list("genevall")


@pytest.mark.parametrize("one", LISTS.values(), ids=lambda one: one.name)
def test_every_pin_is_a_commit_and_a_checksum(one):
    for file in one.files:
        if file.checksum is None:
            continue
        kind, _, digest = file.checksum.partition(":")
        assert len(digest) == {"sha256": 64, "git": 40}[kind]
        assert int(digest, 16)
        repository, commit = file.address.removeprefix("https://raw.githubusercontent.com/").split("/")[1:3]
        assert repository
        assert len(commit) == 40
        assert int(commit, 16)


REAL = os.environ.get("PLAUDIT_SUITES_DIR")


@pytest.mark.skipif(not REAL, reason="PLAUDIT_SUITES_DIR names no folder with the benchmarks' own lists")
@pytest.mark.parametrize("row", [row for row in SUITES if "folder" in row.facts], ids=lambda row: row.name)
def test_the_benchmarks_own_lists_have_as_many_prompts_as_the_table_says(row):
    try:
        prompts, sources = load_list(row.facts["folder"], folder=Path(REAL))
    except BadConfig as error:
        pytest.skip(f"that folder has no such list: {error}")
    assert len(prompts) == row.facts["prompts"]
    assert sources["pinned"] in (True, None)
