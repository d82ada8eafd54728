"""openai_client.py URL, with the key on standard input: OpenAI's own client asks; what it was answered, as JSON.

It runs in an environment of its own, which has that client and nothing of ours.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from openai import AuthenticationError, OpenAI

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "enum": ["Oslo", "Rome"]}},
            "required": ["place"],
        },
    },
}
# How the models of the tests are made to call a tool, who were never taught to: the number of the word that begins it.
BEGINS = {"312": 100}


def main() -> None:
    url, key = sys.argv[1], sys.stdin.read().strip()
    client = OpenAI(base_url=url, api_key=key, max_retries=0, timeout=120)
    asked: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
    # Letters, or else parts of one would be told in one way when it is whole and in another in pieces.
    letters: dict[str, Any] = {**asked, "max_tokens": 8, "extra_body": {"grammar": "root ::= [a-z ]+"}}
    whole = client.chat.completions.create(**letters)
    pieces = list(client.chat.completions.create(**letters, stream=True))
    called = client.chat.completions.create(
        **asked, max_tokens=120, tools=[TOOL], tool_choice="required", logit_bias=BEGINS
    )
    calls = called.choices[0].message.tool_calls or []
    vectors = client.embeddings.create(model="vectors", input=["a house by the sea", "another"])
    try:
        OpenAI(base_url=url, api_key="another-key-of-somebody", max_retries=0).models.list()
        refused = False
    except AuthenticationError as error:
        refused = error.status_code == 401
    told = {
        "models": sorted(model.id for model in client.models.list()),
        "whole": whole.choices[0].message.content,
        "tokens": whole.usage.completion_tokens if whole.usage else 0,
        "pieces": [piece.choices[0].delta.content or "" for piece in pieces if piece.choices],
        "calls": [[call.function.name, call.function.arguments] for call in calls],
        "vectors": [len(each.embedding) for each in vectors.data],
        "refused": refused,
    }
    print(json.dumps(told))


main()
