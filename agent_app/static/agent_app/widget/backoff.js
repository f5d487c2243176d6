// When to try again: full jitter, so that a thousand customers do not come back in the same instant.
const FIRST_MS = 500;
const MOST_MS = 20_000;

export class Backoff {
  #tries = 0;

  /** Milliseconds until the next try: anything up to a bound that doubles with each. */
  next() {
    return Math.random() * Math.min(MOST_MS, FIRST_MS * 2 ** this.#tries++);
  }

  reset() {
    this.#tries = 0;
  }
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
