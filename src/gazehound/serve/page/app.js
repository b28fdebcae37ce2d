// The page: one picture, its candidates, and what the sliders leave of them.

import { Camera } from "./camera.js";
import { draw } from "./drawing.js";
import { downloadJson, downloadPng } from "./files.js";
import { revealChosen, showClasses, showCount, showList, showSlider } from "./panel.js";
import { detect, fetchModel, preview } from "./server.js";
import { suppress } from "./suppression.js";

const $ = (id) => document.getElementById(id);
const canvas = $("canvas");
const camera = new Camera($("video"));

const state = {
  model: null,
  picture: null, // {image, name, width, height}
  candidates: [], // of the server, best first
  limit: Infinity, // boxes kept after suppression
  before: [], // what the sliders leave, of all classes
  shown: [], // and of the classes that are not hidden
  hidden: new Set(),
  chosen: null,
  timing: "",
  running: null, // AbortController of the request under way
  frozen: false,
};

// ---------------------------------------------------------------- what is shown

/** Apply both sliders and the class filter to the candidates, and show what is left. */
function update() {
  const score = Number($("score").value);
  const enough = state.candidates.filter((one) => one.score >= score);
  state.before = suppress(enough, Number($("iou").value), state.limit);
  state.shown = state.before.filter((one) => !state.hidden.has(one.label));
  if (!state.shown.includes(state.chosen)) state.chosen = null;
  showSlider($("score"));
  showSlider($("iou"), $("iou").value === "1" ? "off" : undefined);
  showCounts();
  redraw();
}

function showCounts() {
  const classes = new Map();
  for (const { label, name } of state.candidates) classes.set(label, { name, count: 0 });
  for (const { label } of state.before) classes.get(label).count += 1;
  showClasses(classes, state.hidden, (label, on) => {
    if (on) state.hidden.delete(label);
    else state.hidden.add(label);
    update();
  });
  if (!state.picture) return;
  showCount(state.shown, state.timing);
  $("json").disabled = false;
  $("png").disabled = false;
  showRows();
}

function showRows() {
  const nothing = state.candidates.length
    ? "Nothing at these settings; try a lower score."
    : "The model found nothing in this picture.";
  showList(state.shown, state.chosen, choose, nothing);
}

/** Draw the picture as large as the stage allows; called after everything that changes it. */
function redraw() {
  const { picture } = state;
  if (!picture) return;
  const room = $("stage").getBoundingClientRect();
  const fit = Math.min((room.width - 32) / picture.width, canvasRoom(room) / picture.height, 4);
  const ratio = window.devicePixelRatio || 1;
  canvas.style.width = `${Math.round(picture.width * fit)}px`;
  canvas.style.height = `${Math.round(picture.height * fit)}px`;
  canvas.width = Math.round(picture.width * fit * ratio);
  canvas.height = Math.round(picture.height * fit * ratio);
  draw(canvas.getContext("2d"), picture, state.shown, fit * ratio, ratio, state.chosen);
  canvas.setAttribute("aria-label", told());
}

/** Return the height that the picture may take: on a phone the stage grows with the picture. */
function canvasRoom(room) {
  const stacked = matchMedia("(max-width: 860px)").matches;
  return stacked ? window.innerHeight * 0.56 : room.height - $("strip").offsetHeight - 40;
}

/** Say in a sentence what is in the picture. */
function told() {
  if (!state.picture) return "No picture yet";
  const counts = new Map();
  for (const { name } of state.shown) counts.set(name, (counts.get(name) ?? 0) + 1);
  const parts = [...counts].map(([name, count]) => `${count} ${name}`);
  return `${state.picture.name}: ${parts.join(", ") || "nothing found"}`;
}

let speaking;
/** Tell people who do not see the picture, once the sliders rest. */
function say(text) {
  clearTimeout(speaking);
  speaking = setTimeout(() => ($("status").textContent = text ?? told()), 400);
}

function choose(one, focus = false) {
  state.chosen = one;
  showRows();
  redraw();
  revealChosen(focus);
}

function step(by, focus) {
  const count = state.shown.length;
  if (!count) return;
  const at = state.shown.indexOf(state.chosen);
  const next = at < 0 ? (by > 0 ? 0 : count - 1) : Math.min(count - 1, Math.max(0, at + by));
  choose(state.shown[next], focus);
  const one = state.shown[next];
  if (!focus) say(`${next + 1} of ${count}: ${one.name}, score ${one.score.toFixed(2)}`);
}

function complain(error) {
  if (error?.name === "AbortError") return;
  $("alert").textContent = error?.message ?? String(error);
  $("alert").hidden = false;
}

