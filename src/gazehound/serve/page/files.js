// What can be taken home: the boxes as COCO JSON, and the picture with the boxes drawn on it.

import { draw } from "./drawing.js";

/** Return the shown boxes as a COCO data set of one image; annotations also have their score. */
export function toCoco(picture, found, model) {
  const annotations = found.map((one, k) => {
    const [x1, y1, x2, y2] = one.box;
    const size = [x2 - x1, y2 - y1];
    return {
      id: k + 1,
      image_id: 1,
      category_id: one.category_id,
      bbox: [x1, y1, ...size].map(short),
      area: short(size[0] * size[1]),
      iscrowd: 0,
      score: one.score,
    };
  });
  return {
    info: { description: `Detected by ${model.name} of gazehound ${model.version}` },
    images: [{ id: 1, file_name: picture.name, width: picture.width, height: picture.height }],
    categories: model.classes.map((one) => ({ id: one.category_id, name: one.name })),
    annotations,
  };
}

function short(value) {
  return Number(value.toFixed(4));
}

export function downloadJson(picture, found, model) {
  const text = JSON.stringify(toCoco(picture, found, model), null, 1);
  download(new Blob([text], { type: "application/json" }), `${stem(picture.name)}.json`);
}

/** Draw the picture in its full size, with lines that grow with it, and download it. */
export function downloadPng(picture, found) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const unit = Math.max(1, Math.min(picture.width, picture.height) / 640);
  draw(canvas.getContext("2d"), picture, found, 1, unit);
  return new Promise((done) => {
    canvas.toBlob((blob) => {
      if (blob) download(blob, `${stem(picture.name)}-detections.png`);
      done(Boolean(blob));
    }, "image/png");
  });
}

function stem(name) {
  return name.replace(/\.[^.]+$/, "") || "picture";
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
