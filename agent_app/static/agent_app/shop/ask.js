// The demo shop's buttons: any page that embeds the chat can call the same three methods of its element.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-ask], [data-open-chat]");
  if (!button) return;
  await customElements.whenDefined("supportdesk-chat");
  const chat = document.querySelector("supportdesk-chat");
  if (button.dataset.ask) chat.ask(button.dataset.ask);
  else chat.open();
});
