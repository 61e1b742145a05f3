//! `wrenn api`: an authenticated call for what has no command yet.

use std::io::Read;

use clap::Args;
use futures::StreamExt;
use reqwest::Method;

use crate::{
    DONE, Outcome,
    context::Context,
    error::{Attempt, CliError, chain},
    interruptible,
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn api GET /v1/sandboxes\n  wrenn api POST /v1/sandboxes -f template=minimal -f vcpus=2\n  \
                        wrenn api POST /v1/sandboxes -d @request.json"
)]
pub(crate) struct Arguments {
    /// GET, POST, PUT, PATCH or DELETE
    #[arg(value_name = "METHOD", value_parser = method)]
    method: Method,
    /// Path, like /v1/sandboxes
    #[arg(value_name = "PATH")]
    path: String,
    /// Body: JSON text, @FILE, or @- for standard input
    #[arg(short, long, value_name = "JSON")]
    data: Option<String>,
    /// A field of a JSON body (repeatable); the value is JSON where it parses as such, else text
    #[arg(short, long = "field", value_name = "KEY=VALUE", value_parser = super::sandbox::label, conflicts_with = "data")]
    fields: Vec<(String, String)>,
}

fn method(text: &str) -> Result<Method, String> {
    match text.to_ascii_uppercase().as_str() {
        name @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => {
            name.parse().map_err(|_| "is no method".to_owned())
        }
        _ => Err("write GET, POST, PUT, PATCH or DELETE".to_owned()),
    }
}

/// Calls the API and prints the body of its answer.
pub(crate) fn run(context: &Context, arguments: Arguments) -> Outcome {
    let body = body(&arguments)?;
    if !arguments.path.starts_with('/') {
        return Err(CliError::usage("the path must begin with `/`").hint(
            "try",
            format_args!("wrenn api {} /{}", arguments.method, arguments.path),
        ));
    }
    interruptible(async {
        let client = context.client()?;
        let mut request = client.request(arguments.method, &arguments.path)?;
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = client.send(request).await?;
        let is_json = response
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if is_json {
            let bytes = response
                .bytes()
                .await
                .map_err(|error| client.transport_error(&error))?;
            let value: serde_json::Value =
                serde_json::from_slice(&bytes).attempt(|| "read the answer")?;
            context.out.json(&value)?;
        } else {
            let mut pieces = response.bytes_stream();
            while let Some(piece) = pieces.next().await {
                context
                    .out
                    .bytes(&piece.map_err(|error| CliError::local(chain(&error)))?)?;
            }
        }
        Ok(DONE)
    })
}

fn body(arguments: &Arguments) -> Result<Option<Vec<u8>>, CliError> {
    if !arguments.fields.is_empty() {
        let fields: serde_json::Map<String, serde_json::Value> = arguments
            .fields
            .iter()
            .map(|(key, value)| {
                (
                    key.clone(),
                    serde_json::from_str(value).unwrap_or_else(|_| value.clone().into()),
                )
            })
            .collect();
        return Ok(Some(
            serde_json::Value::from(fields).to_string().into_bytes(),
        ));
    }
    match arguments.data.as_deref() {
        None => Ok(None),
        Some("@-") => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .attempt(|| "read standard input")?;
            Ok(Some(bytes))
        }
        Some(data) => match data.strip_prefix('@') {
            Some(file) => std::fs::read(file)
                .map(Some)
                .attempt(|| format!("read {file}")),
            None => Ok(Some(data.as_bytes().to_vec())),
        },
    }
}
