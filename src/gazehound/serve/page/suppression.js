// Greedy non-maximum suppression per class: the same rows as gazehound.boxes.nms.batched_nms.
// All arithmetic is rounded to float32 step by step, as the server's kernel rounds it, so that the
// page and the server agree even where an IoU lies at the threshold.

const f = Math.fround;

/** Return the largest float32 that is not above a number. */
export function floor32(value) {
  const near = f(value);
  if (near <= value) return near;
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, near);
  bits.setUint32(0, bits.getUint32(0) - 1); // the next one below, for positive numbers
  return bits.getFloat32(0);
}

function area(box) {
  return f(f(f(box[2]) - f(box[0])) * f(f(box[3]) - f(box[1])));
}

/** Say whether the IoU of two boxes (x1, y1, x2, y2) with these areas is above a threshold. */
function overlaps(a, areaA, b, areaB, threshold) {
  const width = Math.max(0, f(f(Math.min(a[2], b[2])) - f(Math.max(a[0], b[0]))));
  const height = Math.max(0, f(f(Math.min(a[3], b[3])) - f(Math.max(a[1], b[1]))));
  const both = f(width * height);
  return f(both / f(f(areaA + areaB) - both)) > threshold; // NaN, of boxes without area, is not
}

/**
 * Keep the best of overlapping boxes of one class.
 * @param {{box: number[], score: number, label: number}[]} found best first.
 * @param {number} iou a box goes when its IoU with a better one is above it.
 * @param {number} limit boxes kept at most.
 * @returns the kept ones, best first.
 */
export function suppress(found, iou, limit = Infinity) {
  const threshold = floor32(iou);
  const keptOf = new Map();
  const kept = [];
  for (const one of found) {
    const rivals = keptOf.get(one.label) ?? [];
    const own = area(one.box);
    if (rivals.some((rival) => overlaps(rival.box, rival.area, one.box, own, threshold))) continue;
    rivals.push({ box: one.box, area: own });
    keptOf.set(one.label, rivals);
    kept.push(one);
    if (kept.length >= limit) break;
  }
  return kept;
}
