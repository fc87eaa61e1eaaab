/**
 * Payloads, made readable within bounds. What comes in may be of any size, depth and shape.
 *
 * `tokens` writes one line of a value and stops at a limit, so that a megabyte costs no more than what is
 * shown of it. Its texts are fresh strings: a slice would keep the whole string that it was cut from alive.
 */

const DEPTH_LIMIT = 6;
const LONG_NUMBER = /\d{16}/;

/** Parse what the broker sent. Integers that a double cannot hold stay as written, where JSON.rawJSON exists. */
export function parse(text) {
  return JSON.rawJSON && LONG_NUMBER.test(text) ? JSON.parse(text, exactNumber) : JSON.parse(text);
}

/** Return one line of `value` as `[kind, text]` pairs, about `limit` characters in all, ending in "…" if cut. */
export function tokens(value, limit) {
  const line = new Line(limit);
  write(line, value, 0);
  return line.tokens;
}

export function oneLine(value, limit) {
  return tokens(value, limit)
    .map(([, text]) => text)
    .join("");
}

/** Return all of `value`, indented, cut at `limit` characters with a note. */
export function indented(value, limit) {
  const text = typeof value === "string" ? value : stringify(value);
  if (text.length <= limit) return text;
  return `${text.slice(0, limit)}\n… ${(text.length - limit).toLocaleString("en")} more characters`;
}

/** Return the payload of a message envelope, as something to look at. */
export function payloadOf(envelope) {
  return "data_base64" in envelope ? new Bytes(envelope.data_base64) : envelope.data;
}

/** Bytes that are neither JSON nor text, kept as the base64 that they came in. */
export class Bytes {
  constructor(base64) {
    this.base64 = base64;
  }

  get size() {
    const padding = this.base64.endsWith("==") ? 2 : this.base64.endsWith("=") ? 1 : 0;
    return (this.base64.length / 4) * 3 - padding;
  }

  toJSON() {
    return this.base64;
  }
}

/** The beginning of a payload that is too large to keep. */
export class Excerpt {
  constructor(payload, limit) {
    this.text = oneLine(payload, limit);
  }
}

class Line {
  constructor(limit) {
    this.tokens = [];
    this.room = limit;
  }

  add(kind, text) {
    this.tokens.push([kind, text]);
    this.room -= text.length;
  }

  /** Return whether there is room for more, and end the line if there is none. */
  goesOn() {
    if (this.room > 0) return true;
    if (this.tokens.at(-1)?.[1] !== "…") this.tokens.push(["mark", "…"]);
    return false;
  }
}

function write(line, value, depth) {
  if (!line.goesOn()) return;
  if (typeof value === "string") line.add("string", quoted(value, line.room));
  else if (value === null || value === undefined) line.add("word", "null");
  else if (typeof value === "boolean") line.add("word", String(value));
  else if (typeof value === "number") line.add("number", String(value));
  else if (JSON.isRawJSON?.(value)) line.add("number", String(value.rawJSON).slice(0, 60));
  else if (value instanceof Bytes) writeBytes(line, value);
  else if (value instanceof Excerpt) line.add("mark", value.text.slice(0, line.room));
  else if (depth === DEPTH_LIMIT) line.add("mark", Array.isArray(value) ? "[…]" : "{…}");
  else if (Array.isArray(value)) writeArray(line, value, depth);
  else writeObject(line, value, depth);
}

function writeArray(line, values, depth) {
  line.add("mark", "[");
  for (let i = 0; i < values.length; i++) {
    if (i) line.add("mark", ", ");
    if (!line.goesOn()) return;
    write(line, values[i], depth + 1);
  }
  line.add("mark", "]");
}

function writeObject(line, object, depth) {
  line.add("mark", "{");
  let first = true;
  for (const key in object) {
    if (!first) line.add("mark", ", ");
    first = false;
    if (!line.goesOn()) return;
    line.add("key", quoted(key, line.room));
    line.add("mark", ": ");
    write(line, object[key], depth + 1);
  }
  line.add("mark", "}");
}

function writeBytes(line, bytes) {
  line.add("word", `${bytes.size.toLocaleString("en")} bytes `);
  line.add("string", JSON.stringify(bytes.base64.slice(0, line.room)).slice(1, -1));
}

function quoted(text, limit) {
  return text.length > limit ? `${JSON.stringify(text.slice(0, limit)).slice(0, -1)}…` : JSON.stringify(text);
}

function stringify(value) {
  if (value instanceof Bytes) return value.base64;
  if (value instanceof Excerpt) return value.text;
  try {
    return JSON.stringify(value, null, 2);
  } catch (error) {
    // Nested so deeply that the engine's stack does not reach the bottom.
    return `cannot be shown: ${error.message}`;
  }
}

function exactNumber(_key, value, context) {
  const lost = typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source);
  return lost ? JSON.rawJSON(context.source) : value;
}
