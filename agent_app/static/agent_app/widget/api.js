// The REST doors that the chat needs beside its socket.

/** The desk answered with an error object, or with something that is none. */
export class Refused extends Error {
  constructor(status, { code = "unavailable", message = "", retry_after } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retry_after;
  }

  get passes() {
    return this.status >= 500 || this.status === 429;
  }
}

/** The desk cannot be reached: worth another try. */
export class Unreachable extends Error {}

export async function call(method, url, { token, body, as = "json" } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    // The customer's doors know the token alone; a staff login in this browser must not travel along.
    response = await fetch(url, { method, headers, body: body && JSON.stringify(body), credentials: "omit" });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Unreachable();
  }
  if (response.ok && as === "blob") return response.blob();
  const json = response.headers.get("Content-Type")?.includes("json") ? await response.json() : {};
  if (!response.ok) throw new Refused(response.status, json);
  return json;
}
