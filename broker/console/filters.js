/** Topics and topic filters, as MQTT 5.0 section 4.7 has them, and how they are written in a URL. */

/** Return whether `filter` covers `topic`. Both are taken to be valid. */
export function matches(filter, topic) {
  const wanted = filter.split("/");
  const levels = topic.split("/");
  if (topic.startsWith("$") && (wanted[0] === "#" || wanted[0] === "+")) return false;
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === "#") return true; // its parent included, where `levels` ends one short of it
    if (i >= levels.length || (wanted[i] !== "+" && wanted[i] !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}

export function hasWildcard(filter) {
  return filter.split("/").some((level) => level === "+" || level === "#");
}

/** Return the path of a topic, percent-encoded. A wildcard in it stays one, for the broker to refuse. */
export function topicPath(topic) {
  return `/t/${topic.split("/").map(quote).join("/")}`;
}

/** Return the path of a topic filter, percent-encoded: `site/#` is `/t/site/**`. */
export function filterPath(filter) {
  const levels = filter.split("/");
  const written = levels.map((level, i) => {
    if (level === "+") return "*";
    if (level === "#" && i === levels.length - 1) return "**";
    return quote(level);
  });
  return `/t/${written.join("/")}`;
}

/** Return whether a path can name this topic: URLs resolve the levels `.` and `..` away, even percent-encoded. */
export function fitsPath(topic) {
  return topic.split("/").every((level) => level !== "." && level !== "..");
}

export function queryOf(parameters) {
  return parameters.map(([name, value]) => `${name}=${quote(value)}`).join("&");
}

/**
 * Percent-encode. An apostrophe too, so that the result can stand in a quoted shell word. A lone surrogate, which a
 * text field can hold and `encodeURIComponent` throws at, becomes U+FFFD.
 */
function quote(text) {
  return encodeURIComponent(text.toWellFormed()).replaceAll("'", "%27");
}
