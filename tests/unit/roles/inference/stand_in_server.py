"""A stand-in for llama.cpp's server as a router: its help, its presets, its states of models.

With LLAMA_RELEASE in the environment the tests take a real one instead (tests/unit/roles/inference/conftest.py).
"""

from __future__ import annotations

from pathlib import Path

PROGRAM = '''#!/usr/bin/python3
import configparser, http.server, json, pathlib, socketserver, sys

HELP = """{help}"""
if "--version" in sys.argv:
    print("version: 0.7.0 (build {build}, commit stand-in)", file=sys.stderr)
    sys.exit({status})
if "--help" in sys.argv:
    print(HELP)
    sys.exit(0)
known = {{word.strip(",")[2:] for word in HELP.split() if word.startswith("--")}} | {{"load-on-startup"}}
told = dict(zip(sys.argv[1:], sys.argv[2:]))
presets = configparser.ConfigParser(default_section="none", interpolation=None)
presets.read_string(pathlib.Path(told["--models-preset"]).read_text().replace("version = 1", "", 1))
for section in presets:
    for key in presets[section]:
        if key not in known:
            sys.exit(f"0.00 E srv  option '{{key}}' not recognized in preset '{{section}}'")
{extra}
models = [
    {{"id": name, "status": {{"value": "unloaded"}}}} for name in presets.sections() if name != "*"
]
for model in models:
    if "load-on-startup" in presets[model["id"]]:
        size = pathlib.Path(presets[model["id"]]["model"]).stat().st_size
        model["status"] = {{"value": "loaded"}} if size > 100 else {{"value": "unloaded", "failed": True}}
keys = pathlib.Path(told["--api-key-file"]).read_text().split() if "--api-key-file" in told else []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = not keys or self.headers.get("Authorization", "")[7:] in keys or self.path == "/health"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps({{"data": models}} if allowed else {{}}).encode())
    def address_string(self):
        return ""
    def log_message(self, *words):
        pass

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

Server(told["--host"], Handler).serve_forever()
'''

COMMON = """\
-h,    --help, --usage                  print usage and exit
--version                               show version and build info
-c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto', default: 'auto')
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM, either an exact number,
                                        'auto', or 'all' (default: auto)
-m,    --model FNAME                    model path to load
-a,    --alias STRING                   set model name aliases, comma-separated (to be used by API)
--pooling {none,mean,cls,last,rank}     pooling type for embeddings, use model default if unspecified
--warmup, --no-warmup                   whether to perform warmup with an empty run (default: enabled)
--host HOST                             ip address to listen, or UNIX socket path
--port PORT                             port to listen
--embedding, --embeddings               restrict to only support embedding use case
--api-key-file FNAME                    path to file containing API keys (default: none)
--metrics                               enable prometheus compatible metrics endpoint (default: disabled)
--models-preset PATH                    path to INI file containing model presets for the router server
--models-max N                          maximum number of models to load simultaneously
--offline                               Offline mode: forces use of cache, prevents network access
"""
# As before and after the summer of 2026 (llama.cpp #20834), shortened.
BEFORE = """\
--mlock                                 force system to keep model in RAM rather than swapping or compressing
                                        (env: LLAMA_ARG_MLOCK)
--mmap, --no-mmap                       whether to memory-map model (default: enabled)
"""
AFTER = """\
-lm,   --load-mode MODE                 model loading mode (default: auto)
                                        - auto: mmap, unless a device does not support it
                                        - none: no special loading mode
                                        - mmap: memory-map model (if mmap disabled, slower load but may reduce
                                        pageouts if not using mlock)
                                        - mlock: force system to keep model in RAM rather than swapping or
                                        - mmap+mlock: mmap + force system to keep model in RAM rather than

                                        (env: LLAMA_ARG_LOAD_MODE)
--draft, --draft-n, --draft-max N       the argument has been removed. use --spec-draft-n-max
--cors-origins ORIGINS                  comma-separated list of allowed origins for CORS (default: *)
--ui,  --webui, --no-ui, --no-webui     whether to enable the Web UI (default: enabled)
"""


def lay(folder: Path, build: int, help: str = COMMON + AFTER, extra: str = "", status: int = 0) -> None:
    """Lay the program of one build into a folder; `extra` is Python that it runs at its start."""
    folder.mkdir(parents=True)
    text = PROGRAM.format(help=help, build=build, extra=extra, status=status)
    (folder / "llama-server").write_text(text)
    (folder / "llama-server").chmod(0o755)
