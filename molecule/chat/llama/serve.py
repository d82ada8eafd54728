"""llama.cpp's server with a small model, on port 8080 of all addresses, for those who know the key."""

import signal
import sys
from pathlib import Path

import xllamacpp  # type: ignore[import-not-found]  # the image has it

params = xllamacpp.CommonParams()
params.model.path = "/opt/llama/model.gguf"
params.model_alias = {"small"}
params.hostnames, params.port = ["0.0.0.0"], 8080
params.api_keys = [Path("/run/secrets/key").read_text().strip()]
# All that the model can see, and one question after the other.
params.n_ctx, params.n_parallel = 8192, 1
# One of several would wait for the others without end where the processors have much else to do.
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
# Answers that nobody asks for again are not kept.
params.cache_ram_mib = 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pause()
