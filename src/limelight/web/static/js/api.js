/** Asks the server: JSON, lines of JSON, files. Errors are sentences in the reader's language. */

/** An error that the server answered: its code, and its sentence. */
export class ApiError extends Error {
  /** @param {string} code as `errors` in the server's texts names it
   *  @param {string} message the sentence; "" where the server was not reached */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** This page among all pages that are open: a later request of one page does not stop another's. */
const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) =>
  byte.toString(16).padStart(2, "0")
).join("");

let language = "";

/** Let all answers come in a language; "" for that of the browser. */
export function speak(name) {
  language = name;
}

/** Return the JSON at a path, such as "api/page". */
export async function get(path, { signal } = {}) {
  return (await answered(path, { signal })).json();
}

/** Send JSON, and return the JSON that answers it. */
export async function post(path, body = {}, { signal } = {}) {
  return (await answered(path, { ...asJson(body), signal })).json();
}

/** Send a form with files, and return the JSON that answers it. */
export async function send(path, form, { signal } = {}) {
  return (await answered(path, { method: "POST", body: form, signal })).json();
}

/** Send JSON, and return the file that answers it, as `{blob, name}`. */
export async function blob(path, body = {}, { signal } = {}) {
  const answer = await answered(path, { ...asJson(body), signal });
  const named = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "");
  return { blob: await answer.blob(), name: named ? decodeURIComponent(named[1]) : "" };
}

/** Let the server drop what is at a path. */
export async function drop(path) {
  await answered(path, { method: "DELETE" });
}

/** Return the file at a path, such as a picture. */
export async function file(path, { signal } = {}) {
  return (await answered(path, { signal })).blob();
}

/**
 * Send JSON, and hand on each line of the answer, an object, as it arrives.
 * A line that is nothing but an error ends the request, and is thrown.
 */
export async function lines(path, body, onLine, { signal } = {}) {
  const answer = await answered(path, { ...asJson(body), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts.filter(Boolean)) {
      const line = JSON.parse(part);
      if (line.error && line.number === undefined) {
        throw new ApiError(line.error.code, line.error.message);
      }
      onLine(line);
    }
  }
}

/** Whether an error only says that nobody waits for the answer any more. */
export function isStopped(error) {
  return error.name === "AbortError" || error.code === "stopped";
}

function asJson(body) {
  return {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  };
}

async function answered(path, options) {
  const address = language ? `${path}${path.includes("?") ? "&" : "?"}lang=${language}` : path;
  const headers = { ...options.headers, "x-limelight-client": CLIENT };
  let answer;
  try {
    answer = await fetch(address, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("unreachable", "");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new ApiError(told.error?.code ?? "unreachable", told.error?.message ?? "");
}
