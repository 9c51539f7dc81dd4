"""REST over the services' RPCs, made from their descriptors at the start: no route is written by hand.

A request goes down this list, its answer back up:

* `app`       the ASGI application: one border for every fault, one span and one metric a request
* `router`    raw path and method → route; `template` is the grammar of `google/api/http.proto`
* `endpoint`  authentication, body, handler, answer; `intake` and `deadline` bound it, `caching` says who may keep it
* `binding`   path, `query` and body → the request message; `request_ids` makes `Idempotency-Key` and `request_id` one
* `codec`     messages ⇄ ProtoJSON; `json_text`, `scalars` and `wellknown` are its parts
* `remote`    handlers that ask a service, or call a servicer of this process; `exchange` is the seam to them
* `sse`       server streams as Server-Sent Events
* `problems`  faults as RFC 9457 problem documents; the only module that knows a status of an error;
              `spelling` turns the fields that services name
* `openapi`   the document at `/openapi.json` (`schemas`, `rules`, `descriptions` are its parts), `docs_page` for people
* `pages`     what is served beside RPCs
* `metrics`   rate, errors, duration

Invariants:

1. The contract decides: what a descriptor and its options do not say is not served, not accepted, not kept.
2. What is refused says where: a path into the JSON, a parameter's name, a header's name.
3. Every input is bounded before it is held: path, query, body, nesting, time.
4. A label of a metric or a span's name is a route's template, never what a caller wrote.
"""
