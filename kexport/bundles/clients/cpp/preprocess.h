// An image of any size to the model's input, as contract.json says: resize, centre, channel order, scale, mean, std.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "contract.h"
#include "runtime.h"

struct Image {
  int width = 0, height = 0, channels = 0;
  std::vector<uint8_t> pixels;  // rows of RGB, or of grey
};

// A binary PPM (P6) or PGM (P5) of 8 bits. Throws std::runtime_error.
inline Image read_image(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int numbers[3];
  file >> magic;
  for (int& number : numbers) {
    while (file >> std::ws && file.peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    file >> number;
  }
  file.get();
  Image image{numbers[0], numbers[1], magic == "P6" ? 3 : 1, {}};
  if (!file || (magic != "P6" && magic != "P5") || numbers[2] != 255 || image.width < 1 || image.height < 1 ||
      static_cast<int64_t>(image.width) * image.height > 100000000)
    throw std::runtime_error(path + ": expected a binary PPM or PGM file of 8 bits");
  image.pixels.resize(static_cast<size_t>(image.width) * image.height * image.channels);
  file.read(reinterpret_cast<char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
  if (!file) throw std::runtime_error(path + ": ends too early");
  return image;
}

// Along one axis: a triangle that grows when the image shrinks (bilinear with antialiasing, as Pillow's).
inline std::vector<uint8_t> resize_axis(const std::vector<uint8_t>& from, int outer, int size, int inner, int wanted) {
  std::vector<uint8_t> to(static_cast<size_t>(outer) * wanted * inner);
  const double ratio = static_cast<double>(size) / wanted, support = std::max(1.0, ratio);
  for (int place = 0; place < wanted; ++place) {
    const double centre = (place + 0.5) * ratio;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int last = std::min(size, static_cast<int>(centre + support + 0.5));
    std::vector<double> weights;
    double total = 0;
    for (int k = first; k < last; ++k) {
      weights.push_back(std::max(0.0, 1.0 - std::fabs((k - centre + 0.5) / support)));
      total += weights.back();
    }
    for (int o = 0; o < outer; ++o)
      for (int i = 0; i < inner; ++i) {
        double sum = 0;
        for (int k = first; k < last; ++k) sum += weights[k - first] * from[(static_cast<size_t>(o) * size + k) * inner + i];
        to[(static_cast<size_t>(o) * wanted + place) * inner + i] =
            static_cast<uint8_t>(std::clamp(std::floor(sum / total + 0.5), 0.0, 255.0));
      }
  }
  return to;
}

inline Image resized(Image image, int width, int height) {
  if (width != image.width) image.pixels = resize_axis(image.pixels, image.height, image.width, image.channels, width);
  image.width = width;
  if (height != image.height) image.pixels = resize_axis(image.pixels, 1, image.height, width * image.channels, height);
  image.height = height;
  return image;
}

// The network's size: resized by the contract's rule, then its centre, with black where it is smaller.
inline std::vector<uint8_t> fitted(Image image) {
  const int height = contract::height, width = contract::width, channels = contract::channels;
  if (image.channels != channels) throw std::runtime_error("expected an image of " + std::to_string(channels) + " channels");
  const std::string rule = contract::resize;
  const auto rounded = [](double value) { return static_cast<int>(std::nearbyint(value)); };
  if (rule == "squash") {
    image = resized(std::move(image), width, height);
  } else if (rule == "pad") {
    const double factor = std::min(static_cast<double>(width) / image.width, static_cast<double>(height) / image.height);
    const int w = std::clamp(rounded(image.width * factor), 1, width), h = std::clamp(rounded(image.height * factor), 1, height);
    image = resized(std::move(image), w, h);
  } else {
    const int side = contract::resize_shorter_side;
    const double factor = static_cast<double>(side) / std::min(image.width, image.height);
    const int w = std::max(side, rounded(image.width * factor)), h = std::max(side, rounded(image.height * factor));
    image = resized(std::move(image), w, h);
  }
  const int left = (image.width - width) / 2, top = (image.height - height) / 2;
  std::vector<uint8_t> centre(static_cast<size_t>(height) * width * channels);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int from_y = y + top, from_x = x + left;
      if (from_y < 0 || from_x < 0 || from_y >= image.height || from_x >= image.width) continue;
      const uint8_t* pixel = &image.pixels[(static_cast<size_t>(from_y) * image.width + from_x) * channels];
      std::copy(pixel, pixel + channels, &centre[(static_cast<size_t>(y) * width + x) * channels]);
    }
  return centre;
}

template <typename Number>
Number as_number(float value) {
  if constexpr (std::is_floating_point_v<Number>) {
    return value;
  } else {
    const double scale = contract::input_scale, steps = scale != 0 ? value / static_cast<float>(scale) : value;
    const double step = std::nearbyint(steps) + (scale != 0 ? contract::input_zero_point : 0);
    return static_cast<Number>(
        std::clamp<double>(step, std::numeric_limits<Number>::min(), std::numeric_limits<Number>::max()));
  }
}

// Pixels of the network's size to the bytes of its input.
inline Bytes as_input(const uint8_t* pixels) {
  const size_t channels = contract::channels, count = static_cast<size_t>(contract::height) * contract::width * channels;
  std::vector<contract::input_type> values(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t channel = i % channels, from = contract::bgr ? i - channel + (channels - 1 - channel) : i;
    const double value = (pixels[from] * contract::scale - contract::mean[channel]) / contract::std_deviation[channel];
    values[i] = as_number<contract::input_type>(static_cast<float>(value));
  }
  Bytes bytes(count * sizeof(contract::input_type));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
