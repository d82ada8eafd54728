"""Questions over HTTP that a machine of a test asks: in a container, or of the lab."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any, Self

ASK = """
import base64, json, ssl, sys, urllib.error, urllib.request
asked = json.load(sys.stdin)
headers = {name: asked[key] for name, key in (("Host", "host"), ("Authorization", "authorization")) if asked[key]}
if asked["who"]:
    headers["Authorization"] = "Basic " + base64.b64encode(":".join(asked["who"]).encode()).decode()
data = asked["data"].encode() if asked["data"] is not None else None
request = urllib.request.Request(asked["url"], data, headers, method=asked["method"])
if data is not None:
    request.add_header("Content-Type", "application/json")
context = ssl.create_default_context(cafile="/etc/homelab-provision/tls/ca.crt")
try:
    answer = urllib.request.urlopen(request, timeout=60, context=context)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @classmethod
    def of(cls, printed: str) -> Self:
        """The answer in what the script `question` printed."""
        return cls(*json.loads(printed))


def question(
    url: str,
    data: object = None,
    *,
    who: tuple[str, str] | None = None,
    authorization: str = "",
    host: str = "",
    method: str | None = None,
) -> str:
    """A script of the shell that asks. The site's authority proves servers; `data` that is no text goes as JSON."""
    text = data if isinstance(data, str) or data is None else json.dumps(data)
    asked = {"url": url, "data": text, "who": who, "authorization": authorization, "host": host, "method": method}
    return f"printf %s {shlex.quote(json.dumps(asked))} | python3 -c {shlex.quote(ASK)}"
