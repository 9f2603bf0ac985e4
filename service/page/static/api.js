// Asks the service, and turns whatever goes wrong into words.

const KEY = "marquee-key";

// A request that has no answer: `problem` is an RFC 9457 document, from the service or made here.
export class Trouble extends Error {
  constructor(problem, retryAfter) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

// The answer to a request; asks for a key where the service wants one. Throws Trouble, or AbortError.
export async function ask(path, body, signal) {
  let reply = await send(path, body, signal);
  while (reply.status === 401 && (await wantKey(Boolean(storedKey())))) reply = await send(path, body, signal);
  if (reply.ok) return reply.json();
  throw new Trouble(await problemOf(reply), Number(reply.headers.get("Retry-After")) || null);
}

export async function send(path, body, signal) {
  const headers = { Accept: "application/json", ...keyHeader() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const payload = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  try {
    // Relative to the page: the service may be under a prefix, behind a reverse proxy.
    return await fetch(path.replace(/^\//, "./"), { method: body === undefined ? "GET" : "POST", headers, body: payload, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble({
      title: "The service cannot be reached",
      detail: "No answer came from this address. Is the service still running?",
    });
  }
}

// Never on a link, never in storage that outlives the tab.
const storedKey = () => sessionStorage.getItem(KEY);
const keyHeader = () => (storedKey() ? { Authorization: `Bearer ${storedKey()}` } : {});

async function problemOf(reply) {
  const fallback = { title: `The service answered ${reply.status}`, detail: "It gave no reason.", status: reply.status };
  try {
    return { ...fallback, ...(await reply.json()) };
  } catch {
    return fallback;
  }
}

// Asks for a key; true when one was given.
function wantKey(wasRefused) {
  const dialog = document.getElementById("key-dialog");
  const field = document.getElementById("key");
  const form = document.getElementById("key-form");
  document.getElementById("key-title").textContent = wasRefused
    ? "This key is not taken; is there another?"
    : "This service asks for a key";
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    document.getElementById("key-cancel").onclick = () => dialog.close();
    form.onsubmit = () => sessionStorage.setItem(KEY, field.value.trim());
    dialog.onclose = () => resolve(field.value.trim() !== "" && storedKey() === field.value.trim());
  });
}