// ---------------------------------------------------------------- pictures

/** Detect on a file or a frame and show it with its boxes. */
async function look(blob, name, image = null) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  $("alert").hidden = true;
  $("progress").hidden = camera.on;
  try {
    const drawable = image ?? createImageBitmap(blob).catch(() => null);
    const wait = (seconds) => say(`The server is busy; trying again in ${seconds} seconds`);
    const { answer, timing, seconds } = await detect(blob, running.signal, wait);
    const shown = (await drawable) ?? (await createImageBitmap(await preview(blob, running.signal)));
    if (running.signal.aborted) return false;
    accept(answer, { image: shown, name, ...answer.image }, timing, seconds);
    return true;
  } catch (error) {
    complain(error);
    return false;
  } finally {
    if (state.running === running) $("progress").hidden = true;
  }
}

function accept(answer, picture, timing, seconds) {
  state.picture?.image.close?.();
  state.picture = picture;
  state.candidates = answer.detections;
  state.limit = answer.suppressed ? Infinity : (state.model.suppression.limit ?? Infinity);
  $("score-hint").textContent = missing(answer);
  const speed = camera.on ? `${(1 / seconds).toFixed(1)} pictures a second` : "";
  const model = timing.get("model");
  state.timing = speed || (model === undefined ? "" : `${model < 10 ? model.toFixed(1) : Math.round(model)} ms`);
  $("empty").hidden = true;
  $("strip").hidden = false;
  canvas.hidden = false;
  document.body.classList.add("has-picture");
  $("source").textContent = `${picture.name} · ${picture.width} × ${picture.height}`;
  update();
  if (!camera.on) say();
}

