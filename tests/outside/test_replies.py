"""Replies of real models, one a row: what each is read as. A new report from the outside becomes one row.

Expected is a tuple of labels in taxonomy order; ``()`` where none applies; None where the reply is unreadable.
"""

import json

import pytest

from llm.strategies.json_list import read_answer
from prompts import registry
from prompts.taxonomy import Label, Taxonomy

TMDB = registry.taxonomy("tmdb")
MAY_BE_NONE = TMDB.shaped(allow_none=True)
BOTH = ("Comedy", "Drama")
FINAL = "<|start|>assistant<|channel|>final"
Row = tuple[str, tuple[str, ...] | None]


def own(*names: str, multi: bool = True, allow_none: bool = False) -> Taxonomy:
    labels = (Label(name) for name in names)
    return Taxonomy("own", tuple(labels), multi=multi, max_labels=len(names), allow_none=allow_none)


def read(reply: str, taxonomy: Taxonomy = TMDB) -> tuple[str, ...] | None:
    answer = read_answer(reply, taxonomy)
    assert answer.problem is None or answer.problem.kind == "unreadable"
    assert answer.problem is None or len(answer.problem.detail) < 400
    return None if answer.problem else answer.labels


REASONING: list[Row] = [
    # Qwen3, DeepSeek-R1, Phi-4-reasoning, GLM, MiniMax, Hunyuan, Nemotron
    ('<think>\nIt could be ["Horror"].\n</think>\n\n["Comedy", "Drama"]', BOTH),
    ('It could be ["Horror"], or {"labels": ["War"]}.\n</think>\n\n["Comedy", "Drama"]', BOTH),
    ("Horror, War\n</think>\nComedy, Drama", BOTH),
    ('<think></think>["Comedy", "Drama"]', BOTH),
    ('<think>a</think>["War"]<think>b</think>["Comedy", "Drama"]', BOTH),
    ('<think>nested <think>["War"]</think> more</think>["Comedy", "Drama"]', BOTH),
    ('<THINK>["War"]</THINK>["Comedy", "Drama"]', BOTH),
    ('<think>["War"]</think><answer>["Comedy", "Drama"]</answer>', BOTH),
    ('<think>["War"]</think>\n<answer>Comedy, Drama</answer>', BOTH),
    ('<think>the closing mark is </think> ["War"] no.</think>["Comedy", "Drama"]', BOTH),
    ('<think>["Comedy", "Drama"]', None),
    ('["Comedy", "Drama"]<think>Let me check', None),
    ('<think>["Comedy", "Drama"]</think>', None),
    ("<think>Comedy</think>\n\n", None),
    ("<think>\nOkay, so the user wants me to", None),
    # Magistral
    ('[THINK]It could be ["Horror"][/THINK]["Comedy", "Drama"]', BOTH),
    ('["Horror"][/THINK]["Comedy", "Drama"]', BOTH),
    ('[THINK]It could be ["Horror"]', None),
    # others' tags
    ('<thinking>["Horror"]</thinking>["Comedy", "Drama"]', BOTH),
    ('<reasoning>["Horror"]</reasoning>\n<answer>\n["Comedy", "Drama"]\n</answer>', BOTH),
    ('<reflection>["Horror"]</reflection><output>["Comedy", "Drama"]</output>', BOTH),
    ('<thinking>x<reflection>["War"]</reflection></thinking><output>Comedy, Drama</output>', BOTH),
    ('<seed:think>["Horror"]</seed:think>["Comedy", "Drama"]', BOTH),
    ('<seed:think>["Horror"]', None),
    ('<thought>["Horror"]</thought>["Comedy", "Drama"]', BOTH),
    ('<thought>\n["Horror"]', None),
    ('<scratchpad>["Horror"]</scratchpad>["Comedy", "Drama"]', BOTH),
    ('\u25c1think\u25b7["Horror"]\u25c1/think\u25b7["Comedy", "Drama"]', BOTH),
    ('\u25c1think\u25b7["Horror"]', None),
    ('<|START_THINKING|>["Horror"]<|END_THINKING|><|START_RESPONSE|>["Comedy", "Drama"]<|END_RESPONSE|>', BOTH),
    ('<|START_THINKING|>["Horror"]', None),
    ("<|begin_of_thought|>Horror<|end_of_thought|><|begin_of_solution|>Comedy, Drama<|end_of_solution|>", BOTH),
    ('<|channel>thought\n["Horror"]<channel|>["Comedy", "Drama"]', BOTH),
    # gpt-oss, with and without its control tokens
    ('<|channel|>analysis<|message|>["Horror"]?<|end|>' + FINAL + '<|message|>["Comedy", "Drama"]<|return|>', BOTH),
    ("<|channel|>analysis<|message|>Horror<|end|>" + FINAL + ' <|constrain|>json<|message|>["Comedy", "Drama"]', BOTH),
    ('<|channel|>analysis<|message|>The answer is ["Comedy", "Drama"]', None),
    ('analysisThe plot is ["Horror"]?assistantfinal["Comedy", "Drama"]', BOTH),
    ("analysisThe plot is funny.assistantfinalComedy, Drama", BOTH),
    ('analysisWe need to choose ["Horror"]', None),
    # Granite, Apriel
    ('Here is my thought process: perhaps ["Horror"].\n\nHere is my response: ["Comedy", "Drama"]', BOTH),
    ("Here's my thought process:\nHorror\nHere's my response:\nComedy, Drama", BOTH),
    ('Here is my thought process: perhaps ["Horror"]', None),
    ('<think>Horror</think><response>["Comedy", "Drama"]</response>', BOTH),
    ('Here are my reasoning steps:\nHorror\n[BEGIN FINAL RESPONSE]\n["Comedy", "Drama"]\n[END FINAL RESPONSE]', BOTH),
    # reasoning without marks
    ("Let me think. Horror? No.\n\nFinal answer: Comedy, Drama", BOTH),
    ('First I thought of ["Horror"].\n**Final Answer:** ["Comedy", "Drama"]', BOTH),
    ("The answer is \\boxed{Comedy, Drama}.", BOTH),
    ("So: $\\boxed{\\text{Comedy}, \\text{Drama}}$", BOTH),
    ('{"reasoning": "it could be [\\"Horror\\"]", "labels": ["Comedy", "Drama"]}', BOTH),
    ('{"reasoning": "</think>", "labels": ["Comedy", "Drama"]}', BOTH),
    ('Options: ["Horror", "War"]. Answer: ["Comedy", "Drama"]', BOTH),
    ('{"labels": ["Horror"]}\nOn second thought:\n{"labels": ["Comedy", "Drama"]}', BOTH),
    ('["Horror"]\n["Comedy", "Drama"]', BOTH),
]

