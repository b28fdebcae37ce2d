// Boxes, names and scores over a picture; the colours of classes are those of the printed reports.

const FIRST = [
  [255, 56, 92], [0, 190, 120], [52, 132, 255], [255, 170, 0], [178, 92, 255], [0, 196, 222],
  [255, 118, 40], [160, 210, 20], [255, 92, 200], [250, 225, 90],
];
const FONT = "600 13px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

/** Return [red, green, blue] of a class: ten chosen colours, then hues a golden angle apart. */
export function colourOf(label) {
  if (label < FIRST.length) return FIRST[label];
  return fromHls((label * 0.61803398875) % 1, [0.48, 0.6, 0.4][label % 3], 0.85);
}

function fromHls(hue, light, saturation) {
  const high = light <= 0.5 ? light * (1 + saturation) : light + saturation - light * saturation;
  const low = 2 * light - high;
  const channel = (turn) => {
    const t = ((turn % 1) + 1) % 1;
    if (t < 1 / 6) return low + (high - low) * 6 * t;
    if (t < 1 / 2) return high;
    if (t < 2 / 3) return low + (high - low) * (2 / 3 - t) * 6;
    return low;
  };
  return [hue + 1 / 3, hue, hue - 1 / 3].map((turn) => Math.round(255 * channel(turn)));
}

export function css([red, green, blue], alpha = 1) {
  return `rgb(${red} ${green} ${blue} / ${alpha})`;
}

/** Return the ink with the greater contrast by WCAG 2: dark, or white on dark colours. */
function inkOn(colour) {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#15120d" : "#ffffff";
}

/**
 * Draw a picture and what was found in it.
 * @param {CanvasRenderingContext2D} context
 * @param {{image: CanvasImageSource, width: number, height: number}} picture sizes in its pixels.
 * @param {{box: number[], score: number, label: number, name: string}[]} found best first.
 * @param {number} scale canvas pixels per picture pixel.
 * @param {number} unit canvas pixels per drawn pixel: how bold lines and letters are.
 * @param {object | null} chosen the one that stands out, of those found.
 */
export function draw(context, picture, found, scale, unit, chosen = null) {
  const { width, height } = picture;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.image, 0, 0, width * scale, height * scale);
  const order = [...found].reverse().filter((one) => one !== chosen);
  if (chosen) order.push(chosen);
  for (const one of order) outline(context, one, scale, unit, chosen);
  const taken = [];
  const named = chosen ? [chosen] : [...order].reverse();
  for (const one of named) name(context, one, scale, unit, taken, width * scale);
}

function outline(context, one, scale, unit, chosen) {
  const [x1, y1, x2, y2] = one.box.map((value) => value * scale);
  const colour = colourOf(one.label);
  const bold = (one === chosen ? 3.5 : 2.25) * unit;
  context.globalAlpha = chosen && one !== chosen ? 0.4 : 1;
  context.lineJoin = "round";
  context.beginPath();
  context.roundRect(x1, y1, x2 - x1, y2 - y1, 2.5 * unit);
  context.fillStyle = css(colour, one === chosen ? 0.2 : 0.05);
  context.fill();
  context.strokeStyle = "rgb(0 0 0 / 0.4)";
  context.lineWidth = bold + 1.5 * unit;
  context.stroke();
  context.strokeStyle = css(colour);
  context.lineWidth = bold;
  context.stroke();
  for (const [x, y] of one.extras?.keypoints ?? []) {
    context.beginPath();
    context.arc(x * scale, y * scale, 3 * unit, 0, 7);
    context.fillStyle = css(colour);
    context.fill();
  }
  context.globalAlpha = 1;
}

/** Write a name above its box, or inside where there is no room; one that would cover another's stays off. */
function name(context, one, scale, unit, taken, right) {
  const text = `${one.name}  ${one.score.toFixed(2)}`;
  context.font = FONT.replace("13", String(13 * unit));
  const wide = context.measureText(text).width + 12 * unit;
  const tall = 21 * unit;
  const edge = 1.1 * unit;
  const x = Math.max(0, Math.min(one.box[0] * scale - edge, right - wide));
  const above = one.box[1] * scale - tall - 1.5 * unit;
  const y = above >= 0 ? above : Math.max(0, one.box[1] * scale + 2 * unit);
  const covers = taken.some((t) => x < t.x + t.wide && t.x < x + wide && y < t.y + tall && t.y < y + tall);
  if (covers) return;
  taken.push({ x, y, wide });
  const colour = colourOf(one.label);
  context.beginPath();
  context.roundRect(x, y, wide, tall, 4 * unit);
  context.fillStyle = css(colour);
  context.fill();
  context.fillStyle = inkOn(colour);
  context.textBaseline = "middle";
  context.fillText(text, x + 6 * unit, y + tall / 2 + 0.5 * unit);
}
