import json

import pytest

from extra.pubsub.group_options import Terms
from extra.pubsub.group_state import GroupState, decode_state

TERMS = Terms(["a/+", "b"], 30.0, 100, 3, "dead", "key", 60.0)
STATE = GroupState("e1", 7, 2, {9, 8}, {10: (2, 1.5), 11: (1, 0.0)}, 5.0, TERMS)


def test_a_state_comes_back_as_it_was() -> None:
    again = decode_state(STATE.encode())
    assert (again.epoch, again.offset, again.known, again.seen_at) == ("e1", 7, 2, 5.0)
    assert (again.settled, again.tries) == ({8, 9}, {10: (2, 1.5), 11: (1, 0.0)})
    assert again.terms == TERMS


@pytest.mark.parametrize(
    "change",
    [{"offset": "7"}, {"filters": "a"}, {"settled": 8}, {"settled": ["8"]}, {"tries": {}}, {"seen": None}],
)
def test_what_is_no_state_is_refused(change: dict[str, object]) -> None:
    kept = json.loads(STATE.encode()) | change
    with pytest.raises(TypeError):
        decode_state(json.dumps(kept).encode())
    del kept["epoch"]
    with pytest.raises((KeyError, TypeError)):
        decode_state(json.dumps(kept).encode())
    with pytest.raises(ValueError, match="Expecting"):
        decode_state(b"{")
