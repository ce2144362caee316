// A model file that is loaded, whatever runs it. litert.cpp and onnxruntime.cpp are two implementations.

#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

using Bytes = std::vector<unsigned char>;

class Runtime {
 public:
  virtual ~Runtime() = default;
  // The outputs of one image, in the order of contract.h; `input` has the file's own type. Throws std::runtime_error.
  virtual std::vector<Bytes> run(const Bytes& input) = 0;
};

std::unique_ptr<Runtime> open_model(const std::string& path);
