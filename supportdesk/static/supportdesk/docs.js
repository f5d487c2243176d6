// The package has a dark look and a button for it in a bar that this page does not show: it follows the reader's own.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// What the package draws, as it is opened, without a name or out of the keyboard's reach.
const name = () => {
  for (const field of document.querySelectorAll(".body-param__text:not([aria-label])")) field.ariaLabel = "Request body";
  for (const button of document.querySelectorAll(".close-modal:not([aria-label])")) button.ariaLabel = "Close";
  for (const scrolled of document.querySelectorAll("pre.microlight:not([tabindex])")) scrolled.tabIndex = 0;
};
new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