VALID: list[Row] = [
    ('["Comedy", "Drama"]', BOTH),
    ('{"labels": ["Comedy", "Drama"]}', BOTH),
    ('{"labels":["Drama","Comedy"]}<|im_end|>', BOTH),
    ('["Comedy", "Drama"]</s>', BOTH),
    ('["Comedy", "Drama"]<end_of_turn>', BOTH),
    ('["Comedy", "Drama"]<|eot_id|>', BOTH),
    ('\ufeff["Comedy", "Drama"]', BOTH),
    ('["Com\\u0065dy", "Dr\\u0061ma"]', BOTH),
    ('["\uff23\uff4f\uff4d\uff45\uff44\uff59", "Drama"]', BOTH),
    ('```json\n["Comedy", "Drama"]\n```', BOTH),
    ('```\n{"labels": ["Comedy", "Drama"]}\n```\nThis is because the plot is funny.', BOTH),
    ("```yaml\nlabels:\n  - Comedy\n  - Drama\n```", BOTH),
    ('{"labels": ["Comedy", "Drama"], "confidence": 0.9}', BOTH),
    ('{"labels": ["Comedy", "Drama"]}\n{"confidence": 0.9}', BOTH),
    ('{"labels": ["Comedy", "Drama"], "excluded": ["War"]}', BOTH),
    ('{"genres": ["Comedy", "Drama"], "explanation": "War is only mentioned"}', BOTH),
    ('{"film_genres": ["Comedy", "Drama"], "explanation": "funny"}', BOTH),
    ('{"primary_genre": "Comedy", "secondary_genres": ["Drama"]}', BOTH),
    ('{"primaryGenre": "Comedy", "secondaryGenre": "Drama"}', BOTH),
    ('{"possible_labels": ["War", "Horror"], "labels": ["Comedy", "Drama"]}', BOTH),
    ('{"rejected_labels": ["War"]}', None),
    ('{"label": "Comedy", "label": "Drama"}', BOTH),
    ('{"label": "Comedy"}\n{"label": "Drama"}', BOTH),
    ('[{"label": "Comedy", "score": 0.9}, {"label": "Drama", "score": 0.8}]', BOTH),
    (
        '[{"label": "Comedy", "applies": true}, {"label": "War", "applies": false}, {"label": "Drama"}]',
        BOTH,
    ),
    ('{"Comedy": true, "Drama": true, "War": false, "reason": "funny"}', BOTH),
    ('{"Comedy": 0.9, "Drama": 0.8}', None),
    ('"{\\"labels\\": [\\"Comedy\\", \\"Drama\\"]}"', BOTH),
    ('{"labels": "[\\"Comedy\\", \\"Drama\\"]"}', BOTH),
    ('<tool_call>\n{"name": "classify", "arguments": {"labels": ["Comedy", "Drama"]}}\n</tool_call>', BOTH),
    ('{"type": "function", "function": {"name": "f", "parameters": {"labels": ["Comedy", "Drama"]}}}', BOTH),
    ('{"response": {"genres": ["Comedy", "Drama"]}}', BOTH),
    ('["Comedy, Drama"]', BOTH),
    ('["Comedy and Drama"]', BOTH),
    ('["1. Comedy", "2. Drama"]', BOTH),
    ('["Comedy", "Cooking", "Drama"]', BOTH),
    ('["Cooking", "Baking"]', None),
    ('["Comedy", null, "Drama"]', BOTH),
    ('["Drama"], not ["Horror"]', ("Drama",)),
    ('Not ["Horror"] but ["Drama"]', ("Drama",)),
    ('I would not say ["Horror"].', None),
    ("[]", None),
    ('{"labels": []}', None),
    ("{}", None),
    ('[["Comedy", "Drama"]]', None),
    ('{"error": {"message": "overloaded"}}', None),
]

