"""A judge on a real server of this machine that misbehaves in every way it can."""

import base64
import io
import json
import socket
import threading
import time
import zlib
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image

from plaudit.core.errors import BadConfig
from plaudit.rewards.chat_server import ChatServer, RefusedRequest, ServerFailed, retry_after
from plaudit.rewards.check import check_reward
from plaudit.rewards.http_judge import HttpJudge, as_png
from plaudit.rewards.table import REWARDS, load_reward
from plaudit.rewards.verdicts import NoVerdict, read_boxed, read_yes_or_no
from plaudit.runs.provenance import source_of

PROMPTS = ["a red star", "two blue circles"]
KEY = "sk-very-secret-0123"


@pytest.fixture(autouse=True)
def _pictures_stay_small(request, monkeypatch):
    """Writing PNGs of 512 pixels takes most of the time of tests that are not about them."""
    if "enlarged" not in request.node.name:
        monkeypatch.setattr("plaudit.rewards.http_judge.SMALLEST_SIDE", 8)


def answer(text, first=None):
    """A chat server's answer, with the log probabilities of its first token if they are given."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if first is not None:
        told = [{"token": token, "logprob": value, "bytes": None} for token, value in first.items()]
        choice["logprobs"] = {"content": [{"token": told[0]["token"], "logprob": 0.0, "top_logprobs": told}]}
    return 200, json.dumps({"id": "x", "choices": [choice]}).encode(), {}


def failing(status, headers=None, said=b'{"error": "sorry"}'):
    return status, said, headers or {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            index = len(self.server.asked)
            self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
            self.server.busy += 1
        behaviour = self.server.behaviour
        reply = behaviour(json.loads(body)) if callable(behaviour) else behaviour[min(index, len(behaviour) - 1)]
        try:
            if callable(reply):
                reply(self)
            else:
                self.send(*reply)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def send(self, status, content, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST


@contextmanager
def running(behaviour):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.behaviour, server.asked, server.lock = behaviour, [], threading.Lock()
    server.busy = 0
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def judge_of(server, waits=None, *, settings=None, **choices):
    waits = [] if waits is None else waits
    settings = {"timeout": 5.0, "tries": 3, "first_wait": 0.5, "longest_wait": 8.0, **(settings or {})}
    url = server if isinstance(server, str) else server.url
    return HttpJudge(
        ChatServer(url=url, model="a-judge", pause=lambda _, seconds: waits.append(seconds), **settings), **choices
    )


def images(count=2, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_the_question_goes_out_as_json_with_a_png_inside():
    with running([answer("Yes")]) as server:
        judge_of(server)(images(1, size=96), PROMPTS[:1])
        path, headers, body = server.asked[0]
    picture, text = body["messages"][0]["content"]
    sent = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))))
    pixels = torch.frombuffer(bytearray(sent.tobytes()), dtype=torch.uint8).view(96, 96, 3).permute(2, 0, 1)
    assert path == "/v1/chat/completions"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert (body["model"], body["temperature"], body["max_tokens"], body["top_logprobs"]) == ("a-judge", 0.0, 1, 20)
    assert text["text"] == 'Does this figure show "a red star"? Please answer Yes or No.'
    assert torch.equal(pixels, (images(1, size=96)[0] * 255).round().byte())


def test_a_small_picture_is_enlarged_and_keeps_its_shape():
    assert Image.open(io.BytesIO(as_png(torch.rand(3, 32, 48)))).size == (768, 512)
    assert Image.open(io.BytesIO(as_png(torch.rand(3, 600, 900)))).size == (900, 600)


def test_the_probability_of_yes_is_read_from_the_first_token():
    with running([answer("Yes", {"Yes": -0.25, "No": -1.6, " yes": -5.0})]) as server:
        score = judge_of(server)(images(1), PROMPTS[:1])
    torch.testing.assert_close(score, torch.tensor([-0.25, -5.0]).exp().sum()[None], rtol=1e-6, atol=0)


def test_without_probabilities_the_word_counts():
    with running(
        lambda body: answer("yes." if "star" in body["messages"][0]["content"][1]["text"] else " No")
    ) as server:
        assert judge_of(server)(images(), PROMPTS).tolist() == [1.0, 0.0]


def test_a_server_that_refuses_probabilities_is_asked_without():
    def picky(body):
        return failing(400, said=b"logprobs are not supported") if "logprobs" in body else answer("Yes")

    with running(picky) as server:
        judge = judge_of(server, at_once=1)
        assert judge(images(), PROMPTS).tolist() == [1.0, 1.0]
        assert len(server.asked) == 3


@pytest.mark.parametrize("reasks", [0, 1])
def test_a_server_that_refuses_probabilities_may_refuse_several_at_once(reasks):
    """All are under way before the first is refused."""
    together = threading.Barrier(4)

    def picky(body):
        if "logprobs" not in body:
            return answer("Yes")
        together.wait(timeout=20)
        return failing(400, said=b"logprobs are not supported")

    with running(picky) as server:
        judge = judge_of(server, at_once=4, reasks=reasks)
        assert judge(images(4), PROMPTS * 2).tolist() == [1.0] * 4
        assert len(server.asked) == 8
        assert judge(images(1), PROMPTS[:1]).tolist() == [1.0]
        assert len(server.asked) == 9, "what was refused once is not asked for again"


def test_a_refusal_that_names_probabilities_which_nobody_asked_for_ends_the_run():
    with running([failing(400, said=b"logprobs are not supported")]) as server:
        judge = judge_of(server)
        for asked in (2, 3):
            with pytest.raises(RefusedRequest, match="logprobs are not supported"):
                judge(images(1), PROMPTS[:1])
            assert len(server.asked) == asked


def test_a_boxed_verdict_may_take_its_time_to_reason():
    with running([answer("It is a star: \\boxed{0}? No, all is there. \\boxed{1}")]) as server:
        assert judge_of(server, protocol="boxed")(images(1), PROMPTS[:1]).tolist() == [1.0]
        body = server.asked[0][2]
    assert body["max_tokens"] == 1024
    assert "logprobs" not in body
    assert "Prompt: a red star" in body["messages"][0]["content"][1]["text"]


@pytest.mark.parametrize("protocol", ["yes", "boxed", "requirements"])
def test_it_keeps_the_contract(protocol):
    def looks(body):
        seen = zlib.crc32(body["messages"][0]["content"][0]["image_url"]["url"].encode()) % 6
        if protocol == "yes":
            return answer("x", {"Yes": -1.0 - seen, "No": -0.1})
        return answer(f"\\boxed{{{seen % 2}}}" if protocol == "boxed" else ["Yes", "no", "Hm"][seen % 3])

    with running(looks) as server:
        check_reward(judge_of(server, protocol=protocol))


def asked_about(body):
    """The thing that a question is about."""
    return body["messages"][0]["content"][1]["text"].split('"')[1]


def test_the_share_of_requirements_is_that_of_yes():
    says = {"a red star": "Yes", "two blue circles": "**No**, one.", "a ring": "yes."}
    told = {"Yes": -0.7, "No": -0.7}  # a server may tell more than it is asked
    with running(lambda body: answer(says[asked_about(body)], told)) as server:
        judge = judge_of(server, protocol="requirements")
        scores = judge(
            images(), ["a photo of a red star, two blue circles and a ring", "two blue circles above a ring"]
        )
        bodies = [body for _, _, body in server.asked]
    torch.testing.assert_close(scores, torch.tensor([2 / 3, 1 / 2]))
    assert sorted(map(asked_about, bodies)) == sorted([*says, "two blue circles", "a ring"])
    assert all("logprobs" not in body and 1 < body["max_tokens"] < 20 for body in bodies)
    assert (judge.tally.verdicts, judge.tally.left_out) == (2, 0)


def test_requirements_without_an_answer_are_left_out_and_all_of_them_are_undecided(caplog):
    def moody(body):
        return answer("No" if asked_about(body) == "a ring" else "As a language model, I")

    with running(moody) as server:
        judge = judge_of(server, protocol="requirements")
        assert judge(images(), ["a red star above a ring", "a star and a circle"]).tolist() == [0.0, 0.5]
        assert len(server.asked) == 7, "those without an answer are asked once more"
    assert (judge.tally.verdicts, judge.tally.invalid, judge.tally.left_out) == (1, 1, 1)
    assert "said neither yes nor no to 1 requirements so far; they do not count" in caplog.text
    assert "gave no verdict on 1 of 2 pictures so far; each scores 0.5" in caplog.text


def test_requirements_are_under_way_at_once_within_the_limit():
    lock, busy, busiest = threading.Lock(), [], []

    def slow(body):
        with lock:
            busy.append(asked_about(body))
            busiest.append(len(busy))
        time.sleep(0.05)
        with lock:
            busy.remove(asked_about(body))
        return answer("Yes" if asked_about(body) in ("ring", "moon") else "No")

    with running(slow) as server:
        scores = judge_of(server, protocol="requirements", at_once=3)(images(1), ["ring, star, moon, cross"])
    assert 1 < max(busiest) <= 3
    assert scores.tolist() == [0.5]


def test_several_questions_are_under_way_at_once_and_answers_keep_their_places():
    lock, busy, busiest = threading.Lock(), [], []

    def by_prompt(body):
        number = int(body["messages"][0]["content"][1]["text"].split('"')[1])
        # Until here, not until the answer is sent: whoever gets it may ask the next question at once.
        with lock:
            busy.append(number)
            busiest.append(len(busy))
        time.sleep(0.02 * (6 - number))  # the last asked answers first
        with lock:
            busy.remove(number)
        return answer("x", {"Yes": -number / 2})

    with running(by_prompt) as server:
        scores = judge_of(server, at_once=3)(images(6), [str(number) for number in range(6)])
    assert 1 < max(busiest) <= 3
    torch.testing.assert_close(scores, torch.exp(-torch.arange(6.0) / 2))


@pytest.mark.parametrize(
    "bad",
    [
        failing(500),
        failing(503),
        failing(408),
        (200, b"{not json", {}),
        (200, b"[]", {}),
        (200, b'{"choices": []}', {}),
        (200, b'{"choices": [{"message": "hello"}]}', {}),
        # A number that no float holds, and brackets without an end.
        (
            200,
            b'{"choices": [{"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": '
            b'[{"token": "Yes", "logprob": 1' + b"0" * 400 + b"}]}]}}]}",
            {},
        ),
        (200, b"[" * 100_000, {}),
        (200, b"\xff\xfe\x00", {}),
        lambda handler: handler.connection.close(),
        lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"),
    ],
    ids=[
        "500",
        "503",
        "408",
        "broken",
        "list",
        "empty",
        "no message",
        "no float",
        "no end",
        "no text",
        "hangs up",
        "no http",
    ],
)
def test_a_failure_is_tried_again_and_passes(bad):
    waits = []
    with running([bad, answer("Yes", {"Yes": -0.5})]) as server:
        judge = judge_of(server, waits)
        torch.testing.assert_close(judge(images(1), PROMPTS[:1]), torch.tensor([-0.5]).exp())
    assert waits == [0.5]
    assert judge.tally.invalid == 0


def test_waits_double_and_end_and_long_ones_are_told(caplog):
    waits = []
    settings = {"tries": 6, "first_wait": 1.0, "longest_wait": 5.0}
    with running([failing(500)]) as server:
        with pytest.raises(ServerFailed, match="failed 6 times, the last time so: status 500"):
            judge_of(server, waits, settings=settings)(images(1), PROMPTS[:1])
        assert len(server.asked) == 6
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.partition("; ")[2] for message in told] == ["again in 4 s", "again in 5 s", "again in 5 s"]


@pytest.mark.parametrize(("asks", "waited"), [("3", 3.0), ("0", 0.5), ("3600", 8.0), ("soon", 0.5)])
def test_a_server_that_says_how_long_to_wait_is_obeyed_within_reason(asks, waited):
    waits = []
    with running([failing(429, {"Retry-After": asks}), answer("Yes")]) as server:
        judge_of(server, waits)(images(1), PROMPTS[:1])
    assert waits == [waited]


def test_a_date_to_wait_for_is_understood():
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=3)
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) is None
    assert retry_after("nan") is None


def test_a_slow_server_is_given_up_on():
    woken = threading.Event()
    with running([lambda _: woken.wait(20)]) as server:
        judge = judge_of(server, settings={"timeout": 0.15, "tries": 2})
        with pytest.raises(ServerFailed, match=r"failed 2 times.*no answer within 0\.15 s"):
            judge(images(1), PROMPTS[:1])
        assert server.busy == 2, "nobody waited for the server to wake up"
        woken.set()


def test_a_server_that_drips_is_given_up_on():
    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    with running([drip]) as server:
        judge = judge_of(server, settings={"timeout": 0.3, "tries": 1})
        with pytest.raises(ServerFailed, match="no answer within"):
            judge(images(1), PROMPTS[:1])


def test_an_endless_answer_is_not_kept(monkeypatch):
    monkeypatch.setattr("plaudit.rewards.chat_server.LARGEST_ANSWER", 1000)
    with running([(200, b" " * 5000, {})]) as server, pytest.raises(ServerFailed, match="more than 1000 bytes"):
        judge_of(server)(images(1), PROMPTS[:1])


def test_a_dead_port_is_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerFailed, match=rf"the judge at http://127\.0\.0\.1:{port}/v1 failed 3 times.*refused"):
        judge_of(f"http://127.0.0.1:{port}/v1")(images(), PROMPTS)


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (failing(401), "set the environment variable PLAUDIT_JUDGE_KEY"),
        (failing(403), "set the environment variable PLAUDIT_JUDGE_KEY"),
        (failing(404, said=b"no such model"), "no model 'a-judge'.*no such model"),
        (failing(400, said=b"picture\ntoo large"), r"refuses the question \(status 400\): picture too large"),
        (failing(302, {"Location": "http://127.0.0.1:9/v1"}), "sends elsewhere"),
    ],
)
def test_a_refusal_is_not_tried_again(reply, sentence):
    waits = []
    with running([reply]) as server:
        with pytest.raises(RefusedRequest, match=sentence):
            judge_of(server, waits, at_once=1)(images(1), PROMPTS[:1])
        assert len(server.asked) == 1
    assert not waits


def test_what_is_no_verdict_is_asked_again_then_counted_apart_from_zeros(caplog):
    def moody(body):
        if "star" in body["messages"][0]["content"][1]["text"]:
            return answer("As a language model, I")
        return answer("No") if body["temperature"] == 0.0 else answer("Yes")

    with running(moody) as server:
        judge = judge_of(server, reasks=2)
        assert judge(images(), PROMPTS).tolist() == [0.5, 0.0]
        again = [body for _, _, body in server.asked if body["temperature"] == 1.0]
    assert [body["seed"] for body in again] == [1, 2]
    assert (judge.tally.verdicts, judge.tally.invalid, judge.tally.asked_again) == (1, 1, 2)
    assert "gave no verdict on 1 of 2 pictures so far; each scores 0.5" in caplog.text


def test_a_verdict_at_the_second_asking_counts():
    with running([answer("Hm"), answer("Yes")]) as server:
        judge = judge_of(server)
        assert judge(images(1), PROMPTS[:1]).tolist() == [1.0]
    assert (judge.tally.invalid, judge.tally.asked_again) == (0, 1)


def test_probabilities_of_other_words_are_no_verdict():
    with running([answer("The", {"The": -0.01, "Yes": -8.0, "No": -9.0})]) as server:
        judge = judge_of(server, invalid_score=0.25)
        assert judge(images(1), PROMPTS[:1]).tolist() == [0.25]


def test_no_verdict_can_be_an_error():
    with running([answer("Who knows")]) as server, pytest.raises(NoVerdict, match="no verdict on 2 of 2 pictures"):
        judge_of(server, protocol="boxed", invalid_score=None)(images(), PROMPTS)


def test_one_failure_ends_the_questions_that_wait():
    with running([failing(400)]) as server:
        with pytest.raises(RefusedRequest):
            judge_of(server, at_once=1)(images(20), ["a star"] * 20)
        for thread in [it for it in threading.enumerate() if "ThreadPoolExecutor" in it.name]:
            thread.join(timeout=20)
        assert len(server.asked) <= 2


def test_after_a_failure_nobody_waits_any_longer():
    def by_prompt(body):
        return failing(400 if "star" in body["messages"][0]["content"][1]["text"] else 500)

    with running(by_prompt) as server:
        judge = HttpJudge(ChatServer(url=server.url, model="m", first_wait=60.0))
        with pytest.raises(RefusedRequest):
            judge(images(), PROMPTS)
        ours = [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]
        for thread in ours:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in ours)


def test_the_key_comes_from_the_environment_and_stays_secret(monkeypatch):
    monkeypatch.setenv("PLAUDIT_JUDGE_KEY", KEY)
    with running([failing(400, said=f"bad key {KEY}".encode())]) as server:
        judge = judge_of(server)
        with pytest.raises(RefusedRequest) as caught:
            judge(images(1), PROMPTS[:1])
        assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    assert "***" in str(caught.value)
    assert KEY not in str(caught.value) + repr(judge.server) + repr(vars(judge))


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "http://host/v1?key=secret"])
def test_an_address_with_a_key_in_it_is_refused_without_repeating_it(url):
    with pytest.raises(BadConfig, match="PLAUDIT_JUDGE_KEY") as caught:
        ChatServer(url=url, model="m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": "localhost:8000"}, "like http://localhost:8000/v1"),
        ({"url": "ftp://host/v1"}, "like http://localhost:8000/v1"),
        ({"model": " "}, "which model"),
        ({"tries": 0}, "at least one try"),
        ({"timeout": 0}, "at least one try"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, sentence):
    with pytest.raises(BadConfig, match=sentence):
        ChatServer(**{"url": "http://localhost:1/v1", "model": "m", **settings})


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"protocol": "guess"}, "no judge's protocol"),
        ({"at_once": 0}, "at least one"),
        ({"invalid_score": 2.0}, r"0\.\.1"),
    ],
)
def test_choices_that_cannot_work_are_refused(choices, sentence):
    with pytest.raises(BadConfig, match=sentence):
        judge_of("http://localhost:1/v1", **choices)


def test_the_row_names_its_server_through_the_environment(monkeypatch):
    with running([answer("\\boxed{1}")]) as server:
        monkeypatch.setenv("PLAUDIT_JUDGE_URL", server.url)
        monkeypatch.setenv("PLAUDIT_JUDGE_MODEL", "qwen2.5vl:7b")
        assert load_reward("http-judge-boxed")(images(1), PROMPTS[:1]).tolist() == [1.0]
        assert server.asked[0][2]["model"] == "qwen2.5vl:7b"


@pytest.mark.parametrize(
    ("name", "said", "score"),
    [
        ("http-judge-boxed", "so it goes on and", 0.5),
        ("http-judge-boxed-or-zero", "so it goes on and", 0.0),
        ("http-judge-boxed-or-zero", "\\boxed{1}", 1.0),
        ("http-judge-requirements", "Yes.", 1.0),
        ("http-judge-requirements", "Hm", 0.5),
    ],
)
def test_rows_differ_in_what_an_unread_answer_is_worth_and_in_what_is_asked(monkeypatch, name, said, score):
    with running([answer(said)]) as server:
        monkeypatch.setenv("PLAUDIT_JUDGE_URL", server.url)
        monkeypatch.setenv("PLAUDIT_JUDGE_MODEL", "m")
        judge = load_reward(name)
        assert judge(images(1), PROMPTS[:1]).tolist() == [score]
        assert judge.tally.invalid == (score == 0.5 or said.startswith("so"))


def test_the_row_says_which_variables_are_missing(monkeypatch):
    monkeypatch.setenv("PLAUDIT_JUDGE_URL", "http://localhost:8000/v1")
    monkeypatch.delenv("PLAUDIT_JUDGE_MODEL", raising=False)
    with pytest.raises(BadConfig, match=r"environment variable PLAUDIT_JUDGE_MODEL"):
        load_reward("http-judge")
    monkeypatch.delenv("PLAUDIT_JUDGE_URL")
    with pytest.raises(BadConfig, match="variables PLAUDIT_JUDGE_URL and PLAUDIT_JUDGE_MODEL"):
        load_reward("http-judge")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("so \\boxed{1}", 1.0),
        ("\\boxed{ 0 }.", 0.0),
        ("\\boxed{1} then \\boxed{0}", 0.0),
        ("\\boxed{1} then \\boxed{2}", None),
        ("\\boxed{}", None),
        ("\\boxed {\n1 }", 1.0),
        ("\\boxed{1} no: \\boxed{\\text{0}}", None),
        ("\\boxed{1}, or \\boxed{0", None),
        ("\\boxed{\\boxed{1}}", 1.0),
        ("boxed{1}", None),
        ("1", None),
        ("", None),
    ],
)
def test_a_box_holds_zero_or_one(text, verdict):
    assert read_boxed(text) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("Yes", 1.0), ("**no**, it", 0.0), ('"YES."', 1.0), ("Not at all", None), ("yesterday", None), ("", None)],
)
def test_yes_and_no_are_words(text, verdict):
    assert read_yes_or_no(text) == verdict


def test_a_run_records_the_server_but_never_the_key(monkeypatch):
    monkeypatch.setenv("PLAUDIT_JUDGE_URL", "http://localhost:8000/v1")
    monkeypatch.setenv("PLAUDIT_JUDGE_MODEL", "a-judge")
    monkeypatch.setenv("PLAUDIT_JUDGE_KEY", KEY)
    source = source_of(REWARDS, "http-judge")
    assert source["environment"] == {"PLAUDIT_JUDGE_URL": "http://localhost:8000/v1", "PLAUDIT_JUDGE_MODEL": "a-judge"}
    assert KEY not in json.dumps(source)
