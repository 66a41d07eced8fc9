// A planner's host in Node: node score.mjs 127.0.0.1:50051
//
// Scores 64 plans twice in one scene over one stream, then asks for something wrong. Prints the three answers as JSON.
// The scene and the plans stand for what a camera and a planner would give.

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PROTO = fileURLToPath(new URL("../../../protos/worldforge/jepa/v1/jepa.proto", import.meta.url));
const definition = protoLoader.loadSync(PROTO, { keepCase: true, longs: Number, enums: String, defaults: true });
const { WorldModelService } = grpc.loadPackageDefinition(definition).worldforge.jepa.v1;

const SAMPLES = 64, HORIZON = 6, SIDE = 64;
const inTenSeconds = () => ({ deadline: Date.now() + 10_000 });

// A Tensor is a dtype, a shape, and the elements in row-major order, little-endian: as typed arrays are on these CPUs.
const tensor = (dtype, shape, array) => ({
  dtype: `DATA_TYPE_${dtype}`, shape, data: Buffer.from(array.buffer, array.byteOffset, array.byteLength),
});

const frame = (shift) =>
  tensor("UINT8", [1, 1, 3, SIDE, SIDE], Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, i) => (i + shift) % 256));
const scene = (model) => {
  const proprio = (x, y) => model.proprio && tensor("FLOAT32", [1, 1, model.proprio_dim], Float32Array.of(x, y));
  return {
    observation: { visual: frame(0), proprio: proprio(12, 32) },
    goal: { visual: frame(100), proprio: proprio(48, 32) },
  };
};
const candidates = (actionDim) =>
  tensor("FLOAT32", [1, SAMPLES, HORIZON, actionDim],
    Float32Array.from({ length: SAMPLES * HORIZON * actionDim }, (_, i) => ((i * 37) % 64 - 32) / 16));

// The environment has the CA of a server with TLS, and a token, where the server asks for them.
const { WORLDFORGE_JEPA_CACERT: cacert, WORLDFORGE_JEPA_TOKEN: token } = process.env;
const transport = () => (cacert ? grpc.credentials.createSsl(readFileSync(cacert)) : grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
if (token) metadata.set("authorization", `Bearer ${token}`);

const client = new WorldModelService(process.argv[2] ?? "127.0.0.1:50051", transport());

const getModel = () => new Promise((resolve, reject) =>
  client.GetModel({}, metadata, inTenSeconds(), (error, answer) => (error ? reject(error) : resolve(answer.model))));

try {
  const model = await getModel();
  const stream = client.ScoreStream(metadata, inTenSeconds());
  await once(stream, "metadata"); // the server accepts the stream before a message is sent
  const answers = stream[Symbol.asyncIterator]();
  const ask = async (request) => {
    stream.write(request);
    return (await answers.next()).value; // each request has one answer, in order
  };
  const first = await ask({ context: scene(model), action_candidates: candidates(model.action_dim) });
  const again = await ask({ action_candidates: candidates(model.action_dim) }); // the scene is there already
  const wrong = await ask({ action_candidates: candidates(model.action_dim + 1) }); // refused; the stream goes on
  stream.end();
  console.log(JSON.stringify([first, again, wrong]));
} catch (error) {
  // What fails outside a stream's answers: unreachable, too late, or a unary call refused.
  console.error(`${grpc.status[error.code] ?? "error"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
