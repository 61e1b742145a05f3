//! Stands in for the control plane towards a host agent: its CA, its host endpoints, its client certificate.
//!
//! Every call is counted; credentials can be refused, so that a test sees the agent refresh.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wrenn_ids::HostId;
use wrenn_rpc::{
    connectrpc::{
        CompressionRegistry,
        client::{ClientConfig as RpcConfig, HttpClient},
    },
    hostagent::HostAgentClient,
};

/// Speaks to an agent as the control plane does.
pub type AgentClient = HostAgentClient<HttpClient>;

/// The one-time token that registers.
pub const REGISTRATION_TOKEN: &str =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What the agent did, and what it is answered.
#[derive(Debug, Default)]
pub struct Calls {
    /// Registrations answered.
    pub registrations: AtomicU32,
    /// Refreshes answered.
    pub refreshes: AtomicU32,
    /// Heartbeats accepted.
    pub heartbeats: AtomicU32,
    /// The next heartbeats are refused until a refresh.
    pub refuse_heartbeats: AtomicBool,
    /// Refreshes are refused, as of a host that was revoked.
    pub refuse_refreshes: AtomicBool,
}

/// The stub: runs until dropped with its runtime.
#[derive(Debug)]
pub struct AgentAuthority {
    /// The host's id, the same for every registration.
    pub host_id: HostId,
    /// Port on the loopback address.
    pub port: u16,
    /// What happened.
    pub calls: Arc<Calls>,
    ca: Arc<Ca>,
}

#[derive(Debug)]
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    host_id: HostId,
}

#[derive(Clone)]
struct Stub {
    ca: Arc<Ca>,
    calls: Arc<Calls>,
}

impl AgentAuthority {
    /// Starts to listen on a free port of the loopback address.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> Result<Self> {
        let ca = Arc::new(Ca::new().context("make a CA")?);
        let calls = Arc::new(Calls::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let routes = Router::new()
            .route("/v1/hosts/register", post(register))
            .route("/v1/hosts/auth/refresh", post(refresh))
            .route("/v1/hosts/{id}/heartbeat", post(heartbeat))
            .with_state(Stub {
                ca: Arc::clone(&ca),
                calls: Arc::clone(&calls),
            });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self {
            host_id: ca.host_id,
            port,
            calls,
            ca,
        })
    }

    /// A client with the control plane's certificate.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn client(&self, agent: SocketAddr) -> Result<AgentClient> {
        self.client_named(agent, Some("wrenn://control-plane"))
    }

    /// A client with a certificate of this CA that names `uri`, or with none at all.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn client_named(&self, agent: SocketAddr, uri: Option<&str>) -> Result<AgentClient> {
        self.credentials(uri)?.client(agent)
    }

    /// What such a client needs, wherever it runs.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn credentials(&self, uri: Option<&str>) -> Result<Credentials> {
        let certify = |uri: &str| {
            let key = KeyPair::generate()?;
            let names = vec![SanType::URI(uri.try_into()?)];
            let leaf = leaf(names, ExtendedKeyUsagePurpose::ClientAuth)
                .signed_by(&key, &self.ca.issuer)?;
            anyhow::Ok((leaf.pem(), key.serialize_pem()))
        };
        Ok(Credentials {
            ca_pem: self.ca.pem.clone(),
            own_pem: uri.map(certify).transpose()?,
        })
    }
}

/// Whom a client of an agent trusts, and as whom it speaks; may be handed to another process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Credentials {
    ca_pem: String,
    /// Certificate and key.
    own_pem: Option<(String, String)>,
}

impl Credentials {
    /// A client with these credentials.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn client(&self, agent: SocketAddr) -> Result<AgentClient> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes())?)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let tls = match &self.own_pem {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
                builder.with_client_auth_cert(vec![certificate], key)?
            }
        };
        // No compression, as the control plane asks for none.
        let config = RpcConfig::new(format!("https://{agent}").parse()?)
            .with_compression(CompressionRegistry::new())
            .with_default_max_message_size(64 << 20)
            .with_default_timeout(Duration::from_secs(900));
        Ok(HostAgentClient::new(
            HttpClient::with_tls(Arc::new(tls)),
            config,
        ))
    }
}

impl Ca {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
            host_id: HostId::new(),
        })
    }

    /// What a registration or refresh is answered; the key is the request's, everything else ours.
    fn issue(&self, request: &Value) -> Result<Value> {
        let text = |name: &str| request[name].as_str().context("a field is missing");
        let csr = CertificateSigningRequestParams::from_pem(text("csr_pem")?)?;
        let address: SocketAddr = text("address")?.parse()?;
        let names = vec![
            SanType::IpAddress(address.ip()),
            SanType::URI(
                format!("wrenn://host/{}", self.host_id)
                    .as_str()
                    .try_into()?,
            ),
        ];
        let certificate = leaf(names, ExtendedKeyUsagePurpose::ServerAuth)
            .signed_by(&csr.public_key, &self.issuer)?;
        Ok(json!({
            "host": {"id": self.host_id},
            "token": format!("jwt-{}", uuid::Uuid::new_v4()),
            "refresh_token": format!("refresh-{}", uuid::Uuid::new_v4()),
            "cert_pem": certificate.pem(),
            "ca_cert_pem": self.pem,
        }))
    }
}

fn leaf(names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.extended_key_usages = vec![usage];
    params
}

type Answer = (StatusCode, Json<Value>);

fn answer(status: StatusCode, issued: Result<Value>) -> Answer {
    match issued {
        Ok(issued) => (status, Json(issued)),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": format!("{error:#}")})),
        ),
    }
}

async fn register(State(stub): State<Stub>, Json(request): Json<Value>) -> Answer {
    if request["token"] != REGISTRATION_TOKEN {
        return (StatusCode::UNAUTHORIZED, Json(json!({})));
    }
    stub.calls.registrations.fetch_add(1, Ordering::SeqCst);
    answer(StatusCode::CREATED, stub.ca.issue(&request))
}

async fn refresh(State(stub): State<Stub>, Json(request): Json<Value>) -> Answer {
    let refused = stub.calls.refuse_refreshes.load(Ordering::SeqCst);
    let token = request["refresh_token"].as_str();
    if refused || !token.is_some_and(|token| token.starts_with("refresh-")) {
        return (StatusCode::UNAUTHORIZED, Json(json!({})));
    }
    stub.calls.refreshes.fetch_add(1, Ordering::SeqCst);
    stub.calls.refuse_heartbeats.store(false, Ordering::SeqCst);
    answer(StatusCode::OK, stub.ca.issue(&request))
}

async fn heartbeat(
    State(stub): State<Stub>,
    Path(id): Path<HostId>,
    headers: HeaderMap,
    Json(_): Json<Value>,
) -> StatusCode {
    if id != stub.ca.host_id || stub.calls.refuse_heartbeats.load(Ordering::SeqCst) {
        return StatusCode::FORBIDDEN;
    }
    if !headers.contains_key("x-host-token") {
        return StatusCode::UNAUTHORIZED;
    }
    stub.calls.heartbeats.fetch_add(1, Ordering::SeqCst);
    StatusCode::NO_CONTENT
}
