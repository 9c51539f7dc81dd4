"""How services of the mesh are called and answer: everything between a socket and a servicer method.

1. No RPC is served without a declared scope (or `public`) and a declared idempotency (`options`).
2. Every unary call has a deadline, and none is begun without time left (`interceptors.deadline`).
3. A caller sees of a fault a `MeshError`'s message and metadata; the rest is logged once (`interceptors.errors`).
4. A caller that did not cancel never sees CANCELLED.

`server` and `channel` are the two ends; `interceptors` stand between a server and its methods, in one order; `call` is
what a method knows of its caller; `tokens` prove who that is, by the keys of `key_file`; `bounds` are those of lists;
`status` carries errors over the wire; `health` says whether the process is ready; `metrics` lists what is counted.
"""
