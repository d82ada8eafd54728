"""llama.cpp's server in router mode: its builds, its models, and what it is told.

`config` is what is wanted. `download` and `fetch` bring models, `unpack` and `builds` builds. `flags` is what a build
understands, `presets` what it is told of the models, `trial` whether it takes that. `serve` puts all of it in place
together, or leaves the old in service; `apply` is the whole way.
"""
