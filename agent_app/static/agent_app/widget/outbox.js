// What somebody wrote and the desk has not acknowledged. Kept in IndexedDB before it is sent, so that a reload,
// a crash or a lost network loses nothing; each entry's client_id lets it be sent as often as needed.
const STORE = "outbox";

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function open(database) {
  const request = indexedDB.open(database, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "order", autoIncrement: true });
  return settled(request);
}

/** 128 random bits. crypto.randomUUID would need https. */
export function newClientId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox {
  #database = null;

  /** Who writes names the database: a customer's entries and a colleague's must never meet in one browser. */
  constructor(name = "supportdesk") {
    this.name = name;
  }

  /** Without storage (a private window, a sandbox) entries live as long as the page, which is all one can do there. */
  async open() {
    try {
      this.#database = await open(this.name);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
  }

  #store(mode) {
    return this.#database.transaction(STORE, mode).objectStore(STORE);
  }

  /** All entries of all tabs, in the order they were written. */
  async all() {
    return this.#database ? settled(this.#store("readonly").getAll()) : [];
  }

  /** Resolves when the entry is kept; sets its `order`. */
  async put(entry) {
    if (this.#database) entry.order = await settled(this.#store("readwrite").put(entry));
  }

  async remove(entry) {
    if (this.#database && entry.order !== undefined) await settled(this.#store("readwrite").delete(entry.order));
  }
}
