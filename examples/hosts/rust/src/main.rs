//! A planner's host in Rust: cargo run --release -- 127.0.0.1:50051
//!
//! Scores 64 plans twice in one scene over one stream, then asks for something wrong. Prints the three answers as JSON.
//! The scene and the plans stand for what a camera and a planner would give.

use std::env;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use jepa::score_stream_response::Result as Answer;
use jepa::world_model_service_client::WorldModelServiceClient;

mod jepa {
    tonic::include_proto!("worldforge.jepa.v1");
}

const SAMPLES: i64 = 64;
const HORIZON: i64 = 6;
const SIDE: i64 = 64;
const DEADLINE: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

// A Tensor is a dtype, a shape, and the elements in row-major order, little-endian.
fn floats(values: &[f32], shape: &[i64]) -> jepa::Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    jepa::Tensor { dtype: jepa::DataType::Float32.into(), shape: shape.to_vec(), data: data.into(), ..Default::default() }
}

fn observation(model: &jepa::Model, shift: i64, position: [f32; 2]) -> jepa::Observation {
    let frame: Vec<u8> = (0..3 * SIDE * SIDE).map(|i| ((i + shift) % 256) as u8).collect();
    let visual = jepa::Tensor {
        dtype: jepa::DataType::Uint8.into(),
        shape: vec![1, 1, 3, SIDE, SIDE],
        data: frame.into(),
        ..Default::default()
    };
    jepa::Observation {
        visual: Some(visual),
        proprio: model.proprio.as_ref().map(|_| floats(&position, &[1, 1, 2])),
        ..Default::default()
    }
}

fn candidates(action_dim: i64) -> jepa::Tensor {
    let plans: Vec<f32> = (0..SAMPLES * HORIZON * action_dim).map(|i| (i * 37 % 64 - 32) as f32 / 16.0).collect();
    floats(&plans, &[1, SAMPLES, HORIZON, action_dim])
}

fn as_json(answer: jepa::ScoreStreamResponse) -> String {
    match answer.result {
        Some(Answer::Score(score)) => {
            format!(r#"{{"score": {{"scores": {:?}, "best_index": {}}}}}"#, score.scores, score.best_index)
        }
        Some(Answer::Error(error)) => {
            format!(r#"{{"error": {{"reason": {:?}, "field": {:?}}}}}"#, error.reason, error.field)
        }
        None => "{}".into(),
    }
}

// The environment has the CA of a server with TLS, and a token, where the server asks for them.
async fn connect(target: &str) -> Result<Channel, Failure> {
    let Ok(cacert) = env::var("WORLDFORGE_JEPA_CACERT") else {
        return Ok(Endpoint::from_shared(format!("http://{target}"))?.connect().await?);
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read(cacert)?));
    Ok(Endpoint::from_shared(format!("https://{target}"))?.tls_config(tls)?.connect().await?)
}

fn token() -> Result<Option<AsciiMetadataValue>, Failure> {
    Ok(env::var("WORLDFORGE_JEPA_TOKEN").ok().map(|token| format!("Bearer {token}").parse()).transpose()?)
}

async fn score(target: &str) -> Result<String, Failure> {
    let token = token()?;
    let each = move |mut request: Request<()>| -> Result<Request<()>, Status> {
        request.set_timeout(DEADLINE); // the server's; the host's own is around the whole
        if let Some(token) = &token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    };
    let mut stub = WorldModelServiceClient::with_interceptor(connect(target).await?, each);
    let published = stub.get_model(jepa::GetModelRequest::default()).await?.into_inner();
    let model = published.model.ok_or("no model")?;
    let (sender, receiver) = mpsc::channel(1);
    let mut answers = stub.score_stream(ReceiverStream::new(receiver)).await?.into_inner(); // before a message is sent
    let scene = jepa::PlanningContext {
        observation: Some(observation(&model, 0, [12.0, 32.0])),
        goal: Some(observation(&model, 100, [48.0, 32.0])),
        ..Default::default()
    };
    let mut asked = Vec::new();
    for (context, action_dim) in [
        (Some(scene), model.action_dim),
        (None, model.action_dim),     // the scene is there already
        (None, model.action_dim + 1), // refused; the stream goes on
    ] {
        let action_candidates = Some(candidates(action_dim));
        sender.send(jepa::ScoreStreamRequest { context, action_candidates, ..Default::default() }).await?;
        let answer = answers.message().await?.ok_or("the stream ended")?; // one answer each, in order
        asked.push(as_json(answer));
    }
    Ok(format!("[{}]", asked.join(",")))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let target = env::args().nth(1).unwrap_or("127.0.0.1:50051".into());
    match tokio::time::timeout(DEADLINE, score(&target)).await {
        Ok(Ok(answers)) => println!("{answers}"),
        Ok(Err(failure)) => fail(&failure.to_string()), // unreachable, too late, or a unary call refused
        Err(_) => fail("too late"),
    }
}

fn fail(why: &str) {
    eprintln!("{why}");
    std::process::exit(1);
}
