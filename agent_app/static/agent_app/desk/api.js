// The staff's REST doors, by Django's login.
import { Refused, Unreachable } from "../widget/api.js";
import { csrfToken } from "./page.js";

async function json(response) {
  const body = response.headers.get("Content-Type")?.includes("json") ? await response.json() : {};
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

async function reach(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch's word for a network that is away
    throw new Unreachable();
  }
}

export async function get(url) {
  return json(await reach(url, { headers: { Accept: "application/json" } }));
}

export async function post(url, body, method = "POST") {
  const headers = { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": csrfToken() };
  return json(await reach(url, { method, headers, body: body && JSON.stringify(body) }));
}
