"""Bodies and headers as clients of other tools send them: what status and which words or labels each one gets."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.services import Limits, Services
from tests.eval.rows import Named

LIMITS = Limits(body_bytes=20_000, texts=8, text_chars=1_000, labels=20)
JSON = {"Content-Type": "application/json"}
WAR: dict[str, Any] = {"text": "a war film"}
DECISION: dict[str, Any] = {
    "model": "marquee",
    "input": "a war film",
    "questions": [{"type": "predicate", "instructions": "is it about war?"}],
}


class Sent(NamedTuple):
    """A request and what comes back.

    Attributes:
        name: which client, tool or mistake this is.
        body: bytes as they are, or a value that is sent as JSON.
        status: of the answer.
        said: words of the problem's detail, or the labels of the answer.
        headers: beside the content type of JSON.
        path: the route.
    """

    name: str
    body: Any
    status: int
    said: str | list[str]
    headers: Mapping[str, str] = {}
    path: str = "/classify"


def packed(wbits: int, body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=wbits)
    return stream.compress(body) + stream.flush()


PLAIN = json.dumps(WAR).encode()
GZIP, DEFLATE = {"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate"}
gzipped = partial(gzip.compress, mtime=0)  # without the time: names of test cases are the same in every process
BOMB = gzipped(b'{"text": "' + b" " * 50_000_000 + b'"}')

ROWS = (
    # --- the same question in the shapes of other services ---
    Sent("Hugging Face zero-shot pipeline", {"sequences": ["a"], "candidate_labels": ["x"]}, 422, "'texts'"),
    Sent("Hugging Face inference API", {"inputs": "a war", "parameters": {"candidate_labels": ["x"]}}, 422, "'texts'"),
    Sent("HF parameters", {**WAR, "parameters": {"multi_label": True}}, 422, "to the top level"),
    Sent("HF candidate_labels", {**WAR, "candidate_labels": ["War"]}, 422, "did you mean 'labels'?"),
    Sent("HF multi_label", {**WAR, "multi_label": True}, 422, "did you mean 'multi'?"),
    Sent("HF hypothesis_template", {**WAR, "hypothesis_template": "This is {}."}, 422, "wording comes from a prompt"),
    Sent("HF top_k", {**WAR, "top_k": 3}, 200, ["War"]),
    Sent("Cohere classify", {"inputs": ["a war"], "examples": []}, 422, "unknown key"),
    Sent("OpenAI chat", {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}, 422, "MARQUEE_MODEL"),
    Sent("OpenAI moderation", {"input": "a war"}, 422, "did you mean 'texts'?"),
    Sent("OpenAI temperature", {**WAR, "temperature": 0}, 422, "not a chat endpoint"),
    Sent("Vertex AI instances", {"instances": [{"content": "a war"}]}, 422, "did you mean 'texts'?"),
    Sent("Azure documents", {"documents": [{"id": "1", "text": "a war"}]}, 422, "did you mean 'texts'?"),
    Sent("spaCy threshold", {**WAR, "threshold": 0.5}, 200, ["War"]),
    Sent("scikit-llm categories", {**WAR, "categories": ["War"]}, 422, "did you mean 'labels'?"),
    Sent("ids in a batch", {"texts": [{"id": 7, "text": "a war"}]}, 422, "in the order of the texts"),
    Sent("camel case", {**WAR, "maxLabels": 2}, 422, "did you mean 'max_labels'?"),
    Sent("upper case", {"Text": "a war"}, 422, "did you mean 'text'?"),
    Sent("misspelt", {"txet": "a war"}, 422, "did you mean 'text'?"),
    Sent("a line break in a key", {**WAR, "a\nb": 1}, 422, "'a\\nb': unknown key; known here"),
    Sent("a key of 3,000 characters", {**WAR, "k" * 3_000: 1}, 422, "kkk...': unknown key; known here"),
    Sent("a long key twice", b'{"' + b"k" * 3_000 + b'": 1, "' + b"k" * 3_000 + b'": 2}', 422, "is repeated"),
    Sent("an empty key", {**WAR, "": 1}, 422, "'': unknown key"),
    Sent("an empty key of a label", {**WAR, "labels": [{"name": "x", "": 1}]}, 422, "labels.0.'': unknown key"),
    Sent("an escape sequence of a terminal as a key", {**WAR, "\x1b[31m": 1}, 422, "'\\x1b[31m': unknown key"),
    Sent("a long label that is no string", {**WAR, "labels": [["x" * 3_000]]}, 422, "labels.0: a list is no label"),
    Sent("nothing alike", {**WAR, "qwertz": 1}, 422, "known here: text, description"),
    # --- values of another type ---
    Sent("text as a number", {"text": 862}, 422, "text is 862; give a string"),
    Sent("text as null", {"text": None}, 422, "text is empty"),
    Sent("text as a list", {"text": ["a war"]}, 422, "text is a list; give a string"),
    Sent("text as an object", {"text": {"value": "a war"}}, 422, "text is an object; give a string"),
    Sent("text empty", {"text": ""}, 422, "text is empty"),
    Sent("text of blanks", {"text": " \u00a0\n"}, 422, "text is empty"),
    Sent("texts as a string", {"texts": "a war"}, 422, 'texts is "a war"; give a list'),
    Sent("texts as an object", {"texts": {"0": "a war"}}, 422, "texts is an object; give a list"),
    Sent("no text at all", {}, 422, "text is empty"),
    Sent("a list as the body", ["a war"], 422, "the body is a list; give an object"),
    Sent("a string as the body", "a war", 422, 'the body is "a war"; give an object'),
    Sent("null as the body", None, 422, "the body is null; give an object"),
    Sent("labels as a string", {**WAR, "labels": "War, Love"}, 422, 'labels is "War, Love"; give a list'),
    Sent("labels as numbers", {**WAR, "labels": [0, 1]}, 422, "labels.0: 0 is no label"),
    Sent("labels as an object", {**WAR, "labels": {"War": "fights"}}, 422, "labels is an object; give a list"),
    Sent("label without a name", {**WAR, "labels": [{"label": "War"}]}, 422, "did you mean 'name'?"),
    Sent("labels twice", {**WAR, "labels": ["War", "war"]}, 422, "differ only in case"),
    Sent("multi as a string", {**WAR, "multi": "true"}, 422, 'multi is "true"; give true or false'),
    Sent("multi as a number", {**WAR, "multi": 1}, 422, "multi is 1; give true or false"),
    Sent("max_labels as a string", {**WAR, "max_labels": "3"}, 422, 'max_labels is "3"; give a whole number'),
    Sent("max_labels with a point", {**WAR, "max_labels": 1.0}, 200, ["War"]),
    Sent("max_labels and a half", {**WAR, "max_labels": 1.5}, 422, "max_labels is 1.5; give a whole number"),
    Sent("max_labels beyond 64 bits", {**WAR, "max_labels": 10**30}, 200, ["War"]),
    Sent("year as pandas writes it", {"title": "War", "year": 1999.0, "lookup": True}, 200, ["War"]),
    Sent("taxonomy misspelt", {**WAR, "taxonomy": "tmbd"}, 404, "did you mean 'tmdb'"),
    Sent("strategy misspelt", {**WAR, "strategy": "label_token"}, 404, "label_tokens"),
    Sent("two names of a text", {**WAR, "description": "a war"}, 422, "names of the same field"),
    # --- batches with bad rows ---
    Sent("pandas to_dict with NaN as null", {"texts": ["a war", None]}, 200, ["War"]),
    Sent("a number among the texts", {"texts": ["a war", 7]}, 200, ["War"]),
    Sent("an empty row", {"texts": ["a war", ""]}, 200, ["War"]),
    Sent("a row that is too long", {"texts": ["a war", "x" * 2_000]}, 200, ["War"]),
    Sent("all rows empty", {"texts": ["", None]}, 200, []),
    Sent("too many rows", {"texts": ["a"] * 9}, 413, "9 texts in one request; at most 8"),
    Sent("no rows", {"texts": []}, 422, "texts has 0 items; give 1 or more"),
    # --- bytes that are no JSON ---
    Sent("empty body", b"", 400, "it is empty"),
    Sent("single quotes", b"{'text': 'a war'}", 400, "strings need double quotes (line 1, column 2"),
    Sent("a trailing comma", b'{"text": "a war",}', 400, "comma too many"),
    Sent("Python's None", b'{"text": None}', 400, "None is Python; write null"),
    Sent("Python's True", b'{"text": "a", "multi": True}', 400, "True is Python; write true"),
    Sent("NaN from json.dumps", b'{"text": "a war", "max_labels": NaN}', 400, "NaN is no JSON value"),
    Sent("Infinity", b'{"text": "a war", "year": -Infinity}', 400, "-Infinity is no JSON value"),
    Sent("a number too large", b'{"text": "a war", "max_labels": 1e999}', 400, "1e999 is too large"),
    Sent("a number of 5,000 digits", b'{"text": "a", "max_labels": ' + b"9" * 5_000 + b"}", 400, "thousands of digits"),
    Sent("a comment", b'{"text": "a war" // yes\n}', 400, "JSON has no comments"),
    Sent("a line break in a string", b'{"text": "a\nwar"}', 400, "write \\n"),
    Sent("a Windows path", b'{"text": "C:\\war"}', 400, "write \\\\ for a backslash"),
    Sent("cut off", b'{"text": "a wa', 400, "a string has no closing quote"),
    Sent("JSON lines", b'{"text": "a war"}\n{"text": "a"}', 400, "something follows the first value"),
    Sent("a key twice", b'{"text": "a war", "text": "b"}', 422, "the key 'text' is repeated"),
    Sent("a label's key twice", b'{"text": "a", "labels": [{"name": "x", "name": "y"}]}', 422, "'name' is repeated"),
    Sent("YAML", b"text: a war", 400, "a value is expected (line 1, column 1, before 'text: a war')"),
    Sent("XML", b"<text>a war</text>", 400, "a value is expected"),
    Sent("deep nesting", b"[" * 9_000, 400, "nested too deeply"),
    # --- encodings ---
    Sent("UTF-8 with a byte order mark (PowerShell)", b"\xef\xbb\xbf" + PLAIN, 200, ["War"]),
    Sent("UTF-16 with a mark (PowerShell -Encoding Unicode)", json.dumps(WAR).encode("utf-16"), 200, ["War"]),
    Sent("UTF-16 without a mark", json.dumps(WAR).encode("utf-16-le"), 200, ["War"]),
    Sent("UTF-32", json.dumps(WAR).encode("utf-32"), 200, ["War"]),
    Sent("latin-1", '{"text": "a war café"}'.encode("latin-1"), 400, "the body is not UTF-8 (byte 0xe9"),
    Sent(
        "latin-1 that says so", '{"text": "a war café"}'.encode("latin-1"), 200, ["War"],
        {"Content-Type": "application/json; charset=iso-8859-1"},
    ),
    Sent(
        "a charset that does not exist", '{"text": "é"}'.encode("latin-1"), 400, "not UTF-8",
        {"Content-Type": "application/json; charset=none-such"},
    ),
    Sent(
        "a charset that unescapes", b'{"text": "a war \\ud800 \xe9"}', 400, "not UTF-8",
        {"Content-Type": "application/json; charset=unicode_escape"},
    ),
    Sent(
        "UTF-7", b'{"text": "a war +2AA- \xe9"}', 400, "not UTF-8", {"Content-Type": "application/json; charset=utf-7"},
    ),
    Sent("EBCDIC", b"\xc0\xe9", 400, "not UTF-8", {"Content-Type": "application/json; charset=cp037"}),
    Sent("a codec of bytes", b"\xc0\xe9", 400, "not UTF-8", {"Content-Type": "application/json; charset=base64"}),
    Sent("idna", b"\xc0\xe9", 400, "not UTF-8", {"Content-Type": "application/json; charset=idna"}),
    Sent(
        "a charset with a null character (RFC 2231)", b'"\xe9"', 400, "not UTF-8",
        {"Content-Type": "application/json; charset*=utf-8''a%00b"},
    ),
    Sent("Shift JIS", '{"text": "a war 戦争"}'.encode("shift_jis"), 200, ["War"],
         {"Content-Type": "application/json; charset=Shift_JIS"}),
    Sent("a lone surrogate", b'{"text": "a war \\ud83d"}', 200, ["War"]),
    # --- compression ---
    Sent("gzip", gzipped(PLAIN), 200, ["War"], GZIP),
    Sent("x-gzip in capitals", gzipped(PLAIN), 200, ["War"], {"Content-Encoding": "X-GZip"}),
    Sent("gzip of two members", gzipped(PLAIN[:9]) + gzipped(PLAIN[9:]), 200, ["War"], GZIP),
    Sent("deflate with a zlib header", zlib.compress(PLAIN), 200, ["War"], DEFLATE),
    Sent("raw deflate (Node, .NET)", packed(-15, PLAIN), 200, ["War"], DEFLATE),
    Sent("gzip inside gzip", gzipped(gzipped(PLAIN)), 200, ["War"], {"Content-Encoding": "gzip, gzip"}),
    Sent("identity", PLAIN, 200, ["War"], {"Content-Encoding": "identity"}),
    Sent("brotli", b"\x0b\x02", 415, "'br' is unknown; send gzip, deflate or none", {"Content-Encoding": "br"}),
    Sent("zstd", b"(\xb5/\xfd", 415, "'zstd' is unknown", {"Content-Encoding": "zstd"}),
    Sent("gzip that is plain JSON", PLAIN, 400, "the body is not gzip data", GZIP),
    Sent("gzip cut off", gzipped(PLAIN)[:-6], 400, "was cut off", GZIP),
    Sent("gzip without saying so", gzipped(PLAIN), 400, "not UTF-8"),
    Sent("a bomb of gzip", BOMB[:18_000] if len(BOMB) > 20_000 else BOMB, 413, "the decompressed body is larger", GZIP),
    Sent("a bomb in a bomb", gzipped(BOMB), 413, "the decompressed body is larger", {"Content-Encoding": "gzip,gzip"}),
    Sent("three layers", PLAIN, 415, "one around the other", {"Content-Encoding": "gzip,gzip,gzip"}),
    Sent("thousands of members", gzipped(b"") * 900, 400, "not gzip data", GZIP),
    # --- content types ---
    Sent("curl -d", PLAIN, 415, "send -H 'Content-Type", {"Content-Type": "application/x-www-form-urlencoded"}),
    Sent("plain text", b"a war", 415, "the content type is text/plain", {"Content-Type": "text/plain"}),
    Sent("a form", b"", 415, "multipart/form-data", {"Content-Type": "multipart/form-data; boundary=x"}),
    Sent("no content type", PLAIN, 415, "the content type is missing", {"Content-Type": ""}),
    Sent("JSON:API", PLAIN, 200, ["War"], {"Content-Type": "application/vnd.api+json"}),
    Sent("JSON with a charset", PLAIN, 200, ["War"], {"Content-Type": "application/json; charset=utf-8"}),
    # --- other routes ---
    Sent("similar by top_k", {**WAR, "top_k": 3}, 422, "did you mean 'k'?", path="/similar"),
    Sent("similar with swapped years", {**WAR, "year_from": 2000, "year_to": 1990}, 422, "after", path="/similar"),
    Sent("similar by a boolean id", {"id": True}, 422, "id is true; give a string", path="/similar"),
    Sent("similar by half an id", {"id": 862.5}, 422, "id is 862.5; give a string", path="/similar"),
    Sent("prompt with many texts", {"texts": ["a war"]}, 422, "texts has no place here", path="/prompt"),
    Sent("no questions", {"model": "marquee", "input": "a"}, 422, "questions is missing", path="/v1/decisions"),
    *(
        Sent(name, {**DECISION, **body}, status, said, path="/v1/decisions")
        for name, body, status, said in (
            ("another model", {"model": "gpt-4o"}, 404, "there is no model 'gpt-4o'; known: marquee"),
            ("the model in capitals", {"model": "Marquee"}, 404, "did you mean 'marquee'?"),
            ("a model of 3,000 characters", {"model": "m" * 3_000}, 404, "mmm...'; known: marquee"),
            ("input null", {"input": None}, 422, "input: null is not a text; send a string, or a list of messages"),
            ("input a number", {"input": 5}, 422, "input: 5 is not a text; send a string, or a list of messages"),
            ("content null", {"input": [{"role": "user", "content": None}]}, 422, "content: null is not a text"),
            ("no instructions", {"questions": [{"type": "predicate", "instructions": None}]}, 422, "list of parts"),
            ("type null", {"questions": [{"type": None}]}, 422, "questions.0 has the type null; give one of"),
            ("type true", {"questions": [{"type": True}]}, 422, "questions.0 has the type true; give one of"),
            ("a long type", {"questions": [{"type": "no " * 999}]}, 422, "…; give one of"),
            ("question", {"questions": [{"type": "predicate", "question": "x"}]}, 422, "did you mean 'instructions'?"),
            ("options", {"questions": [{"type": "choice", "options": []}]}, 422, "did you mean 'choices'?"),
            ("scale", {"questions": [{"type": "score", "scale": []}]}, 422, "did you mean 'levels'?"),
            ("label of a choice", {"questions": [{"type": "choice", "choices": [{"label": "a"}]}]}, 422, "'value'?"),
            ("value of a level", {"questions": [{"type": "score", "levels": [{"value": "a"}]}]}, 422, "'label'?"),
            ("instructions on top", {"instructions": "x"}, 422, "each question has its own instructions"),
        )
    ),
    Sent("a slash at the end", WAR, 200, ["War"], path="/classify/"),
    Sent("a path in capitals", WAR, 404, "did you mean /classify?", path="/Classify"),
    Sent("a path below /api", WAR, 404, "did you mean /similar?", path="/api/similar"),
    Sent("a path with a line break", WAR, 404, "no route /a\\nb;", path="/a%0ab"),
    Sent("a long path", WAR, 404, "...; GET / lists the routes", path="/" + "a" * 3_000),
    Sent("decisions as chat", {"model": "marquee", "messages": []}, 422, "did you mean 'input'?", path="/v1/decisions"),
)  # fmt: skip


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(Services(lambda choice: Named(), lambda: None, lambda: None, "tmdb", LIMITS)).test_client()


@pytest.mark.parametrize("sent", ROWS, ids=lambda sent: sent.name)
def test_a_request_as_others_send_it(client: FlaskClient, sent: Sent) -> None:
    body = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body).encode()
    response = client.post(sent.path, data=body, headers={**JSON, **sent.headers})
    answer = response.get_json()
    assert response.status_code == sent.status, answer
    if isinstance(sent.said, str):
        assert sent.said in answer["detail"], answer["detail"]
        assert answer["detail"].isprintable()
        assert "Traceback" not in answer["detail"]
        assert len(answer["detail"]) < 400
        assert answer["type"].startswith("/problems/")
    else:
        first = answer.get("results", [answer])[0]
        assert first["labels"] == sent.said
        assert all("problem" in one for one in answer.get("results", [])[1:])


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/page/results.js", {"Range": "bytes=99999999-"}),
        ("/page/results.js", {"Range": "bytes=a-b"}),
        ("/page/results.js", {"Range": "bytes=0-1"}),
        ("/page/results.js", {"If-Modified-Since": "yesterday"}),
        ("/", {"Accept": "text/html;q=much"}),
        ("/", {"Accept": "*/*;q=0"}),
        ("/healthz", {"Content-Length": "-5"}),
        ("/healthz", {"Cookie": "=" * 3_000}),
    ],
)
def test_headers_that_mean_nothing_here_are_ignored(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    with client.get(path, headers=headers) as response:
        assert response.status_code == 200
        assert response.get_data()


@pytest.mark.parametrize("given", [862, 862.0, "862"])
def test_an_id_may_be_a_number(given: Any) -> None:
    from service.schemas.routes import SimilarRequest

    assert SimilarRequest.model_validate({"id": given}).query().id == "862"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    import tracemalloc

    from service.problems import RequestProblem
    from service.request_parsing import decompressed

    tracemalloc.start()
    with pytest.raises(RequestProblem):
        decompressed(BOMB, "gzip", 20_000)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
