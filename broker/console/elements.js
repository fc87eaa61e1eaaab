/**
 * Small help with the DOM. Whatever a broker sends is somebody else's text: it gets onto the page as text
 * nodes and nothing else, so there is no function here that takes HTML.
 */

export function byID(id) {
  return document.getElementById(id);
}

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Set the text of a node unless it has it already: setting it costs a layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Return an instance of a symbol of the page's own icon sheet. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Return the mark of what is retained. */
export function pin(title) {
  const mark = element("span", "pin");
  mark.role = "img";
  mark.ariaLabel = title;
  mark.title = title;
  mark.append(icon("pin"));
  return mark;
}

export function reducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Return a function that has `paint` run in a frame soon: once, however often it is called until then, and with
 * `pauseMs` between one time and the next.
 */
export function paced(paint, pauseMs) {
  let asked = false;
  let last = -Infinity;
  const run = () => {
    asked = false;
    last = performance.now();
    paint();
  };
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => requestAnimationFrame(run), Math.max(0, last + pauseMs - performance.now()));
  };
}