NEAR_JSON: list[Row] = [
    ('{"labels": ["Comedy", "Drama",]}', BOTH),
    ('["Comedy", "Drama",]', BOTH),
    ('["Comedy", "Drama", ,]', None),
    ("{'labels': ['Comedy', 'Drama']}", BOTH),
    ("['Comedy', 'Drama']", BOTH),
    ("['Comedy' 'Drama']", BOTH),
    ('["Comedy" "Drama"]', BOTH),
    ('["Comedy"\n "Drama"]', BOTH),
    ("{'Comedy', 'Drama'}", BOTH),
    ("('Comedy', 'Drama')", BOTH),
    ("{'Comedy': True, 'Drama': True, 'War': False, 'Horror': None}", BOTH),
    ("{Comedy: true, Drama: true, War: false}", BOTH),
    ('{labels: ["Comedy", "Drama"]}', BOTH),
    ("{labels: [Comedy, Drama]}", BOTH),
    ('{"labels": [Comedy, Drama]}', BOTH),
    ("[Comedy, Drama]", BOTH),
    ("[Comedy, Drama", BOTH),
    ("[Comedy, Dra", None),
    ('["Comedy", Drama]', BOTH),
    ("[`Comedy`, `Drama`]", BOTH),
    ("[\u201cComedy\u201d, \u201cDrama\u201d]", BOTH),
    ("{\u201clabels\u201d: [\u201cComedy\u201d, \u201cDrama\u201d]}", BOTH),
    ("[\u2018Comedy\u2019, \u2018Drama\u2019]", BOTH),
    ("[\u00abComedy\u00bb, \u00abDrama\u00bb]", BOTH),
    ("[\u300cComedy\u300d\u3001\u300cDrama\u300d]", BOTH),
    ('\uff3b"Comedy"\uff0c"Drama"\uff3d', BOTH),
    ('{"labels"\uff1a["Comedy"\uff0c "Drama"]}', BOTH),
    ('["Comedy", // it is funny\n "Drama" /* sad */]', BOTH),
    ('["Comedy", # it is funny\n "Drama"]', BOTH),
    ('{"labels": ["Comedy", "Drama"}', BOTH),
    ('{"labels": ["Comedy", "Drama"]', BOTH),
    ('{"labels": ["Comedy", "Drama"', BOTH),
    ('["Comedy", "Drama"}', BOTH),
    ('{"labels": ["Comedy", "Drama"]]}', BOTH),
    ('"labels": ["Comedy", "Drama"]', BOTH),
    ('labels = ["Comedy", "Drama"]', BOTH),
    ('print(["Comedy", "Drama"])', BOTH),
    ('{"labels": ["Comedy", "Drama"] "reason": "funny"}', BOTH),
    ('{"labels": ["Comedy", "Drama"], "reason": "a "funny" one"}', BOTH),
    ('{"reason": "line\nbreak", "labels": ["Comedy", "Drama"]}', BOTH),
    ('{"labels": ["Comedy"; "Drama"]}', BOTH),
    ('{"labels": ["Comedy" @ "Drama"]}', None),
    ('["Comedy" => "Drama"]', None),
    ('[{"label": "Comedy"} @@ {"label": "Drama"}]', None),
    ('[{"label": "Comedy"} {"label": "Drama"}]', BOTH),
    ('{"labels": ["Comedy", "Dra', ("Comedy",)),
    ('{"labels": ["Dra', None),
    ('{"labels": ', None),
    ('{"labels"', None),
    ("{", None),
]

