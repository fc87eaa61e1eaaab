"""Who is present, as a broker at a distance tells it."""

import json

from extra.pubsub import Member, Place, PresencePage, encode_shown

__all__ = ["presence_page"]


def presence_page(body: bytes) -> PresencePage:
    """Return the snapshot in the answer to `GET /presence`.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    told = json.loads(body)
    places = [
        Place(
            place["topic"],
            place["count"],
            [Member(each["member"], encode_shown(each["data"], len(body))) for each in place["members"]],
        )
        for place in told["places"]
    ]
    return PresencePage(places, told["count"], told["cursor"], told["more"])
