// An image of any size to the model's input, as contract.json says: resize, centre, channel order, scale, mean, std.
// The resize is bilinear with antialiasing, as Pillow's: a canvas would resize in another way in every browser.

const ARRAYS = {
  float32: Float32Array, uint8: Uint8Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
};

export const arrayOf = (dtype) => ARRAYS[dtype];

function resizeAxis(from, outer, size, inner, wanted) {
  const to = new Uint8ClampedArray(outer * wanted * inner);
  const ratio = size / wanted, support = Math.max(1, ratio);
  for (let place = 0; place < wanted; place++) {
    const centre = (place + 0.5) * ratio;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let k = first; k < last; k++) weights.push(Math.max(0, 1 - Math.abs((k - centre + 0.5) / support)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        let sum = 0;
        for (let k = first; k < last; k++) sum += weights[k - first] * from[(o * size + k) * inner + i];
        to[(o * wanted + place) * inner + i] = Math.floor(sum / total + 0.5);
      }
    }
  }
  return to;
}

function resized(image, width, height) {
  let { pixels } = image;
  if (width !== image.width) pixels = resizeAxis(pixels, image.height, image.width, image.channels, width);
  if (height !== image.height) pixels = resizeAxis(pixels, 1, image.height, width * image.channels, height);
  return { width, height, channels: image.channels, pixels };
}

// Rounds halves to the even neighbour, as numpy and Python do.
export function nearest(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

function target(image, rule) {
  const [height, width] = rule.size;
  if (rule.resize === "squash") return [width, height];
  if (rule.resize === "pad") {
    const factor = Math.min(width / image.width, height / image.height);
    const fit = (size, most) => Math.min(most, Math.max(1, nearest(size * factor)));
    return [fit(image.width, width), fit(image.height, height)];
  }
  const side = rule.resize_shorter_side, factor = side / Math.min(image.width, image.height);
  return [Math.max(side, nearest(image.width * factor)), Math.max(side, nearest(image.height * factor))];
}

// {width, height, channels, pixels} of any size to pixels of the network's size.
export function fitted(image, rule) {
  const [height, width] = rule.size;
  const from = resized(image, ...target(image, rule));
  const left = Math.trunc((from.width - width) / 2), top = Math.trunc((from.height - height) / 2);
  const to = new Uint8ClampedArray(height * width * from.channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const fromX = x + left, fromY = y + top;
      if (fromX < 0 || fromY < 0 || fromX >= from.width || fromY >= from.height) continue;
      const start = (fromY * from.width + fromX) * from.channels;
      for (let c = 0; c < from.channels; c++) to[(y * width + x) * from.channels + c] = from.pixels[start + c];
    }
  }
  return to;
}

// Pixels of the network's size to the numbers of its input.
export function asInput(pixels, contract) {
  const { input, preprocessing: rule } = contract;
  const channels = rule.mean.length, values = new (arrayOf(input.dtype))(pixels.length);
  const limits = { uint8: [0, 255], int8: [-128, 127], int16: [-32768, 32767] }[input.dtype];
  for (let i = 0; i < pixels.length; i++) {
    const channel = i % channels;
    const pixel = pixels[rule.channel_order === "BGR" ? i - channel + (channels - 1 - channel) : i];
    const value = Math.fround((pixel * rule.scale - rule.mean[channel]) / rule.std[channel]);
    if (!limits) { values[i] = value; continue; }
    const step = input.scale ? nearest(Math.fround(value / Math.fround(input.scale))) + input.zero_point : nearest(value);
    values[i] = Math.min(limits[1], Math.max(limits[0], step));
  }
  return values;
}

// RGBA of a canvas to the channels of the network; grey is what Pillow makes of RGB.
export function ofCanvas({ width, height, data }, channels) {
  const pixels = new Uint8ClampedArray(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) pixels[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
    else pixels.set([r, g, b], 3 * i);
  }
  return { width, height, channels, pixels };
}
