// A planner's host in Go: go run . 127.0.0.1:50051
//
// Scores 64 plans twice in one scene over one stream, then asks for something wrong. Prints the three answers as JSON.
// The scene and the plans stand for what a camera and a planner would give.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	jepa "worldforge-jepa-host/stubs/worldforge/jepa/v1"
)

//go:generate ./generate.sh

const samples, horizon, side = 64, 6, 64

// A Tensor is a dtype, a shape, and the elements in row-major order, little-endian.
func floats(values []float32, shape ...int64) *jepa.Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, value := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value))
	}
	return &jepa.Tensor{Dtype: jepa.DataType_DATA_TYPE_FLOAT32, Shape: shape, Data: data}
}

func observation(model *jepa.Model, shift int, position ...float32) *jepa.Observation {
	frame := make([]byte, 3*side*side)
	for i := range frame {
		frame[i] = byte(i + shift)
	}
	visual := &jepa.Tensor{Dtype: jepa.DataType_DATA_TYPE_UINT8, Shape: []int64{1, 1, 3, side, side}, Data: frame}
	if model.Proprio == nil {
		return &jepa.Observation{Visual: visual}
	}
	return &jepa.Observation{Visual: visual, Proprio: floats(position, 1, 1, int64(len(position)))}
}

func candidates(actionDim int64) *jepa.Tensor {
	plans := make([]float32, samples*horizon*actionDim)
	for i := range plans {
		plans[i] = float32(i*37%64-32) / 16
	}
	return floats(plans, 1, samples, horizon, actionDim)
}

// A token that each call carries, without TLS too.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// The environment has the CA of a server with TLS, and a token, where the server asks for them.
func shown() ([]grpc.DialOption, error) {
	transport := insecure.NewCredentials()
	if cacert := os.Getenv("WORLDFORGE_JEPA_CACERT"); cacert != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(cacert, ""); err != nil {
			return nil, err
		}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(transport)}
	if token := os.Getenv("WORLDFORGE_JEPA_TOKEN"); token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	return options, nil
}

func score(ctx context.Context, target string) error {
	options, err := shown()
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(target, options...)
	if err != nil {
		return err
	}
	defer connection.Close()
	stub := jepa.NewWorldModelServiceClient(connection)
	published, err := stub.GetModel(ctx, &jepa.GetModelRequest{})
	if err != nil {
		return err
	}
	model := published.Model
	stream, err := stub.ScoreStream(ctx)
	if err != nil {
		return err
	}
	if _, err := stream.Header(); err != nil { // the server accepts the stream before a message is sent
		return err
	}
	scene := &jepa.PlanningContext{
		Observation: observation(model, 0, 12, 32),
		Goal:        observation(model, 100, 48, 32),
	}
	actionDim := model.ActionDim
	requests := []*jepa.ScoreStreamRequest{
		{Context: scene, ActionCandidates: candidates(actionDim)},
		{ActionCandidates: candidates(actionDim)},     // the scene is there already
		{ActionCandidates: candidates(actionDim + 1)}, // refused; the stream goes on
	}
	var answers []string
	for _, request := range requests { // one answer each, in order
		if err := stream.Send(request); err != nil {
			return err
		}
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(answer)
		if err != nil {
			return err
		}
		answers = append(answers, string(text))
	}
	fmt.Printf("[%s]\n", strings.Join(answers, ","))
	return stream.CloseSend()
}

func main() {
	target := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		target = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := score(ctx, target); err != nil { // unreachable, too late, or a unary call refused
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
