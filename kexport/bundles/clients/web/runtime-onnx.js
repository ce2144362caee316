// ONNX Runtime Web on WebAssembly; on several threads where the page is cross-origin isolated (COOP and COEP).

import * as ort from "./runtime/ort.wasm.min.mjs";

export async function openModel(contract) {
  ort.env.wasm.wasmPaths = new URL("./runtime/", location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const session = await ort.InferenceSession.create(contract.model_file, { executionProviders: ["wasm"] });
  const { name, dtype, shape } = contract.input;
  return {
    name: `ONNX Runtime Web ${ort.env.versions.web}, WebAssembly`,
    async run(values) {
      const found = await session.run({ [name]: new ort.Tensor(dtype, values, [1, ...shape.slice(1)]) });
      return contract.outputs.map((output) => found[output.name].data);
    },
  };
}