PLAIN: list[Row] = [
    ("Comedy, Drama", BOTH),
    ("comedy / drama", BOTH),
    ("Comedy | Drama", BOTH),
    ("Comedy; Drama.", BOTH),
    ("**Comedy**, **Drama**", BOTH),
    ("*Comedy* and *Drama*", BOTH),
    ('"Comedy", "Drama"', BOTH),
    ("`Comedy`, `Drama`", BOTH),
    ("#Comedy #Drama", BOTH),
    ("# Comedy\n# Drama", BOTH),
    ("> Comedy, Drama", BOTH),
    ("- Comedy\n- Drama", BOTH),
    ("\u2022 Comedy\n\u2022 Drama", BOTH),
    ("1) Comedy\n2) Drama", BOTH),
    ("a) Comedy\nb) Drama", BOTH),
    ("1. **Comedy**\n2. **Drama**", BOTH),
    ("- [x] Comedy\n- [ ] Horror\n- [x] Drama", BOTH),
    ("[x] Comedy\n[ ] Horror\n[x] Drama", BOTH),
    ("\u2705 Comedy\n\u274c Horror\n\u2705 Drama", BOTH),
    ("Comedy: yes\nHorror: no\nDrama: yes", BOTH),
    ("Comedy - Yes\nHorror - No\nDrama - Yes", BOTH),
    ("**Comedy**: Yes\n**Horror**: No\n**Drama**: Yes", BOTH),
    ("Comedy (yes)\nHorror (no)\nDrama (yes)", BOTH),
    ("| Label | Applies |\n|---|---|\n| Comedy | Yes |\n| Horror | No |\n| Drama | Yes |", BOTH),
    ("labels:\n- Comedy\n- Drama", BOTH),
    ("labels: [Comedy, Drama]", BOTH),
    ("- label: Comedy\n- label: Drama", BOTH),
    ("<label>Comedy</label><label>Drama</label>", BOTH),
    ("Comedy\n\nDrama", BOTH),
    ("Here are the labels:\n\nComedy\nDrama\n\nThey fit because the plot is funny.", BOTH),
    ("Applies:\n- Comedy\n- Drama\n\nDoes not apply:\n- Horror", BOTH),
    ("Not applicable:\n- Horror\n- War", None),
    ("It mentions:\nHorror\nbut the right label is another, namely this one here\nDrama", None),
    ("Comedy, Drama\nThe plot is funny and sad.\nComedy, Drama", BOTH),
    ("The genre is Comedy.", None),
    ("This is a Drama about a family that falls apart.", None),
    ("not a Comedy", None),
    ("neither Comedy nor Drama", None),
    ("Comedy, but not Drama", None),
    ("Anything but Horror", None),
    ("It isn't Horror", None),
    ("Comedy?\nDrama?", BOTH),
]

TURNS: list[Row] = [
    # an end-of-turn token that was not obeyed: the model goes on with turns that it makes up
    ('["Comedy", "Drama"]<|im_end|>\n<|im_start|>user\nNext<|im_end|>\n<|im_start|>assistant\n["Horror"]', BOTH),
    ('["Comedy", "Drama"]<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n["Horror"]', BOTH),
    ('["Comedy", "Drama"]<end_of_turn>\n<start_of_turn>user\nNext<end_of_turn>\n["Horror"]', BOTH),
    ('["Comedy", "Drama"]</s><s>[INST] Next [/INST] ["Horror"]', BOTH),
    ('["Comedy", "Drama"]<|endoftext|>Human: Next\nAssistant: <think>x</think>["Horror"]', BOTH),
    ('<|im_start|>assistant\n["Comedy", "Drama"]<|im_end|>', BOTH),
    ("<think>It is<|im_end|>", None),
    # the same without the tokens: which turn is the answer cannot be known
    ('["Comedy", "Drama"]assistant\n\n["Horror"]', None),
    ('["Comedy", "Drama"]assistant\n\n["Comedy", "Drama"]', BOTH),
    ('["Comedy", "Drama"]\n\nUser: Next\nAssistant: ["Horror"]', None),
    ('["Comedy", "Drama"]\n\nPlot: Next\nLabels: ["Horror"]', None),
    # several answers of which none is the final one
    ('["Comedy"], ["Drama"]', None),
    ('["Comedy"] ["Drama"]', None),
    ('["Comedy"] or ["Drama"]', None),
    ('{"labels": ["Comedy", "Drama"]} {"labels": ["Horror"]}', None),
    ('["Comedy", "Drama"]\n["Comedy", "Drama"]\n["Comedy"', None),
    # words behind an answer that take it back
    ('["Comedy", "Drama"]\n\nNote: ["Horror"] was considered but rejected.', BOTH),
    ('["Comedy", "Drama"]. I considered ["Horror"] but rejected it.', BOTH),
    ('["Drama"] is right. ["Comedy"] does not fit.', ("Drama",)),
]

