#!/bin/sh
# Make the stubs from protos/ with the plugins that go.mod pins; needs protoc (apt install protobuf-compiler).
set -eu
mkdir -p stubs
protoc -I../../../protos worldforge/jepa/v1/jepa.proto \
  --plugin=protoc-gen-go="$(go tool -n protoc-gen-go)" --plugin=protoc-gen-go-grpc="$(go tool -n protoc-gen-go-grpc)" \
  --go_out=stubs --go_opt=paths=source_relative --go-grpc_out=stubs --go-grpc_opt=paths=source_relative
