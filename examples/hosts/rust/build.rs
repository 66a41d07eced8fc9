//! Makes the stubs from protos/; needs protoc (apt install protobuf-compiler).
fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&["worldforge/jepa/v1/jepa.proto"], &["../../../protos"])
}