SCORES: list[Row] = [
    ("| Label | Score |\n|---|---|\n| Comedy | 0.9 |\n| Horror | 0.05 |", None),
    ("| Comedy | high |\n| Horror | low |", None),
    ("Comedy, 0.9\nHorror, 0.1", None),
    ("Comedy: 90%\nHorror: 5%", None),
    ('{"labels": ["Comedy", "Horror"], "scores": [0.9, 0.1]}', None),
    ('[{"label": "Comedy", "score": 0.92}, {"label": "Horror", "score": 0.04}]', None),
    ('[{"label": "Comedy", "score": 1.0}, {"label": "Horror", "score": 0.0}]', ("Comedy",)),
    ('{"labels": [{"label": "Comedy", "present": 1}, {"label": "Horror", "present": 0}]}', ("Comedy",)),
    ('[{"id": 0, "label": "Comedy"}, {"id": 1, "label": "Drama"}]', BOTH),
    ('{"label": "Comedy", "score": 0.4}', ("Comedy",)),
    ("| # | Label |\n|:--|--:|\n| 1 | Comedy |\n| 2 | Drama |", BOTH),
]

HALF_READ: list[Row] = [
    ('["Comedy - a funny film", "Drama"]', None),
    ('["Comedy (primary)", "Drama"]', None),
    ('["Comedy: 0.9", "Drama"]', None),
    ("Comedy - the main one\nDrama", None),
    ("1. Comedy\n2. It is a sad Drama too", None),
    ("- Comedy\n- Drama, because of the sad end", None),
    ("Comedy, Drama\n\nComedy: the plot is funny.\nDrama: the end is sad.", BOTH),
]

HEADINGS: list[Row] = [
    ("Reasoning: Horror\nAnswer: Comedy, Drama", BOTH),
    ("**Reasoning:** Horror\n\n**Answer:** Comedy, Drama", BOTH),
    ("Reasoning:\nHorror\n\nAnswer:\nComedy\nDrama", BOTH),
    ("Genres: Comedy, Drama\nThemes: War, Horror", BOTH),
    ("Begr\u00fcndung: Horror\nAntwort: Comedy, Drama", BOTH),
    ("Other genres considered: Horror\nGenres: Comedy, Drama", BOTH),
    ("Primary genre: Comedy\nSecondary genre: Drama", BOTH),
    ("Label 1: Comedy\nLabel 2: Drama", BOTH),
    ("Mood: Drama\nTone: Comedy", None),
    ("Rejected:\n---\nHorror", None),
    ('{"selected_genres": ["Comedy", "Drama"], "unselected_genres": ["Horror"]}', BOTH),
    ('{"negativeLabels": ["Horror"], "positiveLabels": ["Comedy", "Drama"]}', BOTH),
    ('{"discarded_labels": ["Horror"]}', None),
]

MARKUP: list[Row] = [
    ("<ul><li>Comedy</li><li>Drama</li></ul>", BOTH),
    ("<items><item>Comedy</item><item>Drama</item></items>", BOTH),
    ("<b>Comedy</b>, <b>Drama</b>", BOTH),
    ("Comedy<br/>Drama", BOTH),
    ("[Comedy][Drama]", BOTH),
    ("\u3010Comedy\u3011\u3010Drama\u3011", BOTH),
    ("1. Comedy 2. Drama", BOTH),
    ("(1) Comedy (2) Drama", BOTH),
    ("i. Comedy\nii. Drama", BOTH),
    ("A) Comedy\nB) Drama", BOTH),
    ("\u2460Comedy\n\u2461Drama", BOTH),
    ("\uff11\uff0eComedy\n\uff12\uff0eDrama", BOTH),
    ("&quot;Comedy&quot;, &quot;Drama&quot;", BOTH),
    ('[\\"Comedy\\", \\"Drama\\"]', BOTH),
    ('{\\"labels\\": [\\"Comedy\\", \\"Drama\\"]}', BOTH),
    ('{"labels": {"0": "Comedy", "1": "Drama"}}', BOTH),
    ('{"0": "Comedy", "1": "Drama"}', BOTH),
    ('{"Comedy": {"applies": true, "why": "x"}, "Drama": {"applies": true}, "War": {"applies": false}}', BOTH),
    ('{"name": "labels", "arguments": "{\\"labels\\": [\\"Comedy\\", \\"Drama\\"]}"}', BOTH),
    ('{"label": {"name": "Comedy"}}', ("Comedy",)),
    ('{"\u7c7b\u522b": "Comedy"}', ("Comedy",)),
    ('<thought_process>["Horror"]</thought_process>Comedy, Drama', BOTH),
    ("<Thinking Process>Horror</Thinking Process>Comedy, Drama", BOTH),
    ("<my_analysis>Horror\nWar", None),
]

