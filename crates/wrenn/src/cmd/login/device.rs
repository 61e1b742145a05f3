//! A code that the person enters in a browser, on whatever machine.

use std::time::Duration;

use reqwest::Method;
use wrenn_api::{
    AuthResponse,
    account::{DeviceCode, DeviceCodes, StartDevice},
};

use crate::{
    client::Client,
    context::Context,
    error::{CliError, Exit},
};

/// Shows a code and waits until it was entered.
pub(super) async fn by_device(
    context: &Context,
    client: &Client,
) -> Result<AuthResponse, CliError> {
    let machine = rustix::system::uname();
    let client_name = format!("wrenn on {}", machine.nodename().to_string_lossy());
    let request = client
        .open_request(Method::POST, "/v1/auth/device")
        .json(&StartDevice { client_name });
    let codes: DeviceCodes = client.answer(client.dispatch(request).await?).await?;
    // Not a note: without it nobody can go on.
    context.out.ask_for(&format!(
        "Open {} and enter the code {}",
        codes.verification_url, codes.user_code
    ));
    let mut ticks = tokio::time::interval(Duration::from_secs(codes.interval.into()));
    ticks.tick().await;
    let question = DeviceCode {
        device_code: codes.device_code,
    };
    loop {
        ticks.tick().await;
        let request = client
            .open_request(Method::POST, "/v1/auth/device/token")
            .json(&question);
        match client.dispatch(request).await {
            Ok(answer) if answer.status() == reqwest::StatusCode::ACCEPTED => {}
            Ok(answer) => return client.answer(answer).await,
            Err(error) if error.code == "invalid_token" => {
                return Err(CliError::new(
                    Exit::Forbidden,
                    "denied",
                    "the code was refused, or nobody entered it in time",
                )
                .hint("again", "wrenn login --device"));
            }
            // A server that restarts is asked again, until the code ends.
            Err(error) if error.exit == Exit::Unavailable => {}
            Err(error) => return Err(error),
        }
    }
}
