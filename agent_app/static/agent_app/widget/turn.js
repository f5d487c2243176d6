// One answer while it is being written. Offsets in deltas count characters as Python does: code points, not UTF-16.
export class Turn {
  #points = [];
  tool = null;

  constructor(id) {
    this.id = id;
  }

  get text() {
    return this.#points.join("");
  }

  /** A piece that lies past what is known (this tab came in later) is left out: the message brings the whole. */
  write({ at, text }) {
    if (at > this.#points.length) return;
    this.#points.splice(at, Infinity, ...text);
    this.tool = null;
  }
}
