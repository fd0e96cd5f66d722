"""Vega as one script, by which a page's charts answer who points at them."""

import functools

from etudes.core.files import appearing

NOTICE = "/* Vega, Vega-Lite and Vega-Embed, https://vega.github.io, under the BSD licence with three clauses. */\n"
SNIPPET = "globalThis.vegaEmbed = vegaEmbed;"


@functools.cache
def script() -> bytes:
    """The script, which sets `vegaEmbed`. vl-convert makes it within seconds, once; then the cache has it."""
    import vl_convert

    from etudes.data.sources import cache_folder  # with it comes numpy

    path = cache_folder() / f"vega-{vl_convert.__version__}.js"
    if not path.exists():
        with appearing(path) as draft:
            draft.write_text(NOTICE + vl_convert.javascript_bundle(SNIPPET), encoding="utf-8")
    return path.read_bytes()
