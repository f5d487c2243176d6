// Small values that outlive a reload. A browser may forbid an iframe its storage: then they live as long as the page.
const kept = new Map();

function allowed(act) {
  try {
    return act(window.localStorage);
  } catch (error) {
    if (error.name !== "SecurityError" && error.name !== "QuotaExceededError") throw error;
    return null;
  }
}

export function recall(name) {
  return allowed((storage) => storage.getItem(name)) ?? kept.get(name) ?? null;
}

export function remember(name, value) {
  kept.set(name, value);
  allowed((storage) => storage.setItem(name, value));
}

export function forget(name) {
  kept.delete(name);
  allowed((storage) => storage.removeItem(name));
}

/** Calls `heard(value)` when another tab changes the value. */
export function onOtherTab(name, heard) {
  window.addEventListener("storage", (event) => event.key === name && heard(event.newValue));
}
