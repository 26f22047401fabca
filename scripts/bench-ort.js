// ONNX Runtime behind a pipe, for bench-peers: one session per line "load FILE BATCH CxHxW THREADS",
// then "run N" answers with N times in ms. All optimisations.
const ort = require(process.argv[2]);
const lines = require('readline').createInterface({ input: process.stdin });
let session, feed;

async function load(file, batch, shape, threads) {
  session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: Number(threads), interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'all' });
  const dims = [Number(batch), ...shape.split('x').map(Number)];
  const x = new Float32Array(dims.reduce((a, b) => a * b, 1));
  for (let i = 0; i < x.length; i++) x[i] = Math.sin(i * 0.37);
  feed = { [session.inputNames[0]]: new ort.Tensor('float32', x, dims) };
  await session.run(feed);
  return ort.env?.versions?.node ?? '';
}

async function run(n) {
  const times = [];
  for (let i = 0; i < n; i++) {
    const start = process.hrtime.bigint();
    await session.run(feed);
    times.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  return times.join(' ');
}

(async () => {
  for await (const line of lines) {
    const [what, ...rest] = line.split(' ');
    console.log(what === 'load' ? 'ok ' + await load(...rest) : await run(Number(rest[0])));
  }
})();
