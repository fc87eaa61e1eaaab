"""An answer streamed token by token. The producer outlives the request; a refreshed page continues.

`POST /ask` starts an answer and returns at once with its number. The tokens go to a topic of their own, and
the page reads that topic from its start: whether it was there from the first token, comes late, or comes
back. For that the broker has to keep whole answers: broker.toml has the policy.
"""

import asyncio
import itertools
import random

import extra
from examples.pages import parse_arguments, run, serve_page
from extra.http import Request, Response, Router, json_response

ANSWER = """Every topic is a URL, so an answer can be one as well. The model writes to it at its own pace, and
whoever reads it may come and go: the log keeps what was said, the cursor says how far the reader was, and a
page that is refreshed in the middle of a sentence reads the beginning again and then simply goes on, word by
word, as if nothing had happened. Two people who look at the same answer see the same answer. A phone that
loses its connection in a tunnel comes back with the cursor of the last word that it got, and the next word is
the next one. The request that asked for all of this was over long ago; it did no more than to give the answer
a name. What a reader cannot be given any more, because the log keeps so much and no more, is not passed over
in silence either: the page is told that the beginning is gone, and says so. How much is kept is a matter of
policy, by topic filter, and answers are worth more room than the readings of a thermometer. That is all there
is to it: a topic, a log and a cursor.
"""


async def answer(broker: extra.Client, topic: str) -> None:
    """Be a language model: write tokens with pauses, the last of which ends the stream."""
    *tokens, last = ANSWER.split()
    for token in tokens:
        await broker.publish(topic, {"token": token + " "})
        await asyncio.sleep(random.uniform(0.01, 0.06))
    await broker.publish(topic, {"token": last}, close=True)


async def main() -> None:
    """Serve the page, and write answers."""
    arguments = parse_arguments(__doc__)
    router = Router()
    numbers = itertools.count(random.randrange(1_000_000))
    async with extra.Client(arguments.url) as broker, asyncio.TaskGroup() as tasks:

        async def ask(request: Request) -> Response:
            topic = f"answers/{next(numbers)}"
            tasks.create_task(answer(broker, topic))  # it belongs to this program, not to the request
            return json_response({"topic": topic}, 202)

        router.add("POST", "/ask", ask)
        await serve_page("tokens.html", arguments.url, arguments.port, router)


if __name__ == "__main__":
    run(main())
