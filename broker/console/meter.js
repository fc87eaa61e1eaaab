/** Counts by the second, for rates and sparklines. Time comes in as whole seconds that never go back. */

export const SECONDS_KEPT = 30;
const RATE_OVER_S = 5;

/** A ring of counts. It is brought up to date when it is touched, so that a quiet one costs nothing. */
export class Meter {
  #counts = new Uint32Array(SECONDS_KEPT + 1); // the second that is running, and those that are over
  #second = 0;

  add(second, number = 1) {
    this.#advance(second);
    this.#counts[second % this.#counts.length] += number;
  }

  /** Return the mean per second over the last five whole seconds. */
  rate(second) {
    this.#advance(second);
    let sum = 0;
    for (let back = 1; back <= RATE_OVER_S; back++) sum += this.#at(second - back);
    return sum / RATE_OVER_S;
  }

  /** Return the counts of the seconds that are over, oldest first. */
  series(second) {
    this.#advance(second);
    return Array.from({ length: SECONDS_KEPT }, (_, i) => this.#at(second - SECONDS_KEPT + i));
  }

  #at(second) {
    return second < 0 ? 0 : this.#counts[second % this.#counts.length];
  }

  #advance(second) {
    const passed = Math.min(second - this.#second, this.#counts.length);
    for (let i = 0; i < passed; i++) this.#counts[(second - i) % this.#counts.length] = 0;
    this.#second = Math.max(second, this.#second);
  }
}

/** Return an SVG path of `series` in a box of that size, or "" when there is nothing to draw. */
export function sparkline(series, width, height) {
  const top = Math.max(...series);
  if (!top) return "";
  const x = (i) => 1 + (i / (series.length - 1)) * (width - 2);
  const y = (value) => height - 1 - (value / top) * (height - 2);
  return `M${series.map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`;
}
