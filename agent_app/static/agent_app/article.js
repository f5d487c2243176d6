// Beside an article's form: what the agent would answer, and what else saving would change, while it is being written.
const place = document.getElementById("look-ahead");
const form = place?.closest("form");
const PAUSE_MS = 900; // after the last key

if (form) {
  const question = place.querySelector("input");
  const shown = place.querySelector(".ahead");
  let due = null;
  let asking = null;

  const look = async () => {
    clearTimeout(due);
    asking?.abort();
    asking = new AbortController();
    const body = new FormData(form);
    for (const [name, value] of [...body]) if (value instanceof File) body.delete(name);
    body.set("q", question.value);
    body.set("instead_of", place.dataset.insteadOf);
    shown.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(place.dataset.url, { method: "POST", body, signal: asking.signal });
      if (!response.ok) throw new TypeError(response.statusText);
      shown.innerHTML = await response.text(); // our own template's, with every value escaped
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof TypeError)) throw error;
      shown.textContent = place.dataset.trouble;
    }
    shown.removeAttribute("aria-busy");
  };

  const soon = () => {
    clearTimeout(due);
    due = setTimeout(look, PAUSE_MS);
  };

  form.addEventListener("input", (event) => event.target !== question && soon());
  form.addEventListener("change", (event) => event.target !== question && soon());
  place.querySelector("button").addEventListener("click", look);
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault(); // it asks, and saves nothing
    look();
  });
}
