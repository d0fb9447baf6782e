"""The local page and its HTTP interface: `guard` says who may ask, `app` what can be asked, `jobs` has it done by `worker`."""
