// A question before something that cannot be undone. Resolves to true for yes; Esc and Cancel are no.
const dialog = document.getElementById("question");

export function ask({ title, text, yes }) {
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("p").textContent = text;
  dialog.querySelector("#question-yes").textContent = yes;
  dialog.returnValue = "no"; // Esc leaves it as it was
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
