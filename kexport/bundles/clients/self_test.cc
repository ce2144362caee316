// The golden input through TFLite Micro on the device: compare, and print the arena that was used.
// KEXPORT_ARENA_BYTES is the memory to give; measure.py tells how much is needed on a host.

#include <cmath>
#include <cstring>

#include "golden_data.h"
#include "model_data.h"
#include "operators.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/schema/schema_generated.h"

#ifndef KEXPORT_ARENA_BYTES
#error "define KEXPORT_ARENA_BYTES: python measure.py tells how many are needed"
#endif

alignas(16) static uint8_t arena[KEXPORT_ARENA_BYTES];

// 0 if the output is the golden one within the tolerance.
int kexport_self_test() {
  tflite::MicroMutableOpResolver<kexport_operator_count> resolver;
  kexport_register(resolver);
  tflite::MicroInterpreter interpreter(tflite::GetModel(kexport_model), resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) return 1;
  std::memcpy(interpreter.input(0)->data.raw, kexport_golden_input, sizeof(kexport_golden_input));
  if (interpreter.Invoke() != kTfLiteOk) return 2;
  const auto* found = reinterpret_cast<const kexport_output_type*>(interpreter.output(0)->data.raw);
  constexpr size_t count = sizeof(kexport_golden_output_0) / sizeof(kexport_golden_output_0[0]);
  double difference = 0, largest = 0;
  for (size_t i = 0; i < count; ++i) {
    const double wanted = kexport_golden_output_0[i];
    difference = std::fmax(difference, std::fabs(found[i] - wanted));
    largest = std::fmax(largest, std::fabs(wanted));
  }
  MicroPrintf("arena: %u bytes used", static_cast<unsigned>(interpreter.arena_used_bytes()));
  return difference <= kexport_tolerance * largest ? 0 : 3;
}
