// The panel beside the picture: sliders, classes with counts, the list of what was found.

import { colourOf, css } from "./drawing.js";

const ROWS = 200; // of the list; more are counted
const $ = (id) => document.getElementById(id);

/** Show a slider's value, and fill its track up to the thumb. */
export function showSlider(slider, text) {
  const share = (slider.value - slider.min) / (slider.max - slider.min || 1);
  slider.style.setProperty("--fill", `${100 * share}%`);
  $(`${slider.id}-value`).textContent = text ?? Number(slider.value).toFixed(2);
}

/** Say how much was found, and of how many candidates. */
export function showCount(shown, timing) {
  $("count").textContent = shown.length;
  $("count-word").textContent = shown.length === 1 ? "object" : "objects";
  $("timing").textContent = timing;
}

/**
 * Show a chip with its count for every class that could appear.
 * @param {Map<number, {name: string, count: number}>} classes by label.
 * @param {Set<number>} hidden labels that are filtered out.
 * @param {(label: number, on: boolean) => void} change
 */
export function showClasses(classes, hidden, change) {
  const box = $("chips");
  $("classes").hidden = classes.size === 0;
  const known = new Map([...box.children].map((chip) => [Number(chip.dataset.label), chip]));
  for (const [label, chip] of known) if (!classes.has(label)) chip.remove();
  const sorted = [...classes].sort(([a], [b]) => a - b);
  for (const [label, { name, count }] of sorted) {
    const chip = known.get(label) ?? newChip(label, name, change);
    chip.querySelector("input").checked = !hidden.has(label);
    chip.querySelector(".chip-count").textContent = count;
    chip.classList.toggle("none", count === 0);
    box.append(chip);
  }
}

function newChip(label, name, change) {
  const chip = document.createElement("label");
  chip.className = "chip";
  chip.dataset.label = label;
  chip.style.setProperty("--colour", css(colourOf(label)));
  const input = document.createElement("input");
  input.type = "checkbox";
  input.addEventListener("change", () => change(label, input.checked));
  chip.append(input, span("chip-name", name), span("chip-count", ""));
  return chip;
}

function span(kind, text) {
  const element = document.createElement("span");
  element.className = kind;
  element.textContent = text;
  return element;
}

/**
 * List what was found; the arrow keys walk through it.
 * @param {object[]} found best first.
 * @param {object | null} chosen
 * @param {(one: object | null) => void} choose
 * @param {string} nothing what is said where nothing was found.
 */
export function showList(found, chosen, choose, nothing) {
  const list = $("list");
  const focused = list.contains(document.activeElement);
  list.replaceChildren(...found.slice(0, ROWS).map((one) => row(one, one === chosen, choose)));
  const more = found.length - ROWS;
  $("list-hint").textContent = found.length === 0 ? nothing : more > 0 ? `and ${more} more` : "";
  const first = list.querySelector("[aria-current=true]") ?? list.querySelector("button");
  if (first) first.tabIndex = 0;
  if (focused) first?.focus({ preventScroll: true });
}

function row(one, isChosen, choose) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.tabIndex = -1;
  button.className = "row";
  button.setAttribute("aria-current", String(isChosen));
  button.style.setProperty("--colour", css(colourOf(one.label)));
  button.style.setProperty("--share", `${100 * one.score}%`);
  const [x1, y1, x2, y2] = one.box.map(Math.round);
  button.setAttribute(
    "aria-label",
    `${one.name}, score ${one.score.toFixed(2)}, ${x2 - x1} by ${y2 - y1} pixels at ${x1}, ${y1}`,
  );
  const size = span("row-size", `${x2 - x1}×${y2 - y1}`);
  button.append(span("row-name", one.name), size, span("row-score", one.score.toFixed(2)));
  button.addEventListener("click", () => choose(isChosen ? null : one));
  item.append(button);
  return item;
}

/** Bring the chosen row into sight. */
export function revealChosen(focus) {
  const button = $("list").querySelector("[aria-current=true]");
  button?.scrollIntoView({ block: "nearest" });
  if (focus) button?.focus();
}
