// LiteRT.js on WebAssembly with XNNPACK; on several threads where the page is cross-origin isolated (COOP and COEP).

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

export async function openModel(contract) {
  await loadLiteRt(new URL("./runtime/wasm/", location.href).href, { threads: self.crossOriginIsolated });
  const model = await loadAndCompile(contract.model_file, { accelerator: "wasm" });
  const { name, shape } = contract.input;
  return {
    name: "LiteRT.js, WebAssembly",
    async run(values) {
      const input = new Tensor(values, [1, ...shape.slice(1)]);
      const found = await model.run({ [name]: input });
      input.delete();
      return contract.outputs.map((output) => {
        const numbers = found[output.name].toTypedArray().slice();
        found[output.name].delete();
        return numbers;
      });
    },
  };
}
