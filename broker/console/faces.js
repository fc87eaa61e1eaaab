/**
 * The faces of the broker, each behind the same calls.
 *
 * `open(request, reader)` opens one connection and returns an object whose `close()` ends it; after that nothing
 * is reported any more. The request has `filter`, `since`, and optionally `retained` and `overflow`. The reader
 * is told, in the order of the wire:
 *
 *     opened(version?)                   the broker has answered
 *     message(envelope, earlier, size)   earlier: it was published before this connection was opened
 *     position(cursor)                   where to resume from now on
 *     gap(gap)                           something is missing, as docs/protocol.md says
 *     refused(code, message)             asking again would not help; last
 *     ended(reason, retryAfter)          the connection is gone; in seconds, null when the broker did not say; last
 */

import { queryOf } from "./filters.js";
import { parse } from "./values.js";

const POLL_WAIT_S = 25;

/** Between an answer with messages and the next question: on a busy filter, twenty full answers a second do. */
const POLL_PAUSE_MS = 50;

export const FACES = {
  websocket: { name: "WebSocket", open: openWebSocket },
  sse: { name: "SSE", open: openEventSource },
  poll: { name: "long-poll", open: openPoll },
};

/**
 * Return what is in a cursor, which is `EPOCH-OFFSET`, or `EPOCH-OFFSET-KNOWN` where it has been told already that
 * messages up to `KNOWN` are lost. Only the broker's own page may look: clients take a cursor as opaque.
 */
export function positionOf(cursor) {
  const [epoch, offset, known] = cursor.split("-");
  return { epoch, offset: Number(offset), known: Number(known ?? offset) };
}

/** Read what a problem document says of a failed request, whatever its body turns out to be. */
export async function problemOf(response) {
  const document = await response.json().catch(() => null); // not of the broker's making: a proxy's page, or nothing
  const detail = document?.detail ?? `${response.status} ${response.statusText}`.trim();
  return { ...document, code: document?.code ?? `http_${response.status}`, detail };
}

