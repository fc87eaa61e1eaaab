/** The form that publishes one message, and says what became of it. */

import { byID, element, icon, setText } from "./elements.js";
import { problemOf } from "./faces.js";
import { fitsPath, topicPath } from "./filters.js";
import { isJSON, jsonError } from "./snippets.js";
import { count, plural } from "./words.js";

const REPEAT_EVERY_MS = 1000;

const SAMPLE = { topic: "site/kitchen/temp", payload: '{"celsius": 21.5, "humidity": 48}' };

export class PublishBox {
  /**
   * `onEdit()` is called when a field has changed. `hasRetained(topic)` says whether a topic has a retained message;
   * `onClear(topic)` is called when one is to be cleared.
   */
  constructor({ onEdit, hasRetained, onClear }) {
    this.#onEdit = onEdit;
    this.#hasRetained = hasRetained;
    byID("publish-clear").addEventListener("click", () => onClear(this.#read().topic));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#publish();
    });
    this.#form.addEventListener("input", () => this.#edited());
    this.#form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#repeat.addEventListener("change", () => this.#setRepeating());
    this.#paintKind();
  }

  #onEdit;
  #hasRetained;
  #form = byID("publish-form");
  #topic = byID("publish-topic");
  #payload = byID("publish-payload");
  #kind = byID("publish-kind");
  #warning = byID("publish-warning");
  #retain = byID("publish-retain");
  #ttl = byID("publish-ttl");
  #repeat = byID("publish-repeat");
  #result = byID("publish-result");
  #timer = 0;

  /** What the fields say, for the lines that do the same. */
  get fields() {
    const { topic, text, retain, ttl } = this.#read();
    return { topic: topic || SAMPLE.topic, text, retain, ttl };
  }

  /** Offer this topic to publish to. */
  propose(topic) {
    this.#topic.value = topic;
    this.#edited();
  }

  /** Fill in the sample and publish it. */
  sample() {
    this.#topic.value = SAMPLE.topic;
    this.#payload.value = SAMPLE.payload;
    this.#edited();
    this.#form.requestSubmit();
  }

  /** Say whether the topic has a retained message, which may have changed. */
  paintKept() {
    byID("publish-kept").hidden = !this.#hasRetained(this.#read().topic);
  }

  /** Say what became of clearing the retained message of `topic`. */
  cleared(topic) {
    this.#show("good", "check", element("strong", "", "Cleared"), ` what was retained on ${topic.slice(0, 200)}`);
  }

  /** Say why something was not done. */
  fail(code, detail) {
    this.#show("bad", "gap", `${detail} `, element("code", "", code));
  }

  #read() {
    return {
      topic: this.#topic.value.trim(),
      text: this.#payload.value,
      retain: this.#retain.checked,
      ttl: this.#ttl.value.trim(),
    };
  }

  #edited() {
    this.#paintKind();
    this.paintKept();
    this.#onEdit();
  }

  #paintKind() {
    const text = this.#payload.value;
    const error = jsonError(text);
    this.#kind.textContent = error ? "text" : "JSON";
    this.#kind.dataset.kind = this.#kind.textContent;
    // What begins as JSON does was meant to be some.
    const broken = error !== null && /^\s*[[{"]/.test(text);
    this.#payload.classList.toggle("broken", broken);
    this.#warning.hidden = !broken;
    setText(this.#warning, broken ? "This is not JSON: it will be published as text." : "");
    this.#warning.title = error ?? "";
  }

  #setRepeating() {
    clearInterval(this.#timer);
    if (!this.#repeat.checked) return;
    this.#form.requestSubmit();
    this.#timer = setInterval(() => this.#form.requestSubmit(), REPEAT_EVERY_MS);
  }

  async #publish() {
    const { topic, text, retain, ttl } = this.#read();
    if (topic && !fitsPath(topic)) {
      this.#fail("invalid_topic", "a browser cannot write a topic with the level '.' or '..' as a URL");
      return;
    }
    const headers = { "Content-Type": isJSON(text) ? "application/json" : "text/plain; charset=utf-8" };
    if (ttl) headers["Extra-TTL"] = ttl;
    try {
      const response = await fetch(topicPath(topic), { method: retain ? "PUT" : "POST", headers, body: text });
      if (response.ok) this.#succeed(await response.json());
      else {
        const { code, detail } = await problemOf(response);
        this.#fail(code, detail);
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // what fetch raises when nobody answers
      this.#fail("no answer", "the broker cannot be reached: nothing was published, or nobody can say");
    }
  }

  #succeed({ offset, subscribers, cursor }) {
    const where = element("strong", "", `Offset ${count(offset)}`);
    this.#show("good", "check", where, ` to ${plural(subscribers, "subscriber")} `, element("code", "", cursor));
  }

  #fail(code, detail) {
    if (this.#repeat.checked) {
      this.#repeat.checked = false;
      clearInterval(this.#timer);
    }
    this.fail(code, detail);
  }

  #show(kind, iconName, ...content) {
    const text = element("span");
    text.append(...content);
    this.#result.className = `result ${kind}`;
    this.#result.replaceChildren(icon(iconName), text);
  }
}
