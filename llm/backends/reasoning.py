"""Reasoning in front of an answer: the marks that models put around it, and what is left when it is removed.

Sources: the chat templates and reasoning parsers of Qwen3, DeepSeek-R1, Magistral, gpt-oss (harmony), Seed-OSS, Kimi,
Command A, EXAONE, Granite, Apriel, OpenThinker, Hunyuan, Gemma and Reflection.
"""

from __future__ import annotations

import re

# A tag is one of reasoning by a word in its name: <think>, <seed:think>, <thought_process>, <Thinking Process>.
_NAMES = (
    r"(?:[\w:-][\w: -]{0,30})?"
    r"(?:think|thought|reason|reflect|analysis|rationale|scratchpad|monologue|\bcot\b)[\w: -]{0,20}"
)
# A model whose end-of-turn token was not obeyed goes on with turns that it makes up; the first turn is the answer.
_TURN_END = re.compile(
    r"(?<=\S)\s*(?:<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end_of_turn|return|user)\|>|<end_of_turn>|</s>|<eos>"
    r"|<\uff5cend\u2581of\u2581sentence\uff5c>|\[\|endofturn\|\])"
)
# Everything before the last of these is reasoning, also where the opening mark is part of the prompt and not written.
_CLOSED = re.compile(
    rf"(?im)</\s*{_NAMES}\s*>"
    r"|\[/(?:THINK|THINKING|REASONING)\]"
    r"|\u25c1/think\u25b7"
    r"|<\|(?:END_THINKING|end_of_thought|end_think(?:ing)?|/think)\|>"
    r"|<\uff5cend\u2581of\u2581think(?:ing)?\uff5c>"
    r"|<\|channel\|>\s*final[^<>]{0,40}(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>"
    r"|<channel\|>"
    r"|assistantfinal(?:\s?json)?"
    r"|\[BEGIN FINAL RESPONSE\]"
    r"|\bHere(?:'s|\u2019s| is) my (?:final )?response\s*:"
    r"|^[\W_]{0,8}(?:(?:my|the)\s+)?final\s+(?:answer|response|output|labels?|genres?|classification)\b[\W_]{0,4}(?::|is|are)"
)
_OPENED = re.compile(
    rf"(?i)<\s*{_NAMES}\s*>"
    r"|\[(?:THINK|THINKING|REASONING)\]"
    r"|\u25c1think\u25b7"
    r"|<\|(?:START_THINKING|begin_of_thought|begin_think(?:ing)?|think)\|>"
    r"|<\uff5cbegin\u2581of\u2581think(?:ing)?\uff5c>"
    r"|<\|channel\|>\s*(?:analysis|commentary)\b"
    r"|<\|channel>\s*thought\b"
    r"|\bHere(?:'s|\u2019s| is) my thought process\s*:"
    r"|\bHere are my reasoning steps\s*:"
)
# Harmony without its control tokens: "analysisThe plot tells …"; case matters, since "Analysis" may be a label.
_OPENED_PLAINLY = re.compile(r"\A\s*(?:analysis|commentary)(?=[A-Z])")
# Control tokens and tags around the answer itself.
_WRAPPING = re.compile(
    r"(?i)<\|[^<>|]{1,40}\|>|<\uff5c[^<>]{1,40}\uff5c>|</?s>|<(?:eos|bos|pad|end_of_turn|start_of_turn)>"
    r"|</?(?:answer|answers|response|output|result|final|final_answer|tool_call|json|labels?|genres?)>"
    r"|\[END FINAL RESPONSE\]|\[/?INST\]|\[TOOL_CALLS\]"
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TYPESET = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")


def without_reasoning(written: str) -> str | None:
    """What a model wrote after its reasoning, without control tokens; None where the reasoning never ends.

    >>> without_reasoning('Could be Horror.</think>["Drama"]'), without_reasoning("<think>It is")
    ('["Drama"]', None)
    """
    written = _TURN_END.split(written, maxsplit=1)[0]
    closings = list(_CLOSED.finditer(written))
    answer = written[closings[-1].end() :] if closings else written
    if _OPENED.search(answer) or (not closings and _OPENED_PLAINLY.search(answer)):
        return None
    if boxed := _BOXED.findall(answer):
        answer = _TYPESET.sub(r"\1", boxed[-1])
    return _WRAPPING.sub("\n", answer).strip()
