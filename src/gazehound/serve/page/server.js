// Talking to the server: what the model is, and the candidates of a picture.

const TRIES = 4;

/** An answer of the server that says what is wrong. */
export class Problem extends Error {}

async function checked(response) {
  if (response.ok) return response;
  const document = await response.json().catch(() => null);
  const text = document?.title ? `${document.title}: ${document.detail}` : `The server says ${response.status}`;
  throw Object.assign(new Problem(text), { status: response.status });
}

/** Ask; while the server is busy, wait as long as it says, and ask again. */
async function ask(path, options, onWait = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(path, options);
    const wait = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || !wait || attempt >= TRIES) return checked(response);
    onWait(wait);
    await new Promise((done) => setTimeout(done, 1000 * wait));
    options.signal?.throwIfAborted();
  }
}

function post(path, blob, signal, onWait) {
  const kind = blob.type.startsWith("image/") ? blob.type : "application/octet-stream";
  return ask(path, { method: "POST", body: blob, headers: { "Content-Type": kind }, signal }, onWait);
}

/** Return what is served; the server answers when the model is warm. */
export async function fetchModel() {
  return (await ask("v1/model", {})).json();
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
