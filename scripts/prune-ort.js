// ONNX Runtime on one file and one input, for prune-check: MODULE FILE IN DIMS OUT, raw float32, dims as 1x3x224x224.
const fs = require('fs');
const [module_, file, from, dims, to] = process.argv.slice(2);
const ort = require(module_);

(async () => {
  const session = await ort.InferenceSession.create(file, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const bytes = fs.readFileSync(from);
  const x = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const feed = { [session.inputNames[0]]: new ort.Tensor('float32', x, dims.split('x').map(Number)) };
  const y = (await session.run(feed))[session.outputNames[0]];
  fs.writeFileSync(to, Buffer.from(y.data.buffer, y.data.byteOffset, y.data.byteLength));
})().catch((e) => { console.error(e.message); process.exit(1); });
