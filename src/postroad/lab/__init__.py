"""The workshop: what stands in for the rest of the world when Postroad is tried out.

`world` (providers by `rules`, a `ledger` of what arrived, the name server `dnsserver`) and `load` run on loopback,
`demo` puts them around a real server (`server`), and `sim` runs the engine in simulated time. Nothing is re-exported
here, so that `postroad lab --help` need not load it all.
"""