function openWebSocket(request, reader) {
  const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws`);
  const now = request.since === "now";
  let head = null;
  let farewell = null;
  let closed = false;

  const takers = {
    welcome(push) {
      head = positionOf(push.cursor);
      reader.opened(push.version);
      if (now) reader.position(push.cursor);
      // From the position of the welcome, so that nothing falls between it and the arrival of the command.
      const since = now ? push.cursor : request.since;
      const { filter, retained = now, overflow } = request;
      socket.send(JSON.stringify({ op: "subscribe", id: 1, filter, since, retained, overflow }));
    },
    message(push, size) {
      const earlier = push.offset <= head.offset;
      reader.message(push, earlier, size);
      // Retained messages come first with `now`, and are older than the position to resume from.
      if (!now || !earlier) reader.position(`${head.epoch}-${push.offset}`);
    },
    subscribed: (push) => reader.position(push.cursor),
    gap: (push) => reader.gap(push),
    error(push) {
      finish(() => (push.temporary ? reader.ended("lost", null) : reader.refused(push.code, push.message)));
    },
    goodbye(push) {
      farewell = push;
      reader.position(push.cursor);
    },
  };

  function finish(report) {
    if (closed) return;
    close();
    report();
  }
  function close() {
    closed = true;
    socket.close(1000);
  }

  socket.onmessage = ({ data }) => {
    const pushes = [parse(data)].flat();
    for (const push of pushes) if (!closed) takers[push.op]?.(push, data.length / pushes.length);
  };
  socket.onclose = () => finish(() => reader.ended(farewell?.reason ?? "lost", farewell?.reconnect_after ?? null));
  return { close };
}

function openEventSource(request, reader) {
  const aborter = new AbortController();
  const now = request.since === "now";
  let source = null;
  let farewell = null;

  function finish(report) {
    if (aborter.signal.aborted) return;
    close();
    report();
  }
  function close() {
    aborter.abort();
    source?.close();
  }
  function listen(head) {
    // An EventSource keeps the stream's first cursor to itself until a message comes: without asking for the
    // head of the log before, a connection that is lost in silence could not be resumed.
    const since = now ? head : request.since;
    const retained = now ? [["retained", "1"]] : [];
    const parameters = [["topic", request.filter], ["since", since], ...retained];
    source = new EventSource(`/sse?${queryOf(parameters)}`);
    source.onopen = () => {
      reader.opened();
      if (now) reader.position(head);
    };
    source.onmessage = ({ data, lastEventId }) => {
      const envelope = parse(data);
      const earlier = envelope.offset <= positionOf(head).offset;
      reader.message(envelope, earlier, data.length);
      // As on a WebSocket: what is retained is older than the position to resume from.
      if (!now || !earlier) reader.position(lastEventId);
    };
    source.addEventListener("gap", ({ data }) => reader.gap(parse(data)));
    source.addEventListener("end", ({ data }) => {
      if (parse(data).topic !== request.filter) return; // one of those that a wildcard brings
      finish(() => reader.refused("topic_closed", "The topic has ended: nothing more comes."));
    });
    source.addEventListener("goodbye", ({ data }) => (farewell = parse(data)));
    // It would come back by itself, with Last-Event-ID; here the reader decides when, and shows the wait.
    source.onerror = () => finish(() => reader.ended(farewell?.reason ?? "lost", farewell?.reconnect_after ?? null));
  }

  readHead(request.filter, aborter.signal).then(
    (head) => aborter.signal.aborted || listen(head),
    (error) => finish(() => report(error, reader)),
  );
  return { close };
}

function openPoll(request, reader) {
  const aborter = new AbortController();

  async function read() {
    let since = request.since;
    let opened = false;
    let caughtUp = false;
    for (;;) {
      const wait = caughtUp ? [["wait", String(POLL_WAIT_S)]] : [];
      const response = await ask([["topic", request.filter], ["since", since], ...wait], aborter.signal);
      const page = await pageOf(response, since);
      aborter.signal.throwIfAborted();
      if (!opened) reader.opened();
      opened = true;
      if (page.gap) reader.gap(page.gap);
      for (const envelope of page.messages) reader.message(envelope, !caughtUp, page.size / page.messages.length);
      since = page.cursor;
      reader.position(since);
      caughtUp ||= !page.more;
      if (caughtUp && page.messages.length) await new Promise((resume) => setTimeout(resume, POLL_PAUSE_MS));
    }
  }

  read().catch((error) => {
    if (!aborter.signal.aborted) report(error, reader);
  });
  return { close: () => aborter.abort() };
}

/** A refusal that asking again would not change. */
class Refusal extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
  }
}

/** A broker that cannot answer just now. */
class Away extends Error {
  constructor(retryAfter) {
    super("away");
    this.retryAfter = retryAfter;
  }
}

/** Return the answer to a read: 200, 204 or 410. */
async function ask(parameters, signal) {
  const response = await orAway(fetch(`/poll?${queryOf(parameters)}`, { signal, cache: "no-store" }));
  if (response.ok || response.status === 410) return response;
  if (response.status >= 500 || response.status === 429) {
    throw new Away(Number(response.headers.get("Retry-After")) || null);
  }
  throw new Refusal(await problemOf(response));
}

/** Return the answer to a read from `since` in one shape: a page, with the gap before it if there is one. */
async function pageOf(response, since) {
  if (response.status === 204) return { messages: [], cursor: response.headers.get("Extra-Cursor"), more: false };
  if (response.status === 410) {
    const { cursor } = await problemOf(response);
    const { epoch, offset, known } = positionOf(cursor);
    const reason = epoch === positionOf(since).epoch ? "evicted" : "epoch";
    return { messages: [], cursor, more: true, gap: { reason, after: offset, until: known } };
  }
  const text = await orAway(response.text());
  return { ...parse(text), size: text.length };
}

async function readHead(filter, signal) {
  const response = await ask([["topic", filter], ["since", "now"], ["retained", "0"]], signal);
  return response.headers.get("Extra-Cursor");
}

/** A promise of fetch's that fails has met a network or a broker that fails. */
function orAway(promise) {
  return promise.catch(() => {
    throw new Away(null);
  });
}

function report(error, reader) {
  if (error instanceof Refusal) return reader.refused(error.code, error.message);
  reader.ended("lost", error instanceof Away ? error.retryAfter : null);
  if (!(error instanceof Away)) throw error; // a bug, here or there: it shows in the browser's log
}
