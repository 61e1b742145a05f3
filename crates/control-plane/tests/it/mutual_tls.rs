//! Whom the control plane talks to: the pinned leaf of its own authority for that host, and nobody else.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd};
use reqwest::Method;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use wrenn_control_plane::ca;
use wrenn_testkit::{
    control_plane::eventually,
    simulated_agent::{Capacity, HostIdentity, SimulatedAgent},
};

use crate::setup::Setup;

/// A leaf as a test wants it.
struct Leaf<'a> {
    ca: &'a ca::GeneratedCa,
    uri: String,
    usage: ExtendedKeyUsagePurpose,
    expired: bool,
    pinned: bool,
}

impl Leaf<'_> {
    fn sign(&self) -> (String, String, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::URI(self.uri.as_str().try_into().unwrap()),
        ];
        params.extended_key_usages = vec![self.usage.clone()];
        if self.expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 8);
        }
        let issuer = KeyPair::from_pem(&self.ca.key_pem).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.ca.cert_pem, issuer).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        (
            leaf.pem(),
            key.serialize_pem(),
            Sha256::digest(leaf.der()).to_vec(),
        )
    }
}

#[tokio::test]
async fn only_the_pinned_leaf_of_this_host_is_spoken_to() {
    let setup = Setup::new().await;
    let sandbox = setup.client.create().await;
    let host = setup.agent.host_id();
    let uri = ca::host_uri(host);
    let other = ca::generate().unwrap();
    let server = || ExtendedKeyUsagePurpose::ServerAuth;
    let good = || Leaf {
        ca: &setup.world.ca,
        uri: uri.clone(),
        usage: server(),
        expired: false,
        pinned: true,
    };
    let cases = [
        ("the right one", good(), true),
        (
            "another authority",
            Leaf {
                ca: &other,
                ..good()
            },
            false,
        ),
        (
            "another host",
            Leaf {
                uri: ca::host_uri(wrenn_ids::HostId::new()),
                ..good()
            },
            false,
        ),
        (
            "a client leaf",
            Leaf {
                usage: ExtendedKeyUsagePurpose::ClientAuth,
                ..good()
            },
            false,
        ),
        (
            "expired",
            Leaf {
                expired: true,
                ..good()
            },
            false,
        ),
        (
            "not pinned",
            Leaf {
                pinned: false,
                ..good()
            },
            false,
        ),
    ];
    let ping = format!("/v1/sandboxes/{}/ping", sandbox.id);
    for (name, leaf, accepted) in cases {
        let (cert_pem, key_pem, fingerprint) = leaf.sign();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let identity = HostIdentity {
            cert_pem,
            key_pem,
            ca_cert_pem: setup.world.ca.cert_pem.clone(),
            ..setup.agent.identity().clone()
        };
        let agent = SimulatedAgent::serve(listener, identity, Capacity::default()).unwrap();
        let pinned = if leaf.pinned {
            fingerprint
        } else {
            vec![0; 32]
        };
        sqlx::query(
            "UPDATE hosts SET address = $1, cert_fingerprint = $2, prev_cert_fingerprint = NULL",
        )
        .bind(address)
        .bind(pinned)
        .execute(&setup.world.db)
        .await
        .unwrap();
        let answer = setup
            .client
            .send(setup.client.request(Method::POST, &ping))
            .await;
        // The accepted one answers, and does not know the sandbox.
        let expected = if accepted {
            (404, "not_found")
        } else {
            (503, "host_unavailable")
        };
        assert_eq!(
            (answer.status, answer.code()),
            expected,
            "{name}: {answer:?}"
        );
        assert_eq!(agent.calls("PingSandbox") > 0, accepted, "{name}");
    }
}

#[tokio::test]
async fn a_host_that_speaks_plaintext_is_not_spoken_to() {
    let setup = Setup::new().await;
    let sandbox = setup.client.create().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    sqlx::query("UPDATE hosts SET address = $1")
        .bind(address)
        .execute(&setup.world.db)
        .await
        .unwrap();
    let path = format!("/v1/sandboxes/{}/ping", sandbox.id);
    let answer = setup
        .client
        .send(setup.client.request(Method::POST, &path))
        .await;
    assert_eq!(answer.code(), "host_unavailable", "{answer:?}");
    server.abort();
}

#[tokio::test]
async fn a_rotated_certificate_is_accepted_at_once_and_the_old_one_for_a_while() {
    let setup = Setup::new().await;
    let sandbox = setup.client.create().await;
    let nobody = wrenn_testkit::client::Client::new(setup.replica.base_url(), None);
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let token = &setup.agent.identity().refresh_token;
    let body = serde_json::json!({ "refresh_token": token, "csr_pem": csr });
    assert_eq!(
        nobody.post("/v1/hosts/auth/refresh", body).await.status,
        200
    );
    // The agent has not swapped its certificate yet.
    let path = format!("/v1/sandboxes/{}/ping", sandbox.id);
    eventually("the host answers", async || {
        setup
            .client
            .send(setup.client.request(Method::POST, &path))
            .await
            .status
            == 204
    })
    .await
    .unwrap();
}