/** Say under which score boxes are missing, because only the best candidates were sent. */
function missing(answer) {
  const { limit } = state.model.candidates;
  const last = answer.detections.at(-1)?.score;
  if (answer.suppressed || answer.detections.length < limit) return "";
  return `Under ${last.toFixed(2)} some are missing: only the best ${limit} candidates were sent.`;
}

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/") || !one.type);
  if (!file) return complain(new Error("This is not a picture."));
  stopCamera();
  const most = state.model?.limits.upload_bytes;
  if (file.size > most) {
    return complain(new Error(`The file has ${megabytes(file.size)}; at most ${megabytes(most)} are taken.`));
  }
  return look(file, file.name || "pasted.png");
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 0)} MB`;
}

// ---------------------------------------------------------------- camera

async function startCamera() {
  if (!Camera.possible) return $("snapshot").click(); // a phone then opens its own camera
  try {
    await camera.start();
  } catch (error) {
    const denied = error.name === "NotAllowedError";
    return complain(new Error(denied ? "The camera was not allowed." : `No camera: ${error.message}`));
  }
  state.frozen = false;
  showCamera();
  $("flip").hidden = (await camera.count()) < 2;
  say("The camera is on");
  return live();
}

/** Look at frame after frame; one request is under way at a time. */
async function live() {
  while (camera.on && !state.frozen) {
    if (document.hidden) {
      await new Promise((shown) => document.addEventListener("visibilitychange", shown, { once: true }));
      continue;
    }
    const { canvas: image, blob } = await camera.frame();
    if (!camera.on || state.frozen || !blob) break;
    if (!(await look(blob, "camera.jpg", image)) && camera.on && !$("alert").hidden) stopCamera();
    await new Promise((painted) => requestAnimationFrame(painted));
  }
}

function stopCamera() {
  if (!camera.on) return;
  state.running?.abort();
  camera.stop();
  state.frozen = false;
  showCamera();
}

function freeze() {
  if (!camera.on) return;
  state.frozen = !state.frozen;
  showCamera();
  say(state.frozen ? undefined : "The camera goes on");
  if (!state.frozen) live();
}

function showCamera() {
  $("camera").setAttribute("aria-pressed", String(camera.on));
  $("camera").textContent = camera.on ? "Stop" : "Camera";
  $("camera").setAttribute("aria-label", camera.on ? "Stop camera" : "Camera");
  $("freeze").hidden = !camera.on;
  $("freeze").textContent = state.frozen ? "Go on" : "Freeze";
  $("live").hidden = !camera.on || state.frozen;
  if (!camera.on) $("flip").hidden = true;
}

// ---------------------------------------------------------------- what people do

const ACTIONS = {
  choose: () => $("file").click(),
  camera: () => (camera.on ? stopCamera() : startCamera()),
  freeze,
  flip: () => camera.flip().catch(complain),
  all: () => (state.hidden.clear(), update()),
  none: () => {
    state.hidden = new Set(state.candidates.map((one) => one.label));
    update();
  },
  json: () => state.picture && downloadJson(state.picture, state.shown, state.model),
  png: () => state.picture && downloadPng(state.picture, state.shown),
};

const KEYS = {
  o: ACTIONS.choose,
  c: ACTIONS.camera,
  j: ACTIONS.json,
  p: ACTIONS.png,
  "[": () => slide("score", -1),
  "]": () => slide("score", 1),
  ",": () => slide("iou", -1),
  ".": () => slide("iou", 1),
  "?": () => $("help").showModal(),
};

function slide(id, by) {
  if (by < 0) $(id).stepDown(2);
  else $(id).stepUp(2);
  update();
  say();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const inList = $("list").contains(event.target);
  if ((inList || event.target === canvas) && /^Arrow(Up|Down)$/.test(event.key)) {
    event.preventDefault();
    step(event.key === "ArrowDown" ? 1 : -1, inList);
  } else if (event.key === "Escape" && state.chosen) {
    choose(null);
  } else if ($("keys").checked && event.key === " " && camera.on && !event.target.closest("button, input")) {
    event.preventDefault();
    freeze();
  } else if ($("keys").checked && KEYS[event.key.toLowerCase()]) {
    event.preventDefault();
    KEYS[event.key.toLowerCase()]();
  }
}

/** Return the smallest shown box under the pointer. */
function boxAt(event) {
  const room = canvas.getBoundingClientRect();
  const scale = state.picture.width / room.width;
  const [x, y] = [(event.clientX - room.left) * scale, (event.clientY - room.top) * scale];
  const inside = state.shown.filter(({ box: [x1, y1, x2, y2] }) => x1 <= x && x <= x2 && y1 <= y && y <= y2);
  const size = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  return inside.sort((a, b) => size(a) - size(b))[0] ?? null;
}

function listenToDrops() {
  const over = (event, on) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dragging", on);
  };
  window.addEventListener("dragover", (event) => over(event, true));
  window.addEventListener("dragleave", (event) => event.relatedTarget === null && over(event, false));
  window.addEventListener("drop", (event) => {
    over(event, false);
    if (event.dataTransfer?.files.length) take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });
}

function listen() {
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => ACTIONS[button.dataset.do]());
  }
  for (const id of ["file", "snapshot"]) {
    $(id).addEventListener("change", () => {
      if ($(id).files.length) take($(id).files);
      $(id).value = "";
    });
  }
  for (const id of ["score", "iou"]) {
    $(id).addEventListener("input", () => (update(), say()));
  }
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("theme").addEventListener("click", nextTheme);
  canvas.addEventListener("click", (event) => choose(boxAt(event)));
  document.addEventListener("keydown", onKey);
  new ResizeObserver(redraw).observe($("stage"));
  listenToDrops();
}

// ---------------------------------------------------------------- colours, and the start

const THEMES = { auto: "as the system", light: "light", dark: "dark" };

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const text = `Colours: ${THEMES[theme]}`;
  $("theme").setAttribute("aria-label", text);
  $("theme").title = text;
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const theme = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  localStorage.setItem("theme", theme);
  showTheme(theme);
}

/** Say what the model is, and set the sliders to what it does itself. */
function introduce(model) {
  state.model = model;
  document.title = `${model.name} · gazehound`;
  const more = document.createElement("span");
  more.className = "model-more";
  more.textContent = [model.year, countOf(model)].filter(Boolean).join(" · ");
  document.querySelector(".model-name").textContent = model.name;
  $("model").append(more);
  const most = megabytes(model.limits.upload_bytes);
  $("accepts").textContent = `or paste one from the clipboard; up to ${most}`;
  if (matchMedia("(hover: none)").matches) {
    $("invitation").textContent = "Show it a picture";
    $("accepts").textContent = `up to ${most}`;
  }
  $("about").textContent = [model.summary, model.paper].filter(Boolean).join(". ");
  $("curl").textContent = `curl -F file=@photo.jpg ${new URL("v1/detect", location.href)}`;
  $("score").value = model.start_score;
  $("iou").value = model.suppression.plain ? model.suppression.iou : 1;
  $("iou-hint").textContent = model.suppression.plain
    ? `The model itself uses ${model.suppression.iou.toFixed(2)}.`
    : "This model merges its boxes in a way of its own; the slider can only drop more.";
  update();
}

function countOf(model) {
  const count = model.classes.length;
  return count === 1 ? model.classes[0].name : `${count} classes`;
}

showTheme(localStorage.getItem("theme") ?? "auto");
listen();
fetchModel().then(introduce, complain);
