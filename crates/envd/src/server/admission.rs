//! Who is let in by the agent of a VM, which has a host and a metadata service.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::gate::Audience;
use crate::{
    standstill::Standstill,
    trial::{Told, Trial, in_a_guest},
};

const HOST_ONLY: [&str; 4] = [
    "POST /init",
    "POST /freeze",
    "POST /unfreeze",
    "POST /snapshot/prepare",
];
const OTHERS: [&str; 5] = [
    "GET /envs",
    "GET /metrics",
    "GET /files?path=/etc/passwd",
    "POST /files/compose",
    "POST /process.Process/List",
];

type Headers<'a> = &'a [(&'a str, &'a str)];

const NOTHING: Headers<'_> = &[];

async fn check(trial: &Trial, line: &str, headers: Headers<'_>, expected: (u16, &str)) {
    let (status, body) = trial.ask(Audience::Everybody, line, headers, "{}").await;
    assert_eq!(status, expected.0, "{line} {headers:?}: {body}");
    assert!(body.contains(expected.1), "{line} {headers:?}: {body}");
}

async fn check_on_loopback(trial: &Trial, line: &str, headers: Headers<'_>, expected: u16) {
    let (status, body) = trial.ask(Audience::Guest, line, headers, "{}").await;
    assert_eq!(status, expected, "{line} {headers:?}: {body}");
}

/// The sandbox is told its token, as the host would.
async fn open(trial: &Trial, token: &str) -> u16 {
    let body = trial.repeated_init();
    let body = body.trim_end_matches('}');
    let body = format!(r#"{body},"accessToken":"{token}"}}"#);
    trial.post("/init", &body).await
}

#[test]
fn before_its_first_init_a_guest_is_there_for_its_host_alone() {
    in_a_guest(Standstill::default(), async |trial| {
        check(&trial, "GET /health", NOTHING, (204, "")).await;
        for line in OTHERS {
            check(&trial, line, NOTHING, (503, "sandbox is not initialized")).await;
        }
        for line in HOST_ONLY {
            check(&trial, line, NOTHING, (401, "for the host only")).await;
            for key in ["", "wrong", "host ", "HOST"] {
                let headers = [("x-wrenn-host-key", key)];
                check(&trial, line, &headers, (401, "for the host only")).await;
            }
        }
        assert_eq!(trial.post("/unfreeze", "").await, 204);
        // A silent metadata service is no proof of anything, and may speak again.
        trial.metadata.told.send_replace(None);
        trial.agent.host_key.forget();
        assert_eq!(trial.post("/unfreeze", "").await, 503);
        check(&trial, HOST_ONLY[0], NOTHING, (401, "for the host only")).await;
    });
}

#[test]
fn with_a_token_only_its_bearer_is_served_and_while_sealed_nobody() {
    in_a_guest(Standstill::default(), async |trial| {
        assert_eq!(open(&trial, "right").await, 204);
        let right: Headers<'_> = &[("x-access-token", "right")];
        let wrong: Headers<'_> = &[("x-access-token", "wrong")];
        for line in OTHERS {
            check(&trial, line, NOTHING, (401, "missing")).await;
            check(&trial, line, wrong, (401, "invalid access token")).await;
        }
        check(&trial, "GET /envs", right, (200, "WRENN_SANDBOX")).await;
        check(&trial, "GET /files?path=/etc/passwd", right, (200, "root:")).await;
        check(&trial, "POST /process.Process/List", right, (200, "{}")).await;
        // Nor does the token make a host.
        for line in HOST_ONLY {
            check(&trial, line, right, (401, "for the host only")).await;
        }
        assert_eq!(
            trial.post("/snapshot/prepare", r#"{"mode":"full"}"#).await,
            200
        );
        check(&trial, "GET /health", NOTHING, (204, "")).await;
        for line in OTHERS {
            check(&trial, line, right, (503, "sandbox is being snapshotted")).await;
        }
        assert_eq!(trial.post("/unfreeze", "").await, 204);
        check(&trial, "GET /envs", right, (200, "WRENN_SANDBOX")).await;
    });
}

#[test]
fn a_signature_opens_one_file_and_does_not_mend_a_wrong_token() {
    in_a_guest(Standstill::default(), async |trial| {
        assert_eq!(open(&trial, "right").await, 204);
        let digest = Sha256::digest(b"/etc/passwd:read:root:right");
        let signature = format!("v1_{}", STANDARD_NO_PAD.encode(digest));
        // What base64 has and a query means otherwise.
        let signature = signature.replace('+', "%2B");
        let signed =
            |path: &str| format!("GET /files?path={path}&username=root&signature={signature}");
        check(&trial, &signed("/etc/passwd"), NOTHING, (200, "root:")).await;
        check(
            &trial,
            &signed("/etc/hosts"),
            NOTHING,
            (401, "invalid signature"),
        )
        .await;
        let wrong = [("x-access-token", "wrong")];
        check(
            &trial,
            &signed("/etc/passwd"),
            &wrong,
            (401, "invalid access token"),
        )
        .await;
        let listing = format!("POST /process.Process/List?signature={signature}");
        check(&trial, &listing, NOTHING, (401, "missing access token")).await;
    });
}

#[test]
fn on_the_loopback_address_there_is_little_to_ask_for() {
    in_a_guest(Standstill::default(), async |trial| {
        assert_eq!(open(&trial, "right").await, 204);
        let right: Headers<'_> = &[("x-access-token", "right"), ("x-wrenn-host-key", "host")];
        check_on_loopback(&trial, "GET /health", NOTHING, 204).await;
        check_on_loopback(&trial, "GET /envs", right, 200).await;
        check_on_loopback(&trial, "GET /envs", NOTHING, 401).await;
        let rest = OTHERS.into_iter().filter(|line| *line != "GET /envs");
        for line in rest.chain(HOST_ONLY).chain(["POST /envs", "POST /health"]) {
            check_on_loopback(&trial, line, right, 404).await;
        }
    });
}

#[test]
fn an_init_is_believed_when_it_fits_the_metadata_and_is_not_overtaken() {
    in_a_guest(Standstill::default(), async |trial| {
        let told = Told {
            key: "host",
            token: Some("right"),
        };
        trial.metadata.told.send_replace(Some(told));
        assert_eq!(open(&trial, "wrong").await, 401);
        assert_eq!(open(&trial, "right").await, 204);
        // Of a generation that is not known everything is needed, and before anything is done.
        let now = jiff::Timestamp::now();
        let entropy = "A".repeat(44);
        for body in [
            "{}".to_owned(),
            r#"{"generationId":"new"}"#.to_owned(),
            format!(r#"{{"timestamp":"{now}"}}"#),
            format!(r#"{{"generationId":"new","timestamp":"{now}","entropy":"{entropy}"}}"#),
            format!(r#"{{"generationId":"new","timestamp":"{now}","accessToken":"right"}}"#),
        ] {
            assert_eq!(trial.post("/init", &body).await, 400, "{body}");
        }
        // One that was sent before is late: it changes nothing.
        let old =
            r#"{"generationId":"known","timestamp":"2020-01-01T00:00:00Z","accessToken":"old"}"#;
        assert_eq!(trial.post("/init", old).await, 204);
        let right = [("x-access-token", "right")];
        check(&trial, "GET /envs", &right, (200, "WRENN_SANDBOX")).await;
        assert_eq!(
            trial.agent.sandbox.state().generation.as_deref(),
            Some("known")
        );
    });
}
