// A planner's host in Java: java -jar target/host.jar 127.0.0.1:50051
//
// Scores 64 plans twice in one scene over one stream, then asks for something wrong. Prints the three answers as JSON.
// The scene and the plans stand for what a camera and a planner would give.

import com.google.protobuf.ByteString;
import com.google.protobuf.util.JsonFormat;
import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import worldforge.jepa.v1.DataType;
import worldforge.jepa.v1.GetModelRequest;
import worldforge.jepa.v1.Model;
import worldforge.jepa.v1.Observation;
import worldforge.jepa.v1.PlanningContext;
import worldforge.jepa.v1.ScoreStreamRequest;
import worldforge.jepa.v1.ScoreStreamResponse;
import worldforge.jepa.v1.Tensor;
import worldforge.jepa.v1.WorldModelServiceGrpc;

public final class Score {
  private static final int SAMPLES = 64, HORIZON = 6, SIDE = 64, DEADLINE_SECONDS = 10;
  private static final JsonFormat.Printer JSON =
      JsonFormat.printer().preservingProtoFieldNames().alwaysPrintFieldsWithNoPresence();

  // A Tensor is a dtype, a shape, and the elements in row-major order, little-endian.
  private static Tensor floats(float[] values, long... shape) {
    ByteBuffer data = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (float value : values) data.putFloat(value);
    return tensor(DataType.DATA_TYPE_FLOAT32, data.array(), shape);
  }

  private static Tensor tensor(DataType dtype, byte[] data, long... shape) {
    Tensor.Builder tensor = Tensor.newBuilder().setDtype(dtype).setData(ByteString.copyFrom(data));
    for (long length : shape) tensor.addShape(length);
    return tensor.build();
  }

  private static Observation observation(Model model, int shift, float... position) {
    byte[] frame = new byte[3 * SIDE * SIDE];
    for (int i = 0; i < frame.length; i++) frame[i] = (byte) (i + shift);
    Observation.Builder seen =
        Observation.newBuilder().setVisual(tensor(DataType.DATA_TYPE_UINT8, frame, 1, 1, 3, SIDE, SIDE));
    if (model.hasProprio()) seen.setProprio(floats(position, 1, 1, position.length));
    return seen.build();
  }

  private static Tensor candidates(int actionDim) {
    float[] plans = new float[SAMPLES * HORIZON * actionDim];
    for (int i = 0; i < plans.length; i++) plans[i] = (i * 37 % 64 - 32) / 16f;
    return floats(plans, 1, SAMPLES, HORIZON, actionDim);
  }

  // The environment has the CA of a server with TLS, and a token, where the server asks for them.
  private static ChannelCredentials transport() throws IOException {
    String cacert = System.getenv("WORLDFORGE_JEPA_CACERT");
    if (cacert == null) return InsecureChannelCredentials.create();
    return TlsChannelCredentials.newBuilder().trustManager(new File(cacert)).build();
  }

  private static Metadata metadata() {
    var metadata = new Metadata();
    String token = System.getenv("WORLDFORGE_JEPA_TOKEN");
    var key = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    if (token != null) metadata.put(key, "Bearer " + token);
    return metadata;
  }

  // What comes of a stream: its headers, then its answers, at last the status that ends it.
  private static final class Incoming extends ClientCall.Listener<ScoreStreamResponse> {
    private final BlockingQueue<Object> queue = new LinkedBlockingQueue<>();

    public void onHeaders(Metadata headers) {
      queue.add(headers);
    }

    public void onMessage(ScoreStreamResponse answer) {
      queue.add(answer);
    }

    public void onClose(Status status, Metadata trailers) {
      queue.add(status);
    }

    Object take() throws InterruptedException {
      Object next = queue.take();
      if (next instanceof Status status) throw status.asRuntimeException();
      return next;
    }
  }

  private static String score(ManagedChannel channel) throws Exception {
    var metadata = metadata();
    var model =
        WorldModelServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
            .withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS)
            .getModel(GetModelRequest.getDefaultInstance())
            .getModel();
    var options = CallOptions.DEFAULT.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS);
    var stream = channel.newCall(WorldModelServiceGrpc.getScoreStreamMethod(), options);
    var incoming = new Incoming();
    stream.start(incoming, metadata);
    stream.request(Integer.MAX_VALUE);
    incoming.take(); // the headers: the server accepts the stream before a message is sent
    var scene =
        PlanningContext.newBuilder()
            .setObservation(observation(model, 0, 12, 32))
            .setGoal(observation(model, 100, 48, 32))
            .build();
    int actionDim = (int) model.getActionDim();
    List<String> printed = new ArrayList<>();
    for (var request :
        List.of(
            ScoreStreamRequest.newBuilder().setContext(scene).setActionCandidates(candidates(actionDim)),
            ScoreStreamRequest.newBuilder().setActionCandidates(candidates(actionDim)), // the scene is there already
            ScoreStreamRequest.newBuilder().setActionCandidates(candidates(actionDim + 1)))) { // refused
      stream.sendMessage(request.build());
      printed.add(JSON.print((ScoreStreamResponse) incoming.take())); // one answer each, in order
    }
    stream.halfClose();
    return "[" + String.join(",", printed) + "]";
  }

  public static void main(String[] arguments) throws Exception {
    String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:50051";
    ManagedChannel channel = Grpc.newChannelBuilder(target, transport()).build();
    try {
      System.out.println(score(channel));
    } catch (StatusRuntimeException error) { // unreachable, too late, or a unary call refused
      System.err.println(error.getMessage());
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }
}