REFUSALS: list[Row] = [
    ("I'm sorry, but I can't help with that.", None),
    ("I cannot classify this text.", None),
    ("Sorry, Drama", None),
    ("I'm sorry, Comedy, Drama", None),
    ("As an AI, I don't watch films. Drama", None),
    ("As an AI language model: Drama, Comedy", None),
    ("I am unable to choose: Drama, Comedy", None),
    ('I cannot choose between ["Drama", "Comedy"].', None),
    ("I can't assist with that request about War, Horror and Crime.", None),
    ("I will not label this text: Horror", None),
    ("The text does not contain enough information.", None),
    ("Please provide the plot.", None),
    ("Error: context length exceeded", None),
    ("<html><body>502 Bad Gateway</body></html>", None),
    ("\u2026", None),
    ("?", None),
    ("...", None),
]

LANGUAGES: list[Row] = [
    ("Genres\u00a0: Comedy, Drama", BOTH),
    ("Die Antwort lautet: Comedy und Drama", BOTH),
    ("La respuesta es: Comedy y Drama", BOTH),
    ("La r\u00e9ponse est : Comedy et Drama", BOTH),
    ("La risposta \u00e8: Comedy e Drama", BOTH),
    ("Svaret \u00e4r: Comedy och Drama", BOTH),
    ("\u7b54\u6848\uff1aComedy\u3001Drama", BOTH),
    ("\u7c7b\u578b\uff1aComedy\u548cDrama", BOTH),
    ("\u56de\u7b54: Comedy\uff0cDrama\u3002", BOTH),
    ("\u041e\u0442\u0432\u0435\u0442: Comedy \u0438 Drama", BOTH),
    ("Comedy: ja\nHorror: nein\nDrama: ja", BOTH),
    ("Comedy: s\u00ed\nHorror: no\nDrama: s\u00ed", BOTH),
    ("Comedy: oui\nHorror: non\nDrama: oui", BOTH),
    ("Comedy\uff1a\u662f\nHorror\uff1a\u5426\nDrama\uff1a\u662f", BOTH),
]


ROWS = (
    *(*REASONING, *VALID, *NEAR_JSON, *PLAIN, *TURNS, *SCORES, *HALF_READ, *HEADINGS),
    *(*MARKUP, *REFUSALS, *LANGUAGES),
)


@pytest.mark.parametrize(("reply", "labels"), ROWS)
def test_a_reply_is_read_as_what_it_means_or_not_at_all(reply: str, labels: tuple[str, ...] | None) -> None:
    assert read(reply) == labels


@pytest.mark.parametrize(
    "reply",
    [
        "[]",
        '{"labels": []}',
        "None",
        "none",
        "N/A",
        "n/a",
        "None of the above.",
        "None of these labels applies.",
        "No applicable labels",
        "No suitable label found.",
        "Nothing applies",
        '{"labels": ["N/A"]}',
        '{"labels": "N/A"}',
        "**None**",
        '["none"]',
        '{"labels": ["None"]}',
        '{"labels": "none"}',
        "Answer: none",
        "ninguno",
        "keine",
        "\u65e0",
        "\u306a\u3057",
        '<think>["Horror"]</think>[]',
        '["Drama"]?\nBetter: {"labels": []}',
        "Comedy: no\nDrama: no",
        '{"Comedy": false, "Drama": false}',
    ],
)
def test_no_label_is_an_answer_only_where_the_taxonomy_allows_it(reply: str) -> None:
    assert read(reply, MAY_BE_NONE) == ()
    assert read(reply, TMDB) is None


ANSWERS = own("yes", "no", "None", "N/A", "0", "1", "false", "null", allow_none=True)
TRUTH = own("true", "false", multi=False)
LEVELS = own("0", "1", "2", "10", multi=False)


