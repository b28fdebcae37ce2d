// Talking to the server: candidates of a picture, and what the model is.

const TRIES = 4;

/** An answer of the server that says what is wrong. */
export class Problem extends Error {}

async function checked(response) {
  if (response.ok) return response;
  const document = await response.json().catch(() => null);
  const text = document?.title ? `${document.title}: ${document.detail}` : `The server says ${response.status}`;
  throw Object.assign(new Problem(text), { status: response.status });
}

export async function fetchModel() {
  return (await checked(await fetch("v1/model"))).json();
}

/** Post a picture; while the server is busy, wait as long as it asks, and try again. */
async function post(path, blob, signal, onWait = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    const headers = { "Content-Type": blob.type.startsWith("image/") ? blob.type : "application/octet-stream" };
    const response = await fetch(path, { method: "POST", body: blob, headers, signal });
    const wait = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || !wait || attempt >= TRIES) return checked(response);
    onWait(wait);
    await new Promise((done) => setTimeout(done, 1000 * wait));
    signal?.throwIfAborted();
  }
}

/**
 * Detect on a picture.
 * @returns {{answer: object, timing: Map<string, number>, seconds: number}} the boxes before suppression
 *   where the model has them, the server's own times in milliseconds, and the whole round trip.
 */
export async function detect(blob, signal, onWait) {
  const started = performance.now();
  const response = await post("v1/detect?candidates=true", blob, signal, onWait);
  const answer = await response.json();
  const timing = new Map(
    (response.headers.get("Server-Timing") ?? "").split(",").map((span) => {
      const [key, value] = span.trim().split(";dur=");
      return [key, Number.parseFloat(value)];
    }),
  );
  return { answer, timing, seconds: (performance.now() - started) / 1000 };
}

/** Return a picture that this browser cannot read, as the model sees it. */
export async function preview(blob, signal) {
  return (await post("v1/preview", blob, signal)).blob();
}
