//! How the simulated agent gets its identity: by the control plane's own registration, as a real one does.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use wrenn_ids::HostId;

use super::Capacity;

/// What registration yields.
#[derive(Debug, Clone)]
pub struct HostIdentity {
    /// The host's id.
    pub host_id: HostId,
    /// The JWT for `X-Host-Token`.
    pub token: String,
    /// For the next certificate.
    pub refresh_token: String,
    /// The leaf, PEM.
    pub cert_pem: String,
    /// Its key, PEM; never left this process.
    pub key_pem: String,
    /// Who may call, PEM.
    pub ca_cert_pem: String,
}

impl HostIdentity {
    /// Registers at the control plane.
    ///
    /// # Errors
    /// When the key cannot be made, or the answer is not 201 with all fields.
    pub async fn register(
        base_url: &str,
        token: &str,
        address: SocketAddr,
        capacity: Capacity,
    ) -> Result<Self> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let request = rcgen::CertificateParams::new(Vec::new())?
            .serialize_request(&key)?
            .pem()?;
        let answer = reqwest::Client::new()
            .post(format!("{base_url}/v1/hosts/register"))
            .json(&json!({
                "token": token,
                "address": address.to_string(),
                "arch": "x86_64",
                "cpu_cores": capacity.cpu_cores,
                "memory_mb": capacity.memory_mib,
                "disk_gb": capacity.disk_mib / 1024,
                "csr_pem": request,
                "agent_version": env!("CARGO_PKG_VERSION"),
            }))
            .send()
            .await
            .context("ask for registration")?;
        let status = answer.status();
        let body: Value = answer.json().await.context("read the registration")?;
        ensure!(status == 201, "registration was answered {status}: {body}");
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .context("a field is missing")
        };
        Ok(Self {
            host_id: text(&body["host"]["id"])?.parse()?,
            token: text(&body["token"])?,
            refresh_token: text(&body["refresh_token"])?,
            cert_pem: text(&body["cert_pem"])?,
            key_pem: key.serialize_pem(),
            ca_cert_pem: text(&body["ca_cert_pem"])?,
        })
    }

    /// Asks for the next credentials, and leaves them where they are; answers the HTTP status.
    ///
    /// # Errors
    /// When the key cannot be made, or nothing is answered.
    pub async fn refresh(&self, base_url: &str) -> Result<u16> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let request = rcgen::CertificateParams::new(Vec::new())?.serialize_request(&key)?;
        let answer = reqwest::Client::new()
            .post(format!("{base_url}/v1/hosts/auth/refresh"))
            .json(&json!({ "refresh_token": self.refresh_token, "csr_pem": request.pem()? }))
            .send()
            .await
            .context("ask for the next credentials")?;
        Ok(answer.status().as_u16())
    }

    /// Reports that the host lives.
    ///
    /// # Errors
    /// When the answer is not 204.
    pub async fn heartbeat(&self, base_url: &str) -> Result<()> {
        let answer = reqwest::Client::new()
            .post(format!("{base_url}/v1/hosts/{}/heartbeat", self.host_id))
            .header("x-host-token", &self.token)
            .json(&json!({ "agent_version": env!("CARGO_PKG_VERSION") }))
            .send()
            .await
            .context("send a heartbeat")?;
        ensure!(
            answer.status() == 204,
            "the heartbeat was answered {}",
            answer.status()
        );
        Ok(())
    }

    pub(super) fn tls_acceptor(&self) -> Result<tokio_rustls::TlsAcceptor> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_cert_pem.as_bytes())?)?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()?;
        let chain = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(
                chain,
                PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
    }
}