@pytest.mark.parametrize(
    ("reply", "taxonomy", "labels"),
    [
        ("None", ANSWERS, ("None",)),
        ('["None"]', ANSWERS, ("None",)),
        ('{"labels": ["N/A"]}', ANSWERS, ("N/A",)),
        ("N/A", ANSWERS, ("N/A",)),
        ("no", ANSWERS, ("no",)),
        ("No.", ANSWERS, ("no",)),
        ('[{"label": "no"}]', ANSWERS, ("no",)),
        ('{"label": "no"}', ANSWERS, ("no",)),
        ('{"answer": "yes"}', ANSWERS, ("yes",)),
        ("Answer: no", ANSWERS, ("no",)),
        ("- None", ANSWERS, ("None",)),
        ("[false]", ANSWERS, ("false",)),
        ("[0]", ANSWERS, ("0",)),
        ("0", ANSWERS, ("0",)),
        ('{"label": 0}', ANSWERS, ("0",)),
        ('{"labels": null}', ANSWERS, ("null",)),
        ("['None', 'no']", ANSWERS, ("no", "None")),
        ('{"no": true, "yes": false}', ANSWERS, ("no",)),
        ("[]", ANSWERS, ()),
        ("**no**", ANSWERS, ("no",)),
        ("true", TRUTH, ("true",)),
        ('{"label": false}', TRUTH, ("false",)),
        ('{"label": "false"}', TRUTH, ("false",)),
        ('[{"label": "false"}]', TRUTH, ("false",)),
        ('[{"label": false}]', TRUTH, ("false",)),
        ("False", TRUTH, ("false",)),
        ("{'label': False}", TRUTH, ("false",)),
        ("true, false", TRUTH, None),
        ("1", LEVELS, ("1",)),
        ("[10]", LEVELS, ("10",)),
        ('{"label": 2}', LEVELS, ("2",)),
        ('{"label": "0"}', LEVELS, ("0",)),
        ("Label: 0", LEVELS, ("0",)),
        ("[1, 2]", LEVELS, None),
        ("3", LEVELS, None),
    ],
)
def test_the_taxonomy_is_consulted_before_words_for_no_and_nothing(
    reply: str, taxonomy: Taxonomy, labels: tuple[str, ...] | None
) -> None:
    assert read(reply, taxonomy) == labels


PARTS = own(
    "Arts, Crafts and Hobbies", "Crafts", "Food & Drink", "R&B/Soul", "Rock and Roll", "Rock", 'The "best"', "It's"
)
NESTED = own("Fiction", "Science Fiction", "Science", "Non-Fiction", "Not safe", "C", "C++", "C#")
SIGNS = own("\U0001f44d", "\u2764\ufe0f", "caf\u00e9", "two\nlines", "a: b", "[draft]", "x|y", "\u6620\u753b")


@pytest.mark.parametrize(
    ("reply", "taxonomy", "labels"),
    [
        ("Arts, Crafts and Hobbies", PARTS, ("Arts, Crafts and Hobbies",)),
        ("Arts, Crafts and Hobbies, Rock", PARTS, ("Arts, Crafts and Hobbies", "Rock")),
        ('["Arts, Crafts and Hobbies", "Crafts"]', PARTS, ("Arts, Crafts and Hobbies", "Crafts")),
        ("Rock and Roll and Rock", PARTS, ("Rock and Roll", "Rock")),
        ('["Food &amp; Drink", "It&#39;s"]', PARTS, ("Food & Drink", "It's")),
        ("Food &amp; Drink, R&amp;B/Soul", PARTS, ("Food & Drink", "R&B/Soul")),
        ("R&B/Soul / Rock", PARTS, ("R&B/Soul", "Rock")),
        ("- Food and Drink\n- Crafts", PARTS, ("Crafts", "Food & Drink")),
        ('["The \\"best\\""]', PARTS, ('The "best"',)),
        ('["The "best"", "Rock"]', PARTS, ("Rock", 'The "best"')),
        ("['It's', 'Rock']", PARTS, ("Rock", "It's")),
        ("['It\\'s']", PARTS, ("It's",)),
        ('The "best"', PARTS, ('The "best"',)),
        ("Science Fiction", NESTED, ("Science Fiction",)),
        ("Science, Fiction", NESTED, ("Fiction", "Science")),
        ("['Science', 'Fiction']", NESTED, ("Fiction", "Science")),
        ("Non-Fiction", NESTED, ("Non-Fiction",)),
        ("Not safe", NESTED, ("Not safe",)),
        ("Not safe, Science", NESTED, ("Science", "Not safe")),
        ("C++, C#", NESTED, ("C++", "C#")),
        ('["C"]', NESTED, ("C",)),
        ("- C#\n- C", NESTED, ("C", "C#")),
        ("\U0001f44d", SIGNS, ("\U0001f44d",)),
        ('["\\ud83d\\udc4d"]', SIGNS, ("\U0001f44d",)),
        ("\u2764", SIGNS, ("\u2764\ufe0f",)),
        ("cafe\u0301", SIGNS, ("caf\u00e9",)),
        ('["caf\\u00e9"]', SIGNS, ("caf\u00e9",)),
        ("two\nlines", SIGNS, ("two\nlines",)),
        ('["two\\nlines"]', SIGNS, ("two\nlines",)),
        ("a: b", SIGNS, ("a: b",)),
        ('["a: b", "x|y"]', SIGNS, ("a: b", "x|y")),
        ("[draft]", SIGNS, ("[draft]",)),
        ("- x|y\n- a: b", SIGNS, ("a: b", "x|y")),
        ("\u300c\u6620\u753b\u300d", SIGNS, ("\u6620\u753b",)),
    ],
)
def test_labels_of_every_spelling_stay_whole(reply: str, taxonomy: Taxonomy, labels: tuple[str, ...]) -> None:
    expected = taxonomy.in_order(labels)
    assert len(expected) == len(labels)
    assert read(reply, taxonomy) == expected


