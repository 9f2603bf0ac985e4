// Sends requests to the service; errors become messages.

const KEY = "marquee-key";

// A request without an answer: `problem` is an RFC 9457 document of the service, or created here.
export class RequestError extends Error {
  constructor(problem, retryAfter) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

// The answer to a request; prompts for a key if the service needs one. Throws RequestError or AbortError.
export async function request(path, body, signal) {
  let reply = await send(path, body, signal);
  while (reply.status === 401 && (await promptForKey(hasKey()))) reply = await send(path, body, signal);
  if (reply.ok) return reply.json();
  throw new RequestError(await problemOf(reply), Number(reply.headers.get("Retry-After")) || null);
}

export async function send(path, body, signal, method = body === undefined ? "GET" : "POST") {
  const headers = { Accept: "application/json", ...keyHeader() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const payload = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  try {
    // Relative to the page: the service may be under a prefix, behind a reverse proxy.
    return await fetch(path.replace(/^\//, "./"), { method, headers, body: payload, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError({
      title: "The service cannot be reached",
      detail: "The address does not respond. Is the service running?",
    });
  }
}

// The key is never part of a URL, and is removed with the tab.
const storedKey = () => sessionStorage.getItem(KEY);
const keyHeader = () => (storedKey() ? { Authorization: `Bearer ${storedKey()}` } : {});
export const hasKey = () => Boolean(storedKey());

async function problemOf(reply) {
  const fallback = { title: `The service answered ${reply.status}`, detail: "The response has no explanation.", status: reply.status };
  try {
    return { ...fallback, ...(await reply.json()) };
  } catch {
    return fallback;
  }
}

// Prompts for a key; true if one was entered.
function promptForKey(wasRejected) {
  const dialog = document.getElementById("key-dialog");
  const field = document.getElementById("key");
  const form = document.getElementById("key-form");
  document.getElementById("key-title").textContent = wasRejected
    ? "This key is not valid; enter another one"
    : "This service needs a key";
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    document.getElementById("key-cancel").onclick = () => dialog.close();
    form.onsubmit = () => sessionStorage.setItem(KEY, field.value.trim());
    dialog.onclose = () => resolve(field.value.trim() !== "" && storedKey() === field.value.trim());
  });
}
