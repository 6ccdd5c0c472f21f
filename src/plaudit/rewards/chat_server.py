"""A chat server that speaks OpenAI's protocol, asked about one picture at a time: JSON out, JSON in, nothing else.

vLLM, SGLang, llama.cpp, Ollama and the hosted services all speak it. What can go wrong on the way (no connection, a
slow or broken answer, "too many requests") is tried again, waiting longer each time. The key comes from an
environment variable, is read anew for every request, kept nowhere, and blotted out of what the server says.
"""

import base64
import email.utils
import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from plaudit.core.errors import BadConfig

KEY_VARIABLE = "PLAUDIT_JUDGE_KEY"
LARGEST_ANSWER = 16 * 2**20
"""bytes; more than any verdict takes"""
NOTICEABLE = 4.0
"""seconds; whoever waits longer is told why"""
_log = logging.getLogger("plaudit")


class ServerFailed(BadConfig):
    """The server did not answer, or not as a chat server, as often as it was asked."""


class _Passing(Exception):
    """What may be over by the next try."""

    def __init__(self, what: str, *, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait
        """seconds that the server asks for"""


class RefusedRequest(BadConfig):
    """The server understood, and will not answer this however often it is asked."""


@dataclass(frozen=True, kw_only=True)
class ChatAnswer:
    """What the model said."""

    text: str
    first: Mapping[str, float] | None
    """the likeliest first tokens with their natural log probabilities; None if the server does not tell"""


@dataclass(frozen=True, kw_only=True)
class ChatServer:
    """Where a model answers, and with how much patience it is asked."""

    url: str
    """up to and with its version, as in http://localhost:8000/v1"""
    model: str
    """as the server calls it"""
    timeout: float = 120.0
    """seconds that one answer may take"""
    tries: int = 5
    """of one question, when the server fails"""
    first_wait: float = 1.0
    """seconds before the second try; then twice as long each time"""
    longest_wait: float = 60.0
    """seconds, also where the server asks for more"""
    key_variable: str = KEY_VARIABLE
    """the environment variable that holds the key, if the server wants one"""
    pause: Callable[[threading.Event, float], Any] = field(default=threading.Event.wait, repr=False)
    """waits for some seconds, or until the event"""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadConfig(f"a judge's address is like http://localhost:8000/v1, got {self._shown!r}")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise BadConfig(
                f"a judge's address holds no key, question mark or #: give the key in {self.key_variable}, the address "
                f"as {self._shown!r}"
            )
        if not self.model.strip():
            raise BadConfig(f"say which model the server at {self._shown} shall ask")
        if self.tries < 1 or self.timeout <= 0:
            raise BadConfig(f"a judge needs at least one try and some time, got {self.tries} and {self.timeout} s")

    def ask(
        self, question: str, png: bytes, settings: Mapping[str, Any], stop: threading.Event | None = None
    ) -> ChatAnswer:
        """The model's answer to a question about a picture; `settings` are the request's further fields.

        Raises ServerFailed when all tries have failed, or at the first failure after `stop`, and RefusedRequest at
        once if the server refuses.
        """
        stop = stop or threading.Event()
        picture = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question}]
        request = {"model": self.model, "messages": [{"role": "user", "content": content}], **settings}
        body = json.dumps(request).encode()
        wait = self.first_wait
        for left in range(self.tries - 1, -1, -1):
            try:
                return _read_answer(self._post(body))
            except _Passing as failure:
                if not left or stop.is_set():
                    raise ServerFailed(
                        f"the judge at {self._shown} failed {self.tries - left} times, the last time so: {failure}"
                    ) from failure
                pause = min(self.longest_wait, max(wait, failure.wait or 0.0))
                level = logging.WARNING if pause >= NOTICEABLE else logging.INFO
                _log.log(level, "plaudit: the judge at %s failed (%s); again in %g s", self._shown, failure, pause)
                self.pause(stop, pause)
                wait = min(2 * wait, self.longest_wait)
        raise AssertionError("the last try returns or raises")

    @property
    def _shown(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _post(self, body: bytes) -> bytes:
        """The bytes of a good answer."""
        key = os.environ.get(self.key_variable, "")
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        address = self.url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(address, data=body, headers=headers)
        deadline = time.monotonic() + self.timeout
        try:
            with _opener(self.url).open(request, timeout=self.timeout) as response:
                return self._read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                said = _quoted(error, key)
                raise self._refusal(error.code, error.headers.get("Retry-After"), said) from None
        except TimeoutError:
            raise _Passing(f"no answer within {self.timeout:g} s") from None
        except urllib.error.URLError as error:
            slow = isinstance(error.reason, TimeoutError)
            raise _Passing(f"no answer within {self.timeout:g} s" if slow else f"{error.reason}") from None
        except (OSError, HTTPException) as error:
            raise _Passing(f"the connection broke ({type(error).__name__})") from None

    def _read(self, response: HTTPResponse, deadline: float) -> bytes:
        """The whole answer. A server that sends a byte now and then never times out by itself."""
        received = bytearray()
        while chunk := response.read1(2**16):
            received += chunk
            if time.monotonic() > deadline:
                raise TimeoutError
            if len(received) > LARGEST_ANSWER:
                raise _Passing(f"an answer of more than {LARGEST_ANSWER} bytes")
        return bytes(received)

    def _refusal(self, status: int, asked_to_wait: str | None, said: str) -> Exception:
        """What an HTTP status that is not success means: try again, or give up with one sentence."""
        if status in (408, 409, 425, 429) or status >= 500:
            return _Passing(f"status {status}{said}", wait=retry_after(asked_to_wait))
        if status in (401, 403):
            return RefusedRequest(
                f"the judge at {self._shown} lets only those in who have a key (status {status}): set the environment "
                f"variable {self.key_variable}"
            )
        if status == 404:
            return RefusedRequest(f"there is no model {self.model!r}, or no chat server, at {self._shown} (404){said}")
        if 300 <= status < 400:
            return RefusedRequest(f"{self._shown} sends elsewhere (status {status}); give the judge's own address")
        return RefusedRequest(f"the judge at {self._shown} refuses the question (status {status}){said}")


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date; None if it says nothing."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return seconds if 0.0 <= seconds < float("inf") else None


def _read_answer(received: bytes) -> ChatAnswer:
    """The answer in a server's JSON. Raises _Passing for anything that is not a chat server's answer."""
    try:
        choice = json.loads(received)["choices"][0]
        text = choice["message"].get("content") or ""
        told = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs")
        first: dict[str, float] = {}
        for item in told or ():
            first[str(item["token"])] = float(item["logprob"])
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        start = received[:60].decode("utf-8", "replace")
        raise _Passing(f"an answer that is not a chat server's, {start!r}") from None
    if not isinstance(text, str):
        raise _Passing("an answer whose content is not text")
    return ChatAnswer(text=text, first=first or None)


def _quoted(error: urllib.error.HTTPError, key: str) -> str:
    """The beginning of what the server said, on one line, without the key."""
    try:
        said = error.read(4096).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""
    if key:
        said = said.replace(key, "***")
    said = " ".join(said.split())[:200]
    return f": {said}" if said else ""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key is for the address it was given for."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What opens an address: through the environment's proxies, but never to this machine through one."""
    host = urlsplit(url).hostname or ""
    try:
        here = ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    return urllib.request.build_opener(_Stay, *([urllib.request.ProxyHandler({})] if here else []))
