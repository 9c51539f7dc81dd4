"""The feed: what a service's log says, to whoever wants to follow it, with the guarantees of etcd Watch.

    F1  Ordered: revisions rise over a stream.
    F2  Unique: no delta comes twice in a stream.
    F3  Reliable: nothing that the filter lets through is left out; conflated catch-up leaves out steps, never a key.
    F4  Atomic: the events of one revision stand in one message.
    F5  Resumable: every message has a token with which any process of the service goes on after it.
    F6  Bookmarkable: the ranges (covers_from, covers_to] follow one another without a gap, also where a filter or
        silence leaves them empty.
    F7  Consistent: rows of a snapshot, and the deltas after it that are newer than their row, are the state at every
        covers_to from `snapshot_complete.revision` on.
    F8  `before` and `after` are always those of the log; `after` of a key is `before` of its next delta.

A service brings a `Stream`: which events are streamed, what they look like on the wire, how a page of the state is
read. A watch response has `WatchPosition position = 1` and a `oneof body` with `snapshot`, `snapshot_complete`,
`deltas`, `progress` and `goodbye`; `deltas` holds its events in a repeated field. Protobuf messages are merged by
putting their bytes one after the other, so a body that was encoded once goes out behind any position, and several go
out as one.

Map: `token` where a stream goes on, `window` the last events with their encoded messages, `subscriber` what one stream
does next, `feed` the shell that reads the log and wakes streams, `hints` the wake-up between processes, `follower` the
client's side, `metrics`.
"""
