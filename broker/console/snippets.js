/** The lines that do from elsewhere what the page does: pure text, built from what its fields say. */

import { filterPath, fitsPath, queryOf, topicPath } from "./filters.js";
import { parse } from "./values.js";

export const LANGUAGES = { curl: "curl", javascript: "JavaScript", python: "Python" };

const PYTHON_WORDS = { true: "True", false: "False", null: "None" };

/** Return whether a payload is JSON: what is not is published as text. */
export function isJSON(text) {
  return jsonError(text) === null;
}

/** Return what is wrong with `text` as JSON, in the words of the browser; null when nothing is. */
export function jsonError(text) {
  try {
    parse(text);
    return null;
  } catch (error) {
    return error.message;
  }
}

/** Return the lines that subscribe to `filter`, from `since` on. */
export function subscribeLines(language, { origin, filter, since }) {
  const start = since === "now" ? [] : [["since", since]];
  const query = queryOf(start).replaceAll("%3A", ":");
  const url = fitsPath(filter)
    ? origin + filterPath(filter) + (query && `?${query}`)
    : `${origin}/sse?${queryOf([["topic", filter], ...start])}`;
  const option = since === "now" ? "" : `, since=${quoted(since)}`;
  return {
    curl: () => `curl -N -H 'Accept: text/event-stream' \\\n  ${shellWord(url)}`,
    javascript: () => `const source = new EventSource(${quoted(url)});
source.onmessage = (event) => {
  const { topic, data } = JSON.parse(event.data);
  console.log(topic, data);
};`,
    python: () => `import asyncio
import extra

async def main():
    async with (
        extra.Client(${quoted(origin)}) as broker,
        broker.subscribe(${quoted(filter)}${option}) as messages,
    ):
        async for message in messages:
            print(message.topic, message.data)

asyncio.run(main())`,
  }[language]();
}

/** Return the lines that publish `text` on `topic`, as JSON if it is. `ttl` is seconds, or "" for none. */
export function publishLines(language, { origin, topic, text, retain, ttl }) {
  const json = isJSON(text);
  const literal = json ? literalOf(text) : quoted(text);
  const url = origin + topicPath(topic) + (ttl && `?ttl=${ttl}`);
  return {
    curl: () => {
      const method = retain ? "-X PUT " : "";
      const asIs = fitsPath(topic) ? "" : "--path-as-is "; // or curl resolves `.` and `..` away
      const data = text.startsWith("@") ? "--data-raw" : "-d"; // where `@` would name a file
      return `curl ${method}${asIs}${data} ${shellWord(text)} \\\n  ${shellWord(url)}`;
    },
    javascript: () => `await fetch(${quoted(url)}, {
  method: "${retain ? "PUT" : "POST"}",
  headers: { "Content-Type": "${json ? "application/json" : "text/plain"}" },
  body: ${json ? `JSON.stringify(${literal})` : literal},
});`,
    python: () => {
      const data = json ? pythonLiteral(literal) : literal;
      const options = [...(retain ? ["retain=True"] : []), ...(ttl ? [`ttl=${ttl}`] : [])];
      const lines = [quoted(origin), quoted(topic), data, ...options].map((line) => `    ${line},\n`);
      return `import extra\n\nextra.publish(\n${lines.join("")})`;
    },
  }[language]();
}

/** A JSON string is a string literal in JavaScript and in Python as well. */
function quoted(text) {
  return JSON.stringify(text.toWellFormed());
}

function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Return JSON as the source of a literal: as it was typed, where that is one line and has no escapes. */
function literalOf(text) {
  return /[\n\r\\]/.test(text) ? JSON.stringify(parse(text)) : text.trim();
}

function pythonLiteral(json) {
  return json.replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g, (part) => PYTHON_WORDS[part] ?? part);
}
