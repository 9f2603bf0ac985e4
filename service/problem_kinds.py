"""Every kind of error response: its status, its causes and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorKind:
    """A kind of error: usual causes, the most frequent first, and what to do, in this order."""

    status: int
    title: str
    meaning: str
    causes: tuple[str, ...]
    remedies: tuple[str, ...]


KINDS: Mapping[str, ErrorKind] = {
    "bad-request": ErrorKind(
        400,
        "The request cannot be read",
        "The request's headers or its compressed body are damaged.",
        (
            "Content-Encoding names gzip or deflate, but the body is not compressed, or it was cut off.",
            "X-Request-Timeout is not a number of seconds above 0.",
        ),
        ("Send the body uncompressed, without Content-Encoding.", "Send X-Request-Timeout as a number, such as 5."),
    ),
    "not-json": ErrorKind(
        400,
        "The body is not JSON",
        "The body cannot be parsed as JSON. The detail names the line and the column.",
        (
            "Single quotes, a trailing comma, a comment, or Python's None, True or NaN.",
            "A shell removed the quotes around the body.",
            "The body is empty, or is in another encoding than UTF-8.",
        ),
        (
            "Let a JSON library write the body: json.dumps in Python, JSON.stringify in JavaScript.",
            "With curl, keep the body in a file and send it by --data-binary @body.json.",
        ),
    ),
    "no-key": ErrorKind(
        401,
        "An API key is required",
        "The service requires an API key for this route, and none that it accepts was sent.",
        (
            "No Authorization and no X-API-Key header.",
            "The key was revoked, or belongs to another service.",
            "A reverse proxy removes the Authorization header.",
        ),
        ("Send Authorization: Bearer KEY, or X-API-Key: KEY.", "Make a key on the server: main.py keys add NAME."),
    ),
    "not-found": ErrorKind(
        404,
        "The route does not exist",
        "No route has this path.",
        ("A misspelt path.", "A reverse proxy adds or removes a part of the path."),
        ("Read the list of routes at /, or at /docs.", "Behind a proxy, see Reverse proxies in docs/operations.md."),
    ),
    "unknown-taxonomy": ErrorKind(
        404,
        "No such taxonomy",
        "The request names a taxonomy that the service does not have.",
        ("A misspelt name.", "A YAML file that is only on the client's machine."),
        ("Read the names at GET /taxonomies.", "Send the labels with the request, under labels."),
    ),
    "unknown-prompt": ErrorKind(
        404,
        "No such prompt",
        "The request names a prompt that the service does not have.",
        ("A misspelt name, or a version that does not exist.",),
        ("Read the names at GET /prompts.", "Leave prompt out; the service then chooses one by the taxonomy."),
    ),
    "unknown-strategy": ErrorKind(
        404,
        "No such strategy",
        "The request names a strategy that does not exist.",
        ("A misspelt name.",),
        ("Send auto, json_list, label_likelihood, label_tokens, yes_no or decisions_api, or leave strategy out.",),
    ),
    "unknown-model": ErrorKind(
        404,
        "No such model",
        "The request names a model that does not answer here.",
        ("A model name of another service, such as gpt-4o.",),
        ("Send the model name marquee.", "Read the names at GET /v1/models."),
    ),
    "unknown-film": ErrorKind(
        404,
        "No such film",
        "The index has no film with this id.",
        ("An id from another index.", "The index was built from other films."),
        ("Send a title or a text in place of id.", "Build the index from your films: main.py index."),
    ),
    "unknown-genre": ErrorKind(
        404,
        "No such genre",
        "No film of the index has this genre.",
        ("Another spelling than in the index.",),
        ("Use the spelling that the detail proposes.",),
    ),
    "unknown-answer": ErrorKind(
        404,
        "No such answer",
        "Feedback names an answer that is not recorded for this API key, or a text that is not in the review file.",
        (
            "The answer is older than MARQUEE_FEEDBACK_HOURS, or newer ones have replaced it.",
            "A request_id that is not the X-Request-ID of the answer, or an index beyond its texts.",
            "Another API key requested the answer.",
        ),
        ("Send the text with its taxonomy and the right labels in place of request_id.",),
    ),
    "method-not-allowed": ErrorKind(
        405,
        "The method is not allowed",
        "The route exists, but not for this HTTP method.",
        ("A GET, such as a browser's, to a route that needs a body.", "A redirect turned a POST into a GET."),
        ("Use the method that the Allow header names.",),
    ),
    "too-large": ErrorKind(
        413,
        "The body is too large",
        "The request is larger than the service's limits: bytes of the body, number of texts, or number of labels.",
        ("Too many texts in one request.", "A file sent as one text.", "A compressed body that becomes too large."),
        (
            "Send fewer texts per request.",
            "Raise MARQUEE_MAX_BODY_BYTES, MARQUEE_MAX_TEXTS or MARQUEE_MAX_REQUEST_LABELS.",
            "For files, use main.py bulk.",
        ),
    ),
    "text-too-long": ErrorKind(
        413,
        "The text is too long",
        "One text is longer than the service's limit, or than the model's context.",
        ("A whole document in place of a summary.", "A language model with a small context."),
        ("Shorten the text.", "Raise MARQUEE_MAX_TEXT_CHARS, or use a model with a larger context."),
    ),
    "unsupported-media-type": ErrorKind(
        415,
        "The body must be application/json",
        "The body's content type or its compression is not one that the service reads.",
        (
            "curl -d without a header sends application/x-www-form-urlencoded.",
            "A form, a file upload or plain text.",
            "A compression other than gzip and deflate, such as br or zstd.",
        ),
        ("Send Content-Type: application/json and a JSON object.", "Send the body as gzip, as deflate, or plain."),
    ),
    "invalid-request": ErrorKind(
        422,
        "The request is invalid",
        "A field of the body is missing, unknown, or has a wrong value. The detail names it and what is allowed.",
        (
            "A field of another service's API, such as inputs or candidate_labels.",
            "A number, null or a list where a string is expected.",
            "No text: the field is empty.",
        ),
        ("Change the field that the detail names.", "Read the fields at /docs, or in /openapi.json."),
    ),
    "too-many-requests": ErrorKind(
        429,
        "Too many requests",
        "The key or the address has sent more requests than the rate limit allows, or too many wrong keys.",
        ("A loop without pauses.", "Many clients behind one reverse proxy, which the service sees as one address."),
        (
            "Wait for the seconds of Retry-After.",
            "Send many texts in one request, under texts.",
            "Set MARQUEE_RATE_LIMIT; behind a proxy set MARQUEE_TRUSTED_PROXIES.",
        ),
    ),
    "client-disconnected": ErrorKind(
        499,
        "The client has disconnected",
        "The connection was closed before the answer was ready, and the work was stopped.",
        ("A client's timeout that is shorter than the answer takes.", "A closed browser tab."),
        ("Raise the client's timeout.", "Send fewer texts per request."),
    ),
    "internal": ErrorKind(
        500,
        "Internal error",
        "An error in the service. Its log has the details, under the X-Request-ID of this answer.",
        ("A fault in the program.", "A full disk or too little memory."),
        ("Look the X-Request-ID up in the service's log.", "Report it with the log's traceback."),
    ),
    "cannot-decide": ErrorKind(
        501,
        "The model cannot answer such questions",
        "The model gives no probabilities, or answers for its own labels only, so it cannot answer typed questions.",
        ("An endpoint without log probabilities.", "A scale of numbers, sent to the embedded classifier."),
        (
            "Use an endpoint with log probabilities, such as vLLM.",
            "Describe each level of a scale in words.",
        ),
    ),
    "no-feedback": ErrorKind(
        501,
        "This service stores no feedback",
        "The service was started without a file of feedback.",
        ("The setting MARQUEE_FEEDBACK is off, which is the default.",),
        ("Start the service with MARQUEE_FEEDBACK=true.",),
    ),
    "no-review": ErrorKind(
        501,
        "This service has no texts to review",
        "The service was started without a review file, or the file cannot be read now.",
        ("MARQUEE_REVIEW_PATH is not set, which is the default.", "The file was moved, or is damaged."),
        ("Make a file: main.py review TABLE --out review.jsonl.", "Set MARQUEE_REVIEW_PATH to it."),
    ),
    "model-rejected": ErrorKind(
        502,
        "The model's endpoint refused the request",
        "The endpoint of the language model answered with an error. The detail has its message.",
        ("A content filter.", "A parameter that the endpoint does not know.", "A schema with too many labels."),
        ("Read the endpoint's message in the detail.", "Try another strategy, or fewer labels."),
    ),
    "model-unreadable": ErrorKind(
        502,
        "The model's output has no label",
        "The model answered, but its answer names no label of the taxonomy.",
        ("A model too small for the task.", "A reasoning model that used all its tokens before the answer."),
        ("Try another strategy, or a larger model.", "Switch the model's reasoning off."),
    ),
    "model-misconfigured": ErrorKind(
        503,
        "The model's endpoint is misconfigured",
        "The endpoint refuses the service's key, or does not serve the model that the settings name.",
        ("A wrong OPENAI_API_KEY or OPENAI_BASE_URL.", "A model name that the endpoint does not serve."),
        ("Compare MARQUEE_MODEL with the names at the endpoint's /v1/models.", "Check the endpoint: main.py probe."),
    ),
    "model-unreachable": ErrorKind(
        503,
        "The model cannot be reached",
        "No connection to the endpoint of the language model, or no answer in time.",
        ("The model server is not started, or is still loading.", "A wrong host or port.", "A network outage."),
        (
            "Try again after the seconds of Retry-After.",
            "Check OPENAI_BASE_URL and the model server.",
            "Set MARQUEE_FALLBACK=true, and the embedded classifier answers meanwhile.",
        ),
    ),
    "model-busy": ErrorKind(
        503,
        "The model is overloaded",
        "More requests wait for the model than the service accepts, or the endpoint is overloaded.",
        ("More load than one model can take.", "The endpoint's own rate limit."),
        (
            "Try again after the seconds of Retry-After.",
            "Send fewer requests at once.",
            "Raise MARQUEE_MAX_PENDING, or add processes or endpoints.",
        ),
    ),
    "no-index": ErrorKind(
        503,
        "No usable index of films",
        "The index of similar films is missing, damaged, or made by another encoder.",
        ("MARQUEE_INDEX names a folder without an index.", "The encoder was changed after the index was built."),
        ("Build the index: main.py index.", "Set MARQUEE_INDEX to its folder."),
    ),
    "feedback-unusable": ErrorKind(
        503,
        "The file of feedback cannot be used",
        "The file of feedback is locked, damaged, or cannot be written.",
        ("A missing permission, or a read-only disk.", "A damaged file."),
        ("Try again after the seconds of Retry-After.", "Check MARQUEE_FEEDBACK_PATH on the server."),
    ),
    "stopping": ErrorKind(
        503,
        "The service is stopping",
        "The process has received SIGTERM and accepts no new requests soon.",
        ("A deployment or a restart.",),
        ("Try again after the seconds of Retry-After.",),
    ),
    "timeout": ErrorKind(
        504,
        "The request timed out",
        "The answer was not ready within X-Request-Timeout, or within the service's own limit.",
        ("A short X-Request-Timeout.", "Many texts, or a slow model.", "A queue of other requests."),
        ("Send fewer texts per request, or allow more seconds.", "Raise MARQUEE_REQUEST_TIMEOUT."),
    ),
    "feedback-full": ErrorKind(
        507,
        "No space for more feedback",
        "The file of feedback has reached its limit, or the disk is full. Nothing of this request is stored.",
        ("MARQUEE_FEEDBACK_MEGABYTES is reached.", "The disk of the service is full."),
        (
            "Export and delete feedback: main.py feedback export, main.py feedback delete.",
            "Raise MARQUEE_FEEDBACK_MEGABYTES.",
        ),
    ),
}
