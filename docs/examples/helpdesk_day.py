"""Made-up messages to customer support, and a stand-in for a language model, for docs/day.md.

``write FOLDER`` writes ``messages.csv`` (texts without labels) and ``check.csv`` (other texts with their right labels).
``serve PORT`` answers chat completions on the loopback interface. The stand-in has one systematic error: a message that
wants money back is Billing and Refund, and it answers Billing alone.
"""

from __future__ import annotations

import csv
import json
import random
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

OPENINGS = ("Hello,", "Good morning,", "Hi there,", "To all of you,", "Sorry to bother you,", "Once more:", "Again:")
ENDINGS = ("Thank you.", "Please answer soon.", "I tried it twice.", "It is a shame.", "Best regards.", "Any idea?")
MESSAGES = {
    ("Login",): (
        "my password is not accepted any more and I cannot get into my account.",
        "the code for signing in never comes, so my account is closed to me.",
        "I am locked out of my account after three wrong passwords.",
        "the sign-in page says that my password has expired.",
    ),
    ("Delivery",): (
        "my parcel has not arrived, and the tracking has not moved for days.",
        "the courier left the parcel at a wrong address.",
        "the parcel is late for the third time, and the courier does not call.",
        "where is my parcel? The courier says that it is on its way.",
    ),
    ("Software Bug",): (
        "the app crashes when I open the map.",
        "the app freezes on the second page since the update.",
        "after the update the app shows an empty list and then crashes.",
        "the search of the app crashes on every phone we have.",
    ),
    ("Billing",): (
        "the invoice for May has a wrong amount on it.",
        "which price is right, that of the website or that of the invoice?",
        "the invoice names my old company as the payer.",
        "there is a charge on my invoice that I cannot explain.",
    ),
    ("Billing", "Refund"): (
        "the invoice charged me twice, and I want my money back.",
        "I paid the invoice for a trip that was called off; please refund it.",
        "you charged the annual price by mistake, so please return my money.",
        "I sent the shoes back and still wait for the refund of the invoice.",
    ),
}
WORDS = {
    "Login": "password|account",
    "Delivery": "parcel|courier",
    "Software Bug": r"\bapp\b",
    "Billing": "invoice|charge",
}


def messages(seed: int = 0) -> list[tuple[str, tuple[str, ...]]]:
    """Every message with its right labels, in a random order."""
    parts = [(labels, text) for labels, texts in MESSAGES.items() for text in texts]
    found = [(f"{a} {text} {z}", labels) for a, (labels, text), z in product(OPENINGS, parts, ENDINGS)]
    random.Random(seed).shuffle(found)
    return found


def write(folder: Path, count: int = 400, check: int = 100) -> None:
    """Write both tables."""
    found = messages()
    _table(folder / "messages.csv", ["id", "text"], [[f"m{n}", text] for n, (text, _) in enumerate(found[:count])])
    rows = [[f"c{n}", text, "|".join(labels)] for n, (text, labels) in enumerate(found[count : count + check])]
    _table(folder / "check.csv", ["id", "text", "labels"], rows)


def _table(path: Path, head: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def labels_by_words(prompt: str) -> list[str]:
    """The answer of the stand-in: one label by the words of the last text of a prompt, never Refund."""
    texts = re.findall(r"<text>(.*?)</text>", prompt, re.DOTALL) or [""]
    return [label for label, words in WORDS.items() if re.search(words, texts[-1])][:1]


class StandIn(BaseHTTPRequestHandler):
    """Chat completions whose content is a JSON list of labels."""

    def do_GET(self) -> None:
        """List the model."""
        self._send({"object": "list", "data": [{"id": "stand-in", "object": "model"}]})

    def do_POST(self) -> None:
        """Answer one request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            return self.send_error(404)
        labels = labels_by_words(request["messages"][-1]["content"])
        message = {"role": "assistant", "content": json.dumps(labels)}
        usage = {"prompt_tokens": len(str(request["messages"])) // 4, "completion_tokens": 5}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return self._send({"object": "chat.completion", "model": "stand-in", "choices": [choice], "usage": usage})

    def _send(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder]:
            write(Path(folder))
        case ["serve", port]:
            ThreadingHTTPServer(("127.0.0.1", int(port)), StandIn).serve_forever()
        case _:
            sys.exit("give write FOLDER or serve PORT")
