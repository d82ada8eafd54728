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

# A browser, as far as it takes one: with cookies, and with what a page hides in its form. The rest is sent as it is.
BROWSER = """
import http.cookiejar, json, re, sys, urllib.error, urllib.parse, urllib.request
site, page, form, then = json.load(sys.stdin)
jar = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
def ask(path, data=None, kind="application/x-www-form-urlencoded"):
    headers = {"Referer": site, "X-CSRFToken": next((each.value for each in jar if each.name == "csrftoken"), "")}
    if data is not None:
        headers["Content-Type"] = kind
    try:
        with browser.open(urllib.request.Request(site + path, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
hidden = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', ask(page)[1])
form["csrfmiddlewaretoken"] = hidden and hidden[1]
told = [ask(page, urllib.parse.urlencode(form).encode())]
told += [ask(path, data.encode(), kind) for path, data, kind in then]
print(json.dumps(told))
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

    @classmethod
    def all_of(cls, printed: str) -> list[Self]:
        """The answers in what the script `visit` printed."""
        return [cls(*each) for each in json.loads(printed)]


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


def visit(site: str, page: str, form: dict[str, str], *then: tuple[str, str, str]) -> str:
    """A script of the shell that sends the form of a page, and then path, data, and what kind of data they are."""
    asked = json.dumps([site, page, form, then])
    return f"printf %s {shlex.quote(asked)} | python3 -c {shlex.quote(BROWSER)}"
