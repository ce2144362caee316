// ./classify PHOTO.ppm... names the likeliest classes; ./classify --self-test compares with the golden files.
// The files of the bundle are looked for in the folder that KEXPORT_BUNDLE was at build time, or in $KEXPORT_BUNDLE.

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "contract.h"
#include "preprocess.h"
#include "runtime.h"

namespace {

std::string folder() {
  const char* said = std::getenv("KEXPORT_BUNDLE");
  return said ? said : KEXPORT_BUNDLE;
}

Bytes read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

std::vector<std::string> read_labels() {
  std::ifstream file(folder() + "/labels.txt");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) names.push_back(line);
  return names;
}

double number(const Bytes& bytes, size_t place, const std::string& type) {
  const auto as = [&](auto value) {
    std::memcpy(&value, bytes.data() + place * sizeof(value), sizeof(value));
    return static_cast<double>(value);
  };
  if (type == "float32") return as(float{});
  if (type == "int8") return as(int8_t{});
  if (type == "uint8") return as(uint8_t{});
  if (type == "int16") return as(int16_t{});
  if (type == "int32") return as(int32_t{});
  if (type == "int64") return as(int64_t{});
  throw std::runtime_error("an output of type " + type);
}

std::vector<double> numbers(const Bytes& bytes, const contract::Output& output) {
  std::vector<double> values(output.count);
  for (size_t place = 0; place < values.size(); ++place) values[place] = number(bytes, place, output.type);
  return values;
}

size_t likeliest(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// One golden image: its input from its pixels, then its outputs.
bool golden_row(Runtime& runtime, size_t row) {
  const Bytes images = read_bytes(folder() + "/golden/images.bin"), inputs = read_bytes(folder() + "/golden/inputs.bin");
  const size_t pixels = images.size() / contract::golden_count, size = inputs.size() / contract::golden_count;
  const Bytes input(inputs.begin() + row * size, inputs.begin() + (row + 1) * size);
  const Bytes made = as_input(images.data() + row * pixels);
  bool passed = made.size() == size;
  for (size_t i = 0; passed && i < size / sizeof(contract::input_type); ++i) {
    contract::input_type ours, theirs;
    std::memcpy(&ours, made.data() + i * sizeof ours, sizeof ours);
    std::memcpy(&theirs, input.data() + i * sizeof theirs, sizeof theirs);
    passed = std::fabs(static_cast<double>(ours) - theirs) <= 1e-6 * std::fmax(1, std::fabs(static_cast<double>(theirs)));
  }
  if (!passed) std::printf("image %zu: its input is another than the golden one\n", row);
  const auto found = runtime.run(input);
  for (size_t place = 0; place < contract::output_count; ++place) {
    const auto& output = contract::outputs[place];
    const Bytes all = read_bytes(folder() + "/golden/outputs-" + std::to_string(place) + ".bin");
    const Bytes wanted(all.begin() + row * output.bytes, all.begin() + (row + 1) * output.bytes);
    const auto ours = numbers(found[place], output), theirs = numbers(wanted, output);
    double difference = 0, largest = 1e-30;
    for (size_t i = 0; i < ours.size(); ++i) {
      difference = std::isfinite(ours[i]) ? std::fmax(difference, std::fabs(ours[i] - theirs[i])) : INFINITY;
      largest = std::fmax(largest, std::fabs(theirs[i]));
    }
    const bool same = difference <= contract::tolerance * largest;
    const bool decides = contract::classes == 0 || likeliest(ours) == likeliest(theirs);
    std::printf("image %zu, %s: differs by %.3g, at most %.3g; %s\n", row, output.name, difference,
                contract::tolerance * largest, same && decides ? "passed" : "FAILED");
    passed = passed && same && decides;
  }
  return passed;
}

int self_test(Runtime& runtime) {
  bool passed = true;
  for (size_t row = 0; row < contract::golden_count; ++row) passed = golden_row(runtime, row) && passed;
  std::printf("self-test %s\n", passed ? "passed" : "FAILED");
  return passed ? 0 : 1;
}

void classify(Runtime& runtime, const std::string& path, const std::vector<std::string>& labels) {
  if (contract::classes == 0) throw std::runtime_error("the outputs are no row of classes");
  const auto& output = contract::outputs[0];
  auto values = numbers(runtime.run(as_input(fitted(read_image(path)).data()))[0], output);
  if (output.scale != 0)
    for (double& value : values) value = (value - output.zero_point) * output.scale;
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t top = std::min<size_t>(5, order.size());
  std::partial_sort(order.begin(), order.begin() + top, order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  std::printf("%s\n", path.c_str());
  for (size_t i = 0; i < top; ++i)
    std::printf("  %8.4f  %s\n", values[order[i]],
                order[i] < labels.size() ? labels[order[i]].c_str() : ("class " + std::to_string(order[i])).c_str());
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count < 2) throw std::runtime_error("expected --self-test, or binary PPM files");
    const auto runtime = open_model(folder() + "/" + contract::model_file);
    if (std::string(arguments[1]) == "--self-test") return self_test(*runtime);
    const auto labels = read_labels();
    for (int i = 1; i < count; ++i) classify(*runtime, arguments[i], labels);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
