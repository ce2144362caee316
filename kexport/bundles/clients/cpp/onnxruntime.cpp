// ONNX Runtime through its C API: onnxruntime_c_api.h of the same release as the library.

#include <onnxruntime_c_api.h>

#include <stdexcept>

#include "contract.h"
#include "runtime.h"

namespace {

class Ort : public Runtime {
 public:
  explicit Ort(const std::string& path) : api_(OrtGetApiBase()->GetApi(ORT_API_VERSION)) {
    if (!api_) throw std::runtime_error("the library is older than the header onnxruntime_c_api.h");
    check(api_->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "kexport", &environment_));
    check(api_->CreateSessionOptions(&options_));
    check(api_->CreateSession(environment_, path.c_str(), options_, &session_));
    check(api_->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory_));
  }

  ~Ort() override {
    if (memory_) api_->ReleaseMemoryInfo(memory_);
    if (session_) api_->ReleaseSession(session_);
    if (options_) api_->ReleaseSessionOptions(options_);
    if (environment_) api_->ReleaseEnv(environment_);
  }

  std::vector<Bytes> run(const Bytes& input) override {
    OrtValue* value = nullptr;
    auto* data = const_cast<unsigned char*>(input.data());
    check(api_->CreateTensorWithDataAsOrtValue(memory_, data, input.size(), contract::input_shape, 4,
                                               static_cast<ONNXTensorElementDataType>(contract::input_onnx_type),
                                               &value));
    const char* names[] = {contract::input_name};
    const char* wanted[contract::output_count];
    OrtValue* results[contract::output_count] = {};
    for (size_t place = 0; place < contract::output_count; ++place) wanted[place] = contract::outputs[place].name;
    OrtStatus* status = api_->Run(session_, nullptr, names, &value, 1, wanted, contract::output_count, results);
    api_->ReleaseValue(value);
    check(status);
    std::vector<Bytes> found;
    for (size_t place = 0; place < contract::output_count; ++place) {
      void* memory;
      check(api_->GetTensorMutableData(results[place], &memory));
      const auto* bytes = static_cast<unsigned char*>(memory);
      found.emplace_back(bytes, bytes + contract::outputs[place].bytes);
      api_->ReleaseValue(results[place]);
    }
    return found;
  }

 private:
  void check(OrtStatus* status) {
    if (!status) return;
    const std::string message = api_->GetErrorMessage(status);
    api_->ReleaseStatus(status);
    throw std::runtime_error("ONNX Runtime: " + message);
  }

  const OrtApi* api_;
  OrtEnv* environment_ = nullptr;
  OrtSessionOptions* options_ = nullptr;
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
};

}  // namespace

std::unique_ptr<Runtime> open_model(const std::string& path) { return std::make_unique<Ort>(path); }
