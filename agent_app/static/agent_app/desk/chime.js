// Two soft notes when somebody waits for a person. Browsers allow sound only after a gesture; the switch is remembered.
import { recall, remember } from "../widget/memory.js";

const MUTED = "supportdesk.desk.muted";
const NOTES = [
  { hertz: 659, at: 0 },
  { hertz: 880, at: 0.16 },
];
const LOUDNESS = 0.14;
const LASTS = 0.45; // seconds
const HOLD_MS = 3000; // for so long no other tab of this browser rings for the same chat

export class Chime {
  #audio = null;

  constructor(button) {
    this.button = button;
    this.muted = recall(MUTED) === "yes";
    button.addEventListener("click", () => this.#mute(!this.muted));
    for (const gesture of ["pointerdown", "keydown"]) {
      document.addEventListener(gesture, () => (this.#audio ??= new AudioContext()), { once: true, capture: true });
    }
    this.#show();
  }

  /** Rings once in this browser for `about`, however many tabs show the desk. */
  async ring(about) {
    if (!navigator.locks) return this.#play(); // locks exist on https and localhost
    return navigator.locks.request(`supportdesk.ring.${about}`, { ifAvailable: true }, async (lock) => {
      if (!lock) return;
      this.#play();
      await new Promise((resolve) => setTimeout(resolve, HOLD_MS));
    });
  }

  #play() {
    if (this.muted || !this.#audio) return;
    this.#audio.resume();
    for (const note of NOTES) this.#strike(note);
  }

  #strike({ hertz, at }) {
    const start = this.#audio.currentTime + at;
    const loudness = this.#audio.createGain();
    loudness.gain.setValueAtTime(0, start);
    loudness.gain.linearRampToValueAtTime(LOUDNESS, start + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.0001, start + LASTS);
    const tone = this.#audio.createOscillator();
    tone.frequency.value = hertz;
    tone.connect(loudness).connect(this.#audio.destination);
    tone.start(start);
    tone.stop(start + LASTS);
  }

  #mute(muted) {
    this.muted = muted;
    remember(MUTED, muted ? "yes" : "no");
    this.#show();
    if (!muted) this.#play(); // so that one hears what it will be like
  }

  #show() {
    this.button.setAttribute("aria-pressed", String(!this.muted));
    this.button.title = this.muted ? "Silent: turn the sound on" : "Rings when somebody waits: turn the sound off";
    this.button.querySelector(".label").textContent = this.muted ? "Silent" : "Sound";
    this.button.setAttribute("aria-label", "Sound for new waiting chats");
  }
}
