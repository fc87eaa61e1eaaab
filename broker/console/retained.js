/** Retained messages: on which topics there are some, and how one is cleared. */

import { problemOf } from "./faces.js";
import { fitsPath, queryOf, topicPath } from "./filters.js";

/** Return the topics that have a retained message, or null when nobody can say just now. */
export async function readRetained() {
  const parameters = [["topic", "#"], ["since", "now"], ["retained", "1"]];
  try {
    const response = await fetch(`/poll?${queryOf(parameters)}`, { cache: "no-store" });
    if (!response.ok) return null; // more of them than fit into an answer, for one
    return (await response.json()).messages.map((envelope) => envelope.topic);
  } catch {
    return null; // the broker is away again: whoever asks will ask again
  }
}

/** Clear the retained message of `topic`. Return null, or the problem. */
export async function clearRetained(topic) {
  if (!fitsPath(topic)) {
    return { code: "invalid_topic", detail: "a browser cannot write a topic with the level '.' or '..' as a URL" };
  }
  try {
    const response = await fetch(topicPath(topic), { method: "DELETE" });
    return response.ok ? null : problemOf(response);
  } catch {
    return { code: "no answer", detail: "the broker cannot be reached" };
  }
}
