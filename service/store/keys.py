"""All Redis keys in one table, which is also loaded in front of the Lua functions.

The tag in braces keeps all keys in one slot, should the store ever live in a cluster.
"""

from typing import Final

LIBRARY: Final = "moco"

KEYS: Final[dict[str, str]] = {
    "store": "{moco}:store",  # STRING, the identity; + `:` + identity is there too
    "tick": "{moco}:tick",  # INT, the clock of all leases
    "seq": "{moco}:seq",  # INT, order of arrival
    "leases": "{moco}:leases",  # ZSET job -> tick at which its lease is over
    "ready": "{moco}:ready:",  # + pool, + `/` + shape unless 1x1: ZSET job -> order, lowest first
    "shapes": "{moco}:shapes:",  # + pool: SET of the shapes that wait, without 1x1
    "held": "{moco}:held:",  # + worker: HASH pool -> slots that its jobs hold there
    "wake": "{moco}:wake:",  # + pool: LIST of hints that something is ready
    "pools": "{moco}:pools",  # SET of pools that ever had a job
    "gang": "{moco}:gang:",  # + job: HASH nonce of a claim -> its seat as JSON
    "seats": "{moco}:seats:",  # + job: ZSET nonce (forming), rank (running) -> tick of its end
    "gangs": "{moco}:gangs",  # ZSET job whose gang forms -> tick at which it gives its seats back
    "forming": "{moco}:forming:",  # + pool: STRING job whose gang forms
    "job": "{moco}:job:",  # + id: HASH, the record
    "jobs": "{moco}:jobs:",  # + kind:status or kind:all: ZSET of ids, all with score 0
    "ev": "{moco}:ev:",  # + id: STREAM of events as JSON in the field `e`
    "ckpts": "{moco}:ckpts:",  # + id: ZSET checkpoint as JSON -> step
    "attempts": "{moco}:attempts:",  # + id: HASH attempt -> JSON
    "idem": "{moco}:idem:",  # + key: HASH fingerprint, job; a day
    "nonce": "{moco}:nonce:",  # + nonce: job that this claim got; a day
    "op": "{moco}:op:",  # + nonce of one control call that was done; an hour
    "ds": "{moco}:ds:",  # + id: HASH, the record of a dataset
    "datasets": "{moco}:datasets",  # ZSET of ids, all with score 0
    "dsnames": "{moco}:dsnames",  # HASH name -> id
    "worker": "{moco}:worker:",  # + id: HASH
    "workers": "{moco}:workers",  # ZSET worker -> tick at which it was last seen
    "counters": "{moco}:counters",  # HASH name -> INT, for Prometheus
}


def identity_key(identity: str) -> str:
    """Return the key that exists as long as the server of this identity has lost nothing."""
    return f"{KEYS['store']}:{identity}"


def line_of(pool: str, *, slots: int, nodes: int) -> str:
    """Return what follows `ready` in the key of the line in which such a job waits."""
    return pool if (slots, nodes) == (1, 1) else f"{pool}/{slots}x{nodes}"


def shape_of(text: str) -> tuple[int, int]:
    """Return the slots and nodes of a shape such as `4x2`."""
    slots, _, nodes = text.partition("x")
    return int(slots), int(nodes)


def lua_table() -> str:
    """Return the table as one line of Lua, named `K`."""
    rows = ", ".join(f"{name} = '{key}'" for name, key in KEYS.items())
    return f"local K = {{ {rows} }}"