def test_a_label_copied_with_its_description_is_that_label() -> None:
    described = Taxonomy("d", (Label("Drama", "serious stories, no Comedy"), Label("Comedy", "funny, no Drama")))
    assert read('["Drama: serious stories, no Comedy"]', described) == ("Drama",)
    assert read('["Drama: serious stories"]', described) == ("Drama",)
    assert read('["Comedy: funny, no Drama", "Drama"]', described) == ("Drama", "Comedy")


def test_what_was_cut_off_counts_as_dropped() -> None:
    assert read_answer('{"labels": ["Comedy", "Dra', TMDB).dropped == ("Dra",)
    assert read_answer('{"labels": ["Comedy", "Drama"', TMDB).dropped == ()


@pytest.mark.parametrize(
    ("reply", "labels"),
    [
        ('["Comedy", "Drama"]', BOTH),
        ('{"labels": ["Comedy", "Drama"]}\n\n\n\n', BOTH),
        ('{"labels": ["Comedy", "Drama"]}\nThis is because the', BOTH),
        ('["Comedy", "Drama"', None),
        ('{"labels": ["Comedy", "Dra', None),
        ('["Comedy", "Drama", "Comedy", "Drama", "Com', None),
        ('["Horror"]? Better:\n["Comedy", "Dra', None),
        ("Comedy, Drama", None),
        ("Comedy", None),
        ("Here are the labels:\n- Comedy\n- Dra", None),
        ("<think>It is", None),
    ],
)
def test_half_an_answer_that_the_token_limit_cut_is_unreadable(reply: str, labels: tuple[str, ...] | None) -> None:
    answer = read_answer(reply, TMDB, cut=True)
    assert (None if answer.problem else answer.labels) == labels


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("<think>Okay, the", "reasoning has no end"),
        ("<think>Okay</think>", "nothing after its reasoning"),
        ('[{"label": "Comedy"} @@ {"label": "Drama"}]', "cannot be read as a whole"),
        ("I cannot help.", "no list of labels"),
        ('["Cooking"]', "outside the taxonomy"),
        ("", "wrote nothing"),
    ],
)
def test_the_detail_names_why_a_reply_is_unreadable(reply: str, said: str) -> None:
    problem = read_answer(reply, TMDB).problem
    assert problem is not None
    assert said in problem.detail


# Repeated up to 200,000 characters; reading them takes no longer than the time limit of a test.
ENDLESS = [
    "Drama, ", '"Drama, " ', "Drama\n", "Drama and ", "Drama: ", "[", "{", '{"labels": [', '["', '["Drama"] ', "{'a': ",
    "</think>[", "<think>", "[/THINK]{", '"',
    "/*", "[ // ", "&amp;", "<b>", "\\boxed{", "<|a", "- ", "| ", "(", "not ",
]  # fmt: skip


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("piece", ENDLESS)
def test_an_endless_reply_is_unreadable(piece: str, cut: bool) -> None:
    answer = read_answer((piece * 200_000)[:200_000], TMDB, cut)
    assert answer.problem is not None
    assert answer.problem.kind == "unreadable"
    assert len(answer.problem.detail) < 400


def test_long_reasoning_and_a_long_list_of_a_long_taxonomy_are_read() -> None:
    assert read("It could be [War].\n" * 9_000 + '</think>\n["Comedy", "Drama"]') == BOTH
    many = own(*(f"Label number {n} of many" for n in range(2_000)))
    assert read("Labels: " + ", ".join(many.names[:9]), many) == many.names[:9]
    assert read(json.dumps(many.names), many) == many.names
    assert read(f"The labels:\n{json.dumps(many.names)}", many) == many.names
