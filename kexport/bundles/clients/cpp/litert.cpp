// LiteRT through its C API (libLiteRt.so, LiteRT 2.3). Its headers are not needed: what is used is declared here.

#include <array>
#include <cstring>
#include <stdexcept>

#include "contract.h"
#include "runtime.h"

extern "C" {
using Status = int;  // 0 is kLiteRtStatusOk
using Handle = struct LiteRtOpaque*;

Status LiteRtCreateEnvironment(int count, const void* options, Handle* environment);
Status LiteRtCreateModelFromFile(Handle environment, const char* path, Handle* model);
Status LiteRtCreateOptions(Handle* options);
Status LiteRtSetOptionsHardwareAccelerators(Handle options, int accelerators);
Status LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle* compiled);
Status LiteRtGetModelSignature(Handle model, size_t index, Handle* signature);
Status LiteRtGetSignatureInputTensorByIndex(Handle signature, size_t index, Handle* tensor);
Status LiteRtGetSignatureOutputTensor(Handle signature, const char* name, Handle* tensor);
Status LiteRtGetSignatureOutputName(Handle signature, size_t index, const char** name);
Status LiteRtGetRankedTensorType(Handle tensor, void* type);
Status LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle* needs);
Status LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle* needs);
Status LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const void* type, Handle needs, Handle* buffer);
Status LiteRtGetTensorBufferPackedSize(Handle buffer, size_t* bytes);
Status LiteRtLockTensorBuffer(Handle buffer, void** memory, int mode);
Status LiteRtUnlockTensorBuffer(Handle buffer);
Status LiteRtRunCompiledModel(Handle compiled, size_t signature, size_t inputs, Handle* in, size_t outputs, Handle* out);
void LiteRtDestroyTensorBuffer(Handle buffer);
void LiteRtDestroyCompiledModel(Handle compiled);
void LiteRtDestroyOptions(Handle options);
void LiteRtDestroyModel(Handle model);
void LiteRtDestroyEnvironment(Handle environment);
}

namespace {

constexpr int kCpu = 1, kRead = 0, kWrite = 1;
constexpr size_t kSignature = 0, kTypeBytes = 256;  // LiteRtRankedTensorType has 72; it is only passed on

void check(Status status, const char* what) {
  if (status != 0) throw std::runtime_error(std::string("LiteRT: ") + what + ": status " + std::to_string(status));
}

class Litert : public Runtime {
 public:
  explicit Litert(const std::string& path) {
    check(LiteRtCreateEnvironment(0, nullptr, &environment_), "environment");
    check(LiteRtCreateModelFromFile(environment_, path.c_str(), &model_), path.c_str());
    check(LiteRtCreateOptions(&options_), "options");
    check(LiteRtSetOptionsHardwareAccelerators(options_, kCpu), "CPU");
    check(LiteRtCreateCompiledModel(environment_, model_, options_, &compiled_), "compile");
    Handle signature, tensor, needs;
    check(LiteRtGetModelSignature(model_, kSignature, &signature), "signature");
    check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "input");
    check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, kSignature, 0, &needs), "input");
    input_ = buffer(tensor, needs);
    for (size_t place = 0; place < contract::output_count; ++place) {
      const char* name;
      check(LiteRtGetSignatureOutputName(signature, place, &name), "output");
      check(LiteRtGetSignatureOutputTensor(signature, name, &tensor), name);
      check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, kSignature, place, &needs), name);
      outputs_.push_back(buffer(tensor, needs));
      names_.push_back(name);
    }
  }

  ~Litert() override {
    if (input_) LiteRtDestroyTensorBuffer(input_);
    for (Handle each : outputs_) LiteRtDestroyTensorBuffer(each);
    if (compiled_) LiteRtDestroyCompiledModel(compiled_);
    if (options_) LiteRtDestroyOptions(options_);
    if (model_) LiteRtDestroyModel(model_);
    if (environment_) LiteRtDestroyEnvironment(environment_);
  }

  std::vector<Bytes> run(const Bytes& input) override {
    size_t size;
    check(LiteRtGetTensorBufferPackedSize(input_, &size), "input");
    if (size != input.size()) throw std::runtime_error("the input has another size than the model's");
    void* memory;
    check(LiteRtLockTensorBuffer(input_, &memory, kWrite), "input");
    std::memcpy(memory, input.data(), size);
    check(LiteRtUnlockTensorBuffer(input_), "input");
    check(LiteRtRunCompiledModel(compiled_, kSignature, 1, &input_, outputs_.size(), outputs_.data()), "run");
    std::vector<Bytes> found;
    for (const auto& output : contract::outputs) found.push_back(read(output.name));
    return found;
  }

 private:
  Handle buffer(Handle tensor, Handle needs) {
    alignas(16) std::array<unsigned char, kTypeBytes> type{};
    Handle made;
    check(LiteRtGetRankedTensorType(tensor, type.data()), "type");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment_, type.data(), needs, &made), "buffer");
    return made;
  }

  Bytes read(const std::string& name) {
    for (size_t place = 0; place < names_.size(); ++place) {
      if (names_[place] != name) continue;
      size_t size;
      void* memory;
      check(LiteRtGetTensorBufferPackedSize(outputs_[place], &size), "output");
      check(LiteRtLockTensorBuffer(outputs_[place], &memory, kRead), "output");
      const auto* bytes = static_cast<unsigned char*>(memory);
      Bytes found(bytes, bytes + size);
      check(LiteRtUnlockTensorBuffer(outputs_[place]), "output");
      return found;
    }
    throw std::runtime_error("the model has no output " + name);
  }

  Handle environment_ = nullptr, model_ = nullptr, options_ = nullptr, compiled_ = nullptr, input_ = nullptr;
  std::vector<Handle> outputs_;
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Runtime> open_model(const std::string& path) { return std::make_unique<Litert>(path); }
