/**
 * A session: one filter, read over one face at a time. It outlives its connections by keeping the cursor.
 *
 *     off         start                  -> connecting
 *     connecting  opened                 -> live
 *                 ended                  -> away
 *                 refused                -> off
 *     live        ended                  -> away
 *                 drop / pause           -> dropped / paused
 *     away        its timer, resume      -> connecting
 *     dropped     its timer, resume      -> connecting
 *     paused      resume                 -> connecting
 *
 * Whatever takes it out of `live` opens an interruption, which counts what the resume brings and is the
 * evidence for "nothing lost, nothing twice".
 */

import { FACES, positionOf } from "./faces.js";

const RETRY_FIRST_S = 0.5;
const RETRY_LIMIT_S = 8;

/** One stay away from the broker: from `at`, the last offset before it, to `resumedAt`, the first after it. */
export class Interruption {
  /** @param kind "dropped", "paused", "switched", or why the connection ended: "lost", "slow", "shutdown". */
  constructor(kind, at, now) {
    this.kind = kind;
    this.at = at;
    this.began = now;
    this.ended = null;
    this.resumedAt = null;
    this.replayed = 0;
    this.twice = 0;
    this.missing = false;
    this.meanwhile = 0;
  }

  seconds(now) {
    return ((this.ended ?? now) - this.began) / 1000;
  }
}

export class Session {
  /**
   * `listener` has `message(envelope, {earlier, face, size})`, `gap(gap)`, `interrupted(interruption)`, `refused(code,
   * message)` and `changed()`, the last for anything else that shows.
   */
  constructor(listener) {
    this.state = "off";
    this.face = "websocket";
    this.filter = "#";
    this.since = "now";
    this.options = {};
    this.cursor = null;
    this.version = "";
    this.received = 0;
    this.interruption = null;
    /** When it comes back by itself, as `performance.now()` has it; null when it waits for nothing. */
    this.returns = null;
    this.#listener = listener;
  }

  #listener;
  #connection = null;
  #timer = 0;
  #failures = 0;
  #floor = 0;

  /** Begin afresh, without a cursor. `options` are `retained` and `overflow`, as in a `subscribe`. */
  start({ filter, face = this.face, since, options = {} }) {
    Object.assign(this, { filter, face, since, options, cursor: null, received: 0, interruption: null });
    this.#failures = 0;
    this.#connect();
  }

  /** Go on over another face, from where this one stands. */
  switchTo(face) {
    this.face = face;
    if (this.state === "live") this.#interrupt("switched");
    if (this.state === "live" || this.state === "connecting" || this.state === "away") this.#connect();
    else this.#listener.changed();
  }

  /** Cut the connection, and come back after so many seconds. */
  drop(seconds) {
    this.#leave("dropped");
    this.#returnAfter(seconds);
  }

  pause() {
    this.#leave("paused");
  }

  /** Come back now. */
  resume() {
    if (this.state === "dropped" || this.state === "paused" || this.state === "away") this.#connect();
  }

  #leave(state) {
    if (this.state === "live") this.#interrupt(state);
    this.#hangUp();
    this.state = state;
    this.#listener.changed();
  }

  #connect() {
    this.#hangUp();
    this.state = "connecting";
    const since = this.cursor ?? this.since;
    this.#floor = this.cursor ? positionOf(this.cursor).offset : 0;
    const request = { filter: this.filter, since, ...this.options };
    this.#connection = FACES[this.face].open(request, this.#reader());
    this.#listener.changed();
  }

  #hangUp() {
    clearTimeout(this.#timer);
    this.returns = null;
    this.#connection?.close();
    this.#connection = null;
  }

  #interrupt(kind) {
    this.interruption = new Interruption(kind, this.cursor ? positionOf(this.cursor).offset : 0, performance.now());
    this.#listener.interrupted(this.interruption);
  }

  #returnAfter(seconds) {
    this.returns = performance.now() + seconds * 1000;
    this.#timer = setTimeout(() => this.#connect(), seconds * 1000);
    this.#listener.changed();
  }

  #reader() {
    return {
      opened: (version) => {
        this.version = version ?? this.version;
        this.#failures = 0;
        this.state = "live";
        if (this.interruption) this.interruption.ended ??= performance.now();
        this.#listener.changed();
      },
      message: (envelope, earlier, size) => {
        this.received += 1;
        if (this.interruption) this.#account(this.interruption, envelope.offset, earlier);
        this.#listener.message(envelope, { earlier, size, face: this.face });
      },
      position: (cursor) => {
        this.cursor = cursor;
      },
      gap: (gap) => {
        if (this.interruption && gap.reason !== "overflow") this.interruption.missing = true;
        if (gap.reason === "epoch") this.#floor = 0;
        this.#listener.gap(gap);
      },
      refused: (code, message) => {
        this.#hangUp();
        this.state = "off";
        this.#listener.refused(code, message);
      },
      ended: (reason, retryAfter) => {
        if (this.state === "live") this.#interrupt(reason);
        this.#hangUp();
        this.state = "away";
        this.#returnAfter(retryAfter ?? this.#backoff());
      },
    };
  }

  #account(interruption, offset, earlier) {
    if (offset <= this.#floor) interruption.twice += 1;
    else if (earlier) interruption.replayed += 1;
    interruption.resumedAt ??= offset;
  }

  /** Double the wait with each failure, at random within its upper half, so that pages do not come back as one. */
  #backoff() {
    const longest = Math.min(RETRY_FIRST_S * 2 ** this.#failures, RETRY_LIMIT_S);
    this.#failures += 1;
    return longest * (0.5 + Math.random() / 2);
  }
}
